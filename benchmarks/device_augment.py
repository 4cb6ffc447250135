"""The augmentation of the host's training transform in JAX, to see whether a device would pay.

The same crop of the same affine warp in one bilinear resampling, the same flip, the same kind of
noise; for a whole batch of pictures that were resized on the host.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

BLANK = 255


class Moves(NamedTuple):
    """How every pair of a batch is moved.

    Attributes:
      matrices: [batch, 2, 3], warps as `jaxcolor.data.warps.affine` gives them.
      corners: [batch, 2], first column and first row of the crop.
      mirrored: [batch], whether the crop is then mirrored.
    """

    matrices: jax.Array
    corners: jax.Array
    mirrored: jax.Array


def draw_moves(
    rng: jax.Array,
    batch: int,
    *,
    margin: int,
    rotation: float,
    shear: float,
    zoom: float,
    shift: float,
) -> Moves:
    """Moves drawn from the ranges of `jaxcolor.data.transforms.TrainingTransform`.

    Args:
      rng: key.
      batch: how many.
      margin: by how many pixels a picture exceeds its crop.
      rotation: degrees, like `shear`.
      shear: largest, either way, like the others.
      zoom: share of the size.
      shift: share of the side.
    """
    keys = jax.random.split(rng, 3)
    most = jnp.array([jnp.radians(rotation), jnp.radians(shear), zoom, shift, shift])
    drawn = most * jax.random.uniform(keys[0], (batch, 5), minval=-1.0)
    angle, slant, zoom, right, down = drawn.T
    cos, sin, lean, scale = jnp.cos(angle), jnp.sin(angle), jnp.tan(slant), 1 + zoom
    first = jnp.stack([scale * cos, scale * (cos * lean - sin), right], axis=1)
    second = jnp.stack([scale * sin, scale * (sin * lean + cos), down], axis=1)
    corners = jax.random.randint(keys[1], (batch, 2), 0, margin + 1)
    return Moves(
        jnp.stack([first, second], 1), corners, jax.random.bernoulli(keys[2], 0.5, (batch,))
    )


def augment(
    batch: dict[str, jax.Array], moves: Moves, rng: jax.Array, *, size: int, noise: float
) -> dict[str, jax.Array]:
    """The crops, uint8 [batch, size, size, 3]; noise on the condition.

    Args:
      batch: "condition" and "target", uint8 [batch, side, side, 3].
      moves: of the pairs.
      rng: key of the noise.
      size: side of the crops in pixels.
      noise: standard deviation on a scale from -1 to 1; one draw for all channels of a pixel.
    """
    side = batch["target"].shape[1]
    columns, rows = jax.vmap(lambda *move: _origins(*move, side, size))(*moves)
    moved = {
        name: jax.vmap(_sample)(pictures, columns, rows).astype(jnp.float32)
        for name, pictures in batch.items()
    }
    drawn = jax.random.normal(rng, moved["condition"].shape[:3])[..., None]
    moved["condition"] += noise * 127.5 * drawn
    return {
        name: jnp.clip(jnp.rint(pictures), 0, 255).astype(jnp.uint8)
        for name, pictures in moved.items()
    }


def _origins(matrix, corner, mirrored, side, size):
    """Where in a picture of `side` the pixels of its crop come from: columns, rows [size, size]."""
    places = jnp.arange(size) + 0.5
    x = jnp.where(mirrored, size - places, places)[None, :]
    x = x + corner[0] - side * (0.5 + matrix[0, 2])
    y = places[:, None] + corner[1] - side * (0.5 + matrix[1, 2])
    (a, b), (c, d) = matrix[:, :2]
    determinant = a * d - b * c
    return (d * x - b * y) / determinant + side / 2, (a * y - c * x) / determinant + side / 2


def _sample(picture, columns, rows):
    """`picture` [side, side, 3] between its pixels, whose centres lie at halves; blank outside."""
    side = picture.shape[0]
    inside = (columns >= 0) & (columns < side) & (rows >= 0) & (rows < side)
    left, top = jnp.floor(columns - 0.5), jnp.floor(rows - 0.5)
    x, y = (columns - 0.5 - left)[..., None], (rows - 0.5 - top)[..., None]

    def pixels(column, row):
        # The border repeats by half a pixel.
        column, row = (jnp.clip(n, 0, side - 1).astype(jnp.int32) for n in (column, row))
        return picture[row, column].astype(jnp.float32)

    above = pixels(left, top) * (1 - x) + pixels(left + 1, top) * x
    below = pixels(left, top + 1) * (1 - x) + pixels(left + 1, top + 1) * x
    return jnp.where(inside[..., None], above * (1 - y) + below * y, BLANK)
