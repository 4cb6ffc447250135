"""Facts about the crops of one picture, plain and warped, against sampling written in NumPy."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcolor.data import warps
from jaxcolor.data.warps import affine, plain_crop, way_back

STILL = dict.fromkeys(("rotation", "shear", "zoom", "right", "down"), 0.0)


def smooth_picture(height=60, width=50):
    y, x = np.mgrid[:height, :width]
    channels = [4 * x + y, 2 * y + 90, 200 - 2 * x]
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)


def random_picture(height, width, channels=3, seed=0):
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def warp_crop(picture, left, top, size, matrix, fill, mirrored=False):
    back = way_back(*picture.shape[:2], left, top, size, matrix, mirrored)
    return warps.warp_crop(picture, size, back, fill)


def sampled(picture, left, top, size, matrix, fill, mirrored):
    """What warp_crop should give, in floats: where each pixel's centre comes from, one by one."""
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:size, :size] + 0.5
    if mirrored:
        columns = size - columns
    shorter = min(height, width)
    points = np.stack([columns + left - width / 2, rows + top - height / 2]) / shorter
    back = np.linalg.solve(matrix[:, :2], (points - matrix[:, 2, None, None]).reshape(2, -1))
    x = back[0].reshape(size, size) * shorter + width / 2 - 0.5
    y = back[1].reshape(size, size) * shorter + height / 2 - 0.5
    margin = 4 * (height + width + size)
    how = {"mode": "reflect"} if fill == "reflect" else {"mode": "constant", "constant_values": 255}
    widened = np.pad(picture.astype(float), ((margin, margin), (margin, margin), (0, 0)), **how)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    a, b = (x - column)[..., None], (y - row)[..., None]
    corner = lambda down, right: widened[row + down + margin, column + right + margin]  # noqa: E731
    upper = corner(0, 0) * (1 - a) + corner(0, 1) * a
    return upper * (1 - b) + (corner(1, 0) * (1 - a) + corner(1, 1) * a) * b


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3, 4]),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 1)),
    warp=st.tuples(
        st.floats(-180, 180),
        st.floats(-50, 50),
        st.floats(-0.5, 0.9),
        st.floats(-0.5, 0.5),
        st.floats(-0.5, 0.5),
    ),
    fill=st.sampled_from(["white", "reflect"]),
    mirrored=st.booleans(),
)
def test_a_warp_is_bilinear_sampling_at_pixel_centres(
    height, width, channels, place, warp, fill, mirrored
):
    picture = random_picture(height, width, channels)
    size = max(1, int(place[2] * min(height, width)))
    left, top = (int(p * (n - size)) for p, n in zip(place, (width, height), strict=False))
    arguments = (picture, left, top, size, affine(*warp), fill, mirrored)
    crop = warp_crop(*arguments)
    assert crop.shape == (size, size, channels)
    assert crop.dtype == np.uint8
    assert crop.flags.c_contiguous
    # Half a level of rounding, and OpenCV's sampling in single precision.
    np.testing.assert_allclose(crop, sampled(*arguments), atol=0.6)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3, 4]),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 1)),
    fill=st.sampled_from(["white", "reflect"]),
    mirrored=st.booleans(),
)
def test_no_warp_is_the_plain_crop_to_the_bit(height, width, channels, place, fill, mirrored):
    picture = random_picture(height, width, channels)
    size = max(1, int(place[2] * min(height, width)))
    left, top = (int(p * (n - size)) for p, n in zip(place, (width, height), strict=False))
    crop = plain_crop(picture, left, top, size, mirrored)
    expected = picture[top : top + size, left : left + size]
    np.testing.assert_array_equal(crop, expected[:, ::-1] if mirrored else expected)
    assert crop.flags.c_contiguous
    assert not np.shares_memory(crop, picture)
    warped = warp_crop(picture, left, top, size, affine(**STILL), fill, mirrored)
    np.testing.assert_array_equal(warped, crop)


def dot_after(matrix, column, row, side=41, **crop):
    picture = np.zeros((side, side, 3), np.uint8)
    picture[row, column] = 255
    crop = {"left": 0, "top": 0, "size": side} | crop
    moved = warp_crop(picture, matrix=matrix, fill="reflect", **crop)[..., 0]
    return np.unravel_index(moved.argmax(), moved.shape)[::-1], moved.max()


