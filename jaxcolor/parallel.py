"""Data parallelism: runs a per-device step, whose one axis is `data`, over all devices.

`shard_map` under `jit` is the default; `jax.pmap` is the same program in its older clothes. Both
leave replication to the step's own `pmean`s (`check_vma=False`): with the checks on, gradients of
replicated parameters would be summed a second time by shard_map itself.
"""

import collections
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
          ConfigError: unknown backend, or one that is for a single host; hosts with more devices
            than others.
        """
        if backend not in BACKENDS:
            raise ConfigError(f"parallel.backend {backend!r} is none of {BACKENDS}")
        self.backend = backend
        # Each host's stand together, so that its part of a batch is one block of rows.
        self.devices = sorted(devices or jax.devices(), key=lambda device: device.process_index)
        counts = collections.Counter(device.process_index for device in self.devices)
        if len(set(counts.values())) > 1:
            listed = ", ".join(map(str, counts.values()))
            raise ConfigError(f"all hosts must have as many devices; they have {listed}")
        self.host_count = len(counts)
        if backend == "pmap" and self.host_count > 1:
            raise ConfigError("parallel.backend 'pmap' is for one host; use 'shard_map' for many")
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
        """`tree`, the same on all hosts, with every array whole on every device."""
        if self.host_count == 1:
            return jax.device_put(tree, self.replicated)
        return _place(tree, self.replicated)

    def shard(self, batch):
        """`batch` with the first axis of every array divided over the devices.

        Of many hosts each gives the rows of its own devices; the blocks in their order are the
        batch.
        """
        if self.host_count == 1:
            return jax.device_put(batch, self.sharded)
        return _place(batch, self.sharded)

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


def _place(tree, sharding):
    """`tree` on the devices of many hosts, of which each gives what its own devices hold."""

    def place(x):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(x)))
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    with jax.transfer_guard("allow"):  # JAX has no explicit way for this one
        return jax.tree.map(place, tree)
