"""Damage to a checkpoint's files is noticed, whichever file it is, and costs no more than that."""

import json
import shutil

import numpy as np
import pytest
from small_training import assert_same, fresh_state, train

from jaxcolor.errors import WorkdirError
from jaxcolor.training.checkpoint_files import (
    CHECKSUMS,
    bring_back,
    find_damage,
    set_damaged_aside,
)
from jaxcolor.training.checkpoints import Checkpoints

COMPLETED = "commit_timestamp_nsecs"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir with checkpoints 4, 8 and 12."""
    workdir = tmp_path_factory.mktemp("trained")
    train(workdir, keep_last=3)
    return workdir


@pytest.fixture
def workdir(trained, tmp_path):
    """A copy of it, to be damaged."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def files(checkpoint):
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def test_every_file_has_a_checksum_from_the_moment_the_checkpoint_is_there(trained):
    for step in (4, 8, 12):
        checkpoint = trained / "checkpoints" / str(step)
        listed = json.loads((checkpoint / CHECKSUMS).read_text())
        names = {str(path.relative_to(checkpoint)) for path in files(checkpoint)}
        assert names - listed["files"].keys() == {
            CHECKSUMS,
            "_CHECKPOINT_METADATA",
            "commit_success.txt",
        }
        assert len(listed["_CHECKPOINT_METADATA"]) == 64
        assert find_damage(checkpoint) is None


def test_a_flipped_byte_is_noticed_in_every_file(workdir):
    """Or changes nothing but the time of completion, which is not read."""
    checkpoint = workdir / "checkpoints" / "12"
    rng = np.random.default_rng(0)
    for path in files(checkpoint):
        if path.name == "commit_success.txt":
            continue
        content = path.read_bytes()
        for place in {0, len(content) - 1, *rng.integers(0, len(content), 20)}:
            flip(path, place)
            damage = find_damage(checkpoint)
            if damage is None:
                changed, before = (json.loads(x) for x in (path.read_bytes(), content))
                assert changed | {COMPLETED: 0} == before | {COMPLETED: 0}
            path.write_bytes(content)
    assert find_damage(checkpoint) is None


def test_a_file_cut_short_or_gone_is_noticed(workdir):
    checkpoint = workdir / "checkpoints" / "12"
    for path in files(checkpoint):
        if path.name == "commit_success.txt":
            continue
        content = path.read_bytes()
        for length in (0, len(content) // 2):
            path.write_bytes(content[:length])
            assert find_damage(checkpoint), path
        path.unlink()
        assert bool(find_damage(checkpoint)) == (path.name != CHECKSUMS), path
        path.write_bytes(content)


def test_the_damaged_newest_is_moved_aside_and_training_goes_on(trained, workdir):
    (array, *_) = (workdir / "checkpoints" / "12" / "state" / "d").iterdir()
    flip(array, 100)
    content = array.read_bytes()
    (line,) = set_damaged_aside(workdir / "checkpoints", workdir / "damaged")
    assert line.startswith("checkpoint 12 is damaged (state/d/")
    assert line.endswith("the last good one is 8")
    assert (workdir / "damaged" / "12" / "state" / "d" / array.name).read_bytes() == content
    assert set_damaged_aside(workdir / "checkpoints", workdir / "damaged") == []
    with Checkpoints(trained / "checkpoints", read_only=True) as checkpoints:
        expected = checkpoints.restore(12, fresh_state())
    assert_same(train(workdir), expected)
    flip(next((workdir / "checkpoints" / "12" / "state" / "d").iterdir()), 100)
    (line,) = set_damaged_aside(workdir / "checkpoints", workdir / "damaged")
    assert "damaged/12-2" in line


def test_older_ones_are_kept_unless_their_small_files_are_damaged(workdir):
    """Reading all arrays would take long; they are read when they are used."""
    checkpoints = workdir / "checkpoints"
    flip(next((checkpoints / "4" / "state" / "d").iterdir()), 100)
    assert set_damaged_aside(checkpoints, workdir / "damaged") == []
    (checkpoints / "8" / "metrics" / "metrics").write_text("{")
    (line,) = set_damaged_aside(checkpoints, workdir / "damaged")
    assert line.startswith("checkpoint 8 is damaged (metrics/metrics is not what was written")
    flip(next((checkpoints / "12" / "state" / "d").iterdir()), 100)
    with pytest.raises(WorkdirError, match=r"all checkpoints .* are damaged \(12: .*; 4: state"):
        set_damaged_aside(checkpoints, workdir / "damaged")
    assert sorted(path.name for path in checkpoints.iterdir()) == ["12", "4"]


def test_what_a_removal_left_is_removed(workdir):
    checkpoints = workdir / "checkpoints"
    shutil.rmtree(checkpoints / "4" / "state")
    (line,) = set_damaged_aside(checkpoints, workdir / "damaged")
    assert "removed what was left of checkpoint 4" in line
    assert not (workdir / "damaged").exists()
    assert sorted(path.name for path in checkpoints.iterdir()) == ["12", "8"]


def test_checkpoints_of_older_versions_have_no_checksums_and_load(trained, workdir):
    (workdir / "checkpoints" / "12" / CHECKSUMS).unlink()
    assert set_damaged_aside(workdir / "checkpoints", workdir / "damaged") == []
    with (
        Checkpoints(workdir / "checkpoints", read_only=True) as ours,
        Checkpoints(trained / "checkpoints", read_only=True) as theirs,
    ):
        ours.check(12)
        assert_same(ours.restore(12, fresh_state()), theirs.restore(12, fresh_state()))


def test_without_checkpoints_there_is_nothing_to_do(tmp_path):
    assert set_damaged_aside(tmp_path / "none", tmp_path / "damaged") == []


def test_a_checkpoint_that_gives_way_to_one_with_scores_is_never_missed(tmp_path, monkeypatch):
    """Also where writing the other fails."""
    state, scores = fresh_state(), {"l1": 0.5, "psnr": 20.0}
    directory = tmp_path / "checkpoints"

    def fail(directory):
        raise OSError(28, "No space left on device")

    with Checkpoints(directory) as checkpoints:
        checkpoints.save(4, state, {}, None)
        checkpoints.wait()
        with monkeypatch.context() as patch:
            patch.setattr("jaxcolor.training.checkpoints.write_checksums", fail)
            with pytest.raises(WorkdirError, match="No space left"):
                checkpoints.save(4, state, {}, scores)
    assert [path.name for path in directory.iterdir() if path.name.startswith("4")] != ["4"]
    bring_back(directory)
    with Checkpoints(directory) as checkpoints:
        checkpoints.check(4)
        assert checkpoints.metrics(4) == {}
        checkpoints.save(4, state, {}, scores)
        checkpoints.wait()
        assert checkpoints.metrics(4) == scores
        assert_same(checkpoints.restore(4, state), state)
    assert [path.name for path in directory.iterdir()] == ["4"]
    shutil.copytree(directory / "4", directory / "4.replaced")  # killed before it was removed
    bring_back(directory)
    assert [path.name for path in directory.iterdir()] == ["4"]
