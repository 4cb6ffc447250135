"""A whole training, and ones that are stopped, killed, damaged, and run again."""

import csv
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from processes import EPOCH_STEPS, finish, logged_rows, stored_state, wait_for_step

from jaxcolor.training.checkpoints import Checkpoints


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Workdir of `test_a_whole_run`, 6 epochs, which others compare theirs with."""
    return tmp_path_factory.mktemp("undisturbed")


LONG = {"train__epochs": 6, "checkpoint__every_steps": 5}


def assert_same_state(ours, theirs):
    """That the newest checkpoints of two workdirs are the same to the bit."""
    ours, theirs = stored_state(ours), stored_state(theirs)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        np.testing.assert_array_equal(theirs[key], value, err_msg=key)


def test_a_whole_run(start, undisturbed):
    output, _ = finish(start(undisturbed, **LONG))
    assert "24 pictures to train on, 5 to validate on" in output
    assert len(re.findall(r"^epoch \d/6: .*images/s, waiting for data", output, re.M)) == 6
    with (undisturbed / "timing.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == list("123456")
    assert all(row["steps"] == str(EPOCH_STEPS) for row in rows)
    assert float(rows[0]["compile_seconds"]) > 0
    assert float(rows[1]["compile_seconds"]) == 0
    metrics = logged_rows(undisturbed)
    validation = [row for row in metrics if row["kind"] == "validation"]
    assert [row["step"] for row in validation] == [EPOCH_STEPS * n for n in range(1, 7)]
    assert validation[-1]["l1"] < 0.9 * validation[0]["l1"]
    assert {"generator/l1", "discriminator/accuracy_real", "generator/learning_rate"} <= set(
        metrics[0]
    )
    sheets = sorted(path.name for path in (undisturbed / "samples").iterdir())
    assert sheets == [f"epoch_{n:04d}.png" for n in range(1, 7)]
    kept = sorted(int(path.name) for path in (undisturbed / "checkpoints").iterdir())
    best = min(validation, key=lambda row: row["l1"])["step"]
    assert kept == sorted({70, 72, best})


def test_the_finished_run_is_left_alone(start, undisturbed):
    before = stored_state(undisturbed)
    output, _ = finish(start(undisturbed, **LONG))
    assert "is trained: 6 epochs" in output
    after = stored_state(undisturbed)
    assert all((before[key] == after[key]).all() for key in before)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, 75),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_ends_bit_identical(start, undisturbed, tmp_path, number, status):
    """Stopped in the middle of an epoch and started again."""
    process = start(tmp_path, **LONG)
    wait_for_step(tmp_path, EPOCH_STEPS + 3, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert re.search(r"stopped at step \d+, saved in .*: run the same command", errors)
    output, _ = finish(start(tmp_path, **LONG))
    step = int(re.search(r"resuming .* at step (\d+) of 72", output)[1])
    assert EPOCH_STEPS < step < 72
    assert_same_state(undisturbed, tmp_path)
    rows = logged_rows(tmp_path)
    reference = logged_rows(undisturbed)
    last = [row for row in rows if row["kind"] == "validation"]
    assert last == [row for row in reference if row["kind"] == "validation"]


class Chaos:
    """Kills a training at random moments.

    Attributes:
      kills: how many so far.
      while_writing: how many of them came while a checkpoint was being written.
    """

    def __init__(self, start, workdir, seed):
        self._start, self._workdir, self._rng = start, workdir, np.random.default_rng(seed)
        self.kills = self.while_writing = 0

    def kill_one(self, **options):
        """Starts a run and kills it: in its start, between steps, or while it writes."""
        directory = self._workdir / "checkpoints"
        before = max(complete(directory), default=0)
        process = self._start(self._workdir, **options)
        moment = self._rng.choice(["start", "steps", "writing", "writing"])
        if moment == "start" and self.kills:
            time.sleep(self._rng.uniform(0, 6))
        else:
            wait_for_step(self._workdir, before + 1, process)
            time.sleep(self._rng.uniform(0, 0.3))
            if moment == "writing":
                wait_until(lambda: unfinished(directory))
                time.sleep(self._rng.uniform(0, 0.03))
        process.send_signal(signal.SIGSTOP)  # so that what is counted is what is killed
        self.while_writing += bool(unfinished(directory))
        process.kill()
        process.communicate()
        self.kills += 1


def complete(directory):
    """The steps of the checkpoints that are there."""
    names = [path.name for path in directory.iterdir()] if directory.exists() else []
    return [int(name) for name in names if name.isdigit()]


def unfinished(directory):
    """The checkpoints that are being written."""
    return list(directory.glob("*.orbax-checkpoint-tmp"))


def wait_until(is_so, seconds=60):
    """Returns once it is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.001)


