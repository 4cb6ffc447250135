"""Seconds lost when a machine is taken: from SIGTERM to the exit, and from the start to a new step.

A run is stopped and started again in turns, in one workdir. What it trains between is not counted:
it is all saved. The first start, which compiles, is left out.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import harness, reference, startup
from benchmarks.bystanders import Bystanders
from jaxcolor.training.stopping import PREEMPTED

FULL = {
    "batch_size": 1,
    "dtype": ["float32"],
    "image_size": 256,
    "base_width": 64,
    "pictures": 400,
    "steps": 5,
    "repetitions": 5,
}
QUICK = {"base_width": 16, "pictures": 20, "repetitions": 3}
EXIT, START = "SIGTERM to exit", "start to next step"
MOST_SECONDS = 600.0


def tables(options: Namespace) -> Iterator[dict[str, Any]]:
    """A table for every dtype."""
    for dtype in options.dtype:
        yield measure_preemptions(options, dtype)


def measure_preemptions(options: Namespace, dtype: str) -> dict[str, Any]:
    """Measures and prints what one preemption costs."""
    changes = reference.overrides(options, dtype, options.batch_size, options.pictures)
    samples: dict[str, list[float]] = {EXIT: [], START: []}
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"JAXCOLOR_CACHE": f"{folder}/cache"}
        run = Run(Path(folder) / "run", changes, environment)
        run.start_and_stop(options.steps)
        bystanders = Bystanders()
        for _ in range(options.repetitions):
            for name, seconds in run.start_and_stop(options.steps).items():
                samples[name].append(seconds)
        others = bystanders.cores()
    title = f"preemption, {dtype}, batch {options.batch_size}, width {options.base_width}"
    print(f"\n{title}")
    for name, seconds in samples.items():
        print(f"{name:<20} s {harness.spread(seconds, digits=2)}")
    harness.print_others(others)
    facts = {"title": title, "images": options.batch_size, "dtype": dtype, "others": others}
    return facts | {"samples": samples}


class Run:
    """A training that is stopped and goes on."""

    def __init__(self, workdir: Path, changes: dict[str, Any], environment: dict[str, str]):
        """Nothing trained as yet; `changes` are made in the reference config."""
        command = [sys.executable, "run.py", f"--config={reference.CONFIG}", f"--workdir={workdir}"]
        changes = changes | {"train.log_every": 1}
        self._command = [*command, *(f"--config.{key}={value}" for key, value in changes.items())]
        self._environment, self._metrics = environment, workdir / "metrics.jsonl"

    def start_and_stop(self, steps: int) -> dict[str, float]:
        """Seconds from the start to the first new step, and from SIGTERM `steps` later to the end.

        Raises:
          UserError: it ended by itself, or not as one that is to go on.
        """
        before = self._last_step()
        with tempfile.TemporaryFile("w+") as errors:
            started = time.perf_counter()
            process = subprocess.Popen(
                self._command,
                cwd=reference.ROOT,
                env=self._environment,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
            try:
                self._wait_for(before + 1, process)
                seconds = {START: time.perf_counter() - started}
                self._wait_for(before + steps, process)
                asked = time.perf_counter()
                process.send_signal(signal.SIGTERM)
                process.wait(MOST_SECONDS)
                seconds[EXIT] = time.perf_counter() - asked
            finally:
                process.kill()
                process.wait()
            if process.returncode != PREEMPTED:
                raise startup.ended_early(errors)
        return seconds

    def _wait_for(self, step: int, process: subprocess.Popen) -> None:
        ends = time.perf_counter() + MOST_SECONDS
        while self._last_step() < step and process.poll() is None and time.perf_counter() < ends:
            time.sleep(0.005)

    def _last_step(self) -> int:
        """The last step in the log, whose last line may be half there."""
        text = self._metrics.read_text() if self._metrics.exists() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()
        return json.loads(whole[-1])["step"] if whole else 0
