"""What the networks see of a colour picture, and the way back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcolor import colorspace
from jaxcolor.color_coding import CODINGS, lightness_of_condition, lightness_of_picture
from jaxcolor.data.conditions import make_condition

CUBE = np.stack(np.meshgrid(*[np.linspace(-1, 1, 7)] * 3), -1).reshape(1, 7, 49, 3)


@pytest.mark.parametrize("space", list(CODINGS))
def test_every_colour_of_srgb_comes_back_and_lies_in_range(space):
    coding, pictures = CODINGS[space], jnp.asarray(CUBE, jnp.float32)
    coded = coding.encode(pictures)
    assert coded.shape == (*pictures.shape[:-1], coding.channels)
    assert float(jnp.abs(coded).max()) <= 1
    back = coding.decode(coded, lightness_of_picture(pictures))
    np.testing.assert_allclose(back, pictures, atol=2e-3)


def test_lab_is_scaled_as_by_nazeri():
    white_and_red = jnp.array([[[[1.0, 1, 1], [1, -1, -1]]]])
    expected = [[1, 0, 0], [53.24 / 50 - 1, 80.09 / 110, 67.20 / 110]]
    np.testing.assert_allclose(CODINGS["lab"].encode(white_and_red)[0, 0], expected, atol=2e-4)
    np.testing.assert_allclose(CODINGS["ab"].encode(white_and_red)[0, 0, 1], expected[1][1:], 1e-3)


def test_rgb_is_left_alone():
    picture = jnp.asarray(CUBE)
    assert CODINGS["rgb"].encode(picture) is picture
    assert CODINGS["rgb"].decode(picture, None) is picture


def test_the_lightness_is_kept_whatever_a_and_b_are_predicted():
    """Most of these colours are far outside of sRGB."""
    rng = np.random.default_rng(0)
    coded = jnp.asarray(rng.uniform(-1, 1, (2, 32, 32, 2)), jnp.float32)
    lightness = jnp.asarray(rng.uniform(0, 100, (2, 32, 32, 1)), jnp.float32)
    picture = CODINGS["ab"].decode(coded, lightness)
    assert float(jnp.abs(picture).max()) <= 1
    assert float(jnp.abs(lightness_of_picture(picture) - lightness).max()) < 0.01
    hue = jnp.arctan2(coded[..., 1], coded[..., 0])
    lab = colorspace.rgb_to_lab(picture)
    turned = jnp.angle(jnp.exp(1j * (jnp.arctan2(lab[..., 2], lab[..., 1]) - hue)))
    chromatic = jnp.hypot(lab[..., 1], lab[..., 2]) > 5
    assert float(jnp.abs(jnp.where(chromatic, turned, 0)).max()) < 0.02


def test_lab_keeps_its_own_lightness_and_ignores_another():
    coded = jnp.array([[[[0.2, 0.9, -0.9]]]])
    picture = CODINGS["lab"].decode(coded, jnp.zeros((1, 1, 1, 1)))
    assert float(lightness_of_picture(picture)[0, 0, 0, 0]) == pytest.approx(60, abs=0.01)


def test_the_lightness_of_a_lab_l_condition_is_that_of_its_picture():
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    condition = make_condition(picture, "lab_l")[None]
    found = lightness_of_condition(colorspace.to_signed(jnp.asarray(condition)))
    exact = lightness_of_picture(colorspace.to_signed(jnp.asarray(picture[None])))
    assert float(jnp.abs(found - exact).max()) <= 100 / 255 / 2 + 0.01


def test_gradients_through_the_decoding_are_finite():
    coded = jnp.array([[[[0.9, -0.9], [0.0, 0.0], [-1.0, 1.0]]]])
    for value in (0.0, 50.0, 100.0):
        lightness = jnp.full((1, 1, 3, 1), value)
        gradient = jax.grad(lambda x, y=lightness: CODINGS["ab"].decode(x, y).sum())(coded)
        assert bool(jnp.isfinite(gradient).all())
