"""Stride-1 correlation with several times fewer multiplications than its definition has.

The minimal filtering of Winograd (1980), as Lavin and Gray (2016, arXiv 1509.09308) use it for
convolutions: m x m outputs at once from (m + r - 1)^2 products by channel pair, where the
definition has m^2 r^2. Inputs, kernels and outputs are transformed by small constant matrices; what
remains is a matrix product for each of the (m + r - 1)^2 places in a tile. The gradients are the
same products in other orders, between the adjoints of the same transforms.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcolor.models.products import multiply, multiply_columns

# Interpolation points in the order of their cost in accuracy; infinity is always one more. With
# all seven, products of float32 lose two bits or three.
_POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)


def covering(size: int, taps: int, outputs: int) -> int:
    """Rows of input that the fewest tiles see that yield `size` rows or more."""
    return -(-size // outputs) * outputs + taps - 1


@functools.cache
def transforms(outputs: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrices of F(outputs, taps): y = output @ ((kernel @ g) * (input @ d)).

    Interpolation at `outputs + taps - 2` points and at infinity (Toom and Cook).

    Returns:
      input [tile, tile], kernel [tile, taps] and output [outputs, tile], where tile is
      outputs + taps - 1.
    """
    points = _POINTS[: outputs + taps - 2]
    tile = len(points) + 1
    if tile != outputs + taps - 1:
        raise ValueError(f"no points for {outputs} outputs of {taps} taps")
    inputs, kernel, output = (
        np.zeros((tile, tile)),
        np.zeros((tile, taps)),
        np.zeros((outputs, tile)),
    )
    for row, point in enumerate(points):
        others = [other for other in points if other != point]
        inputs[row, : tile - 1] = np.poly(others)[::-1]
        kernel[row] = float(point) ** np.arange(taps) / np.prod([point - o for o in others])
        output[:, row] = float(point) ** np.arange(outputs)
    inputs[-1] = np.poly(points)[::-1]
    kernel[-1, -1] = output[-1, -1] = 1
    return inputs, kernel, output


def _combine(matrix, slices, axis):
    """The rows of `matrix` times the list `slices`, stacked along `axis`."""
    # By lax: there are 2,600 terms in a training step, and jnp takes 0.3 ms to trace one.
    shape, dtype = slices[0].shape, slices[0].dtype
    rows = []
    for weights in matrix:
        terms = [
            x if w == 1 else lax.mul(lax.full(shape, w, dtype), x)
            for w, x in zip(weights, slices, strict=True)
            if w
        ]
        rows.append(lax.expand_dims(functools.reduce(lax.add, terms), [axis]))
    return lax.concatenate(rows, axis)


def _slices(x, axis, outputs, tiles, tile):
    """`tile` views of `x` along `axis`: the first entries of all tiles, the second ones, ..."""
    span = outputs * (tiles - 1) + 1
    return [lax.slice_in_dim(x, i, i + span, outputs, axis) for i in range(tile)]


def _gather(x, inputs, outputs, tiles):
    """[batch, height, width, in] -> [tile * tile, batch * tiles, in], transformed."""
    tile = len(inputs)
    rows = _combine(inputs, _slices(x, 1, outputs, tiles[0], tile), 0)
    rows = lax.optimization_barrier(rows)
    both = _combine(inputs, _slices(rows, 3, outputs, tiles[1], tile), 0)
    return both.reshape(tile * tile, -1, x.shape[-1])


def _merge(parts, axis, outputs):
    """Tiles that overlap, summed: the adjoint of `_slices` for tiles side by side along `axis`."""
    tile, tiles = len(parts), parts[0].shape[axis]
    near = jnp.stack(parts[:outputs], axis + 1)
    far = jnp.stack(parts[outputs:], axis + 1)
    edges = [(0, 0)] * near.ndim
    near = jnp.pad(near, [*edges[:axis], (0, 1), *edges[axis + 1 :]])
    edges[axis], edges[axis + 1] = (1, 0), (0, 2 * outputs - tile)
    summed = near + jnp.pad(far, edges)
    shape = (*summed.shape[:axis], (tiles + 1) * outputs, *summed.shape[axis + 2 :])
    return summed.reshape(shape)


