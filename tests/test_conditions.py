"""Facts about the conditions made from a picture, against formulas and known shapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcolor.data.conditions import (
    KINDS,
    LINE_STRENGTH,
    LINE_THICKNESS,
    draw_lines,
    make_condition,
)

SHARES = np.array([0.299, 0.587, 0.114])


def colours():
    """Every grey, every mix of five levels, and many random ones: uint8 [n, 1, 3]."""
    greys = np.repeat(np.arange(256)[:, None], 3, axis=1)
    levels = np.array([0, 1, 10, 128, 255])
    mixes = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    random = np.random.default_rng(0).integers(0, 256, (20000, 3))
    return np.concatenate([greys, mixes, random]).astype(np.uint8)[:, None]


def lightness(rgb):
    """CIE 15:2004 L* of sRGB (IEC 61966-2-1) under D65, with 100 at 255."""
    signal = rgb / 255
    linear = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    y = linear @ np.array([0.2126729, 0.7151522, 0.0721750])
    return 2.55 * np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


def test_luma_is_that_of_rec_601_rounded():
    luma = make_condition(colours(), "luma")[..., 0]
    assert np.abs(luma - colours() @ SHARES).max() < 0.51


def test_lab_l_is_the_lightness_of_cielab_to_a_step():
    made = make_condition(colours(), "lab_l")[..., 0]
    assert np.abs(made - lightness(colours())).max() <= 1


def test_grey_pictures_of_one_channel_are_as_good_as_of_three():
    grey = np.random.default_rng(0).integers(0, 256, (40, 30, 1), dtype=np.uint8)
    for kind in KINDS:
        made = make_condition(grey, kind)
        np.testing.assert_array_equal(made, make_condition(np.repeat(grey, 3, axis=-1), kind))
        assert not np.shares_memory(made, grey)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    channels=st.sampled_from([1, 3]),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 99),
)
def test_a_condition_is_one_grey_picture_of_the_targets_size(height, width, channels, kind, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    before = pixels.copy()
    made, again = (make_condition(pixels, kind, np.random.default_rng(seed)) for _ in range(2))
    assert (made.shape, made.dtype) == ((height, width, 1), np.uint8)
    assert made.flags.c_contiguous
    np.testing.assert_array_equal(made, again)
    np.testing.assert_array_equal(pixels, before)
    # Of a part of a larger array too.
    view = np.concatenate([pixels, pixels], axis=1)[:, :width]
    np.testing.assert_array_equal(make_condition(view, kind, np.random.default_rng(seed)), made)


def test_every_kind_takes_the_same_draws():
    pixels, after = np.zeros((4, 4, 3), np.uint8), set()
    for kind in KINDS:
        rng = np.random.default_rng(1)
        make_condition(pixels, kind, rng)
        after.add(rng.random())
    rng = np.random.default_rng(1)
    rng.random(2)
    assert after == {rng.random()}


def test_strength_and_thickness_are_drawn_from_their_ranges():
    picture = rectangle((90, 120, 200), (200, 190, 90))
    rng = np.random.default_rng(5)
    drawn = make_condition(picture, "lines", rng, line_strength=(0.2, 0.6), line_thickness=(1, 3))
    first, second = np.random.default_rng(5).random(2)
    expected = draw_lines(picture, strength=0.2 + 0.4 * first, thickness=1 + 2 * second)
    np.testing.assert_array_equal(drawn, expected)
    middle = draw_lines(picture, strength=np.mean(LINE_STRENGTH), thickness=np.mean(LINE_THICKNESS))
    np.testing.assert_array_equal(make_condition(picture, "lines"), middle)


def rectangle(inside, outside, side=256, left=70, right=180, top=60, bottom=200):
    picture = np.empty((side, side, 3), np.uint8)
    picture[:] = outside
    picture[top:bottom, left:right] = inside
    return picture


COLOURS = [
    ((0, 0, 0), (255, 255, 255)),
    ((255, 255, 255), (0, 0, 0)),
    ((200, 30, 30), (250, 220, 120)),
    ((250, 220, 120), (60, 90, 200)),
    ((60, 60, 60), (140, 140, 140)),
    ((255, 240, 230), (170, 160, 220)),
]


@pytest.mark.parametrize(("inside", "outside"), COLOURS)
@pytest.mark.parametrize("thickness", [0.5, 0.7, 0.9, 1.2, 2.0])
@pytest.mark.parametrize("edges", [(70, 180), (40, 90), (101, 241)])
def test_the_edges_of_a_square_land_within_a_pixel(inside, outside, thickness, edges):
    first, last = edges
    picture = rectangle(inside, outside, left=first, right=last, top=first, bottom=last)
    lines = draw_lines(picture, strength=1.0, thickness=thickness)[..., 0].astype(int)
    np.testing.assert_allclose(lines, lines.T, atol=1)
    # Away from the corners every row is one and the same: two lines, one at each edge.
    reach = int(5 * thickness) + 2
    rows = lines[first + reach : last - reach]
    assert np.ptp(rows, axis=0).max() <= 1
    row = rows[0]
    assert row.min() < 128
    inked = np.flatnonzero(255 - row > (255 - row.min()) / 2)
    runs = np.split(inked, np.flatnonzero(np.diff(inked) > 1) + 1)
    assert len(runs) == 2
    inwards = 1 if np.dot(inside, SHARES) < np.dot(outside, SHARES) else -1
    for run, edge, into in zip(runs, edges, (inwards, -inwards), strict=True):
        # The line starts at the edge and goes into the dark side; pixel p covers p to p + 1.
        start, end = (run[0], run[-1] + 1)[::into]
        assert abs(start - edge) <= 1
        assert 1 <= into * (end - start) <= 3 * thickness + 1
        if thickness <= LINE_THICKNESS[1]:
            # The darkest pixel touches the edge or is the next.
            darkest = run[np.argmin(row[run])] + 0.5
            assert abs(darkest - edge) <= 1.5
    # And nothing else is drawn, corners included.
    away = np.ones((256, 256), bool)
    away[first - reach : last + reach, first - reach : last + reach] = False
    away[first + reach : last - reach, first + reach : last - reach] = True
    assert lines[away].min() == 255


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("thickness", [0.5, 0.85, 1.2])
def test_a_dark_line_stays_one_line_where_it_was(width, thickness):
    picture = np.full((256, 256, 3), 230, np.uint8)
    picture[:, 100 : 100 + width] = 20
    row = draw_lines(picture, strength=1.0, thickness=thickness)[128, :, 0]
    inked = np.flatnonzero(row < 128)
    # Without a gap, as wide as the line or a little wider, to both sides alike.
    np.testing.assert_array_equal(inked, np.arange(inked[0], inked[-1] + 1))
    wider = 100 - inked[0]
    assert inked[-1] == 99 + width + wider
    assert 0 <= wider <= thickness + 0.5


def test_flat_and_smooth_areas_stay_white_whatever_their_tone():
    for level in (0, 40, 200, 255):
        flat = np.full((64, 64, 3), level, np.uint8)
        assert make_condition(flat, "lines").min() == 255
    ramp = np.repeat(np.tile(np.arange(256, dtype=np.uint8), (256, 1))[..., None], 3, axis=-1)
    assert draw_lines(ramp, strength=LINE_STRENGTH[1], thickness=LINE_THICKNESS[1]).min() == 255


@pytest.mark.parametrize("strength", LINE_STRENGTH)
@pytest.mark.parametrize("thickness", LINE_THICKNESS)
def test_faint_noise_is_not_drawn(strength, thickness):
    noise = np.random.default_rng(0).normal(128, 1.5, (256, 256, 3))
    lines = draw_lines(np.rint(noise).astype(np.uint8), strength=strength, thickness=thickness)
    assert np.mean(lines < 224) < 0.001
    assert lines.mean() > 254


def test_twice_the_strength_is_twice_the_contrast():
    faint = rectangle((100, 100, 100), (120, 120, 120))
    strong = rectangle((100, 100, 100), (140, 140, 140))
    np.testing.assert_allclose(
        draw_lines(faint, strength=2.0, thickness=1.0).astype(int),
        draw_lines(strong, strength=1.0, thickness=1.0),
        atol=1,
    )


def test_thickness_grows_with_the_shorter_side():
    large = rectangle((0, 0, 0), (255, 255, 255), side=512)
    whole = draw_lines(large, strength=1.0, thickness=1.0)
    half = draw_lines(large[:256], strength=1.0, thickness=2.0)
    # Both at 2 pixels; the lower border of the half is far from what is compared.
    np.testing.assert_allclose(half[:230].astype(int), whole[:230], atol=1)
    thinner = draw_lines(large[:256], strength=1.0, thickness=1.0)
    assert np.mean(thinner < 128) < 0.7 * np.mean(half < 128)


def test_a_small_picture_has_lines_of_about_a_pixel_not_none():
    icon = rectangle((0, 0, 0), (255, 255, 255), side=32, left=8, right=24, top=8, bottom=24)
    row = make_condition(icon, "lines")[16, :, 0]
    assert np.all(row[[8, 23]] < 128)
    assert np.count_nonzero(row < 128) <= 4
