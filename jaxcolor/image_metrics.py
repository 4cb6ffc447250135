"""How far a predicted picture is from the true one, picture by picture."""

import jax
import jax.numpy as jnp


def l1_by_picture(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean absolute difference of each picture, [batch], on the pictures' own scale.

    Args:
      prediction: [batch, height, width, channels].
      target: the same shape and range.
    """
    return jnp.mean(jnp.abs(prediction - target), axis=(1, 2, 3))


def psnr_by_picture(prediction: jax.Array, target: jax.Array, *, value_range: float) -> jax.Array:
    """Peak signal-to-noise ratio of each picture, [batch], in dB; infinite for equal pictures.

    Args:
      prediction: [batch, height, width, channels].
      target: the same shape and range.
      value_range: largest minus smallest possible value: 2 for [-1, 1].
    """
    error = jnp.mean(jnp.square(prediction - target), axis=(1, 2, 3))
    return 20 * jnp.log10(value_range) - 10 * jnp.log10(error)
