"""Pictures larger than the network: tiles that leave no trace, and mirror images around."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcolor.colorize import tiling


def in_tiles(picture, unit, network):
    return np.concatenate(list(tiling.map_in_tiles(picture, unit, network)))


@given(height=st.integers(1, 70), width=st.integers(1, 70), unit=st.sampled_from([4, 8, 16]))
@settings(max_examples=40, deadline=None)
def test_the_identity_gives_the_picture_back(height, width, unit):
    rng = np.random.default_rng(height * 71 + width)
    picture = rng.integers(0, 65536, (height, width, 3)).astype(np.float32)
    found = in_tiles(picture, unit, lambda tiles: tiles)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.rint(found), picture)


def test_the_network_sees_four_shapes_in_all():
    shapes = set()

    def network(tiles):
        shapes.add(tiles.shape[1:3])
        return tiles

    for height in (1, 8, 9, 16, 17, 40):
        for width in (1, 8, 9, 16, 17, 40):
            in_tiles(np.zeros((height, width, 1), np.float32), 8, network)
    assert shapes == {(8, 8), (8, 16), (16, 8), (16, 16)}


def test_the_network_is_given_few_tiles_at_once():
    counts = []

    def network(tiles):
        counts.append(len(tiles))
        return tiles

    picture = np.random.default_rng(0).random((3, 1000, 1), np.float32)
    np.testing.assert_allclose(in_tiles(picture, 8, network), picture, atol=1e-6)
    assert max(counts) == tiling.MOST_TILES < sum(counts)


@given(length=st.integers(16, 300), overlap=st.integers(1, 15))
def test_the_shares_of_a_pixel_are_one_in_all(length, overlap):
    axis = tiling.place_tiles(length, 16, overlap)
    total = np.zeros(length)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        total[start : start + 16] += weights
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    assert axis.starts[0] == 0
    assert axis.starts[-1] + 16 == length
    for one, next_one in zip(axis.starts, axis.starts[1:], strict=False):
        assert 16 - (next_one - one) >= overlap


@pytest.mark.parametrize(("height", "width"), [(100, 37), (33, 200)])
def test_tiles_of_different_tones_leave_no_seam(height, width):
    """Each tile is shifted by a tone of its own, as one with statistics of its own would be."""
    rng = np.random.default_rng(0)
    smooth = np.sin(np.arange(height) / 30)[:, None] + np.cos(np.arange(width) / 40)
    smooth = (0.25 * smooth)[..., None].astype(np.float32)

    def network(tiles):
        return tiles + rng.choice([-0.2, 0.2], (len(tiles), 1, 1, 1)).astype(np.float32)

    found = in_tiles(smooth, 16, network)
    assert np.abs(found - smooth).max() < 0.21
    # A seam would be a step of 0.4; a raised cosine over 8 pixels has none above 0.4 pi / 16.
    for axis in (0, 1):
        steps = np.abs(np.diff(found - smooth, axis=axis))
        assert steps.max() < 1.1 * 0.4 * np.pi / 16


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 2), (8, 8)])
def test_around_a_picture_are_its_mirror_images(shape):
    picture = np.arange(np.prod(shape), dtype=np.float32).reshape(*shape, 1)
    padded, top, left = tiling.pad(picture, 8, 8)
    assert padded.shape == (8, 8, 1)
    np.testing.assert_array_equal(padded[top : top + shape[0], left : left + shape[1]], picture)
    assert set(padded.ravel()) == set(picture.ravel())
    if 2 < shape[1] < 8:
        assert padded[top, left - 1] == picture[0, 1]
