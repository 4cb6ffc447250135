"""The training step and the evaluation step of a conditional GAN: pure, per-device code.

Every function here sees one device's part of the batch. Over the axis `axis_name` gradients and
metrics are averaged, so that the result is that of the whole batch; None means a single device.
Pictures come as uint8, or as floats in [-1, 1], [batch, height, width, channels].
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxcolor import colorspace
from jaxcolor import losses as loss_functions
from jaxcolor import metrics as picture_metrics
from jaxcolor.training.state import GanState, Networks, NetworkState, Optimizers

UPDATES = ("simultaneous", "sequential")
INFERENCE_STATISTICS = ("picture", "running")


class LossWeights(NamedTuple):
    """generator: adversarial * cross-entropy + l1 * L1; discriminator: weight * (real + fake).

    The paper sums real and fake (discriminator 1.0); the PyTorch reference halves (0.5).
    """

    adversarial: float = 1.0
    l1: float = 100.0
    discriminator: float = 1.0


def train_step(
    state: GanState,
    batch: dict[str, jax.Array],
    rng: jax.Array,
    *,
    networks: Networks,
    optimizers: Optimizers,
    losses: LossWeights,
    update: str,
    axis_name: str | None,
    learning_rates: Callable[[jax.Array], dict[str, jax.Array]] = lambda step: {},
) -> tuple[GanState, dict[str, jax.Array]]:
    """The state after one update of both networks, and the metrics of the state before it.

    One generator forward. "simultaneous" (the paper's) takes both gradients at the same parameters
    and shares one discriminator forward on the fake; "sequential" (the reference's) updates the
    discriminator first and judges the same fake again with the updated one.

    Args:
      state: parameters, statistics, optimizer states and step.
      batch: "condition" and "target".
      rng: the root key of the run; step and picture are folded in, so nothing random is stored.
      networks: generator and discriminator.
      optimizers: one for each.
      losses: weights of the loss terms.
      update: "simultaneous" or "sequential".
      axis_name: device axis, or None.
      learning_rates: what to report as learning rates at a step.
    """
    condition = colorspace.to_signed(batch["condition"])
    target = colorspace.to_signed(batch["target"])
    keys = picture_keys(rng, state.step, len(condition), axis_name)

    @jax.named_scope("generator")
    def generate(params):
        options = {"axis_name": axis_name, "dropout_keys": keys}
        return networks.generator.apply(params, state.generator.batch_stats, condition, **options)

    fake, generator_vjp, generator_stats = jax.vjp(generate, state.generator.params, has_aux=True)
    judge = _Judge(networks.discriminator.apply, condition, axis_name)
    halves = _simultaneous if update == "simultaneous" else _sequential
    discriminator, fake_cotangent, metrics = halves(
        judge, state.discriminator, target, fake, optimizers.discriminator, losses
    )
    l1_value, l1_cotangent = jax.value_and_grad(loss_functions.l1)(fake, target)
    cotangent = losses.adversarial * fake_cotangent + losses.l1 * l1_cotangent
    gradients = _average(generator_vjp(cotangent)[0], axis_name)
    generator = _apply_gradients(state.generator, gradients, generator_stats, optimizers.generator)
    metrics |= {
        "generator/l1": l1_value,
        "generator/loss": losses.adversarial * metrics["generator/adversarial"]
        + losses.l1 * l1_value,
        "generator/gradient_norm": _norm(gradients),
    }
    metrics = _average(metrics, axis_name) | learning_rates(state.step)
    return GanState(state.step + 1, generator, discriminator), metrics


def picture_keys(
    rng: jax.Array,
    step: jax.Array,
    count: int,
    axis_name: str | None,
    places: jax.Array | None = None,
) -> jax.Array:
    """[count] keys, one a picture of this device, from (rng, step, place).

    `places` [count] are the pictures' numbers in their data set, so that batches do not matter;
    without them it is the place in the whole batch, so that the devices that share it do not.
    """
    if places is None:
        places = (lax.axis_index(axis_name) * count if axis_name else 0) + jnp.arange(count)
    key = jax.random.fold_in(rng, step)
    return jax.vmap(lambda place: jax.random.fold_in(key, place))(places)


class _Judge(NamedTuple):
    """The discriminator, given the condition and how it is called."""

    apply: Callable
    condition: jax.Array
    axis_name: str | None

    @jax.named_scope("discriminator")
    def __call__(self, params, batch_stats, picture):
        """Logits and new running statistics. Real and fake are judged apart: together they would
        share batch statistics.
        """
        return self.apply(params, batch_stats, self.condition, picture, axis_name=self.axis_name)


def _loss_and_cotangent(logits: jax.Array, *, real: bool) -> tuple[jax.Array, jax.Array]:
    return jax.value_and_grad(loss_functions.sigmoid_cross_entropy)(logits, real=real)


def _judge_real(judge, state: NetworkState, target, weight: float):
    """Parameter gradients, statistics and metrics of the discriminator on the true pictures."""
    logits, pullback, stats = jax.vjp(
        lambda params: judge(params, state.batch_stats, target), state.params, has_aux=True
    )
    loss, cotangent = _loss_and_cotangent(logits, real=True)
    metrics = {
        "discriminator/real": loss,
        "discriminator/accuracy_real": jnp.mean(logits > 0),
    }
    return pullback(weight * cotangent)[0], stats, metrics


def _finish_discriminator(judge, state, real, fake, optimizer, weight, metrics):
    """The updated discriminator and all its metrics, from both halves of its gradient."""
    (real_gradients, _, real_metrics), (fake_gradients, fake_logits, fake_loss, stats) = real, fake
    gradients = _average(jax.tree.map(jnp.add, real_gradients, fake_gradients), judge.axis_name)
    metrics |= real_metrics | {
        "discriminator/fake": fake_loss,
        "discriminator/loss": weight * (real_metrics["discriminator/real"] + fake_loss),
        "discriminator/accuracy_fake": jnp.mean(fake_logits <= 0),
        "discriminator/gradient_norm": _norm(gradients),
    }
    return _apply_gradients(state, gradients, stats, optimizer), metrics


def _simultaneous(judge, state: NetworkState, target, fake, optimizer, losses):
    """Updated discriminator, cotangent of the fake, metrics; one forward on the fake."""
    weight = losses.discriminator
    real = _judge_real(judge, state, target, weight)
    logits, pullback, stats = jax.vjp(
        lambda params, picture: judge(params, real[1], picture), state.params, fake, has_aux=True
    )
    fake_loss, as_fake = _loss_and_cotangent(logits, real=False)
    adversarial, as_real = _loss_and_cotangent(logits, real=True)
    fake_half = (pullback(weight * as_fake)[0], logits, fake_loss, stats)
    metrics = {"generator/adversarial": adversarial}
    state, metrics = _finish_discriminator(
        judge, state, real, fake_half, optimizer, weight, metrics
    )
    return state, pullback(as_real)[1], metrics


def _sequential(judge, state: NetworkState, target, fake, optimizer, losses):
    """The same with the fake judged again, for the generator, by the updated discriminator."""
    weight = losses.discriminator
    real = _judge_real(judge, state, target, weight)
    logits, pullback, stats = jax.vjp(
        lambda params: judge(params, real[1], fake), state.params, has_aux=True
    )
    fake_loss, as_fake = _loss_and_cotangent(logits, real=False)
    fake_half = (pullback(weight * as_fake)[0], logits, fake_loss, stats)
    state, metrics = _finish_discriminator(judge, state, real, fake_half, optimizer, weight, {})
    logits, pullback, _ = jax.vjp(
        lambda picture: judge(state.params, state.batch_stats, picture), fake, has_aux=True
    )
    adversarial, as_real = _loss_and_cotangent(logits, real=True)
    return state, pullback(as_real)[0], metrics | {"generator/adversarial": adversarial}


@jax.named_scope("optimizer")
def _apply_gradients(state: NetworkState, gradients: Any, batch_stats: Any, optimizer):
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    return NetworkState(optax.apply_updates(state.params, updates), batch_stats, opt_state)


def _norm(tree: Any) -> jax.Array:
    """The Euclidean norm of all numbers in `tree`.

    Behind a barrier, or XLA:CPU stores the squares of all gradients to share them with Adam.
    """
    leaves = lax.optimization_barrier(jax.tree.leaves(tree))
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in leaves))


@jax.named_scope("average")
def _average(tree: Any, axis_name: str | None) -> Any:
    """The mean over the devices; XLA copies all of `tree` to average it over only one."""
    if axis_name is None or lax.axis_size(axis_name) == 1:
        return tree
    return lax.pmean(tree, axis_name)


def predict(
    state: GanState,
    condition: jax.Array,
    rng: jax.Array,
    *,
    networks: Networks,
    statistics: str,
    dropout: bool,
    axis_name: str | None,
    places: jax.Array | None = None,
) -> jax.Array:
    """Predicted pictures [batch, height, width, channels] in [-1, 1].

    Args:
      state: its generator is used.
      condition: uint8 or [-1, 1], [batch, height, width, channels].
      rng: key of the dropout masks; unused without dropout.
      networks: generator and discriminator.
      statistics: of batch norm: "picture" (each picture's own, so that none changes another's
        output) or "running". The other norms have only the former.
      dropout: draw dropout masks, as pix2pix does when it makes its published pictures.
      axis_name: device axis, or None.
      places: [batch] numbers of the pictures, see `picture_keys`.
    """
    condition = colorspace.to_signed(condition)
    keys = picture_keys(rng, state.step, len(condition), axis_name, places) if dropout else None
    picture, _ = networks.generator.apply(
        state.generator.params,
        state.generator.batch_stats,
        condition,
        statistics=statistics,
        dropout_keys=keys,
    )
    return picture


def is_finite(state: GanState) -> jax.Array:
    """Whether every parameter, running average and optimizer number is; a boolean scalar."""
    leaves = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves]))


def evaluation_step(
    state: GanState,
    batch: dict[str, jax.Array],
    rng: jax.Array,
    *,
    networks: Networks,
    statistics: str,
    dropout: bool,
    axis_name: str | None,
    metrics: tuple[str, ...] = ("l1", "psnr"),
) -> dict[str, jax.Array]:
    """Sums over the batch's real pictures of the quantities of `metrics`, and their "count".

    Args:
      state: its generator is used.
      batch: "condition", "target", "mask" [batch]: 1 for a picture, 0 for padding; and maybe
        "index" [batch], the pictures' numbers, of which dropout is drawn.
      rng: key of the dropout masks.
      networks: generator and discriminator.
      statistics: see `predict`.
      dropout: see `predict`.
      axis_name: device axis, or None.
      metrics: keys of `metrics.METRICS`.
    """
    options = {"networks": networks, "statistics": statistics, "dropout": dropout}
    options |= {"places": batch.get("index"), "axis_name": axis_name}
    prediction = predict(state, batch["condition"], rng, **options)
    target, mask = colorspace.to_signed(batch["target"]), batch["mask"]
    by_picture = picture_metrics.measure(prediction, target, metrics)
    by_picture |= {"count": jnp.ones_like(mask)}
    # where, not a product: padding may score an infinite PSNR, and 0 * inf is NaN.
    sums = {name: jnp.sum(jnp.where(mask > 0, x, 0)) for name, x in by_picture.items()}
    return lax.psum(sums, axis_name) if axis_name else sums
