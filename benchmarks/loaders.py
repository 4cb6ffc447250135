"""Loaders that take turns, each in a process of its own.

A loader stays until the end, so that none pays for a start. In its turn it gives away what it had
read ahead and then makes, and is timed for, a number of batches; the turn is over when it has read
ahead again and rests.
"""

import contextlib
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.bystanders import Bystanders
from benchmarks.harness import OURS, Measurement
from jaxcolor.errors import UserError

ROOT = Path(__file__).parents[1]
MOST_SECONDS_TO_END = 60.0
FILES, CACHE = "files", "cache"
# What the ratio of the fastest of ours is called, by where it reads from.
AGAINST = {origin: f"PyTorch from files, ours from the {origin}" for origin in (FILES, CACHE)}


class Loader(NamedTuple):
    """A contender.

    Attributes:
      family: OURS or PYTORCH.
      origin: FILES or CACHE, where it reads from.
      workers: processes besides the first.
      threads: of ours, in each process that makes batches; 0 makes them within `next`.
      cores: it may use so many; 0 for all.
    """

    family: str
    origin: str
    workers: int
    threads: int = 0
    cores: int = 0

    @property
    def name(self) -> str:
        """Family and what distinguishes it."""
        counts = [_count(self.workers, "worker")]
        if self.family == OURS:
            counts.append(_count(self.threads, "thread"))
        if self.cores:
            counts = [_count(self.cores, "core")]
        return f"{self.family} {self.origin}, {', '.join(counts)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# Ours held to one core, where threads would be in each other's way.
ONE_CORE = {origin: Loader(OURS, origin, workers=0, cores=1) for origin in (FILES, CACHE)}


class LoaderProcess:
    """A loader in a process of its own; a context, at whose end it ends."""

    def __init__(self, request: dict[str, Any]):
        """Starts it; see `loader_probe.open_loader` for the request.

        Raises:
          RuntimeError: it cannot load; the message is the last line it wrote.
        """
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed by __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.loader_probe"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self._ask(json.dumps(request))
        except RuntimeError:
            self.__exit__()
            raise

    def __enter__(self) -> "LoaderProcess":
        """The loader, ready."""
        return self

    def __exit__(self, *_) -> None:
        """Ends the process and its workers."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(MOST_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def take(self, batches: int) -> dict[str, float]:
        """One turn; see `loader_probe.take`."""
        return self._ask(str(batches))

    def _ask(self, line: str) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines() or ["it ended without a word"]
            raise RuntimeError(lines[-1])
        return json.loads(answer)


def take_turns(
    requests: dict[Loader, dict[str, Any]], *, batches: int, repetitions: int
) -> tuple[Measurement, dict[str, list[int]]]:
    """Seconds a batch of all loaders, and the bytes that each held at the end of every turn.

    Every round visits all once in an order of its own. The first turn of each, which warms it up,
    is in neither.

    Args:
      requests: what each is asked.
      batches: timed in a turn; a multiple of threads and workers, as they finish side by side.
      repetitions: turns of each.

    Raises:
      UserError: one of ours cannot load.
    """
    samples: dict[str, list[float]] = {}
    memory: dict[str, list[int]] = {}
    order = random.Random(0)
    with contextlib.ExitStack() as stack:
        running, failures = _start(requests, batches, stack)
        bystanders = Bystanders()
        for _ in range(repetitions):
            for name in order.sample(sorted(running), len(running)):
                found = running[name].take(batches)
                samples.setdefault(name, []).append(found["seconds"] / batches)
                memory.setdefault(name, []).append(found["bytes"])
        others = bystanders.cores()
    return Measurement(samples, failures, others), memory


def _start(requests, batches, stack):
    """The processes of all that can run, one turn old, by name; and why a peer cannot."""
    running, failures = {}, {}
    for loader, request in requests.items():
        try:
            process = stack.enter_context(LoaderProcess(request))
            process.take(batches)
        except RuntimeError as error:
            if loader.family == OURS:
                raise UserError(f"{loader.name}: {error}") from error
            failures[loader.name] = str(error)[:200]
        else:
            running[loader.name] = process
        print(f"started {loader.name}", file=sys.stderr, flush=True)
    return running, failures


def least_held(values: list[int]) -> tuple[int, int]:
    """The least memory of the first half of the turns, and of the second.

    What is held above it comes and goes with a batch that is not returned yet.
    """
    middle = max(1, len(values) // 2)
    return min(values[:middle]), min(values[middle:] or values)


def growth(values: list[int]) -> float:
    """How much more is held in the second half of the turns, as a share; see `least_held`."""
    first, second = least_held(values)
    return second / first - 1 if first else 0.0


def describe_memory(values: list[int]) -> str:
    """What `least_held` finds, in words."""
    first, second = (value / 1e6 for value in least_held(values))
    return f"{first:.0f} MB, then {second:.0f} MB ({growth(values):+.1%})"
