"""A trained network loaded again: the same pictures, without its data, and clear errors."""

import json
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT
from small_workdir import make_workdir

from jaxcolor.errors import ConfigError, WorkdirError
from jaxcolor.trained import load_trained
from jaxcolor.training.checkpoint_files import CHECKSUMS
from jaxcolor.training.checkpoints import Checkpoints


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, pictures):
    directory = tmp_path_factory.mktemp("trained")
    make_workdir(directory, pictures)
    return directory


def draw_conditions(count, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, channels), np.uint8)


def test_it_predicts_as_the_training_does_and_needs_no_data(tmp_path, pictures):
    gone = tmp_path / "pictures"
    shutil.copytree(pictures, gone)
    built = make_workdir(tmp_path / "run", gone)
    shutil.rmtree(gone)
    trained = load_trained(tmp_path / "run")
    condition = draw_conditions(2)
    state = jax.jit(built.functions.create_state)(jax.random.key(6))
    expected = jax.jit(built.functions.predict)(state, condition, jax.random.key(0))
    np.testing.assert_allclose(trained.predict(condition), expected, atol=1e-6)
    assert trained.config == json.loads(json.dumps(built.config))
    assert (trained.step, trained.epoch, trained.image_size) == (6, 2, 16)
    assert (trained.condition, trained.condition_channels) == ("given", 3)
    assert trained.scores == {"l1": 0.4}
    assert not jax.tree.leaves((trained.state.discriminator, trained.state.generator.opt_state))
    floats = condition / np.float32(127.5) - 1
    np.testing.assert_allclose(trained.predict(floats), trained.predict(condition), atol=1e-6)
    with pytest.raises(ConfigError, match=r"shape \[batch, 16, 16, 3\], not \[1, 8, 8, 3\]"):
        trained.predict(condition[:1, :8, :8])


def test_checkpoints_are_chosen_by_name_or_step(workdir, tmp_path, pictures):
    assert load_trained(workdir).step == 6
    assert load_trained(workdir, "3").step == 3
    make_workdir(tmp_path, pictures, scores=((3, {"l1": 0.2}), (6, {"l1": 0.4}), (8, None)))
    assert [load_trained(tmp_path, which).step for which in ("best", "latest")] == [3, 8]


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_a_batch_of_eight_equals_eight_batches_of_one(tmp_path, pictures, norm):
    make_workdir(tmp_path, pictures, scores=((1, None),), generator__norm=norm)
    trained, condition = load_trained(tmp_path), draw_conditions(8)
    ones = np.concatenate([trained.predict(x[None]) for x in condition])
    assert np.ptp(ones) > 1e-3
    np.testing.assert_allclose(trained.predict(condition), ones, atol=1e-5)


