"""The generator of Nazeri, Ng and Ebrahimi (2018, arXiv 1803.05400), and its two presets.

Taken from the authors' published code, not from its README where the two differ: a block is
convolution, norm, activation, and then the skip is joined. Four things of that code are faults and
not copied. There dropout is never active, since the flag it depends on is read before it is set;
here it acts in training. There batch norm never updates its running averages and always takes those
of the batch; here it keeps them, and `evaluation.statistics` chooses. There the grey condition
keeps the range 0..255 beside colours in [-1, 1]; here everything is in [-1, 1]. And its README
joins the skip before the norm, which is another network.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcolor.errors import ConfigError
from jaxcolor.models.layers import (
    FAN_IN,
    Convolution,
    Norm,
    TransposedConvolution,
    drop_out_level,
    leaky_relu,
)

# For 32x32: 16,659,715 numbers with one channel in and three out, 4,864 of them running averages.
CIFAR10 = {
    "base_width": 64,
    "width_factors": (1, 2, 4, 8, 8),
    "dropout_levels": (0, 1),
    "dropout_rate": 0.5,
}

# For 256x256: 42,033,027 numbers, 9,216 of them running averages.
PLACES365 = {
    "base_width": 64,
    "width_factors": (1, 1, 2, 4, 8, 8, 8, 8),
    "dropout_levels": (),
    "dropout_rate": 0.5,
}

_SMALLEST = 2


class NazeriGenerator(nn.Module):
    """Maps a condition [batch, size, size, channels] in [-1, 1] to a coded picture in [-1, 1].

    Encoder level 0 keeps the size, every other level halves it. Decoder level i (0 is the
    innermost) doubles it, and is joined, skip first, with the encoder's maps of its size. A 1x1
    convolution and tanh end it. All convolutions but that are 4x4, padded to "SAME", with a bias,
    and followed by batch norm.

    Attributes:
      image_size: side in pixels, a multiple of 2 ** (levels - 1).
      base_width: channels of the first level.
      width_factors: the width of every encoder level, in base widths; their number is the depth.
      output_channels: of the coded picture.
      norm_epsilon, norm_momentum: see `Norm`; TensorFlow's numbers.
      dropout_levels: decoder levels with dropout, after the activation; () for none.
      dropout_rate: share of values dropped there.
      leaky_slope: slope of the encoder's LeakyReLU; the decoder's is 0.
      compute_dtype: "float32" or "bfloat16", of the convolutions' operands.
      lowering: how convolutions are computed, see `conv_lowering`.
    """

    image_size: int = 32
    base_width: int = 64
    width_factors: tuple[int, ...] = (1, 2, 4, 8, 8)
    output_channels: int = 3
    norm_epsilon: float = 1e-3
    norm_momentum: float = 0.99
    dropout_levels: tuple[int, ...] = (0, 1)
    dropout_rate: float = 0.5
    leaky_slope: float = 0.2
    compute_dtype: str = "float32"
    lowering: str = "auto"

    def check(self) -> None:
        """Raises ConfigError if the attributes cannot work together."""
        levels = len(self.width_factors)
        if levels < 2 or min(self.width_factors) < 1:
            raise ConfigError(
                f"generator.width_factors {tuple(self.width_factors)} must be two or more numbers "
                "of at least 1"
            )
        unit = 2 ** (levels - 1)
        if self.image_size < _SMALLEST or self.image_size % unit:
            raise ConfigError(
                f"data.image_size {self.image_size} must be a multiple of {unit}, for the "
                f"{levels} levels of generator.width_factors"
            )
        if self.base_width < 1 or self.output_channels < 1:
            raise ConfigError("generator.base_width and output_channels must be at least 1")
        if not 0 <= self.dropout_rate < 1:
            raise ConfigError(f"generator.dropout_rate {self.dropout_rate} must be in [0, 1)")
        if any(not 0 <= level < levels - 1 for level in self.dropout_levels):
            raise ConfigError(
                f"generator.dropout_levels {tuple(self.dropout_levels)} must lie in 0..{levels - 2}"
            )

    @nn.compact
    def __call__(
        self,
        condition: jax.Array,
        *,
        statistics: str = "batch",
        axis_name: str | None = None,
        dropout_keys: jax.Array | None = None,
    ) -> jax.Array:
        """The coded picture, [batch, size, size, output_channels] in [-1, 1], float32.

        Args:
          condition: [batch, image_size, image_size, channels] in [-1, 1].
          statistics: which statistics batch norm uses: "batch", "picture" or "running".
          axis_name: device axis over which batch statistics are taken.
          dropout_keys: [batch] keys, one a picture; None switches dropout off.
        """
        widths = [self.base_width * factor for factor in self.width_factors]
        normalize = {"statistics": statistics, "axis_name": axis_name}
        x, skips = condition, []
        for level, width in enumerate(widths):
            stride = 2 if level else 1
            options = self._convolution() | {"stride": stride, "padding": "same"}
            x = Convolution(width, **options, name=f"down_{level}")(x)
            x = leaky_relu(self._norm(x, f"down_norm_{level}", normalize), self.leaky_slope)
            skips.append(x)
        for level, width in enumerate(reversed(widths[:-1])):
            x = TransposedConvolution(width, **self._convolution(), name=f"up_{level}")(x)
            x = jax.nn.relu(self._norm(x, f"up_norm_{level}", normalize))
            if dropout_keys is not None and level in self.dropout_levels:
                x = drop_out_level(x, self.dropout_rate, dropout_keys, level)
            x = jnp.concatenate([skips[-2 - level], x], axis=-1)
        options = self._convolution() | {"size": 1, "stride": 1, "padding": 0}
        x = Convolution(self.output_channels, **options, name="last")(x)
        return jnp.tanh(x.astype(jnp.promote_types(jnp.float32, x.dtype)))

    def _convolution(self) -> dict:
        return {
            "use_bias": True,
            "kernel_stddev": FAN_IN,
            "compute_dtype": self.compute_dtype,
            "lowering": self.lowering,
        }

    def _norm(self, x, name, normalize):
        return Norm("batch", epsilon=self.norm_epsilon, momentum=self.norm_momentum, name=name)(
            x, **normalize
        )
