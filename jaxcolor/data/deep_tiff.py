"""TIFF of 16 bits a channel in whatever layout: Pillow reads it as 8 bits, or not at all."""

import io
import struct

import cv2
import numpy as np
from PIL import TiffImagePlugin

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 259, 262, 274
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_EXTRA, _SAMPLE_FORMAT = 338, 339
_NEGATIVE, _GREY = 0, 1
_COLOURS = {_NEGATIVE: 1, _GREY: 1, 2: 3}  # by photometric interpretation
_UNSPECIFIED, _ASSOCIATED = 0, 1  # extra channels: no alpha, and one that colours are scaled by
_MOST_EXTRA = 4
_DIFFERENCES = 2  # the predictor: each pixel less the one on its left
_PREDICTED = (5, 8, 32946, 34925, 50000)  # compressions that have it: LZW, deflate, LZMA, zstd
_LONG = 4
_LARGEST = 65535
_BLOCK = 64  # rows


def decode(data: bytes, max_pixels: int) -> np.ndarray | None:
    """uint16 [height, width, channels], upright: grey, grey and alpha, RGB, RGB and alpha.

    None for what is neither, of signed numbers, cut short, or larger.

    Args:
      data: content of a file that may be none of TIFF.
      max_pixels: width times height.
    """
    try:
        tags = _read_tags(data)
        pixels = _read_pixels(data, tags, max_pixels)
    except Exception:  # damage shows as errors of any kind, and Pillow says which
        return None
    return None if pixels is None else turn(pixels, int(tags.get(_ORIENTATION, 1)))


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The picture upright, of one stored with this EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _read_tags(data):
    stream = io.BytesIO(data)
    head = stream.read(8)
    head += stream.read(8) if 43 in head[2:4] else b""  # BigTIFF
    tags = TiffImagePlugin.ImageFileDirectory_v2(head)
    stream.seek(tags.next)
    tags.load(stream)
    return tags


def _read_pixels(data, tags, max_pixels):
    colours, samples = _COLOURS.get(tags[_PHOTOMETRIC]), tags.get(_SAMPLES, 1)
    unsigned = set(tags.get(_SAMPLE_FORMAT, (1,))) == {1}
    if colours is None or set(tags[_BITS]) != {16} or not unsigned:
        return None
    if not colours <= samples <= colours + _MOST_EXTRA or tags.get(_PREDICTOR, 1) > _DIFFERENCES:
        return None
    if not 0 < tags[_WIDTH] * tags[_HEIGHT] <= max_pixels:
        return None
    pixels = _read_samples(data, tags, samples)
    if pixels is None:
        return None
    return _understand(pixels, tags, colours)


def _read_samples(data, tags, samples):
    """[height, width, samples] as the file has them."""
    at, sizes = (_TILES, _TILE_BYTES) if _TILES in tags else (_STRIPS, _STRIP_BYTES)
    parts = [(start, start + size) for start, size in zip(tags[at], tags[sizes], strict=True)]
    if max(end for _, end in parts) > len(data):
        return None
    if sum(end - start for start, end in parts) > len(data):  # copies of the same bytes
        return None
    parts = [data[start:end] for start, end in parts]
    if samples == 1 or tags.get(_PLANAR, 1) == 1:
        return _read_interleaved(data[:2], parts, tags, samples)
    each = len(parts) // samples
    planes = (parts[first : first + each] for first in range(0, each * samples, each))
    return np.concatenate([_read_interleaved(data[:2], plane, tags, 1) for plane in planes], axis=2)


def _read_interleaved(order, parts, tags, samples):
    """Channels that take turns: to OpenCV, which decompresses, a grey picture that much wider.

    It has its own ideas of planes, negatives and alpha, and none of grey with alpha.
    """
    height, width = tags[_HEIGHT], tags[_WIDTH]
    grey = {_WIDTH: width * samples, _HEIGHT: height, _BITS: 16, _PHOTOMETRIC: _GREY, _SAMPLES: 1}
    grey[_COMPRESSION] = compression = tags.get(_COMPRESSION, 1)
    differences = tags.get(_PREDICTOR) == _DIFFERENCES and compression in _PREDICTED
    if differences and samples == 1:
        grey[_PREDICTOR] = _DIFFERENCES
    step = width
    if _TILES in tags:
        step = tags[_TILE_WIDTH]
        grey |= {_TILE_WIDTH: step * samples, _TILE_HEIGHT: tags[_TILE_HEIGHT]}
    else:
        grey[_ROWS] = min(tags.get(_ROWS, height), height)
    file = _write_grey(order, grey, parts, (_TILES, _TILE_BYTES) if _TILES in tags else None)
    pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    pixels = pixels.reshape(height, width, samples)
    if pixels.dtype != np.uint16:
        raise ValueError("not decoded as it is")
    if differences and samples > 1:
        for left in range(0, width, step):
            part = pixels[:, left : left + step]
            np.cumsum(part, axis=1, dtype=np.uint16, out=part)
    return pixels


def _write_grey(order, tags, parts, place):
    """A TIFF of these tags, in this order of bytes, around compressed strips or tiles."""
    end = "<" if order == b"II" else ">"
    file = io.BytesIO()
    file.write(bytes(8))
    starts = []
    for part in parts:
        starts.append(file.tell())
        file.write(part + bytes(len(part) % 2))
    at, sizes = place or (_STRIPS, _STRIP_BYTES)
    values = {tag: [value] for tag, value in tags.items()}
    values |= {at: starts, sizes: [len(part) for part in parts]}
    entries = b""
    for tag, numbers in sorted(values.items()):
        packed = struct.pack(f"{end}{len(numbers)}L", *numbers)
        if len(numbers) > 1:
            elsewhere = file.tell()
            file.write(packed)
            packed = struct.pack(f"{end}L", elsewhere)
        entries += struct.pack(f"{end}HHL", tag, _LONG, len(numbers)) + packed
    directory = file.tell()
    file.write(struct.pack(f"{end}H", len(values)) + entries + bytes(4))
    file.seek(0)
    file.write(order + struct.pack(f"{end}HL", 42, directory))
    return file.getvalue()


def _understand(pixels, tags, colours):
    """Grey or RGB, with alpha if there is any, of what the samples say."""
    extra = pixels.shape[2] - colours
    kind = (tags.get(_EXTRA) or (None,))[0]  # None: nothing is said, and alpha is meant
    pixels = pixels[..., : colours + (extra > 0 and kind != _UNSPECIFIED)]
    if tags[_PHOTOMETRIC] == _NEGATIVE:
        pixels[..., 0] = _LARGEST - pixels[..., 0]
    if kind == _ASSOCIATED and extra:
        for first in range(0, len(pixels), _BLOCK):
            rows = pixels[first : first + _BLOCK]
            share = rows[..., colours:] / np.float32(_LARGEST)
            whole = rows[..., :colours] / np.maximum(share, 1 / _LARGEST)
            rows[..., :colours] = np.rint(np.minimum(whole, _LARGEST))
    return pixels
