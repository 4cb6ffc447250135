"""The PatchGAN discriminator of pix2pix (Isola et al. 2017) and its presets."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcolor.errors import ConfigError
from jaxcolor.models.layers import FAN_IN, NORMS, Convolution, Norm, leaky_relu

MAXIMUM_WIDTH_FACTOR = 8
PADDINGS = ("one", "same")
INITS = ("normal", FAN_IN)
_STDDEV = 0.02

# The paper's Table 1: 2,768,641 parameters and 1,792 running averages, 2,770,433 in all.
# The table prints 6145, 131641, 533423 and 2123123 where layers of its own shapes have 6,144,
# 131,584, 525,312 and 2,097,152.
PAPER = {
    "base_width": 64,
    "strided_layers": 3,
    "first_bias": False,
    "norm": "batch",
    "norm_epsilon": 1e-3,
    "norm_momentum": 0.99,
    "norm_scale_stddev": 0.0,
    "unbiased_running_variance": False,
    "leaky_slope": 0.3,
}

# The PyTorch reference's 70x70 discriminator: 2,768,705 parameters.
REFERENCE = {
    "base_width": 64,
    "strided_layers": 3,
    "first_bias": True,
    "norm": "batch",
    "norm_epsilon": 1e-5,
    "norm_momentum": 0.9,
    "norm_scale_stddev": 0.02,
    "unbiased_running_variance": True,
    "leaky_slope": 0.2,
}

# That of Nazeri, Ng and Ebrahimi (2018), for a grey condition and L*a*b*: 2,769,345 numbers, of
# which 1,792 are running averages; 4x4 logits of pictures of 32x32, 32x32 logits of 256x256.
NAZERI = {
    "base_width": 64,
    "strided_layers": 3,
    "first_bias": True,
    "bias_before_norm": True,
    "padding": "same",
    "kernel_init": FAN_IN,
    "norm": "batch",
    "norm_epsilon": 1e-3,
    "norm_momentum": 0.99,
    "norm_scale_stddev": 0.0,
    "unbiased_running_variance": False,
    "leaky_slope": 0.2,
}


class PatchGAN(nn.Module):
    """Maps a condition and a picture, both in [-1, 1], to one logit a patch: above 0 is real.

    `strided_layers` 4x4 convolutions of stride 2, one of stride 1, and one of stride 1 to a single
    channel, by default all zero-padded by 1. With 3 strided layers a logit sees 70x70 pixels, and
    pictures of 256x256 give 30x30 logits.

    Attributes:
      base_width: channels of the first layer; layer i has base_width * min(2**i, 8).
      strided_layers: number of layers of stride 2, at least 1.
      first_bias: a bias in the first layer, which has no norm.
      bias_before_norm: a bias in the others too, which their norm's bias makes idle.
      padding: "one" row of zeros on every side, or "same": as many logits as fit the strides.
      kernel_init: "normal", N(0, 0.02), or "fan_in": see `layers.FAN_IN`.
      norm: "batch", "instance" (affine, per picture) or "none".
      norm_epsilon, norm_momentum, norm_scale_stddev, unbiased_running_variance: see `Norm`.
      leaky_slope: slope of the LeakyReLU.
      compute_dtype: "float32" or "bfloat16", of the convolutions' operands.
      lowering: how convolutions are computed, see `conv_lowering`.
    """

    base_width: int = 64
    strided_layers: int = 3
    first_bias: bool = True
    bias_before_norm: bool = False
    padding: str = "one"
    kernel_init: str = "normal"
    norm: str = "instance"
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.9
    norm_scale_stddev: float = 0.02
    unbiased_running_variance: bool = False
    leaky_slope: float = 0.2
    compute_dtype: str = "float32"
    lowering: str = "auto"

    def check(self, image_size: int) -> None:
        """Raises ConfigError if the attributes cannot work for pictures of `image_size`."""
        if self.norm not in NORMS:
            raise ConfigError(f"discriminator.norm {self.norm!r} is none of {NORMS}")
        choices = {"padding": PADDINGS, "kernel_init": INITS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"discriminator.{name} {getattr(self, name)!r} is none of {', '.join(allowed)}"
                )
        if self.base_width < 1 or self.strided_layers < 1:
            raise ConfigError("discriminator.base_width and strided_layers must be at least 1")
        # The exponent may come from anybody's config, and is no reason to fill the memory.
        smallest = (1 if self.padding == "same" else 3) * 2 ** min(self.strided_layers, 63)
        if image_size < smallest:
            raise ConfigError(
                f"data.image_size {image_size} is too small for discriminator.strided_layers "
                f"{self.strided_layers}, which needs at least {smallest} pixels: use fewer layers"
            )

    @nn.compact
    def __call__(
        self,
        condition: jax.Array,
        picture: jax.Array,
        *,
        statistics: str = "batch",
        axis_name: str | None = None,
    ) -> jax.Array:
        """Logits [batch, height', width', 1], float32.

        Args:
          condition: [batch, height, width, channels] in [-1, 1].
          picture: [batch, height, width, channels] in [-1, 1], coded, real or generated.
          statistics: which statistics batch norm uses: "batch", "picture" or "running".
          axis_name: device axis over which batch statistics are taken.
        """
        shared = {
            "padding": "same" if self.padding == "same" else 1,
            "kernel_stddev": FAN_IN if self.kernel_init == FAN_IN else _STDDEV,
            "compute_dtype": self.compute_dtype,
            "lowering": self.lowering,
        }
        x = jnp.concatenate([condition, picture], axis=-1)
        for layer in range(self.strided_layers + 1):
            width = self.base_width * min(2**layer, MAXIMUM_WIDTH_FACTOR)
            stride = 2 if layer < self.strided_layers else 1
            later_bias = self.bias_before_norm or self.norm == "none"
            use_bias = self.first_bias if layer == 0 else later_bias
            name = f"layer_{layer}"
            x = Convolution(width, stride=stride, use_bias=use_bias, **shared, name=name)(x)
            if layer > 0 and self.norm != "none":
                x = self._norm(f"norm_{layer}")(x, statistics=statistics, axis_name=axis_name)
            x = leaky_relu(x, self.leaky_slope)
        x = Convolution(1, stride=1, use_bias=True, **shared, name="logits")(x)
        return x.astype(jnp.promote_types(jnp.float32, x.dtype))

    def _norm(self, name):
        return Norm(
            self.norm,
            epsilon=self.norm_epsilon,
            momentum=self.norm_momentum,
            scale_stddev=self.norm_scale_stddev,
            unbiased_running_variance=self.unbiased_running_variance,
            name=name,
        )
