"""Convolution and its transpose as XLA runs them fastest on the platform at hand.

"native" is `lax.conv_general_dilated` with the gradients autodiff gives it: right for GPU and TPU.
"gemm" states the same sums, forward and both gradients, as matrix products. The gradients of a
strided or transposed convolution are dilated convolutions, which XLA:CPU runs at a few percent of
the speed of a matrix product: there the whole training step is several times faster in "gemm".
"winograd" is "gemm" with two to five times fewer multiplications where maps are large enough for
its transforms to pay: a strided convolution is a stride-1 correlation of the blocks of
stride x stride pixels, and a transposed one a correlation that yields such blocks. In float32 the
two agree to a few millionths.

What remains to be chosen in "gemm" is which operand to copy into the order of a plain matrix
product. Large maps have small kernels and small maps large ones, so one rule decides for all
layers: copy the smaller (`_kernel_outweighs`).

bfloat16 operands pay on a CPU only where it has instructions for them: elsewhere these two keep the
operands in float32. Measure with `python -m benchmarks conv_lowering --dtype bfloat16`.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxcolor.models import winograd
from jaxcolor.models.products import (
    has_bfloat16_instructions,
    multiply,
    multiply_columns,
    sum_of_products,
)

LOWERINGS = ("auto", "native", "gemm", "winograd")

_NHWC = ("NHWC", "HWIO", "NHWC")
# With fewer output channels the copies of "gemm" move more bytes than its products save.
_FEWEST_GEMM_OUTPUTS = 16
# On smaller maps transforming the kernel costs more than the multiplications it saves.
_FEWEST_WINOGRAD_PIXELS = 900
_WINOGRAD_TAPS = (2, 3, 4)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int,
    padding: int,
    compute_dtype: jax.typing.DTypeLike = jnp.float32,
    lowering: str = "auto",
) -> jax.Array:
    """Cross-correlation of `x` with `kernel`, as in `flax.linen.Conv` and `torch.nn.Conv2d`.

    Args:
      x: [batch, height, width, in], any float dtype.
      kernel: [kernel_height, kernel_width, in, out].
      stride: step between windows, the same on both axes.
      padding: rows and columns of zeros on every side.
      compute_dtype: what the operands are rounded to, if that makes the product faster; products
        are summed in float32, or in float64 if that is the compute_dtype.
      lowering: one of LOWERINGS; "auto" is "winograd" on a CPU and "native" elsewhere. "gemm" and
        "winograd" cover kernels that are whole multiples of the stride, the latter square ones on
        large maps; each leaves the others to the one before it.

    Returns:
      [batch, (height + 2 padding - kernel_height) // stride + 1, the same of width, out], in
      compute_dtype, or not yet rounded to it where that saves a pass.

    Raises:
      ValueError: `lowering` is unknown.
    """
    rows, columns, _, outs = kernel.shape
    resolved, dtype = _resolve(lowering), _product_dtype(compute_dtype)
    whole = rows % stride == 0 and columns % stride == 0
    if resolved == "winograd" and whole and _winograd_pays(x, kernel, stride, padding):
        return _convolve_winograd(x, kernel, stride, padding, dtype)
    if resolved != "native" and whole and outs >= _FEWEST_GEMM_OUTPUTS:
        return _convolve_gemm(x, kernel, stride, padding, dtype)
    return _convolve_native(x.astype(compute_dtype), kernel.astype(compute_dtype), stride, padding)


def transposed_convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    compute_dtype: jax.typing.DTypeLike = jnp.float32,
    lowering: str = "auto",
) -> jax.Array:
    """Transposed 4x4 convolution of stride 2, which doubles height and width.

    y[2 i + 2 - k] += x[i] kernel[k] on each axis: what `flax.linen.ConvTranspose` computes with
    strides 2 and padding "SAME", and `torch.nn.ConvTranspose2d(in, out, 4, 2, 1)` with its kernel
    turned by 180 degrees.

    Args:
      x: [batch, height, width, in], any float dtype.
      kernel: [4, 4, in, out].
      compute_dtype: as in `convolve`.
      lowering: as in `convolve`.

    Returns:
      [batch, 2 height, 2 width, out], in a dtype as from `convolve`.

    Raises:
      ValueError: `lowering` is unknown, or the kernel is not 4x4.
    """
    if kernel.shape[:2] != (4, 4):
        raise ValueError(f"kernel is {kernel.shape[:2]}; transposed_convolve needs (4, 4)")
    resolved, dtype = _resolve(lowering), _product_dtype(compute_dtype)
    # In this order: the batch of an export, which is "native", has no size to compare.
    if resolved == "winograd" and _transposed_winograd_pays(x, kernel):
        return _transposed_winograd(x, kernel, dtype)
    if resolved != "native":
        return _transposed_gemm(x, kernel, dtype)
    x, kernel = x.astype(compute_dtype), kernel.astype(compute_dtype)
    return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=_NHWC)


def _resolve(lowering):
    if lowering not in LOWERINGS:
        raise ValueError(f"lowering {lowering!r} is not one of {LOWERINGS}")
    if lowering == "auto":
        return "winograd" if jax.default_backend() == "cpu" else "native"
    return lowering


def _product_dtype(compute_dtype):
    """What the operands of a matrix product are rounded to on a CPU."""
    dtype = jnp.dtype(compute_dtype)
    emulated = dtype == jnp.bfloat16 and not has_bfloat16_instructions()
    return jnp.dtype(jnp.float32) if emulated else dtype


def _convolve_native(x, kernel, stride, padding):
    pads = [(padding, padding)] * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=_NHWC)


def _winograd_pays(x, kernel, stride, padding):
    rows, columns, _, outs = kernel.shape
    if rows != columns or rows // stride not in _WINOGRAD_TAPS:
        return False
    height, width = _output_size(x.shape, kernel.shape[:2], stride, padding)
    # At stride 1 even a single output is worth it: the gradients of "native" are that slow.
    enough = outs >= _FEWEST_GEMM_OUTPUTS or stride == 1
    return enough and len(x) * height * width >= _FEWEST_WINOGRAD_PIXELS


def _transposed_winograd_pays(x, kernel):
    large = x.size // x.shape[3] >= _FEWEST_WINOGRAD_PIXELS
    return large and kernel.shape[3] >= _FEWEST_GEMM_OUTPUTS


def _tiling(size, taps, dtype):
    """Outputs of a tile on each axis, and the dtype of the products.

    Of 2x2 taps (a 4x4 kernel of stride 2) tiles of 3x3 outputs need 2.25 times fewer products than
    the definition, tiles of 4x4 outputs 2.56 times fewer but more outputs past the edge; of 4x4
    taps 4 and 5.2 times fewer. Tiles wider than 4 subtract numbers too alike for bfloat16.
    """
    narrow = taps == 2 and dtype == jnp.bfloat16
    if narrow:
        return 3, dtype

    def products(outputs):
        return math.prod(-(-n // outputs) * (outputs + taps - 1) for n in size)

    outputs = 4 if products(4) < 0.9 * products(3) else 3
    return outputs, jnp.promote_types(dtype, jnp.float32)


def _convolve_winograd(x, kernel, stride, padding, dtype):
    rows, _, features, outs = kernel.shape
    taps, batch = rows // stride, len(x)
    size = _output_size(x.shape, kernel.shape[:2], stride, padding)
    outputs, dtype = _tiling(size, taps, dtype)
    height, width = (winograd.covering(n, taps, outputs) for n in size)
    ends = (blocks * stride - padding for blocks in (height, width))
    edges = [(padding, end - n, 0) for end, n in zip(ends, x.shape[1:3], strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    blocks = x.reshape(batch, height, stride, width, stride, features).swapaxes(2, 3)
    blocks = blocks.reshape(batch, height, width, -1)
    kernel = kernel.reshape(taps, stride, taps, stride, features, outs).swapaxes(1, 2)
    kernel = kernel.reshape(taps, taps, -1, outs)
    y = winograd.correlate(blocks, kernel, outputs, dtype)
    return y[:, : size[0], : size[1]]


def _transposed_winograd(x, kernel, dtype):
    batch, height, width, features = x.shape
    outs = kernel.shape[3]
    outputs, dtype = _tiling((height + 1, width + 1), 2, dtype)
    ends = (winograd.covering(n + 1, 2, outputs) - 1 - n for n in (height, width))
    x = jnp.pad(x, [(0, 0), *((1, end) for end in ends), (0, 0)])
    # Two neighbours in x give a block of 2x2 outputs, by every second entry of the turned kernel.
    kernel = kernel[::-1, ::-1].reshape(2, 2, 2, 2, features, outs)[::-1, :, ::-1]
    kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, features, 4 * outs)
    blocks = winograd.correlate(x, kernel, outputs, dtype)
    blocks = blocks.reshape(*blocks.shape[:3], 2, 2, outs).swapaxes(2, 3)
    y = blocks.reshape(batch, 2 * blocks.shape[1], 2 * blocks.shape[3], outs)
    return y[:, 1 : 2 * height + 1, 1 : 2 * width + 1]  # the first blocks lie half outside


def _kernel_outweighs(pixels, kernel):
    """Whether the kernel is larger than the patches of `pixels` windows: the copy to avoid."""
    return pixels <= kernel.shape[3]


def _flatten(x):
    """`x` as a matrix with its last axis as columns."""
    return x.reshape(-1, x.shape[-1])


def _output_size(shape, taps, stride, padding):
    sides = zip(shape[1:3], taps, strict=True)
    return tuple((n + 2 * padding - k) // stride + 1 for n, k in sides)


def _taps(x, size, stride, padding, taps):
    """What each of the kernel's taps sees of `x`: a list of [batch, *size, stride * channels].

    The `stride` neighbours in a row that one window sees lie side by side in memory, and so do the
    kernel's entries for them: they make one tap of stride * channels features, for free.
    """
    batch, *shape, channels = x.shape
    sides = zip(size, taps, shape, strict=True)
    ends = [(outs - 1) * stride + k - n - padding for outs, k, n in sides]
    edges = [(0, 0, 0), *((padding, end, 0) for end in ends), (0, 0, 0)]
    x = lax.pad(x, jnp.zeros((), x.dtype), edges)
    x = x.reshape(batch, x.shape[1] // stride, stride, x.shape[2] // stride, stride * channels)
    return [
        x[:, i // stride : i // stride + size[0], i % stride, j : j + size[1]]
        for i in range(taps[0])
        for j in range(taps[1] // stride)
    ]


def _overlap_add(windows, taps, shape, stride, padding):
    """The windows [pixels, taps * channels] summed into an image of `shape`; the adjoint of _taps.

    Writes blocks of stride x stride pixels, to each of which taps / stride windows contribute.
    """
    batch, height, width, channels = shape
    near, far = (k // stride for k in taps)
    size = _output_size(shape, taps, stride, padding)
    windows = windows.reshape(batch, *size, near, stride, far, stride * channels)
    blocks = 0
    for i in range(near):
        for j in range(far):
            edges = ((0, 0), (i, near - 1 - i), (j, far - 1 - j), (0, 0), (0, 0))
            blocks += jnp.pad(windows[:, :, :, i, :, j], edges)
    image = blocks.swapaxes(2, 3).reshape(
        batch, blocks.shape[1] * stride, blocks.shape[2] * stride, channels
    )
    ends = (n + padding - m for n, m in zip((height, width), image.shape[1:3], strict=True))
    edges = [(0, 0, 0), *((-padding, end, 0) for end in ends), (0, 0, 0)]
    return lax.pad(image, jnp.zeros((), image.dtype), edges)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve_gemm(x, kernel, stride, padding, dtype):
    size = _output_size(x.shape, kernel.shape[:2], stride, padding)
    pixels = len(x) * size[0] * size[1]
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    if not _kernel_outweighs(pixels, kernel):
        return _convolve_native(x, kernel, stride, padding)
    patches = jnp.concatenate(_taps(x, size, stride, padding, kernel.shape[:2]), -1)
    y = multiply(_flatten(patches), _flatten(kernel), (1, 0))
    return y.reshape(len(x), *size, kernel.shape[3])


def _convolve_forward(x, kernel, stride, padding, dtype):
    return _convolve_gemm(x, kernel, stride, padding, dtype), (x, kernel)


def _convolve_backward(stride, padding, dtype, saved, dy):
    x, kernel = saved
    pixels = _flatten(dy.astype(dtype))
    windows = multiply(pixels, _flatten(kernel.astype(dtype)), (1, 1))
    dx = _overlap_add(windows, kernel.shape[:2], x.shape, stride, padding)
    taps = _taps(x.astype(dtype), dy.shape[1:3], stride, padding, kernel.shape[:2])
    if dtype == jnp.bfloat16 or _kernel_outweighs(len(pixels), kernel):
        taps = [jnp.concatenate(taps, -1)]
    dkernel = jnp.stack([multiply_columns(_flatten(tap), pixels) for tap in taps])
    return dx.astype(x.dtype), dkernel.reshape(kernel.shape).astype(kernel.dtype)


_convolve_gemm.defvjp(_convolve_forward, _convolve_backward)


def _by_tap(kernel):
    """[16, in, out], as the kernel lies in memory."""
    return kernel.reshape(16, *kernel.shape[2:])


def _by_input(kernel):
    """[in, 16 * out], turned by 180 degrees into the order of patches: a copy."""
    return kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(kernel.shape[2], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _transposed_gemm(x, kernel, dtype):
    shape = (len(x), 2 * x.shape[1], 2 * x.shape[2], kernel.shape[3])
    pixels, kernel = _flatten(x.astype(dtype)), kernel.astype(dtype)
    if _kernel_outweighs(len(pixels), kernel):
        repeated = jnp.broadcast_to(pixels, (16, *pixels.shape))
        windows = multiply(repeated, _by_tap(kernel), (2, 1))[::-1].swapaxes(0, 1)
    else:
        windows = multiply(pixels, _by_input(kernel), (1, 0))
    return _overlap_add(windows, (4, 4), shape, 2, 1)


def _transposed_forward(x, kernel, dtype):
    return _transposed_gemm(x, kernel, dtype), (x, kernel)


def _transposed_backward(dtype, saved, dy):
    x, kernel = saved
    _, _, features, outs = kernel.shape
    pixels, rounded = _flatten(x.astype(dtype)), kernel.astype(dtype)
    patches = _flatten(jnp.concatenate(_taps(dy.astype(dtype), x.shape[1:3], 2, 1, (4, 4)), -1))
    if _kernel_outweighs(len(pixels), kernel):
        patches = patches.reshape(-1, 16, outs)[:, ::-1].swapaxes(0, 1)
        dx = sum_of_products(patches, _by_tap(rounded))
        repeated = jnp.broadcast_to(pixels, (16, *pixels.shape))
        dkernel = multiply_columns(repeated, patches).reshape(kernel.shape)
    else:
        dx = multiply(patches, _by_input(rounded), (1, 1))
        dkernel = multiply_columns(pixels, patches).reshape(features, 4, 4, outs)
        dkernel = dkernel.transpose(1, 2, 0, 3)[::-1, ::-1]
    return dx.reshape(x.shape).astype(x.dtype), dkernel.astype(kernel.dtype)


_transposed_gemm.defvjp(_transposed_forward, _transposed_backward)
