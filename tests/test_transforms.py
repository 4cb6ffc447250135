"""Facts about what the transforms do to a record."""

import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcolor.data.conditions import make_condition
from jaxcolor.data.transforms import (
    METHODS,
    TrainingTransform,
    ValidationTransform,
    fit_picture,
    resize,
)
from jaxcolor.errors import ConfigError

WARP = {"rotation": 20.0, "shear": 10.0, "zoom": 0.2, "shift": 0.1}


def smooth_picture(height=60, width=50):
    y, x = np.mgrid[:height, :width]
    channels = [4 * x + y, 2 * y + 90, 200 - 2 * x]
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)


def random_pair(height=40, width=40, seed=0, channels=3):
    rng = np.random.default_rng(seed)
    return {
        "condition": rng.integers(0, 256, (height, width, channels), dtype=np.uint8),
        "target": rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
    }


def apply(transform, record, seed=0):
    return transform(record, np.random.default_rng(seed))


def assert_same(first, second):
    assert first.keys() == second.keys() == {"condition", "target"}
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    image_size=st.integers(1, 40),
    margin=st.integers(0, 9),
    fit=st.sampled_from(["stretch", "crop"]),
    fill=st.sampled_from(["white", "reflect"]),
    warps=st.booleans(),
    seed=st.integers(0, 9),
)
def test_equal_halves_stay_equal(height, width, image_size, margin, fit, fill, warps, seed):
    picture = random_pair(height, width, seed)["target"]
    options = {"image_size": image_size, "load_size": image_size + margin, "fit": fit, "fill": fill}
    transform = TrainingTransform(**options, **(WARP if warps else {}))
    moved = apply(transform, {"condition": picture, "target": picture}, seed)
    np.testing.assert_array_equal(moved["condition"], moved["target"])
    for half in moved.values():
        assert half.shape == (image_size, image_size, 3)
        assert half.dtype == np.uint8
        assert half.flags.c_contiguous
        assert not np.shares_memory(half, picture)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 50), min_size=4, max_size=4),
    channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(["stretch", "crop"]),
    warps=st.booleans(),
    seed=st.integers(0, 9),
)
def test_pictures_of_any_size_and_one_channel_come_out_at_one_size(
    sizes, channels, fit, warps, seed
):
    record = {
        "condition": random_pair(*sizes[:2], seed, channels)["condition"],
        "target": random_pair(*sizes[2:], seed)["target"],
    }
    options = {"image_size": 20, "load_size": 24, "fit": fit, "noise": 0.1}
    moved = apply(TrainingTransform(**options, **(WARP if warps else {})), record, seed)
    plain = ValidationTransform(image_size=20, fit=fit)(record)
    for pair in (moved, plain):
        assert pair["condition"].shape == (20, 20, channels)
        assert pair["target"].shape == (20, 20, 3)
        for half in pair.values():
            assert half.dtype == np.uint8
            assert half.flags.c_contiguous


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 50), min_size=4, max_size=4),
    fit=st.sampled_from(["stretch", "crop"]),
    condition=st.sampled_from(["given", "luma", "lines"]),
    method=st.sampled_from(sorted(METHODS)),
    seed=st.integers(0, 9),
)
def test_pictures_fitted_before_are_transformed_to_the_same_bits(
    sizes, fit, condition, method, seed
):
    record = {
        "condition": random_pair(*sizes[:2], seed)["condition"],
        "target": random_pair(*sizes[2:], seed)["target"],
    }
    options = {"image_size": 20, "resize": method, "fit": fit, "condition": condition}
    training = TrainingTransform(**options, load_size=24, noise=0.1, **WARP)
    cached = {name: fit_picture(half, 24, method, fit) for name, half in record.items()}
    assert_same(apply(training, record, seed), apply(training, cached, seed))
    validation = ValidationTransform(**options)
    cached = {name: fit_picture(half, 20, method, fit) for name, half in record.items()}
    assert_same(validation(record), validation(cached))


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    image_size=st.integers(1, 40),
    fill=st.sampled_from(["white", "reflect"]),
    noise=st.sampled_from([0.0, 0.1]),
    channels=st.sampled_from([1, 3]),
    warps=st.booleans(),
    seed=st.integers(0, 9),
)
def test_a_grey_condition_is_transformed_to_the_same_bits_as_a_copy_in_colour(
    height, width, image_size, fill, noise, channels, warps, seed
):
    record = random_pair(height, width, seed, channels=1)
    view = np.broadcast_to(record["condition"], (height, width, channels))
    transform = TrainingTransform(
        image_size=image_size,
        load_size=image_size + 3,
        fill=fill,
        noise=noise,
        **(WARP if warps else {}),
    )
    record["condition"] = np.repeat(view[..., :1], 3, axis=2)
    in_colour = apply(transform, transform.fit_record(record), seed)
    fitted = transform.fit_record(record)
    plane = np.ascontiguousarray(fitted["condition"][..., :1])
    fitted["condition"] = np.broadcast_to(plane, (*plane.shape[:2], channels))
    grey = apply(transform, fitted, seed)
    assert grey["condition"].shape == (image_size, image_size, channels)
    in_colour["condition"] = in_colour["condition"][..., :channels]
    assert_same(grey, in_colour)


