"""Losses of pix2pix (Isola et al. 2017, eq. 1-4), each a mean over everything it is given."""

import jax
import jax.numpy as jnp
import optax


def sigmoid_cross_entropy(logits: jax.Array, *, real: float) -> jax.Array:
    """Mean cross-entropy between sigmoid(logits) and the label `real`; a scalar, in nats.

    It is -log sigmoid(logits) for real=1 and -log(1 - sigmoid(logits)) for real=0; one-sided label
    smoothing (Salimans et al. 2016) calls true pictures 0.9, and the least that this can be is
    then 0.325. A discriminator that cannot tell scores log 2 = 0.693 on any label.
    """
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, float(real)))


def l1(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean absolute difference, a scalar, in the units of the pictures ([-1, 1] scale)."""
    return jnp.mean(jnp.abs(prediction - target))


def l2(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared difference, a scalar, in the units of the pictures squared."""
    return jnp.mean(jnp.square(prediction - target))
