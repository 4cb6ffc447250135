"""Colour of pictures against formulas in NumPy, in float64, on scikit-image's Lab."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import color

from jaxcolor import color_histograms, color_metrics, colorspace


def pictures(seed, count=2, size=(9, 14)):
    """RGB uint8 [count, height, width, 3]: blocks of colour, some of them grey."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, *size, 3), dtype=np.uint8)
    images[:, :, :3] = images[:, :, :3, :1]
    return images


TARGET = pictures(0)
NOISE = np.random.default_rng(2).integers(-9, 10, TARGET.shape)
# Some pixels right, some nearly, some wrong.
PREDICTION = np.where(np.arange(14)[:, None] < 9, np.clip(TARGET + NOISE, 0, 255), pictures(1))
PREDICTION = PREDICTION.astype(np.uint8)


def lab_of(images):
    return colorspace.rgb_to_lab(colorspace.to_signed(jnp.asarray(images)))


def colour(*rgb):
    """Lab [1, 1, 1, 3] of one sRGB colour, 0..255."""
    return lab_of(np.array([[[rgb]]], np.uint8))


LABS = lab_of(PREDICTION), lab_of(TARGET)
TRUE_LABS = color.rgb2lab(PREDICTION), color.rgb2lab(TARGET)


def test_lab_error_is_the_mean_over_pixels_and_channels():
    expected = np.abs(TRUE_LABS[0] - TRUE_LABS[1]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(color_metrics.lab_mae_by_picture(*LABS), expected, atol=0.01)


@pytest.mark.parametrize(
    ("error", "right_at_2", "right_at_5"),
    [
        ((2, 0, 0), 1, 1),
        ((3, 0, 0), 0, 1),
        ((-5, 0, 0), 0, 1),
        ((6, 0, 0), 0, 0),
        ((0, 4, 0), 1, 1),
        ((0, 5, 0), 0, 1),
        ((0, 0, -11), 0, 1),
        ((0, 0, 12), 0, 0),
        ((2.4, 4.4, -4.4), 1, 1),
    ],
)
def test_a_pixel_is_right_when_all_of_lab_are_near(error, right_at_2, right_at_5):
    target = jnp.array([[[[50.0, 10.0, -20.0]]]])
    for percent, expected in ((2, right_at_2), (5, right_at_5)):
        share = color_metrics.accuracy_by_picture(
            target + jnp.array(error), target, percent=percent
        )
        assert share == [expected]


@pytest.mark.parametrize("percent", [2, 5])
def test_accuracy_is_the_share_of_right_pixels(percent):
    error = np.abs(np.round(TRUE_LABS[0]) - np.round(TRUE_LABS[1]))
    expected = (error <= np.array([1, 2.2, 2.2]) * percent).all(axis=-1).mean(axis=(1, 2))
    assert 0.05 < expected.min() < expected.max() < 0.95
    share = color_metrics.accuracy_by_picture(*LABS, percent=percent)
    np.testing.assert_allclose(share, expected, atol=1.5 / (9 * 14))  # one pixel at a half


def area(error):
    return np.mean([(error <= t).mean(axis=(1, 2)) for t in range(151)], axis=0)


def test_the_area_under_the_ab_curve_is_the_mean_over_151_thresholds():
    error = np.linalg.norm((TRUE_LABS[0] - TRUE_LABS[1])[..., 1:], axis=-1)
    np.testing.assert_allclose(color_metrics.ab_auc_by_picture(*LABS), area(error), atol=2e-4)
    grey = np.linalg.norm(TRUE_LABS[1][..., 1:], axis=-1)
    # Greys have an error of exactly 0 here, and of 0.005 by scikit-image.
    expected = area(np.where(grey < 0.01, 0, grey))
    np.testing.assert_allclose(color_metrics.ab_auc_grey_by_picture(LABS[1]), expected, atol=2e-4)


def test_the_area_is_one_for_the_truth_and_that_of_a_grey_prediction_is_the_grey_one():
    np.testing.assert_allclose(color_metrics.ab_auc_by_picture(LABS[1], LABS[1]), 1, atol=1e-6)
    grey = LABS[1] * jnp.array([1, 0, 0])
    np.testing.assert_array_equal(
        color_metrics.ab_auc_by_picture(grey, LABS[1]),
        color_metrics.ab_auc_grey_by_picture(LABS[1]),
    )
    far = jnp.array([[[[50.0, 80.0, 0.0]]]])
    assert color_metrics.ab_auc_by_picture(far * jnp.array([1, -1, 1]), far) == [0]


def colourfulness(images, change=lambda values: values):
    red, green, blue = np.moveaxis(images.astype(float), -1, 0)
    opponents = [change(red - green), change((red + green) / 2 - blue)]
    spread = np.sqrt(sum(values.std(axis=(1, 2)) ** 2 for values in opponents))
    return spread + 0.3 * np.sqrt(sum(values.mean(axis=(1, 2)) ** 2 for values in opponents))


def test_colourfulness_is_that_of_hasler_and_suesstrunk():
    signed = colorspace.to_signed(jnp.asarray(TARGET))
    found = color_metrics.colourfulness_by_picture(signed)
    np.testing.assert_allclose(found, colourfulness(TARGET), rtol=1e-5)
    absolute = color_metrics.colourfulness_abs_by_picture(signed)
    np.testing.assert_allclose(absolute, colourfulness(TARGET, np.abs), rtol=1e-5)


def test_colourfulness_of_one_flat_red_is_known():
    red = jnp.array([[[[1.0, -1, -1]]]])
    expected = 0.3 * 255 * np.hypot(1, 0.5)
    np.testing.assert_allclose(color_metrics.colourfulness_by_picture(red), expected, rtol=1e-6)


BROWNS = {
    "sepia": (112, 66, 20),
    "sandy brown": (244, 164, 96),
    "dark brown": (150, 111, 51),
    "saddle brown": (139, 69, 19),
    "sienna": (160, 82, 45),
    "peru": (205, 133, 63),
    "tan": (210, 180, 140),
    "burlywood": (222, 184, 135),
    "caramel": (255, 213, 154),
    "ochre": (204, 119, 34),
    "light skin": (255, 219, 172),
    "sepia filter": (162, 144, 112),
    "gold": (255, 215, 0),
}
OTHERS = {
    "red": (255, 0, 0),
    "tomato": (255, 99, 71),
    "pink": (255, 192, 203),
    "yellow": (255, 255, 0),
    "olive": (128, 128, 0),
    "grass": (124, 150, 60),
    "green": (0, 255, 0),
    "sky": (135, 206, 235),
    "blue": (0, 0, 255),
    "purple": (128, 0, 128),
    "grey": (99, 99, 99),
}


@pytest.mark.parametrize("name", [*BROWNS, *OTHERS])
def test_browns_are_sepia_and_other_colours_are_not(name):
    lab = colour(*(BROWNS | OTHERS)[name])
    expected = color_metrics.chroma_by_picture(lab) if name in BROWNS else [0]
    np.testing.assert_array_equal(color_metrics.sepia_chroma_by_picture(lab), expected)


def test_chroma_and_its_sepia_part_are_means_over_pixels():
    a, b = TRUE_LABS[1][..., 1], TRUE_LABS[1][..., 2]
    chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360
    found = color_metrics.chroma_by_picture(LABS[1])
    np.testing.assert_allclose(found, chroma.mean(axis=(1, 2)), atol=0.01)
    sepia = np.where((hue >= 45) & (hue < 95), chroma, 0).mean(axis=(1, 2))
    np.testing.assert_allclose(color_metrics.sepia_chroma_by_picture(LABS[1]), sepia, atol=0.02)


def test_hue_is_in_degrees_from_red_over_yellow():
    a = jnp.array([[[1.0, 0, -1, 0, 0, 1, 1]]])
    b = jnp.array([[[0.0, 1, 0, -1, 0, -1e-12, -1]]])
    hue = color_metrics.hue(jnp.stack([a, a, b], axis=-1))
    np.testing.assert_allclose(hue[0, 0], [0, 90, 180, 270, 0, 0, 315], atol=1e-4)


@pytest.mark.parametrize(("channel", "edges"), [(0, "L_EDGES"), (1, "AB_EDGES"), (2, "AB_EDGES")])
def test_histogram_intersection_is_the_sum_of_the_smaller_shares(channel, edges):
    edges = getattr(color_metrics, edges)
    shares = [
        [np.histogram(np.asarray(lab[..., channel]), edges)[0] / (9 * 14) for lab in labs]
        for labs in zip(*LABS, strict=True)
    ]
    expected = [np.minimum(*both).sum() for both in shares]
    found = color_metrics.intersection_by_picture(*LABS, channel)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(
        color_metrics.intersection_by_picture(LABS[0], LABS[0], channel), 1, atol=1e-6
    )


def test_histograms_count_what_lies_outside_in_the_end_bins():
    values = jnp.array([[[-3.0, 0, 0.9, 1, 1.5, 3, 99]]])
    found = color_metrics.histogram(values, np.linspace(0, 3, 4))
    np.testing.assert_allclose(found, [[3 / 7, 2 / 7, 2 / 7]], rtol=1e-6)


def test_chroma_and_hue_histograms_are_those_of_numpy():
    signed = colorspace.to_signed(jnp.asarray(TARGET))
    lab = np.asarray(LABS[1], np.float64)
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
    found = jax.jit(color_histograms.chroma_histogram)(signed)
    for share, values in zip(found, chroma, strict=True):
        expected = np.histogram(values, color_histograms.CHROMA_EDGES)[0] / values.size
        np.testing.assert_allclose(share, expected, atol=1e-6)
    found = jax.jit(color_histograms.hue_histogram)(signed)
    for share, values, weights in zip(found, hue, chroma, strict=True):
        expected = np.histogram(values, color_histograms.HUE_EDGES, weights=weights)[0]
        np.testing.assert_allclose(share, expected / values.size, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), chroma.mean(axis=(1, 2)), rtol=1e-5)


def test_histograms_of_grey_pictures_have_no_hue_and_one_chroma():
    grey = jnp.full((1, 3, 5, 3), 0.3)
    assert (color_histograms.hue_histogram(grey) == 0).all()
    np.testing.assert_allclose(color_histograms.chroma_histogram(grey)[0, 0], 1, rtol=1e-6)
