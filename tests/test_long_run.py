"""2,000 epochs of a tiny set: memory, open files, threads and time of an epoch stay as they are."""

import csv
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, command_line

from jaxcolor.data import demo

EPOCHS = 2000
SETTLED = 200  # epochs after which everything has been loaded, compiled and cached
EVERY = 20  # epochs between looks at the process
COMPARED = 600  # epochs at either end: other work on the machine comes and goes
# Measured: 32 and 36 kB. TensorStore's bindings never free 39 kB of each checkpoint, in the counts
# and specifications that Orbax asks them for.
LEAK = 50e3  # bytes an epoch, with a checkpoint every second one


def look_at(process):
    """(resident bytes, open files, threads) of a running process."""
    place = Path("/proc") / str(process.pid)
    status = (place / "status").read_text()
    kilobytes, threads = (
        int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in ("VmRSS", "Threads")
    )
    return 1024 * kilobytes, len(os.listdir(place / "fd")), threads


def train(place, environment):
    """(what `look_at` saw, by epoch; seconds of each epoch) of a run to its end."""
    demo.write_demo_set(place / "pictures", train=4, validation=2, size=16, seed=3)
    changes = {
        "data.path": place / "pictures",
        "data.image_size": 16,
        "augment.load_size": 18,
        "evaluation.samples": 1,
        "checkpoint.every_epochs": 2,
        "train.epochs": EPOCHS,
    }
    command, seen = command_line(place / "run", changes), {}
    options = {"stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with (
        (place / "errors").open("w") as errors,
        subprocess.Popen(command, env=environment, stderr=errors, **options) as process,
    ):
        for line in process.stdout:
            found = re.match(rf"epoch +(\d+)/{EPOCHS}", line)
            if found and int(found[1]) % EVERY == 0:
                seen[int(found[1])] = look_at(process)
    assert process.returncode == 0, (place / "errors").read_text()
    parts = ("seconds", "validation_seconds", "checkpoint_seconds")
    with (place / "run" / "timing.csv").open(newline="") as file:
        return seen, [sum(float(row[part]) for part in parts) for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads Linux's /proc")
def test_a_long_run_neither_grows_nor_slows(environment, tmp_path):
    seen, seconds = train(tmp_path, environment)
    assert len(seconds) == EPOCHS
    epochs = np.array([epoch for epoch in seen if SETTLED <= epoch < EPOCHS])
    memory, files, threads = np.array([seen[epoch] for epoch in epochs]).T
    slope = np.polyfit(epochs, memory, 1)[0]
    ends = seconds[SETTLED:][:COMPARED], seconds[-COMPARED:]
    # The tenth of each that was disturbed the least.
    (first, usual), (last, usual_at_last) = (np.quantile(end, (0.1, 0.5)) for end in ends)
    print(
        f"resident {memory[0] / 1e6:.0f} MB, at last {memory[-1] / 1e6:.0f}; {slope / 1e3:.1f} kB "
        f"an epoch; files {files.min()}..{files.max()}; threads {threads.min()}..{threads.max()}; "
        f"epoch {1e3 * usual:.0f} ms, at best {1e3 * first:.0f}; at last {1e3 * usual_at_last:.0f} "
        f"ms, at best {1e3 * last:.0f}"
    )
    assert slope < LEAK
    half = len(epochs) // 2
    for counts in (files, threads):
        assert counts[half:].max() <= counts[:half].max() + 2
    assert last < 1.25 * first
