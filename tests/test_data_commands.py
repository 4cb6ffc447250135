"""The commands about pictures as a user runs them, and training from what prepare made."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, SMALL_RUN
from PIL import Image
from processes import finish, stored_state

from jaxcolor.data.prepared import UNFINISHED

CONFIG = ROOT / "configs" / "pix2pix.py"


@pytest.fixture
def command(environment, tmp_path):
    """Runs python -m jaxcolor in `tmp_path`; gives status, standard output and error."""

    def run(*words, **overrides):
        settings = {key: SMALL_RUN[key] for key in ("data.image_size", "augment.load_size")}
        settings |= {key.replace("__", "."): value for key, value in overrides.items()}
        line = [*words, f"--config={CONFIG}"] if words else []
        line += [f"--config.{key}={value}" for key, value in settings.items()] if words else []
        done = subprocess.run(
            [sys.executable, "-m", "jaxcolor", *map(str, line)],
            env=environment | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


def test_check_data_of_sound_pictures(command, pictures, tmp_path):
    status, output, errors = command(
        "check-data", "--json=found.json", "--sheet=sheet.png", data__path=pictures
    )
    assert (status, errors) == (0, "")
    assert "train 24 of 64x32" in output
    assert "nothing amiss" in output
    assert json.loads((tmp_path / "found.json").read_text())["counts"] == {"train": 24, "val": 5}
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    assert sheet.shape[0] > 100
    assert sheet.std() > 10


def test_check_data_names_what_is_wrong_and_fails(command, pictures, tmp_path):
    spoiled = tmp_path / "spoiled"
    shutil.copytree(pictures, spoiled)
    first, second = sorted((spoiled / "train").iterdir())[:2]
    first.write_bytes(first.read_bytes()[:200])
    shutil.copy(second, spoiled / "val" / "leaked.png")
    (spoiled / "train" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    status, output, _ = command("check-data", data__path=spoiled)
    assert status == 1
    for word in (first.stem, "leaked", "gone.png", "2 problems"):
        assert word in output, output
    assert (tmp_path / "check-data.png").exists()
    status, output, _ = command("check-data", "--quick", data__path=spoiled)
    assert "gone.png" in output


def test_a_cache_trains_to_the_bit_like_the_files(command, start, pictures, tmp_path):
    status, output, errors = command("prepare", "--out=cache", data__path=pictures)
    assert (status, errors) == (0, "")
    assert "prepared 24 train and 5 val pictures" in output
    finish(start(tmp_path / "files"))
    finish(start(tmp_path / "cached", data__path=tmp_path / "cache"))
    ours, theirs = stored_state(tmp_path / "files"), stored_state(tmp_path / "cached")
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], name)
    # A run goes on with the other.
    output, _ = finish(start(tmp_path / "files", data__path=tmp_path / "cache", train__epochs=3))
    assert "resuming" in output
    status, output, _ = command("prepare", "--out=cache", data__path=pictures)
    assert status == 0
    assert "is complete" in output
    status, output, _ = command("check-data", data__path=tmp_path / "cache")
    assert status == 0, output
    shard = next((tmp_path / "cache").glob("train*.array_record"))
    shard.write_bytes(shard.read_bytes()[:5000])
    status, _, errors = command("prepare", "--out=cache", data__path=pictures)
    assert status == 1
    assert "is damaged" in errors
    assert errors.count("\n") == 1


def test_a_cache_that_does_not_fit_the_config_is_refused(command, start, pictures, tmp_path):
    command("prepare", "--out=cache", data__path=pictures)
    for key, value, message in (
        ("augment__load_size", 40, "augment.load_size 40 is more than the 36 pixels"),
        ("data__fit", "crop", "the cache was prepared with 'stretch'"),
        ("data__target_side", "right", "the cache was prepared with 'left'"),
        ("data__resize", "nearest", "the cache was prepared with 'bicubic'"),
        ("data__max_bad_fraction", 2.0, "data.max_bad_fraction 2.0 must be from 0 to 1"),
        ("data__condition", "colour", "data.condition 'colour' must be one of"),
    ):
        options = {"data__path": tmp_path / "cache", key: value}
        _, errors = finish(start(tmp_path / "run", **options), status=1)
        assert message in errors
        assert errors.count("\n") == 1


def test_a_killed_prepare_goes_on_and_is_no_cache_meanwhile(command, start, environment, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(120):
        path = tmp_path / "pictures" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (200, 400, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, compress_level=1)
    words = ["prepare", "--out=cache", "--workers=1", f"--config={CONFIG}"]
    words += [f"--config.data.path={tmp_path / 'pictures'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxcolor", *words],
        env=environment | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for _ in range(3000):
        if (tmp_path / "cache" / UNFINISHED).exists():
            break
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    _, errors = finish(start(tmp_path / "run", data__path=tmp_path / "cache"), status=1)
    assert "was not finished: run the same prepare command again" in errors
    sizes = {"data__image_size": 256, "augment__load_size": 286}
    status, output, _ = command("prepare", "--out=cache", data__path="pictures", **sizes)
    assert status == 0, output
    assert "prepared" in output


def test_mistakes_are_one_line(command, pictures, tmp_path):
    for words, message in (
        (["prepare"], "--out is required"),
        (["check-data", "--sheet=/dev/null/a.png"], "cannot write /dev/null/a.png"),
        (["check-data", "--json=no/such.json"], "cannot write no/such.json"),
        (["check-data", "stray"], "unknown argument 'stray'"),
        (["prepare", "--out=cache", "--workers=-1"], "workers -1 must be at least 0"),
    ):
        status, _, errors = command(*words, data__path=pictures)
        assert status in (1, 2)
        assert errors.startswith("error: ")
        assert message in errors
        assert errors.count("\n") == 1, errors
    status, _, errors = command("chek-data", data__path=pictures)
    assert status == 2
    assert errors.startswith("error: unknown command 'chek-data'\n")
    status, output, errors = command()
    assert (status, output) == (2, "")
    assert "check-data" in errors
