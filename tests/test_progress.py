"""When training stops early, and which epoch is the best."""

import json
import math
import re
import signal

import pytest
from processes import EPOCH_STEPS, finish, logged_rows, wait_for_step

from jaxcolor.metrics import BADNESS, BY_PICTURE, truth_of
from jaxcolor.training.progress import Progress, goodness


def after(progress, values, first=1):
    for epoch, value in enumerate(values, first):
        progress = progress.after(epoch, {progress.best_by: value})
    return progress


@pytest.mark.parametrize(
    ("metric", "better", "worse"),
    [
        ("l1", 0.1, 0.2),
        ("psnr", 21.0, 20.0),
        ("psnr", math.inf, 20.0),
        ("chroma_ratio", 1.2, 0.5),
        ("chroma_ratio", 0.5, 1.9),
        ("colourfulness_difference", -1.0, 2.0),
        ("l1", 9.0, math.nan),
    ],
)
def test_goodness_follows_the_direction_of_the_metric(metric, better, worse):
    assert goodness(metric, {metric: better}) > goodness(metric, {metric: worse})
    assert goodness(metric, {"other": 1.0}) == goodness(metric, None) == -math.inf


def test_every_metric_has_a_known_direction_or_none():
    assert {metric.better for metric in BY_PICTURE.values()} <= {*BADNESS, ""}


@pytest.mark.parametrize("metric", ["sepia_index", "colourfulness", "colourfulness_abs"])
def test_what_has_a_truth_beside_it_is_best_near_that(metric):
    scores = [{metric: x, truth_of(metric): 0.3} for x in (0.1, 0.6, 0.4, 0.9, 0.3)]
    goods = [goodness(metric, found) for found in scores]
    assert sorted(range(5), key=goods.__getitem__) == [3, 1, 0, 2, 4]
    assert goodness(metric, {metric: 0.3}) == -math.inf
    progress = Progress(metric)
    for epoch, found in enumerate(scores[:4], 1):
        progress = progress.after(epoch, found)
    assert (progress.best_epoch, progress.best) == (3, 0.4)


def test_it_stalls_after_epochs_without_a_strict_gain():
    progress = after(Progress("l1"), [0.5, 0.4, 0.4, 0.4])
    assert (progress.best_epoch, progress.best, progress.last_epoch) == (2, 0.4, 4)
    assert [progress.has_stalled(epochs) for epochs in (0, 1, 2, 3)] == [False, True, True, False]
    assert not progress.after(5, {"l1": 0.3}).has_stalled(1)
    assert after(progress, [math.nan], 5).has_stalled(3)
    text = progress.explain(2, 24)
    assert "after epoch 4: no gain in l1 for 2 epochs" in text
    assert "l1 0.4000 of epoch 2, is kept as checkpoint 24" in text


@pytest.mark.parametrize("values", [[], [0.5, 0.7], [math.inf, 3.0]])
def test_a_checkpoint_remembers_it(values):
    progress = after(Progress("psnr"), values)
    stored = json.loads(json.dumps(progress.to_json(), allow_nan=False))
    restored = Progress.restore(stored, "psnr", 9)
    assert restored.to_json() == progress.to_json()


def test_batches_left_out_are_remembered_whatever_decides():
    progress = Progress("psnr").without([7]).without([9, 7])
    stored = json.loads(json.dumps(progress.to_json()))
    for best_by in ("psnr", "l1"):
        restored = Progress.restore(stored, best_by, 3)
        assert (restored.skipped, restored.rollbacks) == ((7, 9), 2)
    del stored["skipped"], stored["rollbacks"]  # as in older versions
    restored = Progress.restore(stored, "psnr", 3)
    assert (restored.skipped, restored.rollbacks) == ((), 0)


def test_without_a_memory_of_the_metric_it_counts_from_where_it_is():
    for stored in (None, Progress("ssim", 7, 2, 0.9).to_json()):
        progress = Progress.restore(stored, "l1", 7)
        assert not progress.has_stalled(1)
        assert after(progress, [0.5, 0.6], 8) == Progress("l1", 9, 8, 0.5)


@pytest.mark.slow
def test_a_killed_run_stops_early_at_the_same_epoch_and_says_so(start, tmp_path):
    """Nothing is learnt at a rate of 0: the first epoch stays the best."""
    options = {
        "train__epochs": 50,
        "train__early_stopping_epochs": 3,
        "checkpoint__every_epochs": 2,
        "checkpoint__every_steps": 5,
        "checkpoint__best_by": "ssim",
        "generator_optimizer__learning_rate": 0.0,
    }
    process = start(tmp_path, **options)
    wait_for_step(tmp_path, 2 * EPOCH_STEPS + 1, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    output, _ = finish(start(tmp_path, **options))
    assert "resuming" in output
    assert re.search(r"^epoch 4/50: .*, PSNR .* dB, ssim 0\.\d{4}$", output, re.M)
    stopped = f"no gain in ssim for 3 epochs .* kept as checkpoint {EPOCH_STEPS}$"
    assert re.search(f"^stopped early after epoch 4: {stopped}", output, re.M)
    rows = [row for row in logged_rows(tmp_path) if row["kind"] == "validation"]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert {"ssim", "chroma_ratio", "colourfulness_difference"} <= rows[0].keys()
    steps = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
    assert {EPOCH_STEPS, 4 * EPOCH_STEPS} <= steps
    output, _ = finish(start(tmp_path, **options))
    assert "is trained: stopped early after epoch 4" in output
