"""Convolutions and poolings of the feature networks: NHWC, float32, gradients left to autodiff."""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax

Params = dict[str, jax.Array]
Padding = str | tuple[tuple[int, int], tuple[int, int]]


def pad_by(rows: int, columns: int | None = None) -> Padding:
    """Padding of `rows` pixels above and below and `columns` (default: as many) at the sides."""
    columns = rows if columns is None else columns
    return ((rows, rows), (columns, columns))


def convolve(
    x: jax.Array, params: Params, layer: str, *, stride: int = 1, padding: Padding = "VALID"
) -> jax.Array:
    """[batch, height', width', out]: the convolution `layer`, with its bias if it has one.

    Operands are never rounded below float32, not even where the hardware would by default (TF32,
    bfloat16): a distance must not depend on the machine that measures it.

    Args:
      x: [batch, height, width, in], float32.
      params: holds "<layer>/kernel" [rows, columns, in, out] and perhaps "<layer>/bias" [out].
      layer: its name.
      stride: of both axes.
      padding: "VALID", "SAME" as TensorFlow pads, or pixels before and after on each axis.
    """
    y = lax.conv_general_dilated(
        x,
        params[f"{layer}/kernel"],
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    bias = params.get(f"{layer}/bias")
    return y if bias is None else y + bias


def convolve_depthwise(x: jax.Array, params: Params, layer: str, *, stride: int = 1) -> jax.Array:
    """[batch, ceil(height / stride), ceil(width / stride), channels]: each channel by itself.

    A sum of shifted products: XLA:CPU runs that many times faster than a grouped convolution.

    Args:
      x: [batch, height, width, channels], float32.
      params: holds "<layer>/kernel" [rows, columns, 1, channels] and "<layer>/bias" [channels].
      layer: its name.
      stride: of both axes; padded as TensorFlow's "SAME".
    """
    kernel = params[f"{layer}/kernel"]
    size = kernel.shape[:2]
    pads = lax.padtype_to_pads(x.shape[1:3], size, (stride, stride), "SAME")
    total = params[f"{layer}/bias"]
    for (i, j), shifted in _shifts(x, size, stride, pads, 0):
        total = total + shifted * kernel[i, j, 0]
    return total


def max_pool(x: jax.Array, *, window: int, stride: int, padding: int = 0) -> jax.Array:
    """[batch, height', width', channels]: the largest value of each window x window pixels."""
    shifts = _shifts(x, (window, window), stride, pad_by(padding), -jnp.inf)
    return functools.reduce(jnp.maximum, (shifted for _, shifted in shifts))


def average_pool(x: jax.Array, *, count_padding: bool) -> jax.Array:
    """[batch, height, width, channels]: means of 3x3 windows around each pixel.

    Args:
      x: [batch, height, width, channels].
      count_padding: whether pixels past the edge count as zeros, or not at all.
    """
    ones = 9.0 if count_padding else _sum_around(jnp.ones((1, *x.shape[1:3], 1), x.dtype))
    return _sum_around(x) / ones


def _sum_around(x):
    for size, pads in (((3, 1), pad_by(1, 0)), ((1, 3), pad_by(0, 1))):
        x = sum(shifted for _, shifted in _shifts(x, size, 1, pads, 0))
    return x


def _shifts(x, size, stride, pads, fill):
    """What each place (i, j) of a window of `size` sees: [batch, height', width', channels].

    Sums and maxima over these run several times faster on a CPU than XLA's windowed reductions.
    """
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
    height, width = ((n - k) // stride + 1 for n, k in zip(x.shape[1:3], size, strict=True))
    for i, j in itertools.product(*map(range, size)):
        rows = slice(i, i + stride * (height - 1) + 1, stride)
        columns = slice(j, j + stride * (width - 1) + 1, stride)
        yield (i, j), x[:, rows, columns]