def _scatter(gathered, inputs, outputs, tiles, batch):
    """The adjoint of `_gather`: [batch, (tiles + 1) * outputs on both axes, in]."""
    tile = len(inputs)
    both = gathered.reshape(tile, tile, batch, *tiles, -1)
    columns = _combine(inputs.T, list(both), 0)
    rows = lax.optimization_barrier(_merge(list(columns), 3, outputs))
    return _merge(list(_combine(inputs.T, list(rows), 0)), 1, outputs)


def _interleave(products, output, tiles, batch):
    """[tile * tile, batch * tiles, out] -> [batch, outputs * tiles on both axes, out]."""
    outputs, tile = output.shape
    both = products.reshape(tile, tile, batch, *tiles, -1)
    columns = lax.optimization_barrier(_combine(output, list(both), 4))
    y = _combine(output, list(columns), 2)
    return y.reshape(batch, tiles[0] * outputs, tiles[1] * outputs, -1)


def _deinterleave(dy, output, tiles):
    """The adjoint of `_interleave`."""
    outputs, tile = output.shape
    parts = dy.reshape(len(dy), tiles[0], outputs, tiles[1], outputs, -1)
    rows = _combine(output.T, [parts[:, :, i] for i in range(outputs)], 0)
    rows = lax.optimization_barrier(rows)
    both = _combine(output.T, [rows[:, :, :, :, j] for j in range(outputs)], 0)
    return both.reshape(tile * tile, -1, dy.shape[-1])


def _transform_kernel(kernel, matrix):
    """[taps, taps, in, out] -> [tile * tile, in, out]; columns first, as `_gather` orders them."""
    both = np.einsum("ai,bj->baij", matrix, matrix).reshape(len(matrix) ** 2, -1)
    flat = kernel.reshape(both.shape[1], -1)
    return jnp.dot(both.astype(kernel.dtype), flat).reshape(-1, *kernel.shape[2:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def correlate(x, kernel, outputs, dtype):
    """The valid part of the correlation of `x` with `kernel`.

    Args:
      x: [batch, height, width, in], float; height and width are what `covering` returns.
      kernel: [taps, taps, in, out]; 2 to 4 taps.
      outputs: m: rows and columns of a tile of outputs, at least taps - 1.
      dtype: what the factors of the matrix products are rounded to; sums are in float32 or wider.

    Returns:
      [batch, height - taps + 1, width - taps + 1, out], in float32 or wider.
    """
    return _forward(x, kernel, outputs, dtype)[0]


def _wide(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _prepare(x, kernel, outputs, dtype):
    """Tiles on both axes, and the factors of the products."""
    inputs, kernels, _ = transforms(outputs, len(kernel))
    tiles = tuple((n - len(kernel) + 1) // outputs for n in x.shape[1:3])
    gathered = _gather(_wide(x), inputs, outputs, tiles).astype(dtype)
    return tiles, gathered, _transform_kernel(_wide(kernel), kernels).astype(dtype)


def _forward(x, kernel, outputs, dtype):
    tiles, gathered, transformed = _prepare(x, kernel, outputs, dtype)
    output = transforms(outputs, len(kernel))[2]
    y = _interleave(multiply(gathered, transformed, (2, 1)), output, tiles, len(x))
    return y, (x, kernel)


def _backward(outputs, dtype, saved, dy):
    x, kernel = saved
    inputs, kernels, output = transforms(outputs, len(kernel))
    tiles, gathered, transformed = _prepare(x, kernel, outputs, dtype)
    products = _deinterleave(_wide(dy), output, tiles).astype(dtype)
    dx = _scatter(multiply(products, transformed, (2, 2)), inputs, outputs, tiles, len(x))
    dtransformed = multiply_columns(gathered, products)
    dtransformed = dtransformed.reshape(len(inputs), len(inputs), *kernel.shape[2:])
    dkernel = _transform_kernel(dtransformed, kernels.T).reshape(kernel.shape)
    return dx[:, : x.shape[1], : x.shape[2]].astype(x.dtype), dkernel.astype(kernel.dtype)


correlate.defvjp(_forward, _backward)
