"""Time from the start of run.py to its first finished training step, first and second start.

The first start finds no compiled programs and no demo pictures; later ones of the same config find
both. Where the time goes is read from what run.py prints, and from its first row of metrics.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from benchmarks import harness, reference
from benchmarks.bystanders import Bystanders
from jaxcolor.errors import UserError

FULL = {
    "batch_size": 1,
    "dtype": ["float32", "bfloat16"],
    "image_size": 256,
    "base_width": 64,
    "pictures": 400,
    "repetitions": 5,
}
QUICK = {"dtype": ["float32"], "base_width": 16, "pictures": 20, "repetitions": 3}
# What run.py prints at the end of each part.
PARTS = {
    "imports": "no data.path",
    "data": "pictures to train on",
    "fresh state": "compiling",
    "compiling": "compiled in",
}
LAST, WHOLE = "first step", "whole"
MOST_SECONDS = 600.0


def tables(options: Namespace) -> Iterator[dict[str, Any]]:
    """A table for every dtype."""
    for dtype in options.dtype:
        yield measure_starts(options, dtype)


def measure_starts(options: Namespace, dtype: str) -> dict[str, Any]:
    """Measures and prints one first start and `options.repetitions` later ones."""
    changes = reference.overrides(options, dtype, options.batch_size, options.pictures)
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"JAXCOLOR_CACHE": cache}
        first = start(changes, environment)
        bystanders = Bystanders()
        later = [start(changes, environment) for _ in range(options.repetitions)]
        others = bystanders.cores()
    samples = {name: [row[name] for row in later] for name in later[0]}
    title = f"start to first step, {dtype}, batch {options.batch_size}, width {options.base_width}"
    print(f"\n{title}")
    print(f"{'part':<14}{'first start s':>14}  second start s, median and quartiles")
    for name, seconds in samples.items():
        print(f"{name:<14}{first[name]:>14.2f}  {harness.spread(seconds, digits=2)}")
    harness.print_others(others)
    facts = {"title": title, "images": options.batch_size, "dtype": dtype, "others": others}
    return facts | {"first": first, "samples": samples}


def start(changes: dict[str, Any], environment: dict[str, str]) -> dict[str, float]:
    """Seconds of every part of one start, and of the WHOLE; the run is killed after its first step.

    Raises:
      UserError: run.py ended before.
    """
    with tempfile.TemporaryDirectory() as workdir, tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, "run.py", "--config", reference.CONFIG, "--workdir", workdir]
        command += [f"--config.{key}={value}" for key, value in changes.items()]
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--config.train.log_every=1"],
            cwd=reference.ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        marks: dict[str, float] = {}
        reader = threading.Thread(target=note_lines, args=(process.stdout, started, marks))
        reader.start()
        try:
            marks[LAST] = wait_for_row(Path(workdir) / "metrics.jsonl", process, started)
        finally:
            process.kill()
            process.wait()
            reader.join()
            process.stdout.close()
        if process.returncode >= 0:
            raise ended_early(errors)
    return differences(marks)


def ended_early(errors: IO[str]) -> UserError:
    """The error of a run.py that ended by itself, from what it wrote to standard error."""
    errors.seek(0)
    lines = errors.read().strip().splitlines() or ["it ended without a word"]
    return UserError(f"run.py ended early: {lines[-1].removeprefix('error: ')}")


def note_lines(lines: Iterator[str], started: float, marks: dict[str, float]) -> None:
    """Notes in `marks` when each of PARTS was over, in seconds since `started`."""
    for line in lines:
        for part, words in PARTS.items():
            if words in line:
                marks.setdefault(part, time.perf_counter() - started)


def wait_for_row(path: Path, process: subprocess.Popen, started: float) -> float:
    """Seconds from `started` until `path` has a whole line, or the process has ended."""
    while process.poll() is None and time.perf_counter() - started < MOST_SECONDS:
        if path.exists() and "\n" in path.read_text():
            break
        time.sleep(0.005)
    return time.perf_counter() - started


def differences(marks: dict[str, float]) -> dict[str, float]:
    """Seconds of each part, from when each was over; and of the whole."""
    names = [name for name in (*PARTS, LAST) if name in marks]
    ends = [0.0, *(marks[name] for name in names)]
    parts = {name: end - begin for name, begin, end in zip(names, ends, ends[1:], strict=False)}
    return parts | {WHOLE: ends[-1]}
