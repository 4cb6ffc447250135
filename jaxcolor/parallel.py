"""Data parallelism: runs a per-device step, whose one axis is `data`, over all devices.

`shard_map` under `jit` is the default; `jax.pmap` is the same program in its older clothes. Both
leave replication to the step's own `pmean`s (`check_vma=False`): with the checks on, gradients of
replicated parameters would be summed a second time by shard_map itself.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcolor.errors import ConfigError

AXIS = "data"
BACKENDS = ("shard_map", "pmap")
_WHOLE = P()  # on every device


class DataParallel:
    """Places states and batches on devices, and wraps per-device functions."""

    def __init__(self, devices: Sequence[jax.Device] | None = None, *, backend: str = "shard_map"):
        """Parallelism over `devices`, all of them by default, by "shard_map" or "pmap".

        Raises:
          ConfigError: unknown backend.
        """
        if backend not in BACKENDS:
            raise ConfigError(f"parallel.backend {backend!r} is none of {BACKENDS}")
        self.backend = backend
        self.devices = list(jax.devices() if devices is None else devices)
        self.mesh = Mesh(np.asarray(self.devices), (AXIS,))
        self.replicated = NamedSharding(self.mesh, P())
        self.sharded = NamedSharding(self.mesh, P(AXIS))

    @property
    def device_count(self) -> int:
        """How many devices share a batch."""
        return len(self.devices)

    def check_batch_size(self, batch_size: int, key: str, parts: int = 1) -> None:
        """Raises ConfigError unless `batch_size` (the value of `key`) divides by the devices.

        With `parts` each device's part of it is to be taken in so many further ones.
        """
        if batch_size < 1 or batch_size % (self.device_count * parts):
            further = f" times train.accumulate_steps {parts}" if parts > 1 else ""
            raise ConfigError(
                f"{key} {batch_size} must be a positive multiple of the {self.device_count} devices"
                f"{further}"
            )

    def replicate(self, tree):
        """`tree` with every array whole on every device."""
        return jax.device_put(tree, self.replicated)

    def shard(self, batch):
        """`batch` with the first axis of every array divided over the devices."""
        return jax.device_put(batch, self.sharded)

    def wrap(
        self,
        step: Callable,
        *,
        donate_state: bool = False,
        state_specs: Any = _WHOLE,
        out_specs: Any = _WHOLE,
    ) -> Callable:
        """`step(state, batch, rng)`, jitted, run on every device's part of the batch.

        The rng is replicated. So are the state and everything the step returns, unless told
        otherwise: its `pmean`s over `data` must have made it the same on every device.

        Args:
          step: per-device function of (state, batch, rng) that may use the axis `data`.
          donate_state: let the step reuse the memory of the state it is given.
          state_specs: PartitionSpecs of the state, for "shard_map" alone.
          out_specs: those of what the step returns, likewise.
        """
        donated = (0,) if donate_state else ()
        if self.backend == "pmap":
            return self._pmap(step, donated)
        mapped = jax.shard_map(
            step,
            mesh=self.mesh,
            in_specs=(state_specs, P(AXIS), P()),
            out_specs=out_specs,
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=donated)

    def _pmap(self, step, donated):
        mapped = jax.pmap(
            step,
            axis_name=AXIS,
            in_axes=(None, 0, None),
            out_axes=None,
            devices=self.devices,
            donate_argnums=donated,
        )

        def run(state, batch, rng):
            split = jax.tree.map(lambda x: x.reshape(self.device_count, -1, *x.shape[1:]), batch)
            return mapped(state, split, rng)

        return jax.jit(run, donate_argnums=donated)
