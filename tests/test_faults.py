"""Disks, directories and clocks that fail in the middle of a training: one line, and no harm."""

import contextlib
import csv
import itertools
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT, SHIPPED_ENVIRONMENT
from small_training import assert_same, fresh_state, train, train_with, training_batches

from jaxcolor import hosts, runner
from jaxcolor.command import errors_as_lines
from jaxcolor.errors import WorkdirError
from jaxcolor.settings import CheckpointSettings
from jaxcolor.training import checkpoints
from jaxcolor.training.checkpoint_files import find_damage

RUNNER = SimpleNamespace(settings=SimpleNamespace(checkpoint=CheckpointSettings()), config={})


@pytest.fixture
def run(monkeypatch, capfd):
    """Trains as the command does; the exit status and what it says on standard error."""

    def run_in(workdir, **options):
        monkeypatch.setattr(
            runner, "_run", lambda _, workdir, found: train_with(found, workdir, **options)
        )
        with errors_as_lines() as status:
            runner.run(RUNNER, workdir)
        return status[0], capfd.readouterr().err

    return run_in


def batches_with(act, at):
    """`open_batches` that calls `act` before it gives the batch of step `at`."""

    def open_batches(step):
        for number, batch in enumerate(training_batches(step), step):
            if number == at:
                act()
            yield batch

    return open_batches


def fill(workdir):
    """Files can hardly grow any more; standard output and error are pipes."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit))


def seal(workdir):
    """Nothing in the workdir may be written any more."""
    for folder, _, names in os.walk(workdir):
        with contextlib.suppress(FileNotFoundError):  # of a checkpoint being written
            os.chmod(folder, 0o555)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(os.path.join(folder, name), 0o444)


def unseal(workdir):
    """It may."""
    for path in [workdir, *workdir.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def delete(workdir):
    """The workdir is gone."""
    shutil.rmtree(workdir)


def once_saved(act, workdir):
    """Acts once the checkpoint of the first epoch is complete."""
    end = time.monotonic() + 60
    while not (workdir / "checkpoints" / "4").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    act(workdir)


PROGRAM = """if True:
    import sys
    from pathlib import Path
    import test_faults
    from jaxcolor import runner
    from jaxcolor.command import errors_as_lines, set_up_jax
    from small_training import train_with

    workdir, act = Path(sys.argv[1]), getattr(test_faults, sys.argv[2])
    log_every, every_steps = map(int, sys.argv[3:])
    batches = test_faults.batches_with(lambda: test_faults.once_saved(act, workdir), at=5)
    runner._run = lambda _, workdir, found: train_with(
        found, workdir, open_batches=batches, log_every=log_every, every_steps=every_steps
    )
    with errors_as_lines() as status:
        set_up_jax()
        runner.run(test_faults.RUNNER, workdir)
    sys.exit(status[0])
"""


# Has the program that follows, though it be root's, write only where it is allowed to: without
# CAP_DAC_OVERRIDE (1) after PR_CAPBSET_DROP (24), in force from the exec on.
OBEYING = """if True:
    import ctypes, os, sys
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
    os.execv(sys.argv[1], sys.argv[1:])
