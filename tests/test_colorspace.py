"""Colour conversions: scikit-image's numbers over the cube, exact greys, gradients everywhere."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from skimage import color

from jaxcolor import colorspace

# Every corner, edge and face of the cube, and every 15th of 255 steps between.
STEPS = np.linspace(0, 1, 18)
CUBE = np.stack(np.meshgrid(STEPS, STEPS, STEPS, indexing="ij"), axis=-1).reshape(-1, 3)
# In [0, 1]: around the joint of the sRGB curve, and what lies at the joint of CIELAB's root.
JOINTS = [0.04, 0.04045, 0.041, 0.0992, 0.09927, 0.0994]


def signed(unit):
    return jnp.asarray(2 * np.asarray(unit) - 1, jnp.float32)


def test_lab_is_that_of_scikit_image_over_the_cube():
    difference = np.abs(colorspace.rgb_to_lab(signed(CUBE)) - color.rgb2lab(CUBE))
    assert difference.max() < 0.01


def test_rgb_is_that_of_scikit_image_over_the_cube():
    lab = color.rgb2lab(CUBE)
    unit = (np.asarray(colorspace.lab_to_rgb(jnp.asarray(lab, jnp.float32))) + 1) / 2
    # The white points differ by 7e-5: 0.0003 where a dark blue is left of a bright yellow.
    np.testing.assert_allclose(unit, color.lab2rgb(lab), atol=4e-4)


def test_there_and_back_is_the_same_picture_to_a_hundredth_of_a_step():
    rgb = signed(CUBE)
    back = colorspace.lab_to_rgb(colorspace.rgb_to_lab(rgb))
    np.testing.assert_allclose(back, rgb, atol=0.01 / 127.5)


@pytest.mark.parametrize("height", [1, 7, 16])
def test_greys_have_exactly_no_chroma_and_come_back_as_greys(height):
    levels = jnp.linspace(-1, 1, height * 37).reshape(height, 37)
    lab = jax.jit(colorspace.rgb_to_lab)(jnp.stack([levels] * 3, axis=-1))
    assert (lab[..., 1:] == 0).all()
    rgb = np.asarray(jax.jit(colorspace.lab_to_rgb)(lab))
    np.testing.assert_array_equal(rgb, rgb[..., :1].repeat(3, axis=-1))


def test_white_and_black_are_at_the_ends_of_lightness():
    lab = colorspace.rgb_to_lab(signed([[0, 0, 0], [1, 1, 1]]))
    np.testing.assert_allclose(lab, [[0, 0, 0], [100, 0, 0]], atol=1e-4)


def test_luma_is_that_of_rec_601_and_of_a_grey_the_grey():
    luma = colorspace.luma(signed(CUBE))
    np.testing.assert_allclose(luma[:, 0], (2 * CUBE - 1) @ [0.299, 0.587, 0.114], atol=1e-6)
    grey = jnp.linspace(-1, 1, 50)
    assert (colorspace.luma(jnp.stack([grey] * 3, axis=-1))[:, 0] == grey).all()


def test_half_precision_is_computed_in_float32():
    assert colorspace.rgb_to_lab(jnp.zeros((2, 3), jnp.bfloat16)).dtype == jnp.float32


def unclipped(lab):
    """Linear light of scikit-image's matrices, where below 0 and above 1 is out of the cube."""
    y = (lab[..., 0] + 16) / 116
    roots = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29))
    white = color.colorconv.xyz_from_rgb.sum(axis=1)
    return (xyz * white) @ np.linalg.inv(color.colorconv.xyz_from_rgb).T


COLOURS = st.tuples(st.floats(0, 100), st.floats(-300, 300), st.floats(-300, 300))
fit = jax.jit(colorspace.fit_chroma)


