"""The same global batch on 1, 2, 4, 8 devices: equal results, and what sharing it costs or saves.

Without several real devices they are simulated, each number of them in a process of its own, on the
same cores: there the time can only grow, and the table shows by how much. On real devices it shows
the speed-up.
"""

import functools
import multiprocessing
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks import harness, train_step
from benchmarks.harness import OURS, Contender, quartiles
from benchmarks.pictures import draw_batch
from jaxcolor.parallel import AXIS
from jaxcolor.training import sharding

FULL = {
    "devices": [1, 2, 4, 8],
    "batch_size": 8,
    "dtype": ["float32"],
    "update": ["sequential"],
    "image_size": 256,
    "base_width": 32,
    "gradient_dtype": "float32",
    "shard_optimizer": ["no", "yes"],
    "steps": 3,
    "repetitions": 9,
}
QUICK = {"base_width": 8, "image_size": 128, "shard_optimizer": ["no"], "repetitions": 5}

_call: Callable[[], None]


class Training(NamedTuple):
    """What the devices do.

    Attributes:
      update: order of the two updates.
      dtype: what convolutions compute in.
      shard_optimizer: whether each device holds a part of Adam's moments, and not all.
    """

    update: str
    dtype: str
    shard_optimizer: bool


class Outcome(NamedTuple):
    """What the first steps on some devices gave.

    Attributes:
      losses: [steps, losses].
      parameters: after these steps, in one row.
      state_bytes: of networks and optimizers, on each device.
    """

    losses: np.ndarray
    parameters: np.ndarray
    state_bytes: int


def tables(options: Namespace) -> Iterator[dict[str, Any]]:
    """A table for every update order and dtype, with whole optimizers and with sharded ones."""
    for update in options.update:
        for dtype in options.dtype:
            for sharded in options.shard_optimizer:
                yield measure_devices(options, Training(update, dtype, sharded == "yes"))


def measure_devices(options: Namespace, training: Training) -> dict[str, Any]:
    """Compares results and times of the step on every number of devices, and prints both."""
    dtype = training.dtype
    simulated = jax.device_count() == 1 or jax.default_backend() == "cpu"
    counts = [n for n in options.devices if simulated or n <= jax.device_count()]
    outcomes: dict[int, Outcome] = {}
    with ExitStack() as stack:
        rows = []
        for count in counts:
            process = stack.enter_context(simulate(count)) if simulated else None
            prepare = functools.partial(prepare_step, process, outcomes, options, training, count)
            rows.append(Contender(OURS, f"{dtype} {count} devices", prepare))
        measured = harness.measure(rows, options.repetitions)
    kind = "simulated" if simulated else "real"
    title = f"{counts} {kind} devices, {dtype}, global batch {options.batch_size}"
    if options.gradient_dtype != "float32":
        title += f", gradients added in {options.gradient_dtype}"
    if training.shard_optimizer:
        title += ", sharded optimizer"
    table = {"title": title, "images": options.batch_size, "dtype": dtype, "simulated": simulated}
    table |= {"samples": measured.samples, "others": measured.others}
    table["devices"] = dict(zip((row.name for row in rows), counts, strict=True))
    table |= compare_outcomes(outcomes, options.steps)
    table["state_bytes"] = {count: outcome.state_bytes for count, outcome in outcomes.items()}
    first = quartiles(measured.samples[rows[0].name])[1]
    table["relative"] = {
        name: quartiles(seconds)[1] / first for name, seconds in measured.samples.items()
    }
    print_scaling(table)
    return table


def compare_outcomes(outcomes: dict[int, Outcome], steps: int) -> dict[str, Any]:
    """The largest differences from the fewest devices' results, by number of devices.

    Args:
      outcomes: by number of devices.
      steps: how many they took.
    """
    losses, parameters, _ = outcomes[min(outcomes)]
    return {
        "steps": steps,
        "loss_differences": {
            count: float(np.max(np.abs(row.losses - losses) / np.abs(losses)))
            for count, row in outcomes.items()
        },
        "parameter_differences": {
            count: float(np.max(np.abs(row.parameters - parameters)))
            for count, row in outcomes.items()
        },
    }


