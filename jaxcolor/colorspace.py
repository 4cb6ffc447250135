"""Value ranges of pictures: files hold uint8, networks see [-1, 1]. Their only home."""

import jax
import jax.numpy as jnp
import numpy as np

HALF_RANGE = 127.5


def to_signed(images: jax.Array) -> jax.Array:
    """Images in [-1, 1]: uint8 becomes x / 127.5 - 1 in float32; floats pass unchanged."""
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images
    return images.astype(jnp.float32) / HALF_RANGE - 1


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images in 0..255, uint8, from floats in [-1, 1]: clipped, rounded to nearest."""
    return np.clip(np.rint((np.asarray(images) + 1) * HALF_RANGE), 0, 255).astype(np.uint8)
