"""Peak memory of the training step: jaxcolor, the naive JAX version, PyTorch.

Each in a process of its own that has nothing else in it. Peak while training: of three steps after
three others, what they compute with and all that the libraries hold. Peak of the process: compiling
included. On a GPU both are the device's memory, the latter's from jax, which cannot start anew.
Beside them what XLA's compiler planned for one step of its program. What is beyond that are the
libraries and what compiling leaves behind; a program from the persistent cache leaves less.
"""

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from benchmarks import harness, train_step
from benchmarks.harness import NAIVE, OURS, PYTORCH, Contender, Measurement
from jaxcolor.errors import UserError

FULL = {
    "batch": [1, 4],
    "dtype": ["float32", "bfloat16"],
    "update": ["sequential"],
    "image_size": 256,
    "base_width": 64,
    "skip": ["compiled"],
    "emulated": "skip",
    "omp_wait_policy": "passive",
}
QUICK = {"batch": [1], "base_width": 16}


def tables(options: Namespace) -> Iterator[dict[str, Any]]:
    """A table for every update order and batch size."""
    train_step.announce_peers(options)
    for update in options.update:
        for batch_size in options.batch:
            yield measure_peaks(options, update, batch_size)


def requests(options: Namespace) -> list[dict[str, Any]]:
    """Who is measured, as `memory_probe` wants it."""
    rows = [{"family": OURS, "variant": dtype, "settings": {}} for dtype in options.dtype]
    rows.append({"family": NAIVE, "variant": options.dtype[0], "settings": {}})
    variants = train_step.pytorch_variants(options, "VARIANTS").items()
    return rows + [
        {"family": PYTORCH, "variant": name, "settings": settings} for name, settings in variants
    ]


def measure_peaks(options: Namespace, update: str, batch_size: int) -> dict[str, Any]:
    """Measures and prints the peaks, in bytes, of all contenders."""
    sizes = {"image_size": options.image_size, "base_width": options.base_width}
    contenders, peaks, failures = [], {}, {}
    for request in requests(options):
        row = Contender(request["family"], request["variant"], prepare=None)
        contenders.append(row)
        answer = probe(request | sizes | {"update": update, "batch_size": batch_size})
        if "error" in answer:
            failures[row.name] = answer["error"]
        else:
            peaks[row.name] = answer
    title = f"peak memory, {update} update, batch {batch_size}, width {options.base_width}"
    training = {name: row["training"] for name, row in peaks.items() if row["training"]}
    measured = Measurement({name: [peak] for name, peak in training.items()}, failures, None)
    # Peaks repeat to the percent: one sample tells.
    ratios = [row._replace(withheld="") for row in harness.compare_families(contenders, measured)]
    print_peaks(title, peaks, failures, ratios)
    facts = {"title": title, "images": batch_size, "update": update, "failures": failures}
    return facts | {"samples": peaks, "ratios": [row._asdict() for row in ratios]}


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """The answer of `memory_probe` in a fresh process, or its "error".

    Raises:
      UserError: ours cannot run.
    """
    command = [sys.executable, "-m", "benchmarks.memory_probe", json.dumps(request)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        lines = found.stderr.strip().splitlines() or [f"exit status {found.returncode}"]
        if request["family"] == OURS:
            raise UserError(f"{request['family']} {request['variant']}: {lines[-1]}")
        return {"error": lines[-1][:200]}
    return json.loads(found.stdout.splitlines()[-1])


def describe_program(row: dict[str, Any]) -> str:
    """What XLA's program of a step needs, in words, and what is beyond it; "" of PyTorch."""
    program = row.get("program")
    if not program:
        return ""
    parts = [f"{name} {size / 1e6:.0f}" for name, size in program.items()]
    if row["training"]:
        parts.append(f"beyond the program {(row['training'] - sum(program.values())) / 1e6:.0f}")
    return ", ".join(parts)


def print_peaks(title: str, peaks: dict, failures: dict, ratios: list[harness.Ratio]) -> None:
    """A line a contender, then a line a ratio: above 1 the peer needs more."""
    print(f"\n{title}")
    print(f"{'contender':<40}{'training MB':>12}{'process MB':>12}  XLA's program, MB")
    for name, row in sorted(peaks.items(), key=lambda item: item[1]["training"] or 0):
        cells = [f"{row[key] / 1e6:.0f}" if row[key] else "" for key in ("training", "process")]
        print(f"{name:<40}{cells[0]:>12}{cells[1]:>12}  {describe_program(row)}")
    if any(not row["training"] for row in peaks.values()):
        print("the peak while training needs /proc/self/clear_refs, which is missing here")
    for name, reason in failures.items():
        print(f"{name:<40}  could not run: {reason}")
    for row in ratios:
        print(f"{row.peer} needs {row.value:.2f} times the memory of {row.ours}")
    sys.stdout.flush()
