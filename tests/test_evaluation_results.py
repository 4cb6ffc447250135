"""Intervals against SciPy and brute force, and an evaluation written and read back."""

import json
import math

import numpy as np
import pytest
import scipy.stats

from jaxcolor.errors import DataError
from jaxcolor.evaluation_results import Evaluation, bootstrap_interval, combine
from jaxcolor.perceptual import distances
from jaxcolor.perceptual_measurement import jackknife_deviation


def draw_rows(count=40):
    random = np.random.default_rng(1)
    return {
        "l1": random.gamma(2, 0.1, count),
        "chroma": random.gamma(3, 2, count),
        "chroma_target": random.gamma(3, 4, count),
    }


def test_the_interval_of_a_mean_is_scipys_percentile_bootstrap():
    rows = draw_rows()
    found = bootstrap_interval(rows, "l1", draws=4000)
    expected = scipy.stats.bootstrap(
        (rows["l1"],), np.mean, n_resamples=4000, method="percentile", rng=3
    ).confidence_interval
    assert found == pytest.approx(tuple(expected), rel=0.02)
    narrower = bootstrap_interval(rows, "l1", level=0.5)
    assert found[0] < narrower[0] < rows["l1"].mean() < narrower[1] < found[1]


def test_a_ratio_is_of_the_means_of_the_same_pictures():
    rows = draw_rows()
    random = np.random.default_rng(0)
    draws = [random.integers(40, size=40) for _ in range(1000)]
    ratios = [rows["chroma"][d].mean() / rows["chroma_target"][d].mean() for d in draws]
    expected = np.percentile(ratios, [2.5, 97.5])
    np.testing.assert_allclose(bootstrap_interval(rows, "chroma_ratio"), expected, rtol=1e-12)
    value = rows["chroma"].mean() / rows["chroma_target"].mean()
    assert combine(rows, ["chroma_ratio"]) == {"chroma_ratio": pytest.approx(value)}


def test_intervals_of_one_picture_and_of_perfect_ones():
    assert bootstrap_interval({"l1": np.array([0.25])}, "l1") == (0.25, 0.25)
    low, high = bootstrap_interval({"psnr": np.array([np.inf, 20.0, 30.0])}, "psnr")
    assert (low < 26, high) == (True, math.inf)


def test_the_jackknife_leaves_out_each_picture_in_turn():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 9, 5))
    places = [np.delete(np.arange(9), i) for i in range(9)]
    values = [distances.unbiased_kernel_distance(x[p], y[p]) for p in places]
    expected = math.sqrt(8 / 9 * np.square(np.array(values) - np.mean(values)).sum())
    assert jackknife_deviation(x, y) == pytest.approx(expected, rel=1e-9)
    assert math.isnan(jackknife_deviation(x[:2], y[:2]))


def make_evaluation():
    entry = {"value": math.inf, "interval": [20.5, math.inf], "unit": "dB", "better": "higher"}
    distance = {"value": 0.5, "interval": None, "unit": "", "better": "lower"}
    summary = {"schema": 1, "metrics": {"psnr": entry, "frechet_distance": distance}}
    names = np.array(["a,b", 'quo"te', "ümlaut"])
    rows = {"index": np.array([0, 1, 4]), "name": names, "psnr": np.array([math.inf, 1 / 3, 20])}
    return Evaluation(summary, rows)


def test_what_is_written_is_read_back_to_the_bit(tmp_path):
    evaluation = make_evaluation()
    evaluation.write(tmp_path / "new" / "folder")
    found = Evaluation.read(tmp_path / "new" / "folder")
    assert found.summary == evaluation.summary
    assert list(found.rows) == list(evaluation.rows)
    for name, column in evaluation.rows.items():
        np.testing.assert_array_equal(found.rows[name], column)
    text = (tmp_path / "new" / "folder" / "summary.json").read_text()
    json.loads(text, parse_constant=pytest.fail)  # no Infinity, which JSON lacks


def test_what_is_no_evaluation_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no evaluation in .*: python -m jaxcolor evaluate"):
        Evaluation.read(tmp_path)
    make_evaluation().write(tmp_path)
    table = (tmp_path / "pictures.csv").read_text()
    summary = (tmp_path / "summary.json").read_text()
    for name, text, message in (
        ("pictures.csv", table.rsplit(",", 1)[0], "damaged"),
        ("pictures.csv", "", "damaged"),
        ("pictures.csv", table.replace("\n4,", "\nnan,"), "damaged: .* index is no number"),
        ("summary.json", summary[:40], "damaged"),
        ("summary.json", summary.replace('"inf"', "NaN"), "damaged: .* has NaN for a number"),
        ("summary.json", summary.replace('"inf"', '"many"'), "damaged: .* 'many'"),
        ("summary.json", summary.replace('"schema": 1', '"schema": 2'), "has schema 2"),
    ):
        make_evaluation().write(tmp_path)
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=message):
            Evaluation.read(tmp_path)
