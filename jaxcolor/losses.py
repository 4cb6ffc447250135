"""Losses of pix2pix (Isola et al. 2017, eq. 1-4), each a mean over everything it is given."""

import jax
import jax.numpy as jnp
import optax


def sigmoid_cross_entropy(logits: jax.Array, *, real: bool) -> jax.Array:
    """Mean of -log sigmoid(logits) where `real`, else of -log(1 - sigmoid(logits)); a scalar.

    A discriminator that cannot tell scores log 2 = 0.693 on either kind.
    """
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, float(real)))


def l1(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean absolute difference, a scalar, in the units of the pictures ([-1, 1] scale)."""
    return jnp.mean(jnp.abs(prediction - target))
