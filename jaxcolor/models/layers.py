"""The blocks both networks are made of: convolutions, norms, dropout, activations.

What a norm computes is chosen at the call by `statistics`:
"batch" (training: of the whole batch, over all devices when `axis_name` is given),
"picture" (of each picture alone: one picture never changes another's output) or
"running" (the averages gathered in training).
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxcolor.errors import ConfigError
from jaxcolor.models import conv_lowering

NORMS = ("batch", "instance", "none")
STATISTICS = ("batch", "picture", "running")
# A kernel's standard deviation is then 1 / sqrt(inputs of an output), as of variance scaling.
FAN_IN = "fan_in"


def leaky_relu(x: jax.Array, slope: float) -> jax.Array:
    """`x` where positive, else `slope * x`."""
    return jnp.where(x >= 0, x, slope * x)


def drop_out(x: jax.Array, rate: float, keys: jax.Array) -> jax.Array:
    """`x` with a share `rate` of its values zeroed and the others scaled by 1 / (1 - rate).

    Args:
      x: [batch, height, width, channels].
      rate: probability of zeroing, in [0, 1).
      keys: [batch] random keys, one a picture, so that a picture's mask depends on neither the
        batch size nor the number of devices.
    """
    size = math.prod(x.shape[1:])  # one axis, as in `normal_init`
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, (size,)))(keys)
    return jnp.where(kept.reshape(x.shape), x / (1 - rate), 0).astype(x.dtype)


def drop_out_level(x: jax.Array, rate: float, keys: jax.Array, level: int) -> jax.Array:
    """`drop_out` with masks of the decoder level's own, from [batch] `keys` common to all."""
    return drop_out(x, rate, jax.vmap(lambda key: jax.random.fold_in(key, level))(keys))


def mean_and_variance(
    x: jax.Array, axes: tuple[int, ...], axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance of `x` over `axes`, kept as size 1, and over devices if named.

    Two passes: the one-pass form E[x^2] - E[x]^2 cancels badly for maps far from zero.
    """
    mean = jnp.mean(x, axes, keepdims=True)
    if axis_name is not None:
        mean = lax.pmean(mean, axis_name)
    variance = jnp.mean(jnp.square(x - mean), axes, keepdims=True)
    if axis_name is not None:
        variance = lax.pmean(variance, axis_name)
    return mean, variance


def normal_init(mean: float, stddev: float) -> Callable:
    """Initialiser drawing from N(mean, stddev)."""

    def init(key, shape, dtype=None):
        # One axis: XLA takes four times as long to compile the draw of a four-dimensional array.
        return mean + stddev * jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)

    return init


def kernel_init(stddev: float | str, shape: tuple[int, ...]) -> Callable:
    """Initialiser of a kernel [size, size, in, out]: N(0, stddev), or see FAN_IN."""
    return normal_init(0.0, math.prod(shape[:3]) ** -0.5 if stddev == FAN_IN else stddev)


def pad_to_same(x: jax.Array, size: int, stride: int) -> tuple[jax.Array, int]:
    """`x` with some zeros around it, and the zeros still missing on every side.

    Together they make the padding "SAME" of TensorFlow, ceil(side / stride) outputs a side, which
    may have one more row of zeros after the last than before the first: 1 and 2 for a 4x4 kernel
    of stride 1.

    Args:
      x: [batch, height, width, channels].
      size: side of the kernel.
      stride: step between windows.
    """
    missing = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[1:3]]
    common = min(total // 2 for total in missing)
    edges = [(total // 2 - common, total - total // 2 - common) for total in missing]
    if any(map(any, edges)):
        x = jnp.pad(x, ((0, 0), *edges, (0, 0)))
    return x, common


class Convolution(nn.Module):
    """A square convolution with N(0, 0.02) kernel, cross-correlating as Torch and Keras do.

    Maps [batch, height, width, in] to [batch, height', width', features]. The kernel is stored as
    [size, size, in, features] in float32 and applied in `compute_dtype`. `padding` is the zeros on
    every side, or "same": see `pad_to_same`.
    """

    features: int
    stride: int
    size: int = 4
    padding: int | str = 1
    use_bias: bool = False
    kernel_stddev: float | str = 0.02
    compute_dtype: str = "float32"
    lowering: str = "auto"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The convolved maps."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", kernel_init(self.kernel_stddev, shape), shape)
        padding = self.padding
        if padding == "same":
            x, padding = pad_to_same(x, self.size, self.stride)
        y = conv_lowering.convolve(
            x,
            kernel,
            stride=self.stride,
            padding=padding,
            compute_dtype=jnp.dtype(self.compute_dtype),
            lowering=self.lowering,
        )
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)
        return y


class TransposedConvolution(nn.Module):
    """A 4x4 transposed convolution of stride 2 with N(0, 0.02) kernel: height and width double.

    Maps [batch, height, width, in] to [batch, 2 height, 2 width, features].
    """

    features: int
    use_bias: bool = False
    kernel_stddev: float | str = 0.02
    compute_dtype: str = "float32"
    lowering: str = "auto"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The upsampled maps."""
        shape = (4, 4, x.shape[-1], self.features)
        kernel = self.param("kernel", kernel_init(self.kernel_stddev, shape), shape)
        y = conv_lowering.transposed_convolve(
            x, kernel, compute_dtype=jnp.dtype(self.compute_dtype), lowering=self.lowering
        )
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)
        return y


