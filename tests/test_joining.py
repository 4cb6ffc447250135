"""Grey photographs in colour: their own lightness to the last bit of 8 and of 16 bits."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab

from jaxcolor import colorspace
from jaxcolor.colorize import joining

DEPTHS = (np.uint8, np.uint16)


def random_picture(rng, dtype, height, width):
    return rng.integers(0, np.iinfo(dtype).max, (height, width), dtype, endpoint=True)


@pytest.mark.parametrize("dtype", DEPTHS)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 9),
    strength=st.floats(0, 150),
)
@settings(max_examples=20, deadline=None)
def test_the_grey_comes_out_as_it_was(dtype, height, width, seed, strength):
    rng = np.random.default_rng(seed)
    grey = random_picture(rng, dtype, height, width)
    chroma = rng.uniform(-strength, strength, (rng.integers(1, 9), rng.integers(1, 9), 2))
    colours = joining.join(grey, chroma.astype(np.float32))
    assert colours.dtype == dtype
    np.testing.assert_array_equal(joining.grey_levels(colours), grey)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_lightness_is_within_half_a_level_by_another_librarys_formula(dtype):
    rng = np.random.default_rng(0)
    largest = np.iinfo(dtype).max
    grey = random_picture(rng, dtype, 200, 200)
    colours = joining.join(grey, rng.uniform(-110, 110, (200, 200, 2)).astype(np.float32))
    lightness = rgb2lab(colours / largest)[..., 0]
    levels = np.linspace(0, 1, largest + 1)
    of_level = rgb2lab(np.stack([levels] * 3, axis=-1)[None])[0, :, 0]
    above, below = of_level[np.minimum(grey + 1, largest)], of_level[np.maximum(grey, 1) - 1]
    half = np.maximum(above - of_level[grey], of_level[grey] - below) / 2
    assert np.all(np.abs(lightness - of_level[grey]) < 1.05 * half)


def test_all_greys_and_hues_are_joined_in_colour():
    grey = np.tile(np.arange(256, dtype=np.uint8), (72, 1))
    hue = np.linspace(0, 2 * np.pi, 72, endpoint=False)[:, None]
    chroma = np.stack(np.broadcast_arrays(np.cos(hue), np.sin(hue)), axis=-1)
    chroma = np.broadcast_to(200 * chroma, (72, 256, 2)).astype(np.float32)
    colours = joining.join(grey, chroma)
    np.testing.assert_array_equal(joining.grey_levels(colours), grey)
    spread = colours.max(axis=2).astype(int) - colours.min(axis=2)
    assert spread[:, 8:-8].min() >= 4  # the largest chroma that there is, never given up
    assert spread[:, [0, -1]].max() == 0


def test_chroma_inside_of_srgb_is_kept():
    lab = np.stack(np.meshgrid([30, 50, 70], [-10, 0, 20], [-10, 0, 20]), axis=-1).reshape(1, -1, 3)
    grey = joining.grey_levels(
        colorspace.to_uint8(colorspace.lab_to_rgb(jnp.asarray(lab * [1, 0, 0])))
    )
    colours = joining.join(grey, lab[..., 1:].astype(np.float32))
    found = rgb2lab(colours)
    assert np.abs(found[..., 1:] - lab[..., 1:]).max() < 1.6  # steps of 8 bits


@pytest.mark.parametrize("dtype", DEPTHS)
def test_every_grey_is_its_own_level_in_rgb_too(dtype):
    levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)[None]
    np.testing.assert_array_equal(joining.grey_levels(np.stack([levels] * 3, axis=-1)), levels)
    np.testing.assert_array_equal(joining.grey_levels(levels[..., None]), levels)


def test_blocks_are_parts_of_the_whole(monkeypatch):
    rng = np.random.default_rng(2)
    grey, chroma = random_picture(rng, np.uint8, 37, 300), rng.normal(0, 30, (8, 6, 2))
    whole = joining.join(grey, chroma)
    monkeypatch.setattr(joining, "BLOCK", 128)
    np.testing.assert_array_equal(joining.join(grey, chroma), whole)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 50), (64, 7), (20, 20)])
def test_a_ramp_is_resized_to_a_ramp_and_a_constant_to_itself(height, width):
    ramp = np.broadcast_to(np.linspace(0, 1, 20, dtype=np.float32)[:, None, None], (20, 20, 2))
    found = np.concatenate(list(joining.resize_rows(ramp, height, width, 5)))
    centres = (np.arange(height) + 0.5) / height * 20 - 0.5
    expected = np.clip(centres, 0, 19) / 19
    assert found.shape == (height, width, 2)
    assert np.abs(found - expected[:, None, None]).max() < 0.03
    constant = np.concatenate(
        list(joining.resize_rows(np.full((20, 20, 2), 7.5), height, width, 4))
    )
    np.testing.assert_allclose(constant, 7.5, rtol=1e-6)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_hardly_any_pixel_is_given_up_for_its_rounding(dtype):
    rng = np.random.default_rng(0)
    grey = random_picture(rng, dtype, 300, 300)
    hue, strength = rng.uniform(0, 2 * np.pi, grey.shape), rng.uniform(30, 80, grey.shape)
    chroma = strength[..., None] * np.stack([np.cos(hue), np.sin(hue)], axis=-1)
    colours = joining.join(grey, chroma.astype(np.float32))
    without = np.ptp(colours.astype(int), axis=2) == 0
    assert np.mean(without) < 0.01  # black, white, and their neighbours
    assert not np.any(without & (grey > 0.02 * np.iinfo(dtype).max) & (grey < grey.max() * 0.98))
