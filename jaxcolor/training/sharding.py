"""Which part of the optimizers' states each device holds (ZeRO-1), and how parts are exchanged.

Of an array that is sharded each device holds 1/n: a slice of the first axis whose length n divides.
An array without such an axis stays whole everywhere. The rule looks at shapes alone, so that it
gives a gradient, a parameter and Adam's two moments of it the same parts, whatever n is; in a
checkpoint all of them are whole, and another number of devices cuts them anew.

Rajbhandari et al. (2020), "ZeRO: memory optimizations toward training trillion parameter models".
"""

from typing import Any

import jax
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxcolor.training.state import GanState, NetworkState


def sharded_axis(shape: tuple[int, ...], count: int) -> int | None:
    """The axis of an array of this shape that `count` devices divide; None if they cannot."""
    return next((axis for axis, size in enumerate(shape) if size % count == 0), None)


def state_specs(state: GanState, axis_name: str, count: int) -> GanState:
    """The PartitionSpec of every array of `state` (arrays, or their shapes) on `count` devices."""

    def spec(leaf):
        axis = sharded_axis(leaf.shape, count)
        return P() if axis is None else P(*[None] * axis, axis_name)

    def specs(network: NetworkState) -> NetworkState:
        whole = jax.tree.map(lambda _: P(), network)
        return whole.replace(opt_state=jax.tree.map(spec, network.opt_state))

    return GanState(P(), specs(state.generator), specs(state.discriminator))


def own_part(tree: Any, axis_name: str) -> Any:
    """Of every array of `tree`, whole on every device, the part that this device holds."""

    def take(leaf):
        count = lax.axis_size(axis_name)
        axis = sharded_axis(leaf.shape, count)
        if axis is None:
            return leaf
        size = leaf.shape[axis] // count
        return lax.dynamic_slice_in_dim(leaf, lax.axis_index(axis_name) * size, size, axis)

    return jax.tree.map(take, tree)


def sum_parts(tree: Any, axis_name: str) -> Any:
    """The sum over the devices of every array of `tree`: of it the part that this device holds."""

    def scatter(leaf):
        axis = sharded_axis(leaf.shape, lax.axis_size(axis_name))
        if axis is None:
            return lax.psum(leaf, axis_name)
        return lax.psum_scatter(leaf, axis_name, scatter_dimension=axis, tiled=True)

    return jax.tree.map(scatter, tree)


def gather_parts(parts: Any, whole: Any, axis_name: str) -> Any:
    """Every array of which each device holds its own part in `parts`, whole as in `whole`."""

    def gather(part, leaf):
        axis = sharded_axis(leaf.shape, lax.axis_size(axis_name))
        return part if axis is None else lax.all_gather(part, axis_name, axis=axis, tiled=True)

    return jax.tree.map(gather, parts, whole)
