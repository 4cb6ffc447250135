"""What validation computes and what decides: LPIPS, the nearest to the truth, and mistakes."""

import jax
import numpy as np
import pytest
from small_workdir import small_experiment

from jaxcolor import colorspace, experiment, perceptual_measurement
from jaxcolor.errors import ConfigError, UserError
from jaxcolor.training import steps
from jaxcolor.training.evaluation import evaluate


def test_validation_computes_lpips_where_its_weights_are(pictures, monkeypatch):
    def scaled_l1(prediction, target, params, *, net):
        assert net == "vgg"
        return params["scale"] * abs(prediction - target).mean((1, 2, 3))

    monkeypatch.setattr(
        perceptual_measurement.weights, "find", lambda name: {"scale": np.float32(3)}
    )
    monkeypatch.setattr(perceptual_measurement, "lpips_by_picture", scaled_l1)
    monkeypatch.setattr(steps, "predict", lambda _, x, *args, **options: colorspace.to_signed(x))
    options = {"evaluation__metrics": ("lpips_vgg",), "checkpoint__best_by": "lpips_vgg"}
    built = small_experiment(pictures, **options)
    random = np.random.default_rng(0)
    batch = {
        name: random.integers(0, 256, (8, 16, 16, 3), np.uint8) for name in ("condition", "target")
    }
    batch |= {"mask": (np.arange(8) < 5).astype(np.float32), "index": np.arange(8, dtype=np.int32)}
    found = evaluate(
        built.devices.replicate(np.zeros(())),
        [batch],
        built.devices.replicate(jax.random.key(1)),
        step=built.devices.wrap(built.functions.evaluation_step),
        parallel=built.devices,
        names=built.plan.metrics,
    )
    assert found.keys() == {"l1", "psnr", "lpips_vgg"}
    assert found["lpips_vgg"] == pytest.approx(3 * found["l1"], rel=1e-5)


def test_weights_that_are_missing_or_too_large_for_the_pictures_stop_it_at_once(
    pictures, tmp_path, monkeypatch
):
    monkeypatch.setenv("JAXCOLOR_WEIGHTS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"^evaluation.metrics: lpips_alex: no weights of lpips"):
        small_experiment(pictures, evaluation__metrics=("lpips_alex",))
    monkeypatch.setattr(perceptual_measurement.weights, "find", lambda name: {})
    with pytest.raises(ConfigError, match=r"lpips_alex: LPIPS .* needs pictures of 31 pixels"):
        small_experiment(pictures, evaluation__metrics=("lpips_alex",))


def test_the_truth_is_computed_beside_what_is_best_near_it(pictures):
    options = {"evaluation__metrics": ("sepia_index",), "checkpoint__best_by": "sepia_index"}
    computed = small_experiment(pictures, **options).plan.metrics
    assert computed == ("l1", "psnr", "sepia_index", "sepia_index_target")


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (("kid", "l1"), "there is no metric 'kid'"),
        (("kernel_distance",), "only python -m jaxcolor evaluate computes it"),
        ("l1,psnr", r"evaluation.metrics must be a tuple, as \('l1', 'psnr',\), not 'l1,psnr'"),
    ],
)
def test_metrics_that_cannot_be_validated_are_explained(pictures, metrics, message):
    values = dict(small_experiment(pictures).config)
    values.pop("derived")
    values["evaluation"] = values["evaluation"] | {"metrics": metrics}
    with pytest.raises(UserError, match=message):
        experiment.build(values)