def print_scaling(table: dict[str, Any]) -> None:
    """A line a number of devices."""
    print(f"\n{table['title']}")
    print(f"results after {table['steps']} steps, largest difference from the first line's:")
    print(
        f"{'devices':>8}{'loss, relative':>16}{'parameter':>12}{'state, MB each':>16}"
        "  ms a step, median and quartiles"
    )
    for name, seconds in table["samples"].items():
        count = table["devices"][name]
        losses, parameters = table["loss_differences"], table["parameter_differences"]
        print(
            f"{count:>8}{losses[count]:>16.1e}{parameters[count]:>12.1e}"
            f"{table['state_bytes'][count] / 1e6:>16.1f}"
            f"  {harness.spread(seconds, scale=1e3)}, {table['relative'][name]:.2f} of the first"
        )
    harness.print_others(table["others"])
    sys.stdout.flush()


def simulate(count: int) -> Executor:
    """A process with `count` simulated devices."""
    return ProcessPoolExecutor(
        max_workers=1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_simulate_devices,
        initargs=(count,),
    )


def _simulate_devices(count: int) -> None:
    """In the new process: before jax looks for devices. Ctrl-C is the first process's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={count}".strip()
    jax.config.update("jax_platforms", "cpu")


def prepare_step(
    process: Executor | None,
    outcomes: dict[int, Any],
    options: Namespace,
    training: Training,
    count: int,
) -> Callable[[], None]:
    """A function that takes a step on `count` devices; notes the results of the first few before.

    Args:
      process: where the devices are; None for this one.
      outcomes: where the results go.
      options: of the command line.
      training: what they do.
      count: number of devices.
    """
    arguments = (options, training, count)
    if process is None:
        call, outcomes[count] = start_training(*arguments)
        return call
    outcomes[count] = process.submit(_keep_training, *arguments).result()
    return lambda: process.submit(_take_step).result()


def start_training(
    options: Namespace, training: Training, count: int
) -> tuple[Callable[[], None], Outcome]:
    """A function that takes a step, and what the first steps gave."""
    devices = jax.devices()[:count]
    parallel, step, state, rng = train_step.place_ours(
        options, training.update, training.dtype, devices
    )
    parallel.check_batch_size(options.batch_size, "batch_size")
    exchange = {"shard_optimizer": training.shard_optimizer}
    exchange |= {"gradient_dtype": options.gradient_dtype}
    step = functools.partial(step, **exchange)
    specs = jax.tree.map(lambda _: P(), state)
    if training.shard_optimizer and count > 1:
        specs = sharding.state_specs(state, AXIS, count)
    place = jax.tree.map(functools.partial(NamedSharding, parallel.mesh), specs)
    state = jax.device_put(state, place)
    state_bytes = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state))
    batch = parallel.shard(draw_batch(options.image_size, options.batch_size))
    wrapped = parallel.wrap(step, donate_state=True, state_specs=specs, out_specs=(specs, P()))
    compiled = wrapped.lower(state, batch, rng).compile()
    losses = []
    for _ in range(options.steps):
        state, metrics = compiled(state, batch, rng)
        losses.append([float(metrics[f"{name}/loss"]) for name in ("generator", "discriminator")])
    trees = (state.generator.params, state.discriminator.params)
    parameters = [np.ravel(leaf) for leaf in jax.tree.leaves(jax.device_get(trees))]
    call = train_step.repeat(compiled, state, batch, rng)
    return call, Outcome(np.array(losses), np.concatenate(parameters), state_bytes)


def _keep_training(*arguments) -> Outcome:
    """In a process of `simulate`: starts the training that `_take_step` goes on with."""
    global _call
    _call, outcome = start_training(*arguments)
    return outcome


def _take_step() -> None:
    _call()
