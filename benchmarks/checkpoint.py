"""Training time lost to a checkpoint written while training goes on, and seconds to restore it.

Blocks of plain steps and blocks that begin with a checkpoint, in turns. The latter go on until the
checkpoint is complete on disk. Lost is what such a block took beyond its number of plain steps:
the time training stood still, and what the writing slowed the steps. What is restored was just
written, so that the system has it in memory; the checksums are read and compared first.
"""

import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from benchmarks import harness, train_step
from benchmarks.bystanders import Bystanders
from benchmarks.pictures import draw_batch
from jaxcolor.training import steps
from jaxcolor.training.checkpoints import Checkpoints
from jaxcolor.training.state import GanState

FULL = {
    "batch_size": 1,
    "dtype": ["float32"],
    "update": ["sequential"],
    "image_size": 256,
    "base_width": 64,
    "steps": 12,
    "repetitions": 7,
}
QUICK = {"base_width": 16, "steps": 12, "repetitions": 5}
# Training pairs of CMP facades, which pix2pix is best known for.
EPOCH_STEPS = 400
PLAIN, LOST, BLOCKED = "plain step", "lost to a checkpoint", "of which standing still"
RESTORED, CHECKED = "restoring one", "comparing its checksums before that"


def tables(options: Namespace) -> Iterator[dict[str, Any]]:
    """A table for every update order and dtype."""
    for update in options.update:
        for dtype in options.dtype:
            yield measure_loss(options, update, dtype)


def measure_loss(options: Namespace, update: str, dtype: str) -> dict[str, Any]:
    """Measures and prints the seconds that a checkpoint costs."""
    trainer = Trainer(options, update, dtype)
    names = (PLAIN, LOST, BLOCKED, RESTORED, CHECKED)
    samples: dict[str, list[float]] = {name: [] for name in names}
    with (
        tempfile.TemporaryDirectory() as folder,
        Checkpoints(folder, keep_last=1, keep_best=0) as checkpoints,
    ):
        trainer.take(options.steps)
        trainer.take_while_saving(checkpoints, options.steps)
        bystanders = Bystanders()
        for _ in range(options.repetitions):
            plain = trainer.take(options.steps) / options.steps
            seconds, taken, blocked = trainer.take_while_saving(checkpoints, options.steps)
            samples[PLAIN].append(plain)
            samples[LOST].append(seconds - taken * plain)
            samples[BLOCKED].append(blocked)
            for name, seconds in trainer.restore(checkpoints).items():
                samples[name].append(seconds)
        others = bystanders.cores()
    title = f"checkpoint, {dtype}, batch {options.batch_size}, width {options.base_width}"
    megabytes = sum(leaf.nbytes for leaf in jax.tree.leaves(trainer.state)) / 1e6
    table = {"title": title, "images": options.batch_size, "dtype": dtype, "samples": samples}
    table |= {"others": others, "megabytes": megabytes, "shares": share(samples)}
    print_loss(table)
    return table


def share(samples: dict[str, list[float]]) -> dict[str, float]:
    """The median loss by the training time between two checkpoints, for two such intervals."""
    lost, step = (harness.quartiles(samples[name])[1] for name in (LOST, PLAIN))
    return {f"epoch of {EPOCH_STEPS} steps": lost / (EPOCH_STEPS * step), "minute": lost / 60}


def print_loss(table: dict[str, Any]) -> None:
    """Seconds a checkpoint, and their share."""
    print(f"\n{table['title']}, {table['megabytes']:.0f} MB")
    for name, seconds in table["samples"].items():
        print(f"{name:<36} ms {harness.spread(seconds, scale=1e3)}")
    for interval, value in table["shares"].items():
        print(f"lost with a checkpoint each {interval}: {value:.2%}")
    harness.print_others(table["others"])


class Trainer:
    """Our compiled step and its state."""

    def __init__(self, options: Namespace, update: str, dtype: str):
        """The reference recipe on all devices, warmed up."""
        placed = train_step.place_ours(options, update, dtype, jax.devices())
        self.devices, step, self.state, self._rng = placed
        self._batch = self.devices.shard(draw_batch(options.image_size, options.batch_size))
        wrapped = self.devices.wrap(step, donate_state=True)
        self._step: Callable = wrapped.lower(self.state, self._batch, self._rng).compile()
        self._is_finite = jax.jit(steps.is_finite).lower(self.state).compile()
        self.state: GanState

    def take(self, count: int) -> float:
        """Seconds of `count` steps."""
        started = time.perf_counter()
        for _ in range(count):
            self._take_one()
        return time.perf_counter() - started

    def take_while_saving(self, checkpoints: Checkpoints, fewest: int) -> tuple[float, int, float]:
        """Saves as the training loop does, and steps at least until all is on disk.

        Returns:
          Seconds of it all, steps taken, and seconds before the first of them.
        """
        started = time.perf_counter()
        number = int(jax.device_get(self.state.step))
        jax.device_get(self._is_finite(self.state))
        checkpoints.save(number, self.state, {}, {"l1": 1.0})
        blocked = time.perf_counter() - started
        written, taken = Path(checkpoints.directory) / str(number), 0
        while taken < fewest or not written.exists():
            self._take_one()
            taken += 1
        checkpoints.wait()
        return time.perf_counter() - started, taken, blocked

    def restore(self, checkpoints: Checkpoints) -> dict[str, float]:
        """Seconds to read the newest checkpoint back into the state, and to check it before."""
        step = checkpoints.latest()
        started = time.perf_counter()
        checkpoints.check(step)
        checked = time.perf_counter()
        self.state = checkpoints.restore(step, self.state)
        jax.block_until_ready(self.state)
        return {RESTORED: time.perf_counter() - checked, CHECKED: checked - started}

    def _take_one(self):
        self.state, metrics = self._step(self.state, self._batch, self._rng)
        jax.block_until_ready((self.state, metrics))