def test_the_same_generator_gives_the_same_pair_and_another_a_different_one():
    pair = random_pair()
    for condition in ("given", "lines"):
        options = {"image_size": 32, "load_size": 40, "condition": condition, "noise": 0.1}
        transform = TrainingTransform(**options, **WARP)
        first, again, other = (apply(transform, pair, seed) for seed in (1, 1, 2))
        assert_same(first, again)
        assert_same(first, apply(pickle.loads(pickle.dumps(transform)), pair, 1))
        for name in pair:
            assert np.any(first[name] != other[name])


def test_the_record_given_is_left_alone():
    for condition in ("given", "luma"):
        pair = random_pair()
        before = {name: half.copy() for name, half in pair.items()}
        options = {"image_size": 40, "load_size": 40, "flip": False, "noise": 0.5}
        moved = apply(TrainingTransform(**options, condition=condition), pair)
        moved["target"][:] = 0
        for name, half in pair.items():
            np.testing.assert_array_equal(half, before[name])


def test_opencv_is_kept_to_the_calling_thread():
    pair = random_pair()
    transforms = (
        lambda: apply(TrainingTransform(image_size=32, load_size=40), pair),
        lambda: ValidationTransform(image_size=32)(pair),
    )
    before = cv2.getNumThreads()
    try:
        for transform in transforms:
            cv2.setNumThreads(2)
            transform()
            assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


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


def corners(transform, pixels):
    """(row, column) of the first pixel of the crops that 400 draws take."""
    record = {"condition": pixels, "target": pixels}
    moved = [apply(transform, record, seed)["target"] for seed in range(400)]
    return {tuple(map(int, half[0, 0, :2])) for half in moved}


