"""2,000 epochs of a tiny set: memory, open files, threads and time of an epoch stay as they are."""

import csv
import os
import re
import statistics
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, command_line

from jaxcolor.data import demo

EPOCHS = 2000
SETTLED = 200  # epochs after which everything has been loaded, compiled and cached
# TensorStore keeps 22 kB of each checkpoint that Orbax writes with it.
LEAK = 30e3  # bytes an epoch


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
        "train.epochs": EPOCHS,
    }
    command, seen = command_line(place / "run", changes), {}
    with (place / "errors").open("w") as errors:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT
        )
        for line in process.stdout:
            found = re.match(rf"epoch +(\d+)/{EPOCHS}", line)
            if found and int(found[1]) % 20 == 0:
                seen[int(found[1])] = look_at(process)
    assert process.wait() == 0, (place / "errors").read_text()
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
    first = statistics.median(seconds[SETTLED : 2 * SETTLED])
    last = statistics.median(seconds[-SETTLED:])
    print(
        f"resident {memory[0] / 1e6:.0f} MB, at last {memory[-1] / 1e6:.0f}; {slope / 1e3:.1f} kB "
        f"an epoch; files {files.min()}..{files.max()}; threads {threads.min()}..{threads.max()}; "
        f"epoch {1e3 * first:.0f} ms, at last {1e3 * last:.0f} ms"
    )
    assert slope < LEAK
    half = len(epochs) // 2
    for counts in (files, threads):
        assert counts[half:].max() <= counts[:half].max() + 2
    assert last < 1.5 * first  # other work on the machine comes and goes