def assert_chaos_changes_nothing(start, whole, workdir, kills, **options):
    """That a training killed so often ends as `whole` did, and no checkpoint is damaged."""
    chaos, options = Chaos(start, workdir, seed=kills), options | {"checkpoint__every_steps": 1}
    while chaos.kills < kills:
        chaos.kill_one(**options)
    finish(start(workdir, **options))
    print(f"{chaos.while_writing} of {chaos.kills} kills came while a checkpoint was written")
    assert chaos.while_writing
    assert not (workdir / "damaged").exists()
    assert_same_state(whole, workdir)


def test_chaos_changes_no_bit(start, undisturbed, tmp_path):
    assert_chaos_changes_nothing(start, undisturbed, tmp_path, kills=4, **LONG)


@pytest.mark.slow
def test_much_chaos_changes_no_bit(start, tmp_path):
    options = LONG | {"train__epochs": 40}
    finish(start(tmp_path / "whole", **options))
    assert_chaos_changes_nothing(start, tmp_path / "whole", tmp_path / "run", kills=30, **options)


def stacks(workdir):
    """All that the watchdog wrote."""
    return "".join(path.read_text() for path in workdir.glob("stacks-*.txt"))


@pytest.mark.parametrize("what", ["vanishes", "hangs"])
def test_a_picture_that_cannot_be_read_for_a_while_changes_no_bit(
    start, undisturbed, pictures, tmp_path, what
):
    """As on a network share: it stops the run, or it hangs until the run is stopped."""
    shutil.copytree(pictures, tmp_path / "pictures")
    options = LONG | {"data__path": tmp_path / "pictures"}
    watched = {"train__watchdog_seconds": 4.0} if what == "hangs" else {}
    process = start(tmp_path / "run", **options, **watched)
    wait_for_step(tmp_path / "run", EPOCH_STEPS, process)
    path = sorted((tmp_path / "pictures" / "train").iterdir())[5]
    path.rename(tmp_path / path.name)
    if what == "hangs":
        os.mkfifo(path)
        wait_until(lambda: "waiting for data" in stacks(tmp_path / "run"))
        process.terminate()
    _, errors = process.communicate(timeout=30)
    if what == "hangs":
        assert process.returncode == 75
        assert re.search(r"^warning: waiting for data after step \d+ has taken more", errors, re.M)
        assert "data/pictures.py" in stacks(tmp_path / "run")
        path.unlink()
    else:
        assert process.returncode == 1
        assert re.fullmatch(rf"error: .*{path.name}.*\n", errors), errors
    (tmp_path / path.name).rename(path)
    output, _ = finish(start(tmp_path / "run", **options))
    assert "resuming" in output
    assert_same_state(undisturbed, tmp_path / "run")


def test_more_epochs_go_on_and_another_network_does_not(start, undisturbed, tmp_path):
    workdir = tmp_path / "copy"
    shutil.copytree(undisturbed, workdir)
    output, _ = finish(start(workdir, **LONG | {"train__epochs": 7}))
    assert "resuming" in output
    assert "epoch 7/7" in output
    _, errors = finish(start(workdir, **LONG, generator__base_width=6), status=1)
    assert "generator.base_width is 6, was 4" in errors
    assert errors.count("\n") == 1


def test_init_from_takes_the_best_weights_and_nothing_else(start, undisturbed, tmp_path):
    output, _ = finish(
        start(
            tmp_path, init_from=undisturbed, train__epochs=1, generator_optimizer__learning_rate=0.0
        )
    )
    with Checkpoints(undisturbed / "checkpoints", read_only=True) as checkpoints:
        best = checkpoints.best()
    assert f"starting from the weights of {undisturbed}, step {best}" in output
    expected, found = stored_state(undisturbed, best), stored_state(tmp_path)
    weights = [key for key in expected if key.startswith("['generator']['params']")]
    assert len(weights) > 5
    for key in weights:
        np.testing.assert_array_equal(found[key], expected[key])
    assert found["['step']"] == EPOCH_STEPS
    _, errors = finish(start(tmp_path / "b", init_from=undisturbed, generator__base_width=6), 1)
    assert "has other networks: generator.base_width is 6, there 4" in errors


def test_a_flipped_byte_costs_no_more_than_the_steps_since_the_checkpoint_before(
    start, undisturbed, tmp_path
):
    shutil.copytree(undisturbed, tmp_path / "run")
    arrays = (tmp_path / "run" / "checkpoints" / "72" / "state").rglob("*")
    path = max(filter(Path.is_file, arrays), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    output, _ = finish(start(tmp_path / "run", **LONG))
    said = r"^checkpoint 72 is damaged \(state/.* differs\): moved to .*damaged/72, .* one is 70$"
    assert re.search(said, output, re.M)
    assert re.search(r"resuming .* at step 70 of 72", output)
    assert_same_state(undisturbed, tmp_path / "run")
    assert (tmp_path / "run" / "damaged" / "72").is_dir()


def test_damaged_logs_do_not_stop_a_resume(start, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_bytes(b"\xff\xfe garbage")
    (tmp_path / "run" / "timing.csv").write_text("epoch,ste")
    output, _ = finish(start(tmp_path / "run", **LONG | {"train__epochs": 7}))
    assert output.splitlines()[-1].split()[:2] == ["7", "12"]
