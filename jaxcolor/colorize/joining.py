"""A grey photograph in colour: its own lightness to the last bit, and chroma from elsewhere.

A picture's grey is, per pixel, the grey level of its L*. The pictures made here have the grey they
were made of: each pixel's L* is nearer to that of its grey level than to that of any other.
"""

import functools
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from jaxcolor import colorspace

# Pixels that are joined at once, some 20 MB of memory on the way, whatever the picture.
BLOCK = 2**17
# Share of the chroma that fits into sRGB, tried where rounding fails at all of it: on the faces of
# dark colours in 16 bits. Where it fails at that too, a pixel stays grey.
_SECOND_SCALE = 0.9


class _Levels(NamedTuple):
    """Of each grey level: linear light, L*, and between which linear lights nothing is nearer."""

    light: np.ndarray
    lightness: np.ndarray
    low: np.ndarray
    high: np.ndarray


@functools.cache
def _levels(largest: int) -> _Levels:
    def light(levels):
        signal = levels / largest
        curved = ((np.maximum(signal, 0) + 0.055) / 1.055) ** 2.4
        return np.where(signal > 0.04045, curved, signal / 12.92)

    levels = np.arange(largest + 1)
    shares = light(levels)
    root = np.where(shares > (6 / 29) ** 3, np.cbrt(shares), shares * 841 / 108 + 4 / 29)
    low, high = light(levels - 0.5), light(levels + 0.5)
    low[0], high[-1] = -1, 2
    # Inwards, by more than float32 rounds and less than an eighth of a step of 16 bits.
    low, high = low + 2e-6 * np.abs(low), high - 2e-6 * np.abs(high)
    tables = (shares, 116 * root - 16, low, high)
    return _Levels(*(table.astype(np.float32) for table in tables))


def grey_levels(pixels: np.ndarray) -> np.ndarray:
    """The grey level with the L* of each pixel, [height, width], of the pixels' own type.

    Args:
      pixels: uint8 or uint16 [height, width, 1 or 3], grey or sRGB.
    """
    if pixels.shape[2] == 1:
        return pixels[..., 0]
    largest = np.iinfo(pixels.dtype).max
    levels = _levels(largest)
    borders = (levels.high[:-1] + levels.low[1:]) / 2
    shares = colorspace.LIGHT.astype(np.float32)
    result = np.empty(pixels.shape[:2], pixels.dtype)
    rows = max(1, BLOCK // pixels.shape[1])
    for first in range(0, len(pixels), rows):
        light = levels.light[pixels[first : first + rows]]
        # By differences from green, as colorspace does: a grey pixel's light is that of its level.
        green = light[..., 1]
        total = green + shares[0] * (light[..., 0] - green) + shares[2] * (light[..., 2] - green)
        result[first : first + rows] = np.searchsorted(borders, total)
    return result


def join(grey: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """RGB [height, width, 3] of the type of `grey`, whose `grey_levels` are `grey` exactly.

    Colours outside of sRGB lose chroma, not lightness or hue. Beside its arguments and result it
    needs memory for `BLOCK` pixels and for the chroma at the picture's width.

    Args:
      grey: uint8 or uint16 [height, width].
      chroma: a and b of CIELAB, float32 [any height, any width, 2], stretched over the picture.
    """
    height, width = grey.shape
    result = np.empty((height, width, 3), grey.dtype)
    rows = max(1, BLOCK // width)
    first = 0
    for block in resize_rows(chroma, height, width, rows):
        last = first + len(block)
        for left in range(0, width, BLOCK):  # of rows longer than a block, parts
            part = slice(left, left + BLOCK)
            size = block[:, part].shape[:2]
            flat = _join_flat(grey[first:last, part].ravel(), block[:, part].reshape(-1, 2))
            result[first:last, part] = flat.reshape(*size, 3)
        first = last
    return result


def _join_flat(grey, chroma):
    """`join` of [pixels] and [pixels, 2], padded to a size that was compiled already."""
    count, largest = len(grey), int(np.iinfo(grey.dtype).max)
    missing = (BLOCK if count > BLOCK // 32 else BLOCK // 32) - count
    planes = grey.astype(np.int32), *np.ascontiguousarray(chroma.T, np.float32)
    padded = [np.pad(plane, (0, missing)) for plane in planes]
    joined = _join_block(*padded, _on_device(largest), largest=largest)
    return cv2.merge([np.asarray(channel) for channel in joined]).reshape(-1, 3)[:count]


@functools.cache
def _on_device(largest):
    return jax.tree.map(jnp.asarray, _levels(largest))


# Channel by channel: of what is stacked in between, XLA on a CPU makes programs 3 times as slow.
@functools.partial(jax.jit, static_argnames="largest")
def _join_block(grey, a, b, levels, *, largest):
    lightness = levels.lightness[grey]
    scale = colorspace.chroma_that_fits(lightness, a, b)

    def colour(scale):
        linear = colorspace.lab_to_linear(lightness, scale * a, scale * b)
        return _round(grey, linear, levels, largest)

    def give_way(colours, fits):
        weaker, weaker_fits = colour(_SECOND_SCALE * scale)
        return [
            jnp.where(fits, strong, jnp.where(weaker_fits, weak, grey))
            for strong, weak in zip(colours, weaker, strict=True)
        ]

    colours, fits = colour(scale)
    colours = jax.lax.cond(jnp.all(fits), lambda colours, _: colours, give_way, colours, fits)
    return [channel.astype(jnp.uint8 if largest == 255 else jnp.uint16) for channel in colours]


def _round(grey, linear, levels, largest):
    """The levels of a colour, and whether their grey is `grey`."""
    first, middle, last = colorspace.LIGHT.tolist()

    def level(light):
        signal = colorspace.srgb_signal(jnp.clip(light, 0, 1))
        return jnp.rint(signal * largest).astype(jnp.int32)

    red, blue = level(linear[0]), level(linear[2])
    # Green, of which lightness knows most, makes up for the rounding of the others.
    others = first * levels.light[red] + last * levels.light[blue]
    green = level((levels.light[grey] - others) / middle)
    found = others + middle * levels.light[green]
    return [red, green, blue], (found > levels.low[grey]) & (found < levels.high[grey])


def resize_rows(field: np.ndarray, height: int, width: int, rows: int):
    """A smooth field at another size, float32, in blocks of `rows` rows from the top.

    Enlarged by a bicubic kernel, reduced by means over areas, each axis by itself.

    Args:
      field: float32 [height, width, channels].
      height: of the result.
      width: of the result.
      rows: of a block.
    """
    field = np.ascontiguousarray(field, np.float32)
    # What a resize of the identity gives is the matrix of the resize. Sparse, it needs no BLAS,
    # whose threads would go on spinning on the cores that the next picture's network needs.
    vertical = _resize(np.eye(len(field), dtype=np.float32), height, len(field))
    vertical = sparse.csr_array(vertical)
    wide = _resize(field, len(field), width).reshape(len(field), -1)
    for first in range(0, height, rows):
        block = vertical[first : first + rows] @ wide
        yield block.reshape(len(block), width, -1)


def _resize(field, height, width):
    if field.shape[:2] == (height, width):
        return field
    enlarged = height >= field.shape[0] and width >= field.shape[1]
    kernel = cv2.INTER_CUBIC if enlarged else cv2.INTER_AREA
    return cv2.resize(field, (width, height), interpolation=kernel)