@pytest.mark.parametrize(
    ("warp", "dot", "expected"),
    [
        ({}, (25, 12), (25, 12)),
        ({"rotation": 90}, (30, 20), (20, 30)),  # clockwise: what is right goes down
        ({"rotation": 90}, (20, 10), (30, 20)),
        ({"rotation": 180}, (30, 12), (10, 28)),
        ({"right": 5 / 41}, (20, 20), (25, 20)),
        ({"down": -7 / 41}, (20, 20), (20, 13)),
        ({"shear": 45}, (20, 25), (25, 25)),
        ({"zoom": 1.0}, (25, 17), (30, 14)),
        ({"rotation": 90, "right": 3 / 41}, (30, 20), (23, 30)),
        ({"rotation": 90, "zoom": 1.0, "shear": 45}, (20, 23), (14, 26)),
    ],
)
def test_a_known_warp_moves_a_dot_where_it_should(warp, dot, expected):
    place, brightness = dot_after(affine(**(STILL | warp)), *dot)
    assert place == expected
    assert brightness > 250
    # The mirror is put up after all of that.
    place, _ = dot_after(affine(**(STILL | warp)), *dot, mirrored=True)
    assert place == (40 - expected[0], expected[1])


def test_a_wide_picture_is_shifted_by_its_shorter_side_and_turned_about_its_centre():
    picture = np.zeros((21, 61, 3), np.uint8)
    picture[10, 40] = 255
    shifted = warp_crop(picture, 30, 0, 21, affine(0, 0, 0, -5 / 21, 3 / 21), "reflect")[..., 0]
    assert np.unravel_index(shifted.argmax(), (21, 21)) == (13, 5)
    turned = warp_crop(picture, 10, 0, 21, affine(180, 0, 0, 0, 0), "reflect")[..., 0]
    assert np.unravel_index(turned.argmax(), (21, 21)) == (10, 10)


def test_a_crop_of_a_warp_is_the_warp_cropped():
    picture, matrix = smooth_picture(48, 48), affine(15, 5, 0.1, 0.05, -0.1)
    for fill in ("white", "reflect"):
        whole = warp_crop(picture, 0, 0, 48, matrix, fill)
        crop = warp_crop(picture, 7, 3, 32, matrix, fill)
        np.testing.assert_allclose(crop.astype(int), whole[3:35, 7:39], atol=1)


def test_white_fill_is_white_and_reflected_fill_mirrors_the_border():
    picture = smooth_picture(40, 40)
    shift = affine(0, 0, 0, 10 / 40, 0)
    white = warp_crop(picture, 0, 0, 40, shift, "white")
    assert np.all(white[:, :10] == 255)
    np.testing.assert_array_equal(white[:, 10:], picture[:, :30])
    reflected = warp_crop(picture, 0, 0, 40, shift, "reflect")
    np.testing.assert_array_equal(reflected[:, 10:], picture[:, :30])
    np.testing.assert_array_equal(reflected[:, :10], picture[:, 10:0:-1])


@pytest.mark.parametrize("angle", [45, 130])
@pytest.mark.parametrize("channels", [1, 3])
def test_reflected_fill_leaves_nothing_white(angle, channels):
    black = np.zeros((32, 32, channels), np.uint8)
    warp = affine(angle, 30, -0.6, 0.5, -0.5)
    assert warp_crop(black, 0, 0, 32, warp, "reflect").max() == 0
    assert warp_crop(black, 0, 0, 32, warp, "white")[0, 0].min() == 255


def test_crops_share_no_memory_and_pictures_of_any_size_take_turns():
    matrix, kept = affine(10, 0, 0, 0, 0), []
    for height, width in ((20, 30), (50, 40), (20, 30), (7, 9)):
        picture = random_picture(height, width, seed=width)
        crop = warp_crop(picture, 0, 0, 7, matrix, "reflect")
        kept.append((crop, crop.copy(), sampled(picture, 0, 0, 7, matrix, "reflect", False)))
    for crop, copy, expected in kept:
        np.testing.assert_array_equal(crop, copy)
        np.testing.assert_allclose(crop, expected, atol=0.6)


def test_threads_warp_side_by_side():
    pictures = [random_picture(90, 90, seed=seed) for seed in range(4)]
    matrix = affine(10, 0, 0, 0, 0)
    alone = [warp_crop(picture, 0, 0, 90, matrix, "white") for picture in pictures]
    with ThreadPoolExecutor(4) as threads:
        crops = threads.map(
            lambda n: warp_crop(pictures[n % 4], 0, 0, 90, matrix, "white"), range(400)
        )
        for n, crop in enumerate(crops):
            np.testing.assert_array_equal(crop, alone[n % 4])
