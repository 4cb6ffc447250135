"""Convolution and its transpose as XLA runs them fastest on the platform at hand.

`native` is `lax.conv_general_dilated` with the gradients autodiff gives it: right for GPU and TPU.
`gemm` states the same sums, forward and both gradients, as matrix products over patches. On a CPU
this is several times faster, because the gradients of a strided or transposed convolution are
dilated convolutions, which XLA:CPU runs at a few percent of the speed of a matrix product.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

LOWERINGS = ("auto", "native", "gemm")

_NHWC_HWIO = ("NHWC", "HWIO", "NHWC")


def convolve(x, kernel, *, stride, padding, compute_dtype=jnp.float32, lowering="auto"):
    """Cross-correlation of `x` with `kernel`, as in `flax.linen.Conv` and `torch.nn.Conv2d`.

    Args:
        x: [batch, height, width, in], any float dtype.
        kernel: [kernel_height, kernel_width, in, out].
        stride: step between windows, the same on both axes.
        padding: rows and columns of zeros on every side.
        compute_dtype: what the operands are rounded to; products are summed in float32 (in float64
            if compute_dtype is float64).
        lowering: one of LOWERINGS; "auto" is "gemm" on a CPU and "native" elsewhere.

    Returns:
        [batch, (height + 2 padding - kernel_height) // stride + 1, the same of width, out] in
        compute_dtype.
    """
    lowering = _resolve(lowering)
    if lowering == "gemm" and not any(size % stride for size in kernel.shape[:2]):
        return _convolve_gemm(x, kernel, stride, padding, jnp.dtype(compute_dtype))
    x, kernel = x.astype(compute_dtype), kernel.astype(compute_dtype)
    pads = [(padding, padding)] * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=_NHWC_HWIO)


def transposed_convolve(x, kernel, *, compute_dtype=jnp.float32, lowering="auto"):
    """Transposed 4x4 stride-2 convolution, which doubles height and width.

    y[2 i + 2 - k] += x[i] kernel[k] on each axis: what `flax.linen.ConvTranspose` computes with
    strides 2 and padding "SAME", and `torch.nn.ConvTranspose2d(in, out, 4, 2, 1)` with its kernel
    turned by 180 degrees.

    Args:
        x: [batch, height, width, in], any float dtype.
        kernel: [4, 4, in, out].
        compute_dtype: as in `convolve`.
        lowering: as in `convolve`.

    Returns:
        [batch, 2 height, 2 width, out] in compute_dtype.
    """
    if kernel.shape[:2] != (4, 4):
        raise ValueError(f"kernel is {kernel.shape[:2]}; transposed_convolve needs (4, 4)")
    if _resolve(lowering) == "gemm":
        return _transposed_gemm(x, kernel, jnp.dtype(compute_dtype))
    x, kernel = x.astype(compute_dtype), kernel.astype(compute_dtype)
    return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=_NHWC_HWIO)


def _resolve(lowering):
    if lowering not in LOWERINGS:
        raise ValueError(f"lowering {lowering!r} is not one of {LOWERINGS}")
    if lowering == "auto":
        return "gemm" if jax.default_backend() == "cpu" else "native"
    return lowering


def _einsum(spec, a, b):
    wide = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.einsum(spec, a, b, preferred_element_type=wide)


def _patches(x, size, stride, padding):
    """The window under each output pixel: [batch, out_height, out_width, taps, channels]."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = ((n - k) // stride + 1 for n, k in zip(x.shape[1:3], size, strict=True))
    taps = [
        lax.slice(
            x,
            (0, i, j, 0),
            (x.shape[0], i + (height - 1) * stride + 1, j + (width - 1) * stride + 1, x.shape[3]),
            (1, stride, stride, 1),
        )
        for i in range(size[0])
        for j in range(size[1])
    ]
    return jnp.stack(taps, axis=3)


def _overlap_add(windows, shape, stride, padding):
    """The adjoint of `_patches`: sums [batch, h, w, kh, kw, channels] into an image of `shape`."""
    batch, height, width, rows, columns, channels = windows.shape
    near, far = rows // stride, columns // stride
    windows = windows.reshape(batch, height, width, near, stride, far, stride, channels)
    total = 0
    for i in range(near):
        for j in range(far):
            pads = ((0, 0), (i, near - 1 - i), (j, far - 1 - j), (0, 0), (0, 0), (0, 0))
            total += jnp.pad(windows[:, :, :, i, :, j], pads)
    total = total.transpose(0, 1, 3, 2, 4, 5)
    image = total.reshape(batch, total.shape[1] * stride, total.shape[3] * stride, channels)
    ends = [shape[axis] - image.shape[axis] + padding for axis in (1, 2)]
    zero = jnp.zeros((), image.dtype)
    edges = [(0, 0, 0), *((-padding, end, 0) for end in ends), (0, 0, 0)]
    return lax.pad(image, zero, edges)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve_gemm(x, kernel, stride, padding, dtype):
    patches = _patches(x.astype(dtype), kernel.shape[:2], stride, padding)
    flat = kernel.astype(dtype).reshape(-1, *kernel.shape[2:])
    return _einsum("nhwkc,kco->nhwo", patches, flat).astype(dtype)


def _convolve_forward(x, kernel, stride, padding, dtype):
    return _convolve_gemm(x, kernel, stride, padding, dtype), (x, kernel)


def _convolve_backward(stride, padding, dtype, saved, dy):
    x, kernel = saved
    dy = dy.astype(dtype)
    patches = _patches(x.astype(dtype), kernel.shape[:2], stride, padding)
    dkernel = _einsum("nhwkc,nhwo->kco", patches, dy).reshape(kernel.shape)
    windows = _einsum("nhwo,klco->nhwklc", dy, kernel.astype(dtype))
    dx = _overlap_add(windows, x.shape, stride, padding)
    return dx.astype(x.dtype), dkernel.astype(kernel.dtype)


_convolve_gemm.defvjp(_convolve_forward, _convolve_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _transposed_gemm(x, kernel, dtype):
    turned = kernel[::-1, ::-1].astype(dtype)
    windows = _einsum("nhwc,klco->nhwklo", x.astype(dtype), turned)
    batch, height, width, _ = x.shape
    shape = (batch, 2 * height, 2 * width, kernel.shape[3])
    return _overlap_add(windows, shape, 2, 1).astype(dtype)


def _transposed_forward(x, kernel, dtype):
    return _transposed_gemm(x, kernel, dtype), (x, kernel)


def _transposed_backward(dtype, saved, dy):
    x, kernel = saved
    patches = _patches(dy.astype(dtype), (4, 4), 2, 1)
    turned = kernel[::-1, ::-1].astype(dtype).reshape(16, *kernel.shape[2:])
    dx = _einsum("nhwko,kco->nhwc", patches, turned)
    dkernel = _einsum("nhwc,nhwko->kco", x.astype(dtype), patches)
    dkernel = dkernel.reshape(kernel.shape)[::-1, ::-1]
    return dx.astype(x.dtype), dkernel.astype(kernel.dtype)


_transposed_gemm.defvjp(_transposed_forward, _transposed_backward)