@settings(deadline=None, max_examples=200)
@given(colour=COLOURS)
def test_fitted_colours_lie_in_the_cube_with_their_lightness_and_hue(colour):
    lab = np.array(colour, np.float32)
    fitted = np.asarray(fit(lab))
    linear = unclipped(fitted.astype(float))
    assert linear.min() > -2e-5
    assert linear.max() < 1 + 2e-5
    assert fitted[0] == lab[0]
    scale = np.hypot(*fitted[1:]) / max(np.hypot(*lab[1:]), 1e-30)
    np.testing.assert_allclose(fitted[1:], scale * lab[1:], rtol=1e-4, atol=1e-4)
    if unclipped(lab.astype(float)).min() > 0 and unclipped(lab.astype(float)).max() < 1:
        np.testing.assert_array_equal(fitted, lab)
    elif (fitted != lab).any():  # No more is taken than must be: a little more is outside.
        beyond = unclipped(fitted * [1, 1.01, 1.01] + np.sign(fitted) * [0, 0.1, 0.1])
        assert beyond.min() < 0 or beyond.max() > 1


def test_colours_of_the_cube_fit_as_they_are():
    lab = colorspace.rgb_to_lab(signed(CUBE))
    np.testing.assert_array_equal(fit(lab), lab)


def test_no_lightness_outside_of_the_range_breaks_the_fit():
    lab = jnp.array([[-5.0, 30, 20], [104, 30, 20], [0, 0, 0], [100, 5, 5]])
    fitted = fit(lab)
    np.testing.assert_array_equal(fitted[:, 0], lab[:, 0])
    assert np.abs(fitted[:2, 1:]).max() == 0
    assert np.abs(fitted[2:, 1:]).max() < 0.01


def hard_colours():
    """RGB in [0, 1]: grid, primaries, greys at and about the joints."""
    return np.concatenate([CUBE[::7], [[v] * 3 for v in JOINTS], CUBE[:: 18 * 18], CUBE[-18:]])


def wild_lab():
    generator = np.random.default_rng(0)
    wild = generator.uniform([0, -200, -200], [100, 200, 200], (300, 3))
    greys = np.stack([np.linspace(0, 100, 21), *np.zeros((2, 21))], axis=-1)
    return np.concatenate([wild, greys, color.rgb2lab(CUBE[::11]), [[8, 0, 0], [50, 1e-6, 0]]])


FUNCTIONS = {
    "rgb_to_lab": (colorspace.rgb_to_lab, lambda: 2 * hard_colours() - 1),
    "luma": (colorspace.luma, lambda: 2 * hard_colours() - 1),
    "lab_to_rgb": (colorspace.lab_to_rgb, wild_lab),
    "fit_and_back": (lambda lab: colorspace.lab_to_rgb(colorspace.fit_chroma(lab)), wild_lab),
}


def jacobians(function, points):
    return np.asarray(jax.jit(jax.vmap(jax.jacrev(function)))(points))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_finite_everywhere(name):
    function, points = FUNCTIONS[name]
    assert np.isfinite(jacobians(function, jnp.asarray(points(), jnp.float32))).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_the_finite_differences(name):
    function, points = FUNCTIONS[name]
    step = 1e-6
    with jax.enable_x64(True):
        function = jax.jit(function)
        points = jnp.asarray(points(), jnp.float64)
        exact = jacobians(function, points)
        ahead, behind = (
            [np.asarray(function(points + sign * step * axis)) for axis in np.eye(3)]
            for sign in (1, -1)
        )
        here = np.asarray(function(points))
    ahead, behind = np.stack(ahead, axis=-1), np.stack(behind, axis=-1)
    forward, backward = (ahead - here[..., None]) / step, (here[..., None] - behind) / step
    # At a joint the slope is one side's or the other's, or between.
    low, high = np.minimum(forward, backward), np.maximum(forward, backward)
    margin = 2e-3 * (1 + np.abs(high) + np.abs(low))
    wrong = (exact < low - margin) | (exact > high + margin)
    assert wrong.any(axis=(1, 2)).mean() < 0.01, points[wrong.any(axis=(1, 2))]
