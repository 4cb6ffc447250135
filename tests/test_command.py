"""The command as a user runs it: a whole training, kills, resumes, and every error as one line."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings

import filelock
import jax
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from jaxcolor.command import errors_as_lines
from jaxcolor.training.checkpoints import Checkpoints

EPOCH_STEPS = 12  # 24 pictures in batches of 2


def finish(process, status=0):
    """Standard output and error of a run that must end with `status`."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == status, f"status {process.returncode}:\n{output}\n{errors}"
    assert "Traceback" not in errors
    return output, errors


def stored_state(workdir, step=None):
    """The newest (or given) checkpoint's arrays by path, as they lie on disk."""
    import orbax.checkpoint as ocp

    steps = [int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()]
    path = workdir / "checkpoints" / str(max(steps) if step is None else step) / "state"
    with ocp.PyTreeCheckpointer() as checkpointer, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that no sharding is asked for
        tree = checkpointer.restore(path)
    return {jax.tree_util.keystr(key): np.asarray(x) for key, x in jax.tree.leaves_with_path(tree)}


def logged_rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def wait_for_step(workdir, step, process):
    """Returns when a complete checkpoint of at least `step` is there."""
    directory = workdir / "checkpoints"
    for _ in range(60_000):
        names = [path.name for path in directory.iterdir()] if directory.exists() else []
        if any(name.isdigit() and int(name) >= step for name in names):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    raise AssertionError(f"no checkpoint of step {step}")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Workdir of `test_a_whole_run`, 6 epochs, which others compare theirs with."""
    return tmp_path_factory.mktemp("undisturbed")


LONG = {"train__epochs": 6, "checkpoint__every_steps": 5}


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
    "number",
    [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT],
)
def test_a_stopped_run_ends_bit_identical(start, undisturbed, tmp_path, number):
    """Stopped in the middle of an epoch and started again; SIGKILL gives no chance to save."""
    process = start(tmp_path, **LONG)
    wait_for_step(tmp_path, EPOCH_STEPS + 3, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    if number != signal.SIGKILL:
        assert re.search(r"stopped at step \d+, saved in .*: run the same command", errors)
    output, _ = finish(start(tmp_path, **LONG))
    step = int(re.search(r"resuming .* at step (\d+) of 72", output)[1])
    assert EPOCH_STEPS < step < 72
    expected, found = stored_state(undisturbed), stored_state(tmp_path)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    rows = logged_rows(tmp_path)
    reference = logged_rows(undisturbed)
    last = [row for row in rows if row["kind"] == "validation"]
    assert last == [row for row in reference if row["kind"] == "validation"]


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


def test_dry_run_describes_and_writes_nothing(start, tmp_path):
    output, _ = finish(start(tmp_path / "none", "--dry_run"))
    assert '"base_width": 4' in output
    assert "UNet Summary" in output
    assert "PatchGAN Summary" in output
    assert re.search(r"training step: \d+\.\d GFLOP per image", output)
    assert re.search(r"memory of a step: about \d+ MB on each of 1 devices", output)
    assert not (tmp_path / "none").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(start, tmp_path):
    options = {"train__epochs": 9, "checkpoint__every_steps": 1, "train__log_every": 4}
    rates = {
        "generator_optimizer__learning_rate": 1e20,
        "generator_optimizer__schedule": "constant",
    }
    process = start(tmp_path, **options, **rates)
    _, errors = finish(process, status=1)
    found = re.search(r"^error: step (\d+): .*(nan|inf).*", errors)
    assert found, errors
    assert int(found[1]) <= 12
    good = re.search(r"the last good checkpoint is step (\d+)", errors)
    if good:
        values = stored_state(tmp_path, int(good[1]))
        assert int(values["['step']"]) == int(good[1]) < int(found[1])
        assert all(np.isfinite(value).all() for value in values.values())


def test_a_single_step_to_infinity_is_not_saved(start, tmp_path):
    """The losses of the only step are finite: they describe the parameters before it."""
    rates = {"generator_optimizer__learning_rate": 1e30, "train__batch_size": 24}
    _, errors = finish(start(tmp_path, train__epochs=1, **rates), status=1)
    assert re.match(r"error: step 1: validation l1 = nan; none was saved", errors)
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()]


def test_a_damaged_checkpoint_is_one_line_that_names_it(start, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "run")
    options = LONG | {"train__epochs": 7}
    for path in (tmp_path / "run" / "checkpoints" / "72" / "state" / "d").iterdir():
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    process = start(tmp_path / "run", **options)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert errors.count("\n") == 1, errors
    assert re.search(r"error: checkpoint in .*/72 could not be read: remove the damaged", errors)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "72")
    output, _ = finish(start(tmp_path / "run", **options))
    assert "resuming" in output


def test_damaged_logs_do_not_stop_a_resume(start, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_bytes(b"\xff\xfe garbage")
    (tmp_path / "run" / "timing.csv").write_text("epoch,ste")
    output, _ = finish(start(tmp_path / "run", **LONG | {"train__epochs": 7}))
    assert output.splitlines()[-1].split()[:2] == ["7", "12"]


def test_two_runs_cannot_share_a_workdir(start, tmp_path):
    with filelock.FileLock(tmp_path / ".lock"):
        _, errors = finish(start(tmp_path), status=1)
    assert re.fullmatch(r"error: workdir .* is in use by another run: .*\n", errors)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_picture_that_breaks_off_is_named_and_nothing_is_lost(start, pictures, tmp_path, split):
    broken = tmp_path / "pictures"
    shutil.copytree(pictures, broken)
    path = sorted((broken / split).iterdir())[-1]
    path.write_bytes(path.read_bytes()[:200])
    options = {"train__epochs": 4, "data__path": broken}
    _, errors = finish(start(tmp_path / "run", **options), status=1)
    assert errors.startswith("error: ")
    assert str(path) in errors
    assert errors.count("\n") == 1
    shutil.copy(pictures / split / path.name, path)
    assert (tmp_path / "run" / "checkpoints").exists()
    output, _ = finish(start(tmp_path / "run", **options))
    assert "resuming" in output
    assert "epoch 4/4" in output


def test_few_broken_pictures_are_replaced_named_once_and_counted(start, pictures, tmp_path):
    broken = tmp_path / "pictures"
    shutil.copytree(pictures, broken)
    for split in ("train", "val"):
        path = sorted((broken / split).iterdir())[1]
        path.write_bytes(path.read_bytes()[:200])
    options = {"data__path": broken, "data__max_bad_fraction": 0.2}
    output, errors = finish(start(tmp_path / "run", **options))
    lines = [line for line in output.splitlines() if line.startswith("left out: ")]
    assert len(lines) == 2
    assert {re.search(r"pictures/(train|val)/", line)[1] for line in lines} == {"train", "val"}
    with (tmp_path / "run" / "timing.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["replaced_pictures"] for row in rows] == ["2", "2"]
    assert "| 2 unreadable pictures replaced" in output
    assert "PROBLEM in train: 1 " not in errors


def test_pictures_of_any_size_with_conditions_made_from_them(start, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(12):
        size = rng.integers(20, 90, 2)
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        path = tmp_path / "pictures" / ("sub folder" if number % 2 else "") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    options = {"data__condition": "luma", "data__fit": "crop", "data__validation_fraction": 0.3}
    output, _ = finish(start(tmp_path / "run", data__path=tmp_path / "pictures", **options))
    assert "epoch 2/2" in output
    sample = np.asarray(Image.open(tmp_path / "run" / "samples" / "epoch_0002.png"))
    assert sample.std() > 10


def test_the_last_batch_of_an_epoch_is_not_lost(start, tmp_path):
    """24 pictures in batches of 5: 4, 5, 5, 5 and 5 steps an epoch make five passes exactly."""
    options = {"train__batch_size": 5, "train__epochs": 5}
    finish(start(tmp_path / "run", **options))
    with (tmp_path / "run" / "timing.csv").open() as file:
        assert [row["steps"] for row in csv.DictReader(file)] == ["4", "5", "5", "5", "5"]


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(start, tmp_path):
    """On a file system of 6 MB; skipped where none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        small = {"checkpoint__keep_last": 1, "checkpoint__keep_best": 0, "train__epochs": 3}
        finish(start(disk / "run", **small))
        _, errors = finish(start(disk / "run", **small | {"checkpoint__keep_last": 90}), 0)
        _, errors = finish(start(disk / "other", checkpoint__keep_last=90), 1)
        assert re.match(r"error: workdir .* checkpoints of .* MB do not fit", errors)
        filler = disk / "filler"
        process = start(disk / "run", **small | {"train__epochs": 60})
        wait_for_step(disk / "run", 4 * EPOCH_STEPS, process)
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(6_000_000))
        _, errors = finish(process, status=1)
        assert re.match(r"error: .*(No space left|could not be written)", errors), errors
        assert errors.count("\n") == 1
        filler.unlink()
        output, _ = finish(start(disk / "run", **small | {"train__epochs": 60}))
        assert "resuming" in output
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nx"),
            "error: the memory does not suffice: lower --batch_size (RESOURCE_EXHAUSTED: Out of "
            "memory allocating 9 bytes.)\n",
        ),
        (MemoryError(), "error: the memory does not suffice: lower --batch_size (out of memory)\n"),
        (KeyboardInterrupt(), "stopped\n"),
    ],
)
def test_too_little_memory_and_ctrl_c_are_one_line(capsys, error, line):
    with errors_as_lines() as status:
        raise error
    assert capsys.readouterr().err == line
    assert status == [130 if isinstance(error, KeyboardInterrupt) else 1]


