"""python -m benchmarks NAME: times jaxcolor and its peers in turns, on the device at hand.

python -m benchmarks train_step --quick
python -m benchmarks train_step --batch 1 4 --dtype float32 bfloat16 --out benchmarks/results
python -m benchmarks all
python -m benchmarks report
"""

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from benchmarks import (
    checkpoint,
    conv_lowering,
    end_to_end,
    inference,
    input_pipeline,
    memory,
    options,
    preemption,
    profiling,
    records,
    report,
    scaling,
    scaling_model,
    startup,
    train_step,
)
from jaxcolor.command import errors_as_lines
from jaxcolor.training.stopping import Interrupted

BENCHMARKS = {
    "train_step": train_step,
    "inference": inference,
    "memory": memory,
    "profile": profiling,
    "end_to_end": end_to_end,
    "input_pipeline": input_pipeline,
    "checkpoint": checkpoint,
    "startup": startup,
    "preemption": preemption,
    "scaling": scaling,
    "conv_lowering": conv_lowering,
}


def main() -> int:
    """Runs what the command line names; returns the exit status."""
    chosen = options.parse(BENCHMARKS, about=__doc__)
    with errors_as_lines(batch_size="--batch or --batch_size", files=chosen.out) as status:
        status[0] = _run(chosen)
    return status[0]


def _run(chosen: Namespace) -> int:
    if chosen.benchmark == "report":
        report.write_report(Path(chosen.out), quick=chosen.quick)
        if not chosen.quick and chosen.out == options.FOLDER:
            return scaling_model.main(["--write"])
        return 0
    if chosen.benchmark == "all":
        return run_all(chosen.out, quick=chosen.quick)
    # PyTorch and jax share a GPU here: neither may take all its memory at once.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # Read when PyTorch is first imported. Threads that wait by spinning take the cores from the
    # others' work: on a busy machine with 2 cores this alone made PyTorch ten times slower.
    os.environ["OMP_WAIT_POLICY"] = getattr(chosen, "omp_wait_policy", "passive").upper()
    tables = BENCHMARKS[chosen.benchmark].tables(chosen)
    try:
        result = records.record(chosen.benchmark, tables, chosen)
    except Interrupted:  # of end_to_end, which does not keep the run that this tells to go on with
        raise KeyboardInterrupt from None
    shortfall = ""
    if getattr(chosen, "at_least", None) is not None:
        shortfall = train_step.shortfall(result, chosen.at_least)
    if shortfall:
        sys.stderr.write(f"error: {shortfall}\n")
    return int(bool(shortfall))


def run_all(folder: str, *, quick: bool) -> int:
    """Every benchmark in a fresh process, one after the other; 1 if any failed, naming them.

    So one's memory and threads do not disturb the next.
    """
    failed = []
    for name in BENCHMARKS:
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", "benchmarks", name, "--out", folder]
        if subprocess.run(command + ["--quick"] * quick, check=False).returncode:
            failed.append(name)
    if failed:
        sys.stderr.write(f"error: failed: {', '.join(failed)}\n")
    return int(bool(failed))
