"""TIFFs of 16 bits a channel: whatever their layout, the same picture."""

import io
import struct

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from jaxcolor.colorize import picture_files
from jaxcolor.data import deep_tiff
from jaxcolor.data.pictures import read_picture, read_size

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 45, 70
COLOURS = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3), np.uint16)
GREY = COLOURS[..., :1]
# Of colours scaled by it, each level is told from the next where nothing is too transparent.
ALPHA = RNG.integers(30_000, 65536, (HEIGHT, WIDTH, 1), np.uint16)
LIMIT = 10**6


def tiff_of(pixels, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def in_planes(pixels, **options):
    planes = np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
    return tiff_of(planes, photometric="rgb", planarconfig="separate", **options)


def with_alpha(pixels, kind):
    photometric = "rgb" if pixels.shape[2] == 3 else "minisblack"
    stored = pixels * (ALPHA / 65535) if kind == "assocalpha" else pixels
    stored = np.concatenate([np.rint(stored).astype(np.uint16), ALPHA], axis=2)
    return tiff_of(stored, photometric=photometric, extrasamples=[kind])


LAYOUTS = {
    "interleaved": (tiff_of(COLOURS, photometric="rgb"), COLOURS),
    "big-endian": (tiff_of(COLOURS, photometric="rgb", byteorder=">"), COLOURS),
    "BigTIFF": (tiff_of(COLOURS, photometric="rgb", bigtiff=True), COLOURS),
    "strips": (tiff_of(COLOURS, photometric="rgb", rowsperstrip=7, compression="zlib"), COLOURS),
    "tiles": (tiff_of(COLOURS, photometric="rgb", tile=(16, 32)), COLOURS),
    "LZW of differences": (cv2.imencode(".tif", COLOURS[..., ::-1])[1].tobytes(), COLOURS),
    "planes": (in_planes(COLOURS), COLOURS),
    "planes in strips": (in_planes(COLOURS, rowsperstrip=7), COLOURS),
    "planes in tiles": (in_planes(COLOURS, tile=(16, 32), byteorder=">"), COLOURS),
    "grey": (tiff_of(GREY[..., 0], photometric="minisblack"), GREY),
    "negative": (tiff_of(65535 - GREY[..., 0], photometric="miniswhite"), GREY),
    "extra channel": (with_alpha(COLOURS, "unspecified"), COLOURS),
    "alpha": (with_alpha(COLOURS, "unassalpha"), np.dstack([COLOURS, ALPHA])),
    "grey and alpha": (with_alpha(GREY, "unassalpha"), np.dstack([GREY, ALPHA])),
    "scaled by alpha": (with_alpha(COLOURS, "assocalpha"), np.dstack([COLOURS, ALPHA])),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_changes_nothing(layout):
    data, expected = LAYOUTS[layout]
    found = picture_files.read(data)
    assert (found.format, found.note) == ("TIFF", "")
    assert found.pixels.dtype == np.uint16
    assert found.pixels.shape == expected.shape
    most = 1 if layout == "scaled by alpha" else 0  # what scaling rounds off
    assert np.abs(found.pixels.astype(int) - expected).max() <= most
    again = picture_files.encode(np.broadcast_to(COLOURS, COLOURS.shape), found)
    np.testing.assert_array_equal(picture_files.read(again).pixels[..., :3], COLOURS)


@pytest.mark.parametrize(
    "layout", ["interleaved", "planes", "planes in tiles", "grey", "negative", "grey and alpha"]
)
def test_training_sees_the_same(layout):
    data, expected = LAYOUTS[layout]
    small = np.rint(expected / 257)
    if expected.shape[2] == 2:
        share = np.rint(ALPHA / 257) / 255
        small = small[..., :1] * share + 255 * (1 - share)
    found = read_picture(io.BytesIO(data))
    assert np.abs(found - np.broadcast_to(small, found.shape)).max() <= 1


def test_differences_start_anew_in_each_tile():
    width = 32
    stored = COLOURS.copy()
    for left in range(0, WIDTH, width):
        part = stored[:, left : left + width]
        part[:, 1:] = np.diff(COLOURS[:, left : left + width], axis=1)
    data = tiff_of(
        stored,
        photometric="rgb",
        tile=(16, width),
        compression="zlib",
        extratags=[(65317, "H", 1, 2, True)],
    )
    data = data.replace(struct.pack("<HHI", 65317, 3, 1), struct.pack("<HHI", 317, 3, 1))
    np.testing.assert_array_equal(deep_tiff.decode(data, LIMIT), COLOURS)


def test_sixteen_bits_that_become_eight_are_told_of():
    inks = RNG.integers(0, 65536, (HEIGHT, WIDTH, 4), np.uint16)
    found = picture_files.read(tiff_of(inks, photometric="separated"))
    assert found.pixels.dtype == np.uint8
    assert "of its 16 bits a channel 8" in found.note


def test_what_is_no_such_tiff_is_left_to_others():
    eight = io.BytesIO()
    Image.new("RGB", (3, 2)).save(eight, "TIFF")
    whole = LAYOUTS["planes"][0]
    signed = tiff_of(GREY[..., 0].astype(np.int16))
    inks = tiff_of(np.zeros((4, 5, 4), np.uint16), photometric="separated")
    for data in (b"", b"II*\0", eight.getvalue(), signed, inks, whole[:-3000]):
        assert deep_tiff.decode(data, LIMIT) is None
    assert deep_tiff.decode(whole, HEIGHT * WIDTH).shape == COLOURS.shape
    assert deep_tiff.decode(whole, HEIGHT * WIDTH - 1) is None


def test_the_size_is_read_where_pillow_does_not_open_it():
    assert read_size(io.BytesIO(LAYOUTS["grey and alpha"][0])) == (WIDTH, HEIGHT)


def grey_in_strips(starts, sizes):
    """8x8 pixels of 16 bits behind the header; strips of them wherever they are said to be."""
    count, pixels = len(starts), np.arange(64, dtype="<u2").tobytes()
    lists = struct.pack(f"<{count}L{count}L", *starts, *sizes)
    at = 8 + len(pixels)
    tags = [(256, 1, 8), (257, 1, 8), (258, 1, 16), (259, 1, 1), (262, 1, 1), (273, count, at)]
    tags += [(277, 1, 1), (278, 1, 1), (279, count, at + 4 * count)]
    entries = b"".join(struct.pack("<HHLL", tag, 4, length, value) for tag, length, value in tags)
    head = b"II*\0" + struct.pack("<L", at + len(lists))
    return head + pixels + lists + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_strips_that_share_their_bytes_are_not_copied():
    """Each of thousands may name the whole file."""
    data = grey_in_strips(range(8, 136, 16), [16] * 8)
    np.testing.assert_array_equal(deep_tiff.decode(data, LIMIT)[..., 0].ravel(), range(64))
    data = grey_in_strips([8] * 8, [100] * 8)
    assert deep_tiff.decode(data, LIMIT) is None
