"""Metrics by name: one picture like many, masked and merged; greys; equal and odd pictures."""

import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jax.sharding import PartitionSpec

from jaxcolor import image_metrics
from jaxcolor.metrics import BADNESS, METRICS, combine, measure

NAMES = """
l1 l2 psnr ssim luma_psnr lab_mae accuracy_2 accuracy_5 ab_auc ab_auc_grey
colourfulness colourfulness_target colourfulness_difference
colourfulness_abs colourfulness_abs_target
chroma_ratio sepia_index sepia_index_target lab_histogram_intersection
"""
measure_all = jax.jit(lambda prediction, target: measure(prediction, target, METRICS))


def pictures(seed, count=5, height=13, width=12):
    """RGB [count, height, width, 3] in [-1, 1]."""
    images = np.random.default_rng(seed).uniform(-1, 1, (count, height, width, 3))
    return images.astype(np.float32)


def means_of(quantities):
    return {name: float(np.mean(values)) for name, values in quantities.items()}


def evaluate(prediction, target):
    return combine(means_of(measure_all(prediction, target)), METRICS)


def test_metrics_are_those_agreed_on_each_with_its_protocol():
    assert set(METRICS) == set(NAMES.split())
    for metric in METRICS.values():
        assert metric.better in {*BADNESS, ""}
        assert len(metric.protocol) > 20
        assert "\n" not in metric.protocol


def test_only_what_is_asked_for_is_measured():
    quantities = measure(pictures(0), pictures(1), ["psnr", "sepia_index", "chroma_ratio"])
    assert set(quantities) == {"psnr", "sepia_chroma", "chroma", "chroma_target"}
    assert {values.shape for values in quantities.values()} == {(5,)}
    assert {values.dtype for values in quantities.values()} == {np.dtype(np.float32)}


def test_l1_and_psnr_are_those_of_the_steps():
    pair = pictures(0), pictures(1)
    quantities = measure(*pair, ["l1", "psnr"])
    np.testing.assert_array_equal(quantities["l1"], image_metrics.l1_by_picture(*pair))
    psnr = image_metrics.psnr_by_picture(*pair, value_range=2.0)
    np.testing.assert_array_equal(quantities["psnr"], psnr)


def test_pictures_do_not_depend_on_their_batch():
    prediction, target = pictures(0), pictures(1)
    together = measure_all(prediction, target)
    for place in range(5):
        alone = measure_all(prediction[place : place + 1], target[place : place + 1])
        for name, values in alone.items():
            np.testing.assert_allclose(values[0], together[name][place], rtol=2e-5, err_msg=name)


def test_sums_over_two_devices_with_a_mask_are_those_of_the_pictures():
    prediction, target = pictures(0), pictures(1)
    # Equal padding has an infinite PSNR, which a mask by multiplication would let through as NaN.
    padded = [np.concatenate([images, images[:3]]) for images in (prediction, target)]
    padded[0][5:] = padded[1][5:]
    mask = np.arange(8) < 5

    def total(prediction, target, mask):
        quantities = measure(prediction, target, METRICS)
        sums = {name: jnp.where(mask, values, 0).sum() for name, values in quantities.items()}
        return jax.lax.psum(sums | {"count": mask.sum()}, "data")

    mesh = jax.sharding.Mesh(jax.devices()[:2], ("data",))
    data, everywhere = PartitionSpec("data"), PartitionSpec()
    sharded = jax.shard_map(total, mesh=mesh, in_specs=(data,) * 3, out_specs=everywhere)
    sums = jax.device_get(jax.jit(sharded)(*padded, mask))
    count = sums.pop("count")
    assert count == 5
    merged = combine({name: float(value) / count for name, value in sums.items()}, METRICS)
    whole = evaluate(prediction, target)
    assert np.isfinite(list(whole.values())).all()
    for name, value in whole.items():
        assert merged[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


BEST = {
    "l1": 0,
    "l2": 0,
    "psnr": math.inf,
    "ssim": 1,
    "luma_psnr": math.inf,
    "lab_mae": 0,
    "accuracy_2": 1,
    "accuracy_5": 1,
    "ab_auc": 1,
    "colourfulness_difference": 0,
    "chroma_ratio": 1,
    "lab_histogram_intersection": 1,
}


@settings(deadline=None, max_examples=5)
@given(height=st.integers(1, 13), width=st.integers(1, 13))
def test_equal_pictures_of_any_size_are_perfect_coloured_or_grey(height, width):
    coloured = pictures(3, 1, height, width)
    for target in (coloured, coloured[..., :1].repeat(3, axis=-1)):
        values = evaluate(target, target)
        for name, best in BEST.items():
            assert values[name] == pytest.approx(best, abs=1e-5), name
        assert values["sepia_index"] == values["sepia_index_target"]
        assert not np.isnan(list(values.values())).any()


def test_grey_predictions_are_told_from_the_truth():
    target = pictures(1)
    grey = target.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    values = evaluate(grey, target)
    assert values["chroma_ratio"] == 0
    assert values["sepia_index"] == 0
    assert values["colourfulness"] == 0
    assert values["colourfulness_difference"] == -values["colourfulness_target"]
    assert values["ab_auc"] == pytest.approx(values["ab_auc_grey"], abs=1e-6)


def test_grey_truths_give_finite_ratios():
    grey = np.full((2, 3, 3, 3), 0.25, np.float32)
    values = evaluate(grey, grey)
    assert values["chroma_ratio"] == 1
    assert values["sepia_index"] == values["sepia_index_target"] == 0
    assert values["ab_auc_grey"] == pytest.approx(1, abs=1e-6)
    coloured = evaluate(pictures(0, 2, 3, 3), grey)
    assert 1000 < coloured["chroma_ratio"] < math.inf


def test_ratios_are_of_means_and_not_means_of_ratios():
    means = {"chroma": 3.0, "chroma_target": 12.0, "sepia_chroma": 2.0}
    assert combine(means, ["chroma_ratio", "sepia_index"]) == {
        "chroma_ratio": 0.25,
        "sepia_index": 2 / 3,
    }


def test_sepia_predictions_have_a_higher_index_than_the_truth():
    target = pictures(1)
    tone = (target.mean(axis=-1, keepdims=True) + 1) / 2 * np.array([112, 66, 20]) / 127.5 - 1
    values = evaluate(tone.astype(np.float32), target)
    assert values["sepia_index"] > 0.99
    assert values["sepia_index_target"] < 0.4
    assert values["colourfulness_difference"] < -20
