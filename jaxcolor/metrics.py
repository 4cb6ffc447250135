"""Every metric by its name: what it needs of each picture, what it makes of the means, and how.

`measure` gives quantities picture by picture, which mask, sum over batches and devices, and
bootstrap over pictures; `combine` makes metrics of their means. A ratio is one of means, never a
mean of ratios, so that a nearly grey picture cannot outweigh all others.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import NamedTuple

import jax

from jaxcolor import color_metrics, colorspace, image_metrics

# In units of chroma, a hundredth of a difference that can be seen: less counts as grey.
GREY = 0.01


class Metric(NamedTuple):
    """What a metric is made of, and what its number means."""

    quantities: tuple[str, ...]
    """What it needs of each picture: keys of `measure`."""
    combine: Callable[[dict[str, float]], float]
    """Its value, of the means of those over pictures."""
    better: str
    """A key of BADNESS, or "" where it describes without judging."""
    unit: str
    """Of the value: "dB", or "" where it has none."""
    protocol: str
    """One line: what exactly is measured."""


# How far from the ideal a value is, by what is better, beside the value of the true pictures.
BADNESS = {
    "lower": lambda value, truth: value,
    "higher": lambda value, truth: -value,
    "near 0": lambda value, truth: abs(value),
    "near 1": lambda value, truth: abs(value - 1),
    "near truth": lambda value, truth: abs(value - truth),
}


def truth_of(name: str) -> str:
    """The metric of the true pictures that is the ideal of metric `name`; "" if none is."""
    judged = name in BY_PICTURE and BY_PICTURE[name].better == "near truth"
    return f"{name}_target" if judged else ""


class _Pair:
    """A batch of predictions and targets, RGB in [-1, 1]; their Lab made once, if at all."""

    def __init__(self, prediction, target):
        self.prediction, self.target = prediction, target

    @cached_property
    def lab(self):
        return colorspace.rgb_to_lab(self.prediction)

    @cached_property
    def target_lab(self):
        return colorspace.rgb_to_lab(self.target)

    @property
    def rgb(self):
        return self.prediction, self.target

    @property
    def labs(self):
        return self.lab, self.target_lab


_QUANTITIES = {
    "l1": lambda pair: image_metrics.l1_by_picture(*pair.rgb),
    "l2": lambda pair: image_metrics.l2_by_picture(*pair.rgb),
    "psnr": lambda pair: image_metrics.psnr_by_picture(*pair.rgb, value_range=2.0),
    "ssim": lambda pair: image_metrics.ssim_by_picture(*pair.rgb, value_range=2.0),
    "luma_psnr": lambda pair: image_metrics.luma_psnr_by_picture(*pair.rgb),
    "lab_mae": lambda pair: color_metrics.lab_mae_by_picture(*pair.labs),
    "accuracy_2": lambda pair: color_metrics.accuracy_by_picture(*pair.labs, percent=2),
    "accuracy_5": lambda pair: color_metrics.accuracy_by_picture(*pair.labs, percent=5),
    "ab_auc": lambda pair: color_metrics.ab_auc_by_picture(*pair.labs),
    "ab_auc_grey": lambda pair: color_metrics.ab_auc_grey_by_picture(pair.target_lab),
    "colourfulness": lambda pair: color_metrics.colourfulness_by_picture(pair.prediction),
    "colourfulness_target": lambda pair: color_metrics.colourfulness_by_picture(pair.target),
    "colourfulness_abs": lambda pair: color_metrics.colourfulness_abs_by_picture(pair.prediction),
    "colourfulness_abs_target": lambda pair: color_metrics.colourfulness_abs_by_picture(
        pair.target
    ),
    "chroma": lambda pair: color_metrics.chroma_by_picture(pair.lab),
    "chroma_target": lambda pair: color_metrics.chroma_by_picture(pair.target_lab),
    "sepia_chroma": lambda pair: color_metrics.sepia_chroma_by_picture(pair.lab),
    "sepia_chroma_target": lambda pair: color_metrics.sepia_chroma_by_picture(pair.target_lab),
    "histogram_l": lambda pair: color_metrics.intersection_by_picture(*pair.labs, 0),
    "histogram_a": lambda pair: color_metrics.intersection_by_picture(*pair.labs, 1),
    "histogram_b": lambda pair: color_metrics.intersection_by_picture(*pair.labs, 2),
}


def measure(prediction: jax.Array, target: jax.Array, names) -> dict[str, jax.Array]:
    """What these metrics need of each picture: quantity -> [batch] float32.

    No picture has a part in another's numbers: mask with `jnp.where`. To be called under jit,
    which removes what is computed twice.

    Args:
      prediction: RGB [batch, height, width, 3] in [-1, 1].
      target: the same.
      names: keys of METRICS.
    """
    needed = dict.fromkeys(quantity for name in names for quantity in METRICS[name].quantities)
    pair = _Pair(*(images.astype("float32") for images in (prediction, target)))
    return {quantity: _QUANTITIES[quantity](pair) for quantity in needed}


def combine(means: dict[str, float], names) -> dict[str, float]:
    """Metric -> value.

    Args:
      means: quantity -> mean over pictures of what `measure` gave.
      names: keys of BY_PICTURE.
    """
    return {name: BY_PICTURE[name].combine(means) for name in names}


def _mean(name):
    return lambda means: means[name]


def _difference(means, of, to):
    return means[of] - means[to]


def _ratio(means, of, to):
    # Of grey pictures to grey pictures: as colourful as the truth.
    if means[of] < GREY and means[to] < GREY:
        return 1.0
    return means[of] / max(means[to], GREY)


def _share(means, part, whole):
    # Grey pictures have no hue: nothing of them is brown.
    return means[part] / means[whole] if means[whole] >= GREY else 0.0


def _average(means, quantities):
    return sum(means[quantity] for quantity in quantities) / len(quantities)


def _of_one(name, better, unit, protocol):
    return Metric((name,), _mean(name), better, unit, protocol)


_HISTOGRAMS = ("histogram_l", "histogram_a", "histogram_b")
_COLOURFULNESS = (
    "Hasler-Suesstrunk 2003, RGB in 0..255: sqrt(var rg + var yb) + 0.3 sqrt(mean rg^2 + mean yb^2)"
)
_COLOURFULNESS_ABS = "as colourfulness, but of |rg| and |yb|, as DDColor's code has it"
_SEPIA = "share of the chroma (C*ab) that lies in hues of 45..95 degrees (brown, yellow)"

METRICS = {
    "l1": _of_one(
        "l1", "lower", "", "mean absolute difference of RGB in [-1, 1]; a uint8 step is 1 / 127.5"
    ),
    "l2": _of_one("l2", "lower", "", "mean squared difference of RGB in [-1, 1]"),
    "psnr": _of_one("psnr", "higher", "dB", "mean over pictures of the PSNR of RGB, range 2"),
    "ssim": _of_one(
        "ssim",
        "higher",
        "",
        "RGB, range 2, Gaussian 11 px (less in smaller pictures), sigma 1.5, K 0.01 and 0.03, "
        "whole windows only, mean of channels",
    ),
    "luma_psnr": _of_one(
        "luma_psnr", "higher", "dB", "mean over pictures of the PSNR of Rec. 601 luma, range 2"
    ),
    "lab_mae": _of_one(
        "lab_mae", "lower", "", "mean absolute difference over L, a and b of CIELAB (D65)"
    ),
    "accuracy_2": _of_one(
        "accuracy_2",
        "higher",
        "",
        "Nazeri et al.: share of pixels with |dL| <= 2, |da| and |db| <= 4.4, Lab rounded",
    ),
    "accuracy_5": _of_one(
        "accuracy_5",
        "higher",
        "",
        "Nazeri et al.: share of pixels with |dL| <= 5, |da| and |db| <= 11, Lab rounded",
    ),
    "ab_auc": _of_one(
        "ab_auc",
        "higher",
        "",
        "Zhang et al.: mean over t = 0..150 of the share of pixels whose ab error is <= t; compare "
        "with ab_auc_grey",
    ),
    "ab_auc_grey": _of_one("ab_auc_grey", "", "", "ab_auc of a prediction without any colour"),
    "colourfulness": _of_one("colourfulness", "near truth", "", _COLOURFULNESS),
    "colourfulness_target": _of_one(
        "colourfulness_target", "", "", f"of the true pictures: {_COLOURFULNESS}"
    ),
    "colourfulness_difference": Metric(
        ("colourfulness", "colourfulness_target"),
        partial(_difference, of="colourfulness", to="colourfulness_target"),
        "near 0",
        "",
        "mean colourfulness of the predictions less that of the true pictures: below 0 is faded",
    ),
    "colourfulness_abs": _of_one("colourfulness_abs", "near truth", "", _COLOURFULNESS_ABS),
    "colourfulness_abs_target": _of_one(
        "colourfulness_abs_target", "", "", f"of the true pictures: {_COLOURFULNESS_ABS}"
    ),
    "chroma_ratio": Metric(
        ("chroma", "chroma_target"),
        partial(_ratio, of="chroma", to="chroma_target"),
        "near 1",
        "",
        "mean chroma (C*ab) of the predictions over that of the true pictures; 1 where both are "
        "grey, and less than 0.01 counts as 0.01 in the truth",
    ),
    "sepia_index": Metric(
        ("sepia_chroma", "chroma"),
        partial(_share, part="sepia_chroma", whole="chroma"),
        "near truth",
        "",
        f"of the predictions: {_SEPIA}; 0 where all are grey; compare with sepia_index_target",
    ),
    "sepia_index_target": Metric(
        ("sepia_chroma_target", "chroma_target"),
        partial(_share, part="sepia_chroma_target", whole="chroma_target"),
        "",
        "",
        f"of the true pictures: {_SEPIA}; 0 where all are grey",
    ),
    "lab_histogram_intersection": Metric(
        _HISTOGRAMS,
        partial(_average, quantities=_HISTOGRAMS),
        "higher",
        "",
        "each picture against its own truth, mean over the histograms of L, a and b, bins of 5, of "
        "the sum of the smaller share of each bin",
    ),
}


def _lpips(name: str, backbone: str) -> Metric:
    protocol = (
        f"LPIPS v0.1 with {backbone} and its linear heads, of each picture at the size of the "
        "evaluation, RGB in [-1, 1]; mean over pictures"
    )
    return Metric((name,), lambda means: means[name], "lower", "", protocol)


# Of weights that a user brings; `perceptual.lpips` measures them.
PERCEPTUAL = {
    "lpips_alex": _lpips("lpips_alex", "AlexNet"),
    "lpips_vgg": _lpips("lpips_vgg", "VGG16"),
}
BY_PICTURE = METRICS | PERCEPTUAL
# Of whole sets of pictures: an evaluation alone measures them.
DISTANCES = ("kernel_distance", "frechet_distance")