"""


def train_until(act, workdir, *, log_every, every_steps=0):
    """What a training says on standard error that `act` befalls before step 6; it ends with 1."""
    environment = SHIPPED_ENVIRONMENT | {"JAX_PLATFORMS": "cpu"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    environment |= {"JAXCOLOR_CACHE": str(workdir.parent / "cache")}
    options = [act.__name__, str(log_every), str(every_steps)]
    command = [sys.executable, "-c", PROGRAM, str(workdir), *options]
    if act is seal:
        command = [sys.executable, "-c", OBEYING, *command]
    pipes = {"capture_output": True, "text": True, "timeout": 100}
    done = subprocess.run(command, env=environment, check=False, **pipes)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("options", "what"),
    [({"log_every": 1}, "workdir"), ({"log_every": 50, "every_steps": 1}, "checkpoint in")],
)
def test_a_full_disk_is_one_line_and_what_was_saved_stays(tmp_path, options, what):
    """The log is the first that cannot be written, or the checkpoint is."""
    line = train_until(fill, tmp_path / "a", **options)
    assert line.startswith(f"error: {what} {tmp_path}/a")
    assert "File too large" in line
    assert find_damage(tmp_path / "a" / "checkpoints" / "4") is None
    assert_same(train(tmp_path / "a"), train(tmp_path / "b"))


@pytest.mark.skipif(sys.platform != "linux", reason="gives up a capability of Linux")
@pytest.mark.parametrize(("every_steps", "what"), [(0, "workdir"), (1, "checkpoint in")])
def test_a_workdir_made_read_only_is_one_line_and_what_was_saved_stays(tmp_path, every_steps, what):
    try:
        line = train_until(seal, tmp_path / "a", log_every=50, every_steps=every_steps)
    finally:
        unseal(tmp_path / "a")
    assert line.startswith(f"error: {what} {tmp_path}/a")
    assert "Permission denied" in line
    assert find_damage(tmp_path / "a" / "checkpoints" / "4") is None
    assert_same(train(tmp_path / "a"), train(tmp_path / "b"))


def test_a_workdir_that_is_deleted_is_one_line(tmp_path):
    line = train_until(delete, tmp_path / "a", log_every=50)
    assert str(tmp_path / "a") in line


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file or directory", "state"),
        ValueError('NOT_FOUND: Error writing "generator" in OCDBT database at local file "state"'),
    ],
)
def test_a_checkpoint_that_is_removed_while_it_is_written_is_a_plain_line(
    tmp_path, monkeypatch, error
):
    def save(*_, **__):
        raise error

    with checkpoints.Checkpoints(tmp_path) as found:
        monkeypatch.setattr(found._manager, "save", save)
        with pytest.raises(WorkdirError, match=r"written: files have gone meanwhile: was it remov"):
            found.save(1, fresh_state(), {}, None)


def test_checkpoints_that_were_removed_are_not_begun_anew_without_a_word(tmp_path):
    directory = tmp_path / "checkpoints"
    with checkpoints.Checkpoints(directory) as found:
        found.save(1, fresh_state(), {}, None)
        found.wait()
        shutil.rmtree(directory)
        with pytest.raises(WorkdirError, match=r"written: files have gone meanwhile: was it remov"):
            found.save(2, fresh_state(), {}, None)
    assert not directory.exists()


def test_other_hosts_are_told_of_a_disk_what_this_one_says(run, tmp_path, monkeypatch):
    told = []

    @contextlib.contextmanager
    def errors_told():
        try:
            yield
        except Exception as error:
            told.append(f"error: {error}\n")
            raise

    def fail():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hosts, "errors_told", errors_told)
    status, errors = run(tmp_path, open_batches=batches_with(fail, at=2))
    assert (status, errors) == (1, f"error: workdir {tmp_path}: No space left on device\n")
    assert told == [errors]


def test_checksums_that_cannot_be_written_leave_no_checkpoint(run, tmp_path, monkeypatch):
    def write(directory):
        raise OSError(28, "No space left on device")

    ended = []
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_checksums", write)
        patch.setattr(hosts, "end_all", ended.append)
        status, errors = run(tmp_path)
    assert (status, errors.count("\n")) == (1, 1), errors
    assert errors.startswith(f"error: checkpoint in {tmp_path}/checkpoints could not be written: ")
    assert [f"error: {error}\n" for error in ended] == [errors]  # many hosts would hang
    assert "No space left on device" in errors
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()]
    assert run(tmp_path) == (0, "")


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    """By weeks, to and fro, before every step, also while checkpoints are written."""
    expected = train(tmp_path / "a", every_steps=2)
    now, offset, jumps = time.time, [0.0], itertools.cycle([-3e6, 9e5, 0.0, 4e6])
    monkeypatch.setattr(time, "time", lambda: now() + offset[0])
    monkeypatch.setattr(time, "time_ns", lambda: int((now() + offset[0]) * 1e9))

    def open_batches(step):
        for batch in training_batches(step):
            offset[0] = next(jumps)
            yield batch

    options = {"every_steps": 2, "open_batches": open_batches}
    assert_same(train(tmp_path / "b", epochs=2, **options), train(tmp_path / "c", epochs=2))
    assert_same(train(tmp_path / "b", **options), expected)
    with (tmp_path / "b" / "timing.csv").open() as file:
        for row in csv.DictReader(file):
            assert all(0 <= float(row[x]) < 100 for x in row if x.endswith("seconds"))
    monkeypatch.undo()
    assert train(tmp_path / "b", every_steps=2).step == 12


def test_nothing_of_a_training_but_the_events_of_tensorboard_reads_the_clock():
    found = [
        str(path.relative_to(ROOT / "jaxcolor"))
        for path in sorted((ROOT / "jaxcolor").rglob("*.py"))
        if path.parent.name != "gui"  # which compares it with that of files
        and any(word in path.read_text() for word in ("time.time(", "datetime.now", "time_ns("))
    ]
    assert found == ["training/reporting.py"]
