"""Pictures larger than a network takes at once: padding, overlapping tiles, seamless blending."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

MOST_TILES = 32  # that the network is given at once: a row of pictures up to 12,000 pixels wide


class Axis(NamedTuple):
    """Tiles along one axis.

    Attributes:
      starts: [tiles] where each begins.
      weights: float32 [tiles, tile], each tile's share of the pixels it covers: raised cosines at
        its ends, and 1 in all over the tiles that cover a pixel.
    """

    starts: list[int]
    weights: np.ndarray


def canvas_length(length: int, unit: int) -> int:
    """The length to which `length` pixels are padded: a unit, two, or, in tiles of two, itself."""
    for canvas in (unit, 2 * unit):
        if length <= canvas:
            return canvas
    return length


def place_tiles(length: int, tile: int, overlap: int) -> Axis:
    """Tiles that cover `length` pixels evenly, each overlapping the next by `overlap` at least.

    Args:
      length: at least `tile`.
      tile: length of a tile.
      overlap: below `tile`.
    """
    count = max(1, math.ceil((length - overlap) / (tile - overlap)))
    starts = [place * (length - tile) // max(1, count - 1) for place in range(count)]
    ramp = np.sin(np.pi / 2 * (np.arange(tile) + 0.5) / max(1, overlap)) ** 2
    rising = np.where(np.arange(tile) < overlap, ramp, 1.0)
    weights = np.ones((count, tile))
    weights[1:] *= rising  # the picture's own ends have no neighbour to give way to
    weights[:-1] *= rising[::-1]
    total = np.zeros(length)
    for start, window in zip(starts, weights, strict=True):
        total[start : start + tile] += window
    shares = [window / total[s : s + tile] for s, window in zip(starts, weights, strict=True)]
    return Axis(starts, np.stack(shares).astype(np.float32))


def pad(picture: np.ndarray, height: int, width: int) -> tuple[np.ndarray, int, int]:
    """The picture in the middle of `height` by `width` pixels of its mirror images; top and left.

    Args:
      picture: [height, width, channels], of any size from 1x1.
      height: of the result, at least the picture's.
      width: likewise.
    """
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    bottom, right = height - picture.shape[0] - top, width - picture.shape[1] - left
    if not (top or left or bottom or right):
        return picture, 0, 0
    return np.pad(picture, ((top, bottom), (left, right), (0, 0)), "reflect"), top, left


def map_in_tiles(
    picture: np.ndarray, unit: int, network: Callable[[np.ndarray], np.ndarray]
) -> Iterator[np.ndarray]:
    """What a network makes of a picture of any size, float32, in blocks of rows from the top.

    Up to twice the unit a side is padded with mirror images and seen whole; beyond, it is seen in
    tiles of two units that overlap by half a unit at least, of which each pixel is a mean whose
    weights go to 0 smoothly at a tile's end. The network is therefore given four shapes in all.
    Memory: the picture, two rows of what is made of it, and what the network needs for as many
    tiles as it is given.

    Args:
      picture: [height, width, channels].
      unit: pixels of whose multiples the network takes both sides.
      network: from [tiles, height, width, channels], MOST_TILES at most, to float [tiles, height,
        width, channels of the result].
    """
    height, width = picture.shape[:2]
    rows, columns = canvas_length(height, unit), canvas_length(width, unit)
    padded, top, left = pad(picture, rows, columns)
    down = place_tiles(rows, min(rows, 2 * unit), unit // 2)
    across = place_tiles(columns, min(columns, 2 * unit), unit // 2)
    window = slice(left, left + width)
    for first, block in _blend_rows(padded, down, across, network):
        cut = slice(max(0, top - first), max(0, top + height - first))
        if block[cut].shape[0]:
            yield block[cut, window]


def _blend_rows(padded, down, across, network):
    """(first row, rows) that no further tile will change."""
    tile = down.weights.shape[1]
    pending = None
    for place, (start, weights) in enumerate(zip(down.starts, down.weights, strict=True)):
        strip = _blend_columns(padded[start : start + tile], across, network)
        strip *= weights[:, None, None]
        if pending is not None:
            strip[: len(pending)] += pending
        last = place + 1 == len(down.starts)
        done = tile if last else down.starts[place + 1] - start
        yield start, strip[:done]
        pending = strip[done:]


def _blend_columns(strip, across, network):
    tile = across.weights.shape[1]
    blended = None
    for first in range(0, len(across.starts), MOST_TILES):
        starts = across.starts[first : first + MOST_TILES]
        results = network(np.stack([strip[:, start : start + tile] for start in starts]))
        if blended is None:
            blended = np.zeros((*strip.shape[:2], results.shape[-1]), np.float32)
        shares = across.weights[first : first + MOST_TILES]
        for start, weights, result in zip(starts, shares, results, strict=True):
            blended[:, start : start + tile] += weights[:, None] * result
    return blended