class Norm(nn.Module):
    """Batch norm (Ioffe and Szegedy 2015) or affine instance norm, computed in float32.

    At batch 1 batch norm with batch statistics is affine instance norm; `kind="instance"` is that
    function at any batch size and on any number of devices.

    Attributes:
      kind: "batch" or "instance".
      epsilon: added to the variance.
      momentum: weight of the old running average; 0.9 here is 0.1 in Torch's convention.
      scale_stddev: the scale starts as N(1, scale_stddev).
      unbiased_running_variance: keep n / (n - 1) times the variance, as Torch does.
    """

    kind: str
    epsilon: float = 1e-5
    momentum: float = 0.9
    scale_stddev: float = 0.0
    unbiased_running_variance: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, *, statistics: str = "batch", axis_name: str | None = None
    ) -> jax.Array:
        """`x` [batch, height, width, channels], normalised, scaled and shifted by channel."""
        if statistics not in STATISTICS:
            raise ConfigError(f"norm statistics {statistics!r} is none of {STATISTICS}")
        channels = x.shape[-1]
        scale = self.param("scale", normal_init(1.0, self.scale_stddev), (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        x = x.astype(jnp.promote_types(jnp.float32, x.dtype))
        if self.kind == "instance":
            mean, variance = mean_and_variance(x, (1, 2), None)
        else:
            mean, variance = self._batch_statistics(x, statistics, axis_name)
        inverse = lax.rsqrt(variance + self.epsilon) * scale
        return (x - mean) * inverse + bias

    def _batch_statistics(self, x, statistics, axis_name):
        channels = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_variance = self.variable("batch_stats", "variance", jnp.ones, (channels,))
        if statistics == "running":
            return running_mean.value, running_variance.value
        if statistics == "picture":
            return mean_and_variance(x, (1, 2), None)
        axis_name = None if self.is_initializing() else axis_name
        mean, variance = mean_and_variance(x, (0, 1, 2), axis_name)
        if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
            count = x.size // channels * (lax.axis_size(axis_name) if axis_name else 1)
            unbiased = self.unbiased_running_variance and count > 1
            kept = variance * (count / (count - 1)) if unbiased else variance
            for average, value in ((running_mean, mean), (running_variance, kept)):
                value = value.reshape(channels)
                average.value = self.momentum * average.value + (1 - self.momentum) * value
        return mean, variance
