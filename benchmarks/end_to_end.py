"""A whole epoch of run.py (reading, augmenting, logging) against the bare step.

The training loop itself runs, and its own timing.csv says how long an epoch was: validation, the
sample sheet and the checkpoint are apart. Where it validates, after every epoch, as many bare steps
are taken, with the same compiled program on one batch that stays on the device. The loader reads
its few batches ahead meanwhile; an epoch of many steps makes that advantage small.
"""

import csv
import tempfile
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from benchmarks import harness, reference
from benchmarks.bystanders import Bystanders
from benchmarks.pictures import draw_batch
from jaxcolor import runner
from jaxcolor.experiment import Experiment
from jaxcolor.training import loop
from jaxcolor.training.checkpoints import Checkpoints
from jaxcolor.training.plan import Parts, Plan

FULL = {
    "batch": [1, 4],
    "dtype": ["float32", "bfloat16"],
    "data": None,
    "image_size": 256,
    "base_width": 64,
    "steps": 60,
    "repetitions": 7,
}
QUICK = {"batch": [1], "dtype": ["float32"], "base_width": 16, "steps": 40, "repetitions": 5}
EPOCH, BARE = "epoch", "bare step"


def tables(options: Namespace) -> Iterator[dict[str, Any]]:
    """A table for every dtype and batch size."""
    for dtype in options.dtype:
        for batch_size in options.batch:
            yield compare_epochs(options, dtype, batch_size)
    print(f"\n{harness.RULE}")


def compare_epochs(options: Namespace, dtype: str, batch_size: int) -> dict[str, Any]:
    """Measures and prints seconds a step in epochs of `options.steps` steps and of bare steps."""
    changes = reference.overrides(options, dtype, batch_size, batch_size * options.steps)
    experiment = reference.build(changes)
    bystanders = Bystanders()
    samples, waiting = train(experiment, options.steps, options.repetitions)
    others = bystanders.cores()
    measured = harness.Measurement(samples, {}, others)
    ratio = harness.compare(EPOCH, [BARE], "the bare step", measured)
    title = f"end to end, {dtype}, batch {batch_size}, width {options.base_width}"
    print(f"\n{title}")
    for name, seconds in samples.items():
        rate = batch_size / harness.quartiles(seconds)[1]
        print(f"{name:<10} ms a step {harness.spread(seconds, scale=1e3)}, {rate:.2f} images/s")
    print(harness.state(ratio))
    print(f"% of an epoch spent waiting for data: {harness.spread(waiting, scale=100, digits=2)}")
    harness.print_others(others)
    facts = {"title": title, "images": batch_size, "dtype": dtype, "others": others}
    return facts | {"samples": samples, "waiting": waiting, "ratios": [ratio._asdict()]}


def train(
    experiment: Experiment, steps: int, repetitions: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Of `repetitions` epochs after a first one: seconds a step, and the shares spent waiting.

    The former by EPOCH and BARE; the latter of EPOCH alone, for the loader.
    """
    plan = experiment.plan._replace(
        epochs=repetitions + 1,
        pictures=steps * experiment.plan.batch_size,
        checkpoint_every_epochs=repetitions + 1,
    )
    key = jax.random.key(0)
    create = jax.jit(experiment.functions.create_state, out_shardings=experiment.devices.replicated)
    rng = experiment.devices.replicate(key)
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        with Checkpoints(workdir / "checkpoints") as checkpoints:
            parts = runner.make_parts(experiment, workdir, checkpoints)
            bare = BareSteps(parts, create(key), rng, plan)
            parts = parts._replace(validation_batches=bare)
            loop.train(create(key), rng, plan=plan, parts=parts)
        with (workdir / "timing.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))[1:]
    epochs = [float(row["seconds"]) / int(row["steps"]) for row in rows]
    waiting = [float(row["data_wait_share"]) for row in rows]
    return {EPOCH: epochs, BARE: bare.seconds[1:]}, waiting


class BareSteps:
    """Validation batches; going through them first takes an epoch's number of bare steps."""

    def __init__(self, parts: Parts, state: Any, rng: jax.Array, plan: Plan):
        """Steps on a state of their own, as many and on as many pictures as `plan` says."""
        self.seconds: list[float] = []
        self._batches, self._steps = parts.validation_batches, plan.epoch_end(1)
        size = next(iter(parts.samples.values())).shape[1]
        self._batch = parts.parallel.shard(draw_batch(size, plan.batch_size))
        self._step: Callable = parts.train_step
        self._state, self._rng = state, rng

    def __iter__(self) -> Iterator[dict]:
        """Takes the steps, keeping as many in flight as the loop does, and notes their seconds."""
        started, in_flight = time.perf_counter(), deque()
        for _ in range(self._steps):
            self._state, metrics = self._step(self._state, self._batch, self._rng)
            in_flight.append(metrics)
            if len(in_flight) >= loop.STEPS_IN_FLIGHT:
                jax.block_until_ready(in_flight.popleft())
        jax.block_until_ready(self._state)
        self.seconds.append((time.perf_counter() - started) / self._steps)
        yield from self._batches