def test_other_errors_of_the_device_are_not_hidden():
    with pytest.raises(jax.errors.JaxRuntimeError), errors_as_lines():
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")


def test_a_file_that_cannot_be_written_is_one_line_where_files_are_expected(capsys):
    with errors_as_lines(files="the results") as status:
        raise PermissionError(13, "Permission denied", "a\nb.png")
    assert status[0] == 1
    assert capsys.readouterr().err == "error: a?b.png: Permission denied\n"
    with errors_as_lines(files="the results") as status:
        raise OSError(28, "No space left on device")
    assert capsys.readouterr().err == "error: the results: No space left on device\n"
    with pytest.raises(OSError, match="No space"), errors_as_lines():
        raise OSError(28, "No space left on device")


def test_ctrl_c_while_importing_is_quiet(environment):
    program = """if True:
        import os, signal, sys
        from jaxcolor import __main__
        class Finder:
            def find_spec(self, name, *rest):
                if name == "jax":
                    try:
                        os.kill(os.getpid(), signal.SIGINT)
                    except BaseException:
                        raise ImportError("as libraries do") from None
        sys.meta_path.insert(0, Finder())
        sys.exit(__main__.main(["evaluate"]))
    """
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "")


def write_pair(directory, name, size=(64, 32)):
    for split in ("train", "val"):
        (directory / split).mkdir(parents=True, exist_ok=True)
        for index in range(4):
            Image.new("RGB", size, (index, 2, 3)).save(directory / split / f"{index}-{name}")
    return directory


