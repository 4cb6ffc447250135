"""The end of every update: gradients averaged over the devices, measured, and applied."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxcolor.training import sharding
from jaxcolor.training.state import NetworkState

GRADIENT_DTYPES = ("float32", "bfloat16")


class Exchange(NamedTuple):
    """How the devices that share a batch exchange what they found.

    Attributes:
      axis_name: device axis, or None for a single device, which exchanges nothing.
      gradient_dtype: what gradients are rounded to, and added over the devices in. bfloat16 is half
        the bytes; every rounding is off by up to 2^-8 of the value.
      shard_optimizer: whether each device holds and updates 1/n of every network, see `sharding`;
        otherwise each does all of it. For optimizers that treat every number by itself, as Adam.
    """

    axis_name: str | None
    gradient_dtype: str = "float32"
    shard_optimizer: bool = False

    @property
    def is_alone(self) -> bool:
        """Whether there is no other device; XLA would copy a tree to average it over only one."""
        return self.axis_name is None or lax.axis_size(self.axis_name) == 1

    @property
    def is_sharded(self) -> bool:
        """Whether this device holds a part of the optimizers' states, and not all of them."""
        return self.shard_optimizer and not self.is_alone


class Found(NamedTuple):
    """What pictures show of one network.

    Attributes:
      gradients: of its parameters.
      batch_stats: its new running statistics.
      metrics: "network/name" of means over the pictures.
    """

    gradients: Any
    batch_stats: Any
    metrics: dict[str, jax.Array]


def update_network(
    name: str,
    state: NetworkState,
    found: Found,
    optimizer: optax.GradientTransformation,
    exchange: Exchange,
) -> tuple[NetworkState, dict[str, jax.Array]]:
    """The network after one step of `optimizer`, and its metrics with "<name>/gradient_norm".

    Every gradient is exchanged here, once.

    Args:
      name: of the network in the metrics.
      state: of the network.
      found: in this device's part of the batch.
      optimizer: of the network.
      exchange: with the other devices.
    """
    change = _change_part if exchange.is_sharded else _change
    params, opt_state, length = change(state, found.gradients, optimizer, exchange)
    metrics = found.metrics | {f"{name}/gradient_norm": length}
    return NetworkState(params, found.batch_stats, opt_state), metrics


def average(tree: Any, exchange: Exchange) -> Any:
    """The mean over the devices."""
    if exchange.is_alone:
        return tree
    with jax.named_scope("average"):
        return lax.pmean(tree, exchange.axis_name)


def norm(tree: Any) -> jax.Array:
    """The Euclidean norm of all numbers in `tree`."""
    return jnp.sqrt(_sum_of_squares(jax.tree.leaves(tree)))


@jax.named_scope("optimizer")
def _apply(optimizer, gradients, opt_state, params):
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def _change(state, gradients, optimizer, exchange):
    """New parameters and optimizer state, and the norm of the gradients."""
    if not exchange.is_alone:
        with jax.named_scope("average"):
            sums = lax.psum(_round(gradients, exchange), exchange.axis_name)
            gradients = _mean(sums, gradients, exchange)
    length = norm(gradients)
    return *_apply(optimizer, gradients, state.opt_state, state.params), length


def _change_part(state, gradients, optimizer, exchange):
    """The same where this device changes its part of the parameters, and is sent the others."""
    axis_name = exchange.axis_name
    with jax.named_scope("average"):
        sums = sharding.sum_parts(_round(gradients, exchange), axis_name)
        parts = _mean(sums, gradients, exchange)
    length = _norm_of_parts(parts, gradients, axis_name)
    own = sharding.own_part(state.params, axis_name)
    own, opt_state = _apply(optimizer, parts, state.opt_state, own)
    with jax.named_scope("average"):
        params = sharding.gather_parts(own, state.params, axis_name)
    return params, opt_state, length


def _round(gradients, exchange):
    """What is sent. Nothing may be simplified away: on a CPU the sum itself is in float32."""
    if exchange.gradient_dtype == "float32":
        return gradients
    kind = jnp.dtype(exchange.gradient_dtype)
    return jax.tree.map(lambda x: lax.optimization_barrier(x.astype(kind)), gradients)


def _mean(sums, like, exchange):
    """Sums over the devices as means, in the types of `like`."""
    count = lax.axis_size(exchange.axis_name)
    return jax.tree.map(lambda x, leaf: x.astype(leaf.dtype) / count, sums, like)


def _norm_of_parts(parts, whole, axis_name):
    """`norm` of arrays of which this device has its part; those that it has whole count once."""
    count = lax.axis_size(axis_name)
    pairs = zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True)
    shared, own = [], []
    for part, leaf in pairs:
        (shared if sharding.sharded_axis(leaf.shape, count) is None else own).append(part)
    return jnp.sqrt(lax.psum(_sum_of_squares(own), axis_name) + _sum_of_squares(shared))


def _sum_of_squares(leaves):
    """Behind a barrier, or XLA:CPU stores the squares of all gradients to share them with Adam."""
    return sum(jnp.sum(jnp.square(leaf)) for leaf in lax.optimization_barrier(leaves))
