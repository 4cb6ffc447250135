"""Facts about what the transforms do to a pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcolor.data.transforms import (
    TrainingTransform,
    ValidationTransform,
    affine,
    resize,
    warp_crop,
)
from jaxcolor.errors import ConfigError

WARP = {"rotation": 20.0, "shear": 10.0, "zoom": 0.2, "shift": 0.1}


def smooth_picture(height=60, width=50):
    y, x = np.mgrid[:height, :width]
    channels = [4 * x + y, 2 * y + 90, 200 - 2 * x]
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)


def random_pair(height=40, width=40, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return {"condition": pixels[0], "target": pixels[1]}


def apply(transform, pair, seed=0):
    return transform(pair, np.random.default_rng(seed))


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    image_size=st.integers(1, 40),
    margin=st.integers(0, 9),
    fill=st.sampled_from(["white", "reflect"]),
    warps=st.booleans(),
    seed=st.integers(0, 9),
)
def test_equal_halves_stay_equal(height, width, image_size, margin, fill, warps, seed):
    picture = random_pair(height, width, seed)["target"]
    options = {"image_size": image_size, "load_size": image_size + margin, "fill": fill}
    transform = TrainingTransform(**options, **(WARP if warps else {}))
    moved = apply(transform, {"condition": picture, "target": picture}, seed)
    np.testing.assert_array_equal(moved["condition"], moved["target"])
    for half in moved.values():
        assert half.shape == (image_size, image_size, 3)
        assert half.dtype == np.uint8
        assert half.flags.c_contiguous
        assert half.flags.owndata


def test_the_same_generator_gives_the_same_pair_and_another_a_different_one():
    transform, pair = TrainingTransform(image_size=32, load_size=40, **WARP), random_pair()
    first, again, other = (apply(transform, pair, seed) for seed in (1, 1, 2))
    for name in pair:
        np.testing.assert_array_equal(first[name], again[name])
        assert np.any(first[name] != other[name])


def test_the_pair_given_is_left_alone():
    pair = random_pair()
    before = {name: half.copy() for name, half in pair.items()}
    moved = apply(TrainingTransform(image_size=40, load_size=40, flip=False, noise=0.5), pair)
    moved["target"][:] = 0
    for name, half in pair.items():
        np.testing.assert_array_equal(half, before[name])


def test_noise_changes_the_condition_alone_by_its_deviation():
    grey = np.full((64, 64, 3), 128, np.uint8)
    pair = {"condition": grey, "target": random_pair(64, 64)["target"]}
    options = {"image_size": 64, "load_size": 64}
    plain = apply(TrainingTransform(**options), pair)
    noisy = apply(TrainingTransform(**options, noise=0.1), pair)
    np.testing.assert_array_equal(plain["target"], noisy["target"])
    difference = noisy["condition"].astype(float) - plain["condition"]
    assert abs(difference.std() / 127.5 - 0.1) < 0.01
    assert abs(difference.mean()) < 1
    assert np.ptp(difference, axis=-1).max() == 0  # grey noise


def test_noise_stops_at_black_and_white():
    pair = {name: np.full((16, 16, 3), 250, np.uint8) for name in ("condition", "target")}
    noisy = apply(TrainingTransform(image_size=16, load_size=16, noise=0.5), pair)["condition"]
    assert noisy.max() == 255
    assert np.mean(noisy == 255) > 0.3


def test_crops_take_every_offset_from_first_to_last():
    pixels = np.zeros((6, 6, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(6)[:, None], np.arange(6)
    pair = {"condition": pixels, "target": pixels}
    transform = TrainingTransform(image_size=4, load_size=6, flip=False)
    corners = {tuple(apply(transform, pair, seed)["target"][0, 0, :2]) for seed in range(200)}
    assert corners == {(top, left) for top in range(3) for left in range(3)}


def test_half_of_the_pairs_are_mirrored_and_none_without_flip():
    pair = random_pair(8, 8)
    moved = [apply(TrainingTransform(image_size=8, load_size=8), pair, s) for s in range(400)]
    mirrored = [np.array_equal(half["target"], pair["target"][:, ::-1]) for half in moved]
    plain = [np.array_equal(half["target"], pair["target"]) for half in moved]
    assert all(m != p for m, p in zip(mirrored, plain, strict=True))
    assert 160 < sum(mirrored) < 240
    transform = TrainingTransform(image_size=8, load_size=8, flip=False)
    for seed in range(20):
        np.testing.assert_array_equal(apply(transform, pair, seed)["target"], pair["target"])


def test_switches_leave_the_other_draws_alone():
    pair = random_pair()
    options = {"image_size": 32, "load_size": 40, "flip": False, **WARP}
    with_noise = TrainingTransform(**options, noise=0.3)
    for seed in range(8):
        flipped = apply(TrainingTransform(**options | {"flip": True}), pair, seed)["target"]
        plain = apply(TrainingTransform(**options), pair, seed)["target"]
        assert np.array_equal(flipped, plain) or np.array_equal(flipped, plain[:, ::-1])
        np.testing.assert_array_equal(apply(with_noise, pair, seed)["target"], plain)


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
    still = dict.fromkeys(("rotation", "shear", "zoom", "right", "down"), 0.0)
    place, brightness = dot_after(affine(**(still | warp)), *dot)
    assert place == expected
    assert brightness > 250


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
def test_reflected_fill_leaves_nothing_white(angle):
    black = np.zeros((32, 32, 3), np.uint8)
    warp = affine(angle, 30, -0.6, 0.5, -0.5)
    assert warp_crop(black, 0, 0, 32, warp, "reflect").max() == 0
    assert warp_crop(black, 0, 0, 32, warp, "white")[0, 0].min() == 255


def test_a_transform_warps_within_its_ranges():
    # A white picture on white fill: only dots tell. A shift alone must stay within 10 %.
    picture = np.full((41, 41, 3), 255, np.uint8)
    picture[20, 20] = 0
    transform = TrainingTransform(image_size=41, load_size=41, flip=False, shift=0.1)
    places = []
    for seed in range(60):
        moved = apply(transform, {"condition": picture, "target": picture}, seed)["target"]
        places.append(np.unravel_index(moved[..., 0].argmin(), (41, 41)))
    offsets = np.array(places) - 20
    assert np.abs(offsets).max() == 4
    assert len(set(places)) > 20


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_resizing_keeps_flat_pictures_and_means(method):
    flat = np.full((17, 30, 3), 77, np.uint8)
    assert np.all(resize(flat, 23, method) == 77)
    picture = smooth_picture(64, 64)
    small = resize(picture, 16, method)
    assert small.shape == (16, 16, 3)
    np.testing.assert_allclose(small.mean(axis=(0, 1)), picture.mean(axis=(0, 1)), atol=3)


def test_resizing_to_the_same_size_changes_nothing_and_methods_differ():
    picture = random_pair(24, 24)["target"]
    np.testing.assert_array_equal(resize(picture, 24, "lanczos"), picture)
    results = [resize(picture, 31, m) for m in ("nearest", "bilinear", "bicubic", "lanczos")]
    assert len({result.tobytes() for result in results}) == 4


def test_validation_is_the_resize_alone():
    pair = random_pair(30, 20)
    transform = ValidationTransform(image_size=24, resize="bilinear")
    for name, half in transform(pair).items():
        np.testing.assert_array_equal(half, resize(pair[name], 24, "bilinear"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"load_size": 200}, "augment.load_size 200 must be at least data.image_size 256"),
        ({"image_size": 0}, "data.image_size 0 must be at least 1"),
        ({"resize": "cubic"}, "data.resize 'cubic' must be one of nearest, bilinear"),
        ({"fill": "black"}, "augment.fill 'black' must be one of white, reflect"),
        ({"rotation": -1.0}, "augment.rotation -1.0 must be from 0 to 180"),
        ({"shear": 90.0}, "augment.shear 90.0 must be from 0 to 60"),
        ({"zoom": 1.0}, "augment.zoom 1.0 must be from 0 to 0.9"),
        ({"shift": -0.1}, "augment.shift -0.1 must be from 0 to 1"),
        ({"noise": float("nan")}, "augment.noise nan must be from 0 to 2"),
    ],
)
def test_values_out_of_range_are_named(wrong, message):
    with pytest.raises(ConfigError, match="must be") as caught:
        TrainingTransform(**wrong)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"image_size": 0}, {"resize": "cubic"}])
def test_validation_checks_its_values(wrong):
    with pytest.raises(ConfigError, match="must be"):
        ValidationTransform(**wrong)
