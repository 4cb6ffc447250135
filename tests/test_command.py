"""The command as a user runs it: what it takes, and every error as one line."""

import csv
import re
import shutil
import subprocess
import sys

import filelock
import jax
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from processes import EPOCH_STEPS, finish, stored_state, wait_for_step

from jaxcolor.colorize_command import parser as colorize_parser
from jaxcolor.command import errors_as_lines


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


def test_options_are_taken_with_hyphens_and_with_underscores():
    words = ["x_y", "--model=a_b", "--out", "c_d"]
    found = colorize_parser().parse_args([*words, "--render-size=5", "--skip_existing"])
    assert found == colorize_parser().parse_args([*words, "--render_size=5", "--skip-existing"])
    assert (found.render_size, found.skip_existing, found.model) == (5, True, "a_b")
    assert (found.inputs, found.out) == (["x_y"], "c_d")
    _, rest = colorize_parser().parse_known_args([*words, "--data.fit_x=a_b"])
    assert rest == ["--data.fit_x=a_b"]


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
        "def train(config, overridden, workdir, *, dry_run, address):\n"
        "    print(config.train.epochs, list(overridden), workdir, dry_run, *address)\n"
        "    return 3\n"
        "command.train = train\n"
    )
    words = ["--config=configs/pix2pix.py", "--config.train.epochs=7", "--workdir=x", "--dry_run"]
    words += ["--coordinator=here:1", "--num_processes=2", "--process_id=1"]
    environment = environment | {"GLIBC_TUNABLES": ""}  # or they would start anew
    for name, run in (
        ("run.py", "runpy.run_path('run.py', run_name='__main__')"),
        ("jaxcolor", "from jaxcolor.__main__ import main; sys.argv.insert(1, 'train'); main()"),
    ):
        program = [sys.executable, "-c", f"{replaced}sys.argv[0] = {name!r}; {run}", *words]
        found = subprocess.run(program, capture_output=True, text=True, env=environment, cwd=ROOT)
        assert found.returncode == 3, found.stderr
        assert found.stdout == "7 ['train.epochs'] x True here:1 2 1\n"