def test_crops_take_every_offset_from_first_to_last():
    pixels = np.zeros((6, 12, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(6)[:, None], np.arange(12)
    transform = TrainingTransform(image_size=4, load_size=6, flip=False)
    assert corners(transform, pixels[:, :6]) == {
        (top, left) for top in range(3) for left in range(3)
    }
    # With the proportions kept, on to the end of the longer side.
    transform = TrainingTransform(image_size=4, load_size=6, flip=False, fit="crop")
    expected = {(top, left) for top in range(3) for left in range(9)}
    assert corners(transform, pixels) == expected
    assert corners(transform, pixels.transpose(1, 0, 2)) == expected


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
    with_lines = TrainingTransform(**options, condition="lines")
    # So little that every pixel's noise is rounded to 0.
    with_both = TrainingTransform(**options, condition="lines", noise=1e-6)
    flips = set()
    for seed in range(8):
        flipped = apply(TrainingTransform(**options | {"flip": True}), pair, seed)["target"]
        plain = apply(TrainingTransform(**options), pair, seed)["target"]
        # The mirror is a part of the warp: sampled from the other side, sums round otherwise.
        straight, mirrored = (
            np.abs(flipped.astype(int) - other).max() <= 1 for other in (plain, plain[:, ::-1])
        )
        assert straight != mirrored
        flips.add(mirrored)
        for other in (with_noise, with_lines):
            np.testing.assert_array_equal(apply(other, pair, seed)["target"], plain)
        assert_same(apply(with_lines, pair, seed), apply(with_both, pair, seed))
    assert len(flips) == 2


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


@pytest.mark.parametrize("kind", ["luma", "lab_l", "lines"])
def test_a_condition_is_made_of_the_target_as_it_comes_out(kind):
    look = {"line_strength": (1.0, 1.0), "line_thickness": (2.0, 2.0)}
    target = smooth_picture(50, 60)
    options = {"image_size": 32, "condition": kind, **look}
    training = TrainingTransform(**options, load_size=40, **WARP, fill="reflect")
    validation = ValidationTransform(**options, fit="crop")
    # What the record has is not looked at.
    for record in ({"target": target}, {"target": target, "condition": target[:3]}):
        for pair in (apply(training, record), validation(record)):
            expected = make_condition(pair["target"], kind, **look)
            np.testing.assert_array_equal(pair["condition"], expected)
            assert pair["condition"].shape == (32, 32, 1)


def test_lines_are_drawn_from_their_ranges_in_training_and_from_the_middle_in_validation():
    record = {"target": resize(random_pair(30, 30)["target"], 256, 256, "bicubic")}
    look = {"line_strength": (0.5, 1.5), "line_thickness": (0.6, 1.4)}
    options = {"image_size": 256, "condition": "lines", **look}
    transform = TrainingTransform(**options, load_size=256, flip=False)
    drawn = [apply(transform, record, seed)["condition"] for seed in range(4)]
    assert len({lines.tobytes() for lines in drawn}) == 4
    middle = make_condition(
        record["target"], "lines", line_strength=(1.0, 1.0), line_thickness=(1.0, 1.0)
    )
    np.testing.assert_array_equal(ValidationTransform(**options)(record)["condition"], middle)


def test_a_record_without_the_condition_asked_for_says_what_to_set():
    record = {"target": smooth_picture()}
    message = r"data\.condition 'given' needs .* luma, lab_l, lines"
    with pytest.raises(ConfigError, match=message):
        ValidationTransform()(record)
    with pytest.raises(ConfigError, match=message):
        apply(TrainingTransform(), record)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
)
def test_fitting_keeps_proportions_or_stretches_and_is_done_once(height, width, size, channels):
    picture = random_pair(height, width, channels=channels)["condition"]
    stretched = fit_picture(picture, size, "bilinear", "stretch")
    assert stretched.shape == (size, size, channels)
    fitted = fit_picture(picture, size, "bilinear", "crop")
    shorter = min(height, width)
    assert min(fitted.shape[:2]) == size
    assert fitted.shape[2] == channels
    assert abs(fitted.shape[0] - height * size / shorter) <= 0.5
    assert abs(fitted.shape[1] - width * size / shorter) <= 0.5
    assert fit_picture(stretched, size, "bilinear", "stretch") is stretched
    assert fit_picture(fitted, size, "bilinear", "crop") is fitted


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_resizing_keeps_flat_pictures_and_means(method):
    flat = np.full((17, 30, 3), 77, np.uint8)
    assert np.all(resize(flat, 23, 31, method) == 77)
    picture = smooth_picture(64, 64)
    small = resize(picture, 16, 8, method)
    assert small.shape == (16, 8, 3)
    np.testing.assert_allclose(small.mean(axis=(0, 1)), picture.mean(axis=(0, 1)), atol=5)
    np.testing.assert_array_equal(resize(picture[..., :1], 16, 8, method), small[..., :1])


def test_resizing_to_the_same_size_changes_nothing_and_methods_differ():
    picture = random_pair(24, 20)["target"]
    assert resize(picture, 24, 20, "lanczos") is picture
    results = [resize(picture, 31, 31, m) for m in ("nearest", "bilinear", "bicubic", "lanczos")]
    assert len({result.tobytes() for result in results}) == 4


def test_validation_is_the_resize_alone_or_the_centre():
    pair = random_pair(30, 20)
    transform = ValidationTransform(image_size=24, resize="bilinear")
    for name, half in transform(pair).items():
        np.testing.assert_array_equal(half, resize(pair[name], 24, 24, "bilinear"))
    transform = ValidationTransform(image_size=20, resize="bilinear", fit="crop")
    for name, half in transform(pair).items():
        np.testing.assert_array_equal(half, pair[name][5:25])
    wide = random_pair(20, 31)
    for name, half in transform(wide).items():
        np.testing.assert_array_equal(half, wide[name][:, 5:25])


WRONG = [
    ({"image_size": 0}, "data.image_size 0 must be at least 1"),
    ({"resize": "cubic"}, "data.resize 'cubic' must be one of nearest, bilinear"),
    ({"fit": "pad"}, "data.fit 'pad' must be one of stretch, crop"),
    ({"condition": "grey"}, "data.condition 'grey' must be one of given, luma, lab_l, lines"),
    ({"line_strength": (0.0, 1.0)}, "data.line_strength (0.0, 1.0) must be two numbers"),
    ({"line_strength": (1.0, 11.0)}, "data.line_strength (1.0, 11.0) must be two numbers"),
    ({"line_thickness": (2.0, 1.0)}, "data.line_thickness (2.0, 1.0) must be two numbers"),
    ({"line_thickness": (1.0,)}, "data.line_thickness (1.0,) must be two numbers"),
    ({"line_thickness": (1.0, float("nan"))}, "data.line_thickness (1.0, nan) must be two"),
]
WRONG_IN_TRAINING = [
    ({"load_size": 200}, "augment.load_size 200 must be at least data.image_size 256"),
    ({"fill": "black"}, "augment.fill 'black' must be one of white, reflect"),
    ({"rotation": -1.0}, "augment.rotation -1.0 must be from 0 to 180"),
    ({"shear": 90.0}, "augment.shear 90.0 must be from 0 to 60"),
    ({"zoom": 1.0}, "augment.zoom 1.0 must be from 0 to 0.9"),
    ({"shift": -0.1}, "augment.shift -0.1 must be from 0 to 1"),
    ({"noise": float("nan")}, "augment.noise nan must be from 0 to 2"),
]


@pytest.mark.parametrize(
    ("constructor", "wrong", "message"),
    [(TrainingTransform, *case) for case in WRONG + WRONG_IN_TRAINING]
    + [(ValidationTransform, *case) for case in WRONG],
)
def test_values_out_of_range_are_named(constructor, wrong, message):
    with pytest.raises(ConfigError, match="must be") as caught:
        constructor(**wrong)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fill", ["white", "reflect"])
def test_the_border_of_what_is_filled_in_is_no_line(fill):
    """A picture of one dark colour has no lines, wherever it is turned and shifted to."""
    transform = TrainingTransform(
        image_size=64, load_size=64, condition="lines", rotation=20.0, shift=0.2, fill=fill
    )
    record = {"target": np.full((64, 64, 3), 60, np.uint8)}
    whites = 0
    for seed in range(20):
        pair = transform(record, np.random.default_rng(seed))
        whites += int((pair["target"] == 255).all(-1).sum())
        assert pair["condition"].min() == 255
    assert (whites > 0) == (fill == "white")
