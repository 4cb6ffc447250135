"""Convolutions and poolings of the feature networks: NHWC, float32, gradients left to autodiff."""

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
    rows, columns = kernel.shape[:2]
    pads = lax.padtype_to_pads(x.shape[1:3], (rows, columns), (stride, stride), "SAME")
    height, width = (-(-size // stride) for size in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    total = params[f"{layer}/bias"]
    for i in range(rows):
        for j in range(columns):
            shifted = x[:, i : i + stride * height : stride, j : j + stride * width : stride]
            total = total + shifted[:, :height, :width] * kernel[i, j, 0]
    return total


def max_pool(x: jax.Array, *, window: int, stride: int, padding: Padding = "VALID") -> jax.Array:
    """[batch, height', width', channels]: the largest value of each window."""
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), _all_axes(padding)
    )


def average_pool(x: jax.Array, *, count_padding: bool) -> jax.Array:
    """[batch, height, width, channels]: means of 3x3 windows around each pixel.

    Args:
      x: [batch, height, width, channels].
      count_padding: whether pixels past the edge count as zeros, or not at all.
    """
    ones = 9.0 if count_padding else _sum3(jnp.ones((1, *x.shape[1:3], 1), x.dtype))
    return _sum3(x) / ones


def _sum3(x):
    ones = (1, 1, 1, 1)
    return lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), ones, _all_axes(pad_by(1)))


def _all_axes(padding):
    return padding if isinstance(padding, str) else ((0, 0), *padding, (0, 0))
