"""Facts about sources: which file and which half of it make a record."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcolor.data.sources import (
    FolderPairSource,
    PictureSource,
    SideBySideSource,
    SubsetSource,
    has_colour,
)
from jaxcolor.errors import ConfigError, DataError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def save(path, pixels):
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return str(path)


@settings(max_examples=20, deadline=None)
@given(
    half=st.integers(1, 40),
    other=st.integers(1, 40),
    side=st.sampled_from(["left", "right", "top", "bottom"]),
)
def test_halves_of_any_size_come_back_exactly(tmp_path_factory, half, other, side):
    directory = tmp_path_factory.mktemp("pairs")
    axis = 1 if side in ("left", "right") else 0
    shape = [other, other, 3]
    shape[axis] = 2 * half
    pixels = np.random.default_rng(half).integers(0, 256, shape, dtype=np.uint8)
    path = save(directory / "a.png", pixels)
    pair = SideBySideSource([path], ["a"], target_side=side)[0]
    halves = np.split(pixels, 2, axis)
    if side in ("right", "bottom"):
        halves = halves[::-1]
    np.testing.assert_array_equal(pair["target"], halves[0])
    np.testing.assert_array_equal(pair["condition"], halves[1])


@pytest.mark.parametrize(("side", "size"), [("left", (7, 4)), ("top", (4, 7))])
def test_an_odd_extent_cannot_be_halved(tmp_path, side, size):
    Image.new("RGB", size).save(tmp_path / "a.png")
    source = SideBySideSource([str(tmp_path / "a.png")], ["a"], target_side=side)
    with pytest.raises(DataError, match=r"7 pixels (wide|high)") as caught:
        source[0]
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "a.png") in str(caught.value)


def test_an_unknown_side_is_named():
    with pytest.raises(ConfigError, match=r"data.target_side 'middle' must be one of left"):
        SideBySideSource([], [], target_side="middle")


def test_two_files_make_a_pair(tmp_path):
    target = save(tmp_path / "t.png", np.full((4, 6, 3), RED))
    condition = save(tmp_path / "c.png", np.full((2, 3, 3), BLUE))
    source = FolderPairSource([target], [condition], ["x"])
    assert source.paths(0) == [target, condition]
    assert (len(source), source.names) == (1, ["x"])
    assert np.all(source[0]["target"] == RED)
    assert np.all(source[0]["condition"] == BLUE)
    assert source[0]["condition"].shape == (2, 3, 3)


def test_sources_survive_pickling(tmp_path):
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (4, 8, 3)))
    for source in (
        PictureSource([path], ["a"]),
        SideBySideSource([path], ["a"], target_side="right"),
        FolderPairSource([path], [path], ["a"]),
        SubsetSource(SideBySideSource([path], ["a"]), [0]),
    ):
        copy = pickle.loads(pickle.dumps(source))
        assert copy.names == source.names
        assert copy.paths(0) == source.paths(0)
        np.testing.assert_array_equal(copy[0]["target"], source[0]["target"])


def test_a_subset_holds_the_chosen_records(tmp_path):
    paths = [save(tmp_path / f"{n}.png", np.full((2, 4, 3), n)) for n in range(4)]
    source = SubsetSource(SideBySideSource(paths, list("abcd")), np.array([2, 0]))
    assert (len(source), source.names, source.axis) == (2, ["c", "a"], 1)
    assert [source[i]["target"][0, 0, 0] for i in range(2)] == [2, 0]
    assert source.paths(1) == [paths[0]]


def test_only_a_readable_target_can_lack_colour(tmp_path):
    grey = save(tmp_path / "g.png", np.full((4, 4, 3), 90))
    red = save(tmp_path / "r.png", np.full((4, 4, 3), RED))
    (tmp_path / "bad.png").write_bytes(b"")
    source = PictureSource([grey, red, str(tmp_path / "bad.png")], ["g", "r", "bad"])
    assert [has_colour(source, i) for i in range(3)] == [False, True, True]
