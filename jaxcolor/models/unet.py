"""The U-Net generator of pix2pix (Isola et al. 2017, arXiv 1611.07004) and its two presets."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcolor.errors import ConfigError
from jaxcolor.models.layers import (
    NORMS,
    Convolution,
    Norm,
    TransposedConvolution,
    drop_out_level,
    leaky_relu,
)

MAXIMUM_WIDTH_FACTOR = 8
SKIP_ACTIVATIONS = ("relu", "leaky_relu")

# The TensorFlow tutorial's generator, which the paper follows: 54,414,979 parameters and 10,880
# running averages. Its norm on the 1x1 bottleneck outputs a constant at batch 1.
PAPER = {
    "base_width": 64,
    "norm": "batch",
    "norm_epsilon": 1e-3,
    "norm_momentum": 0.99,
    "norm_scale_stddev": 0.0,
    "unbiased_running_variance": False,
    "normalize_bottleneck": True,
    "dropout_levels": (0, 1, 2),
    "leaky_slope": 0.3,
    "skip_activation": "leaky_relu",
}

# The PyTorch reference's unet_256: 54,413,955 parameters.
REFERENCE = {
    "base_width": 64,
    "norm": "batch",
    "norm_epsilon": 1e-5,
    "norm_momentum": 0.9,
    "norm_scale_stddev": 0.02,
    "unbiased_running_variance": True,
    "normalize_bottleneck": False,
    "dropout_levels": (1, 2, 3),
    "leaky_slope": 0.2,
    "skip_activation": "relu",
}


def depth_of(image_size: int) -> int:
    """The number of halvings that bring `image_size` to 1: 256 -> 8, 128 -> 7, 64 -> 6.

    Raises:
      ConfigError: `image_size` is no power of two, or below 8.
    """
    depth = int(image_size).bit_length() - 1
    if image_size < 8 or 2**depth != image_size:
        raise ConfigError(
            f"data.image_size {image_size} must be a power of two of at least 8 (64, 128, 256 ...)"
        )
    return depth


class UNet(nn.Module):
    """Maps a condition [batch, size, size, channels] in [-1, 1] to a picture in [-1, 1].

    Encoder level i halves the maps and has width base_width * min(2**i, 8); the last level is the
    1x1 bottleneck. Decoder level i (0 is the innermost) doubles them, and is joined, skip first,
    with the encoder's maps of its size.

    Attributes:
      image_size: side in pixels, a power of two; its logarithm is the depth.
      base_width: channels of the first level.
      output_channels: channels of the picture.
      norm: "batch", "instance" (affine, per picture) or "none".
      norm_epsilon, norm_momentum, norm_scale_stddev, unbiased_running_variance: see `Norm`.
      normalize_bottleneck: norm after the innermost convolution. On a 1x1 map the statistics of
        one picture leave a constant, so at batch 1 the bottleneck then carries no image.
      plain_bias: a bias in the encoder's convolutions without norm, the first and the innermost, as
        the PyTorch reference has with its instance norm.
      dropout_levels: decoder levels with dropout; () for none.
      dropout_rate: share of values dropped there.
      leaky_slope: slope of the encoder's LeakyReLU.
      skip_activation: what the decoder sees of the encoder: "relu", or "leaky_relu" (negatives
        kept, as in the TensorFlow tutorial).
      compute_dtype: "float32" or "bfloat16", of the convolutions' operands.
      lowering: how convolutions are computed, see `conv_lowering`.
    """

    image_size: int = 256
    base_width: int = 64
    output_channels: int = 3
    norm: str = "instance"
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.9
    norm_scale_stddev: float = 0.02
    unbiased_running_variance: bool = False
    normalize_bottleneck: bool = False
    plain_bias: bool = False
    dropout_levels: tuple[int, ...] = (1, 2, 3)
    dropout_rate: float = 0.5
    leaky_slope: float = 0.2
    skip_activation: str = "relu"
    compute_dtype: str = "float32"
    lowering: str = "auto"

    def check(self) -> None:
        """Raises ConfigError if the attributes cannot work together."""
        depth = depth_of(self.image_size)
        if self.norm not in NORMS:
            raise ConfigError(f"generator.norm {self.norm!r} is none of {NORMS}")
        if self.skip_activation not in SKIP_ACTIVATIONS:
            raise ConfigError(
                f"generator.skip_activation {self.skip_activation!r} is none of {SKIP_ACTIVATIONS}"
            )
        if self.base_width < 1 or self.output_channels < 1:
            raise ConfigError("generator.base_width and output_channels must be at least 1")
        if not 0 <= self.dropout_rate < 1:
            raise ConfigError(f"generator.dropout_rate {self.dropout_rate} must be in [0, 1)")
        if any(not 0 <= level < depth - 1 for level in self.dropout_levels):
            raise ConfigError(
                f"generator.dropout_levels {tuple(self.dropout_levels)} must lie in "
                f"0..{depth - 2}: image_size {self.image_size} has {depth} levels"
            )
        if self.normalize_bottleneck and self.norm == "instance":
            raise ConfigError(
                "generator.normalize_bottleneck with norm='instance' makes the 1x1 bottleneck a "
                "constant: set it to False"
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
        """The picture, [batch, size, size, output_channels] in [-1, 1], float32.

        Args:
          condition: [batch, image_size, image_size, channels] in [-1, 1].
          statistics: which statistics batch norm uses: "batch", "picture" or "running".
          axis_name: device axis over which batch statistics are taken.
          dropout_keys: [batch] keys, one a picture; None switches dropout off.
        """
        depth = depth_of(self.image_size)
        widths = [self.base_width * min(2**i, MAXIMUM_WIDTH_FACTOR) for i in range(depth)]
        normalize = {"statistics": statistics, "axis_name": axis_name}
        maps = self._encode(condition, widths, normalize)
        x = self._activate_skip(maps[-1])
        for level, width in enumerate(reversed(widths[:-1])):
            x = TransposedConvolution(width, **self._convolution(), name=f"up_{level}")(x)
            x = self._norm(x, f"up_norm_{level}", normalize)
            if dropout_keys is not None and level in self.dropout_levels:
                x = drop_out_level(x, self.dropout_rate, dropout_keys, level)
            skip = self._activate_skip(maps[-2 - level])
            x = jnp.concatenate([skip, jax.nn.relu(x)], axis=-1)
        last = {**self._convolution(), "use_bias": True}
        x = TransposedConvolution(self.output_channels, **last, name=f"up_{depth - 1}")(x)
        return jnp.tanh(x.astype(jnp.promote_types(jnp.float32, x.dtype)))

    def _encode(self, x, widths, normalize):
        """The maps of every level before their activation, largest first."""
        maps = []
        for level, width in enumerate(widths):
            bottleneck = level == len(widths) - 1
            plain = level == 0 or (bottleneck and not self.normalize_bottleneck)
            if level > 0:
                x = leaky_relu(x, self.leaky_slope)
            options = self._convolution() if not plain else self._convolution(self.plain_bias)
            x = Convolution(width, stride=2, **options, name=f"down_{level}")(x)
            x = x if plain else self._norm(x, f"down_norm_{level}", normalize)
            maps.append(x)
        return maps

    def _activate_skip(self, x):
        if self.skip_activation == "relu":
            return jax.nn.relu(x)
        return leaky_relu(x, self.leaky_slope)

    def _convolution(self, use_bias: bool | None = None) -> dict:
        """Options of every convolution; a bias only where no norm's bias makes it idle."""
        return {
            "use_bias": self.norm == "none" if use_bias is None else use_bias,
            "compute_dtype": self.compute_dtype,
            "lowering": self.lowering,
        }

    def _norm(self, x, name, normalize):
        if self.norm == "none":
            return x
        return Norm(
            self.norm,
            epsilon=self.norm_epsilon,
            momentum=self.norm_momentum,
            scale_stddev=self.norm_scale_stddev,
            unbiased_running_variance=self.unbiased_running_variance,
            name=name,
        )(x, **normalize)
