"""The obvious pix2pix in JAX, to be compared with: Flax's own layers and one loss a network.

Convolutions as `flax.linen` has them, two losses differentiated one after the other, and so two
generator forwards a step (unless XLA sees that they are one). Layers carry jaxcolor's names, so
that its parameters fit as they are.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jaxcolor.training.state import GanState, NetworkState

L1_WEIGHT = 100.0
DISCRIMINATOR_WEIGHT = 0.5


class UNet(nn.Module):
    """unet_256's layout at any power of two; images: [batch, size, size, channels] in [-1, 1]."""

    image_size: int = 256
    base_width: int = 64
    dropout_levels: tuple[int, ...] = (1, 2, 3)
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Pictures of conditions; with dropout and batch statistics if `train`."""
        options = {"use_bias": False, "dtype": self.dtype}
        down = functools.partial(nn.Conv, kernel_size=(4, 4), strides=2, padding=1, **options)
        up = functools.partial(nn.ConvTranspose, kernel_size=(4, 4), strides=(2, 2))
        norm = functools.partial(nn.BatchNorm, not train, momentum=0.9, dtype=self.dtype)
        depth = self.image_size.bit_length() - 1
        widths = [self.base_width * min(2**i, 8) for i in range(depth)]
        skips = []
        for level, width in enumerate(widths):
            x = nn.leaky_relu(x, 0.2) if level > 0 else x
            x = down(width, name=f"down_{level}")(x)
            if 0 < level < depth - 1:
                x = norm(name=f"down_norm_{level}")(x)
            skips.append(x)
        x = nn.relu(skips.pop())
        for level, width in enumerate(widths[-2::-1]):
            x = norm(name=f"up_norm_{level}")(up(width, name=f"up_{level}", **options)(x))
            if level in self.dropout_levels:
                x = nn.Dropout(0.5, deterministic=not train)(x)
            x = nn.relu(jnp.concatenate([skips.pop(), x], axis=-1))
        return nn.tanh(up(3, name=f"up_{depth - 1}", dtype=self.dtype)(x)).astype(jnp.float32)


class PatchGAN(nn.Module):
    """The 70x70 discriminator, with batch statistics."""

    base_width: int = 64
    strided_layers: int = 3
    dtype: str = "float32"

    @nn.compact
    def __call__(self, condition: jax.Array, picture: jax.Array) -> jax.Array:
        """Logits [batch, height', width', 1], float32."""
        conv = functools.partial(nn.Conv, kernel_size=(4, 4), padding=1, dtype=self.dtype)
        x = jnp.concatenate([condition, picture], axis=-1)
        for i in range(self.strided_layers + 1):
            strides = 2 if i < self.strided_layers else 1
            width = self.base_width * min(2**i, 8)
            x = conv(width, strides=strides, use_bias=i == 0, name=f"layer_{i}")(x)
            if i > 0:
                x = nn.BatchNorm(False, momentum=0.9, dtype=self.dtype, name=f"norm_{i}")(x)
            x = nn.leaky_relu(x, 0.2)
        return conv(1, name="logits")(x).astype(jnp.float32)


class Networks(NamedTuple):
    """The two modules."""

    generator: UNet
    discriminator: PatchGAN


def load_state(state: GanState, optimizer: optax.GradientTransformation) -> GanState:
    """The networks of a jaxcolor state as this module's, with fresh optimizer states.

    Args:
      state: of jaxcolor's own training step; not to be used once this state has been donated.
      optimizer: of both networks.
    """

    def convert(network: NetworkState) -> NetworkState:
        stats = {
            name: {"mean": values["mean"], "var": values["variance"]}
            for name, values in network.batch_stats.items()
        }
        return NetworkState(network.params, stats, optimizer.init(network.params))

    return GanState(state.step, convert(state.generator), convert(state.discriminator))


def train_step(
    state: GanState,
    batch: dict[str, jax.Array],
    rng: jax.Array,
    *,
    networks: Networks,
    optimizer: optax.GradientTransformation,
    update: str,
) -> tuple[GanState, dict[str, jax.Array]]:
    """The state after one update of both networks, and the losses under jaxcolor's names.

    Args:
      state: from `load_state`.
      batch: "condition" and "target", uint8 or in [-1, 1].
      rng: key of the dropout masks.
      networks: the two modules.
      optimizer: of both networks.
      update: "sequential" (discriminator first) or "simultaneous".
    """
    condition, target = _to_signed(batch["condition"]), _to_signed(batch["target"])
    own, other = state.generator, state.discriminator
    key = jax.random.fold_in(rng, state.step)

    def generate(params):
        variables = {"params": params, "batch_stats": own.batch_stats}
        options = {"train": True, "rngs": {"dropout": key}, "mutable": ["batch_stats"]}
        return networks.generator.apply(variables, condition, **options)

    def judge(params, stats, picture):
        variables = {"params": params, "batch_stats": stats}
        logits, updates = networks.discriminator.apply(
            variables, condition, picture, mutable=["batch_stats"]
        )
        return logits, updates["batch_stats"]

    def discriminator_loss(params):
        fake, _ = generate(own.params)
        real_logits, stats = judge(params, other.batch_stats, target)
        fake_logits, stats = judge(params, stats, fake)
        real, fake = _cross_entropy(real_logits, 1.0), _cross_entropy(fake_logits, 0.0)
        loss = DISCRIMINATOR_WEIGHT * (real + fake)
        losses = {"discriminator/real": real, "discriminator/fake": fake}
        return loss, (losses | {"discriminator/loss": loss}, stats)

    def generator_loss(params, judging):
        fake, updates = generate(params)
        logits, _ = judge(judging.params, judging.batch_stats, fake)
        adversarial, l1 = _cross_entropy(logits, 1.0), jnp.mean(jnp.abs(fake - target))
        loss = adversarial + L1_WEIGHT * l1
        losses = {"generator/adversarial": adversarial, "generator/l1": l1, "generator/loss": loss}
        return loss, (losses, updates["batch_stats"])

    gradients, (losses, stats) = jax.grad(discriminator_loss, has_aux=True)(other.params)
    discriminator = _apply_gradients(other, gradients, stats, optimizer)
    judging = discriminator if update == "sequential" else other
    gradients, (more, stats) = jax.grad(generator_loss, has_aux=True)(own.params, judging)
    generator = _apply_gradients(own, gradients, stats, optimizer)
    return GanState(state.step + 1, generator, discriminator), losses | more


def _to_signed(pictures):
    is_integer = jnp.issubdtype(pictures.dtype, jnp.integer)
    return pictures.astype(jnp.float32) / 127.5 - 1 if is_integer else pictures


def _cross_entropy(logits, label):
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, label))


def _apply_gradients(network, gradients, stats, optimizer):
    updates, opt_state = optimizer.update(gradients, network.opt_state, network.params)
    return NetworkState(optax.apply_updates(network.params, updates), stats, opt_state)
