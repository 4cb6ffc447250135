"""The end of every update: gradients averaged over the devices, measured, and applied."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxcolor.training.state import NetworkState


@jax.named_scope("optimizer")
def apply_gradients(
    state: NetworkState,
    gradients: Any,
    batch_stats: Any,
    optimizer: optax.GradientTransformation,
) -> NetworkState:
    """The network after one step of `optimizer`, with new running statistics."""
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    return NetworkState(optax.apply_updates(state.params, updates), batch_stats, opt_state)


def norm(tree: Any) -> jax.Array:
    """The Euclidean norm of all numbers in `tree`.

    Behind a barrier, or XLA:CPU stores the squares of all gradients to share them with Adam.
    """
    leaves = lax.optimization_barrier(jax.tree.leaves(tree))
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in leaves))


@jax.named_scope("average")
def average(tree: Any, axis_name: str | None) -> Any:
    """The mean over the devices; XLA copies all of `tree` to average it over only one."""
    if axis_name is None or lax.axis_size(axis_name) == 1:
        return tree
    return lax.pmean(tree, axis_name)
