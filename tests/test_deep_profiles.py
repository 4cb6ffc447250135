"""16 bits a channel under ICC profiles: the colours that LittleCMS gives of 8 bits, but finer."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icc_profiles import colours, gamma, grey, parametric, points, scanner
from PIL import Image, ImageCms

from jaxcolor.colorize import deep_files, deep_profiles, picture_files

RNG = np.random.default_rng(0)
SRGB = ImageCms.createProfile("sRGB")
CURVES = {
    "linear": points([]),
    "power": gamma(2.2),
    "points": points(np.linspace(0, 1, 1024) ** 1.8),
    "parametric 0": parametric(0, 2.2),
    "parametric 1": parametric(1, 2.4, 1.1, -0.1),
    "parametric 2": parametric(2, 2.4, 0.9, 0.05, 0.02),
    "parametric 3": parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    "parametric 4": parametric(4, 2.2, 0.9, 0.1, 0.2, 0.03, 0.0, 0.001),
}


def by_lcms(pixels, profile):
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    # Without compensation of the black point, which other intents have.
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    transform = ImageCms.buildTransform(given, SRGB, "RGB", "RGB", renderingIntent=intent)
    return np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), transform)).astype(int)


def light_of_srgb(levels):
    share = levels / 65535
    return np.where(share > 0.04045, ((share + 0.055) / 1.055) ** 2.4, share / 12.92)


@pytest.mark.parametrize("name", CURVES)
def test_colours_are_those_of_littlecms(name):
    profile = colours(CURVES[name])
    pixels = RNG.integers(0, 256, (40, 50, 3), np.uint8)
    found = deep_profiles.to_srgb(pixels.astype(np.uint16) * 257, deep_profiles.parse(profile))
    assert found.dtype == np.uint16
    assert np.abs(found / 257 - by_lcms(pixels, profile)).max() < 0.7


@pytest.mark.parametrize("power", [1.0, 1.8, 2.2])
def test_greys_keep_their_light(power):
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    power = round(power * 256) / 256  # as the profile has it
    found = deep_profiles.to_srgb(pixels, deep_profiles.parse(grey(gamma(power))))
    assert found.shape == pixels.shape
    assert np.abs(light_of_srgb(found) - (pixels / 65535) ** power).max() < 2e-5


@pytest.mark.parametrize("name", ["power", "points", "parametric 3"])
def test_the_way_back_leads_where_it_came_from(name):
    profile = deep_profiles.parse(colours(CURVES[name]))
    pixels = RNG.integers(0, 65536, (300, 1000, 3), np.uint16)  # more than are computed at once
    again = deep_profiles.to_srgb(deep_profiles.from_srgb(pixels, profile), profile)
    assert np.abs(light_of_srgb(again) - light_of_srgb(pixels)).max() < 4e-5


def test_other_profiles_are_left_to_others():
    for profile in (None, b"", b"nonsense", scanner(), colours(gamma(2.2), [(0.1, 0.1, 0.1)] * 3)):
        assert deep_profiles.parse(profile) is None


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_profiles_have_numbers_or_none(data):
    profile = bytearray(colours(CURVES[data.draw(st.sampled_from(sorted(CURVES)))]))
    for place in data.draw(st.lists(st.integers(0, len(profile) - 1), min_size=1, max_size=8)):
        profile[place] = data.draw(st.integers(0, 255))
    del profile[data.draw(st.integers(0, len(profile))) :]
    found = deep_profiles.parse(bytes(profile))
    if found is not None:
        pixels = np.array([[[0, 40_000, 65_535]]], np.uint16)[..., : len(found.curves)]
        for convert in (deep_profiles.to_srgb, deep_profiles.from_srgb):
            assert convert(pixels, found).shape == pixels.shape


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [3, 4])
def test_files_are_read_as_srgb_and_written_in_their_profile(kind, channels):
    profile = colours(gamma(2.2))
    numbers = RNG.integers(20_000, 40_000, (30, 40, channels), np.uint16)  # inside of sRGB
    found = picture_files.read(deep_files.encode(numbers, kind, profile))
    assert (found.converted, found.profile, found.note) == (True, profile, "")
    expected = deep_profiles.to_srgb(numbers[..., :3], deep_profiles.parse(profile))
    np.testing.assert_array_equal(found.pixels[..., :3], expected)
    np.testing.assert_array_equal(found.pixels[..., 3:], numbers[..., 3:])
    data = picture_files.encode(found.pixels, found)
    unconverted = Image.open(io.BytesIO(data))
    assert unconverted.info["icc_profile"] == profile
    lights = [light_of_srgb(x[..., :3]) for x in (picture_files.read(data).pixels, found.pixels)]
    assert np.abs(lights[0] - lights[1]).max() < 4e-5


def test_grey_of_16_bits_is_read_by_its_profile():
    numbers = RNG.integers(0, 65536, (6, 9), np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(numbers).save(buffer, "PNG", icc_profile=grey(gamma(1.8)))
    found = picture_files.read(buffer.getvalue())
    expected = deep_profiles.to_srgb(numbers[..., None], deep_profiles.parse(grey(gamma(1.8))))
    np.testing.assert_array_equal(found.pixels, expected)
    assert (found.profile, found.converted, found.note) == (None, False, "")


def test_tables_are_taken_for_srgb_and_the_user_is_told():
    numbers = RNG.integers(0, 65536, (6, 9, 3), np.uint16)
    found = picture_files.read(deep_files.encode(numbers, "PNG", scanner()))
    np.testing.assert_array_equal(found.pixels, numbers)
    assert (found.profile, found.converted) == (scanner(), False)
    assert "were taken for sRGB's" in found.note
