"""What training holds (arrays only), and a network as a pair of pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct


@struct.dataclass
class NetworkState:
    """One network: its parameters, running norm statistics, and optimizer state."""

    params: Any
    batch_stats: Any
    opt_state: Any


@struct.dataclass
class GanState:
    """All that a training run is, besides its config: resuming from it repeats the run.

    Without a discriminator its state is `NetworkState({}, {}, {})`.
    """

    step: jax.Array
    generator: NetworkState
    discriminator: NetworkState


class Network(NamedTuple):
    """A network as pure functions.

    init(key, *inputs) -> (params, batch_stats);
    apply(params, batch_stats, *inputs, **options) -> (output, new batch_stats).
    """

    init: Callable
    apply: Callable


class Networks(NamedTuple):
    """Generator, condition -> picture, and discriminator, (condition, picture) -> logits, or None.

    Their pictures are coded: see `color_coding`.
    """

    generator: Network
    discriminator: Network | None


class Optimizers(NamedTuple):
    """One optimizer a network; None for a discriminator that is not there."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation | None


def from_linen(module: nn.Module) -> Network:
    """`module` as pure functions of plain dicts."""

    def init(key, *inputs):
        variables = module.init(key, *inputs)
        return variables["params"], variables.get("batch_stats", {})

    def apply(params, batch_stats, *inputs, **options):
        variables = {"params": params, "batch_stats": batch_stats}
        output, updates = module.apply(variables, *inputs, mutable=["batch_stats"], **options)
        return output, updates.get("batch_stats", {})

    return Network(init, apply)


def create_state(
    key: jax.Array,
    *,
    networks: Networks,
    optimizers: Optimizers,
    condition_shape: tuple[int, ...],
    target_shape: tuple[int, ...],
) -> GanState:
    """A fresh state at step 0; a function of `key` alone.

    Args:
      key: random key of the initial parameters.
      networks: generator and discriminator.
      optimizers: one for each.
      condition_shape: [batch, height, width, channels] of what the generator is given.
      target_shape: [batch, height, width, channels] of a coded colour picture.
    """
    generator_key, discriminator_key = jax.random.split(key)
    condition, target = jnp.zeros(condition_shape), jnp.zeros(target_shape)
    generator = networks.generator.init(generator_key, condition)
    judging = NetworkState({}, {}, {})
    if networks.discriminator is not None:
        discriminator = networks.discriminator.init(discriminator_key, condition, target)
        judging = NetworkState(*discriminator, optimizers.discriminator.init(discriminator[0]))
    return GanState(
        step=jnp.zeros((), jnp.int32),
        generator=NetworkState(*generator, optimizers.generator.init(generator[0])),
        discriminator=judging,
    )


def parameter_count(tree: Any) -> int:
    """How many numbers the arrays of `tree` hold."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