def empty_train(directory):
    (directory / "train").mkdir()
    (directory / "val").mkdir()
    return directory


def without_train(directory):
    write_pair(directory, "a.png")
    shutil.rmtree(directory / "train")
    return directory


def odd_width(directory):
    return write_pair(directory, "a.png", (63, 32))


def no_picture(directory):
    write_pair(directory, "a.png")
    (directory / "train" / "text.png").write_text("text")
    return directory


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda directory: directory / "missing", "missing"),
        (empty_train, "train"),
        (without_train, "val but none named train"),
        (odd_width, "63"),
        (no_picture, "text.png"),
    ],
)
def test_pictures_that_cannot_be_used_are_one_line(start, tmp_path, make, message):
    path = make(tmp_path)
    _, errors = finish(start(tmp_path / "run", data__path=path), status=1)
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors
    assert str(tmp_path) in errors


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train__epoch": 3}, "epoch"),
        ({"trian__epochs": 3}, "trian"),
        ({"train__epochs": "three"}, "three"),
        ({"data__image_size": 100}, "image_size 100 must be a power of two"),
        ({"data__image_size": 8}, "image_size 8"),
        ({"data__target_side": "middle"}, "target_side"),
        ({"augment__load_size": 16}, "load_size 16"),
        ({"data__source": "folder"}, "data.source 'folder' must be one of"),
        ({"data__fit": "squash"}, "data.fit 'squash' must be one of"),
        ({"data__line_strength": "(1,)"}, "data.line_strength"),
        ({"losses__l1": "nan"}, "losses.l1 must be finite"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**70}, "seed"),
    ],
)
def test_config_mistakes_are_one_line(start, tmp_path, overrides, message):
    process = start(tmp_path / "run", **overrides)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (1, 2)
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1, errors
    assert message in errors
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_workdir_that_cannot_be_made_is_one_line(start, tmp_path):
    (tmp_path / "file").write_text("")
    _, errors = finish(start(tmp_path / "file" / "run"), status=1)
    assert re.fullmatch(r"error: workdir .*file/run cannot be written \(.*\): .*\n", errors)


def test_the_config_flag_is_required_and_must_name_a_config(environment, tmp_path):
    for flags, message in (
        ([], "--config is required"),
        (["--config=nowhere.py"], "--config nowhere.py: no such file"),
        (["--config", "tests"], "--config tests: no such file"),
        (["--config=configs/pix2pix.py", "--workdri=x"], "workdri"),
        (["--config=configs/pix2pix.py", "stray"], "stray"),
        (["--config=configs/pix2pix.py", "--config.data.nope=1"], "key data.nope is unknown"),
    ):
        command = [sys.executable, "run.py", *flags]
        found = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
        assert found.returncode == 2
        assert found.stderr.startswith("error: ")
        assert found.stderr.count("\n") == 1, found.stderr
        assert message in found.stderr


def test_jaxcolor_train_hands_on_the_flags_as_run_py_does(environment):
    """Both programs with the training itself replaced by one that prints what it was given."""
    replaced = (
        "import runpy, sys; from jaxcolor import command\n"
        "def train(config, overridden, workdir, *, dry_run):\n"
        "    print(config.train.epochs, list(overridden), workdir, dry_run)\n"
        "    return 3\n"
        "command.train = train\n"
    )
    words = ["--config=configs/pix2pix.py", "--config.train.epochs=7", "--workdir=x", "--dry_run"]
    environment = environment | {"GLIBC_TUNABLES": ""}  # or they would start anew
    for name, run in (
        ("run.py", "runpy.run_path('run.py', run_name='__main__')"),
        ("jaxcolor", "from jaxcolor.__main__ import main; sys.argv.insert(1, 'train'); main()"),
    ):
        program = [sys.executable, "-c", f"{replaced}sys.argv[0] = {name!r}; {run}", *words]
        found = subprocess.run(program, capture_output=True, text=True, env=environment, cwd=ROOT)
        assert found.returncode == 3, found.stderr
        assert found.stdout == "7 ['train.epochs'] x True\n"