def test_dropout_draws_of_seed_and_picture_whatever_the_batch(workdir):
    trained = load_trained(workdir).with_inference("picture", True)
    condition = np.repeat(draw_conditions(1), 4, 0)
    places = np.array([7, 8, 9, 7])
    found = np.asarray(trained.predict(condition, places))
    ones = [trained.predict(condition[:1], places[row : row + 1]) for row in range(4)]
    np.testing.assert_allclose(found, np.concatenate(ones), atol=1e-5)
    np.testing.assert_allclose(found[0], found[3], atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    assert np.abs(found - trained.predict(condition, places, seed=1)).max() > 1e-3
    off = trained.with_inference("picture", False).predict(condition, places)
    assert np.abs(found[0] - off[0]).max() > 1e-3


def test_running_statistics_are_those_of_the_checkpoint(tmp_path, pictures):
    make_workdir(tmp_path, pictures, scores=((1, None),), generator__norm="batch")
    trained, condition = load_trained(tmp_path), draw_conditions(1)
    running = trained.with_inference("running", False)
    assert running.experiment.settings.evaluation.statistics == "running"
    assert np.abs(running.predict(condition) - trained.predict(condition)).max() > 1e-3
    with pytest.raises(ConfigError, match=r"evaluation\.statistics 'mean'"):
        trained.with_inference("mean", False)


def test_what_cannot_be_loaded_is_named(workdir, tmp_path):
    for path, message in (
        (tmp_path / "none", r"no directory .*none: give the workdir"),
        (tmp_path, "is no workdir of a training: it has no folder checkpoints"),
    ):
        with pytest.raises(WorkdirError, match=message):
            load_trained(path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(WorkdirError, match="has no checkpoint yet"):
        load_trained(tmp_path)
    for which in ("7", "newest", "../3"):
        with pytest.raises(WorkdirError, match=r"choose best, latest or one of 3, 6"):
            load_trained(workdir, which)


def halve_arrays(checkpoint):
    for path in (checkpoint / "state" / "d").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def halve_arrays_of_an_older_version(checkpoint):
    (checkpoint / CHECKSUMS).unlink()
    halve_arrays(checkpoint)


def flip_a_byte(checkpoint):
    path = max((checkpoint / "state" / "d").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def widen_config(checkpoint):
    (checkpoint / CHECKSUMS).unlink()
    path = checkpoint / "config" / "metadata"
    values = json.loads(path.read_text())
    values["generator"]["base_width"] = 6
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("damage", [flip_a_byte, halve_arrays_of_an_older_version, widen_config])
def test_a_damaged_checkpoint_is_one_line_that_names_it(workdir, environment, tmp_path, damage):
    """As a user sees it: Orbax's threads go on complaining, which the command keeps quiet."""
    shutil.copytree(workdir, tmp_path / "a")
    damage(tmp_path / "a" / "checkpoints" / "6")
    command = [sys.executable, "-m", "jaxcolor", "evaluate", str(tmp_path / "a")]
    environment = environment | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert re.match(r"error: checkpoint in .*checkpoints/6 could not be read: ", done.stderr)
    assert done.stderr.count("\n") == 1, done.stderr
    assert load_trained(tmp_path / "a", "3").step == 3


def test_a_foreign_checkpoint_is_named(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "b")
    config = tmp_path / "b" / "checkpoints" / "6" / "config" / "metadata"
    (config.parents[1] / CHECKSUMS).unlink()
    values = json.loads(config.read_text())
    for change, kind, message in (
        ({"generator": [4]}, WorkdirError, "checkpoint 6 of .* is damaged"),
        ({"colours": {}}, ConfigError, "checkpoint 6 of .*colours is unknown"),
        ({"derived": {}}, ConfigError, "does not say what was derived"),
    ):
        config.write_text(json.dumps(values | change))
        with pytest.raises(kind, match=message):
            load_trained(tmp_path / "b")


def test_the_best_is_kept_by_the_metric_that_decides(tmp_path, pictures):
    numbers = [{"l1": 0.1, "chroma_ratio": x} for x in (0.5, 1.1, 1.8, 0.2)]
    built = make_workdir(tmp_path / "source", pictures, scores=())
    state = jax.jit(built.functions.create_state)(jax.random.key(0))
    kept = {"keep_last": 1, "best_by": "chroma_ratio"}
    with Checkpoints(tmp_path / "a", **kept) as checkpoints:
        checkpoints.save(1, state, built.config, {"l1": 0.01})  # of a version without the metric
        for step, scores in enumerate(numbers[:2], 2):
            checkpoints.save(step, state, built.config, scores)
    with Checkpoints(tmp_path / "a", **kept) as checkpoints:  # as after a kill
        for step, scores in enumerate(numbers[2:], 4):
            checkpoints.save(step, state, built.config, scores)
        checkpoints.wait()
        assert (checkpoints.steps(), checkpoints.best()) == ([3, 5], 3)
        assert checkpoints.metrics(3) == numbers[1]
    with Checkpoints(tmp_path / "b", **kept) as checkpoints:
        for step, l1 in ((1, 0.3), (2, 0.2), (3, 0.4)):
            checkpoints.save(step, state, built.config, {"l1": l1})
        checkpoints.wait()
        # None has it: L1 decides among what is left.
        assert checkpoints.best() in checkpoints.steps()
