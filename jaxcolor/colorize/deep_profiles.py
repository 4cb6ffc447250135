"""Colours of 16 bits a channel from the numbers of an ICC profile to sRGB's, and back.

LittleCMS, as Pillow offers it, has 8 bits. Profiles of RGB that are three curves and a matrix, and
those of grey that are one curve, are computed here as ICC.1 defines them; working spaces (Adobe
RGB, ProPhoto, Display P3, gamma 2.2) are of these kinds. Profiles of tables are not.
"""

import functools
import struct
from typing import NamedTuple

import numpy as np
from PIL import ImageCms

LARGEST = 65_535
_MOST_TAGS = 256
_HEADER = 128
_BLOCK = 2**18  # pixels that are computed at once
_CURVES, _AXES = (b"rTRC", b"gTRC", b"bTRC"), (b"rXYZ", b"gXYZ", b"bXYZ")
_GREY_CURVE = b"kTRC"
_TABLES = (b"A2B0", b"A2B1", b"A2B2", b"B2A0", b"D2B0")  # that go before curves and a matrix
_PARAMETERS = (1, 3, 4, 5, 7)  # of parametric curves, by their kind


class DeepProfile(NamedTuple):
    """A profile as numbers.

    Attributes:
      curves: float64 [1 or 3, 65536], linear light in [0, 1] by level: of grey, or of R, G and B.
      matrix: from linear light to XYZ under D50, [3, 3]; of grey, 1.
    """

    curves: np.ndarray
    matrix: np.ndarray


@functools.lru_cache(maxsize=16)
def parse(profile: bytes | None) -> DeepProfile | None:
    """The numbers of an ICC profile; None where it is of another kind, or damaged."""
    try:
        found = _parse(profile)
    except (TypeError, ValueError, LookupError, struct.error, ArithmeticError):
        return None
    if not np.isfinite(found.matrix).all() or abs(np.linalg.det(found.matrix)) < 1e-6:
        return None
    return found


def to_srgb(pixels: np.ndarray, profile: DeepProfile) -> np.ndarray:
    """The colours as sRGB has them; what is outside of it is clipped.

    Args:
      pixels: uint16 [height, width, channels], as many as the profile has.
      profile: of their numbers.
    """
    return _convert(pixels, profile, _srgb(len(profile.curves)))


def from_srgb(pixels: np.ndarray, profile: DeepProfile) -> np.ndarray:
    """The inverse of `to_srgb`."""
    return _convert(pixels, _srgb(len(profile.curves)), profile)


def _convert(pixels, given, wanted):
    matrix = np.linalg.inv(wanted.matrix) @ given.matrix
    levels = [_inverse(curve) for curve in wanted.curves]
    result = np.empty_like(pixels)
    flat, filled = pixels.reshape(-1, pixels.shape[2]), result.reshape(-1, pixels.shape[2])
    for first in range(0, len(flat), _BLOCK):
        block = flat[first : first + _BLOCK]
        light = np.stack([curve[block[:, i]] for i, curve in enumerate(given.curves)], axis=1)
        # Not by BLAS, whose threads would go on spinning on the cores that others need.
        light = np.clip(np.einsum("pi,ji->pj", light, matrix), 0, 1)
        for i, inverse in enumerate(levels):
            filled[first : first + _BLOCK, i] = np.rint(np.interp(light[:, i], *inverse))
    return result


def _inverse(curve):
    """Linear light that grows, and the level of each; of several with one light, the first."""
    rising, first = np.unique(np.maximum.accumulate(curve), return_index=True)
    return rising, first.astype(np.float64)


@functools.cache
def _srgb(channels):
    colours = parse(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    return colours if channels == 3 else DeepProfile(colours.curves[:1], np.ones((1, 1)))


def _parse(profile):
    space, connection = profile[16:20], profile[20:24]
    tags = _read_tags(profile)
    if connection != b"XYZ " or any(name in tags for name in _TABLES):
        raise ValueError("its colours are in tables")
    if space == b"GRAY":
        return DeepProfile(_read_curve(tags[_GREY_CURVE])[None], np.ones((1, 1)))
    if space != b"RGB ":
        raise ValueError("of another space")
    curves = np.stack([_read_curve(tags[name]) for name in _CURVES])
    axes = [_read_numbers(tags[name], 8, 3) for name in _AXES]
    return DeepProfile(curves, np.stack(axes, axis=1))


def _read_tags(profile):
    (count,) = struct.unpack_from(">L", profile, _HEADER)
    if count > _MOST_TAGS:
        raise ValueError("more tags than a profile has")
    tags = {}
    for at in range(_HEADER + 4, _HEADER + 4 + 12 * count, 12):
        name, start, size = struct.unpack_from(">4sLL", profile, at)
        tags[name] = profile[start : start + size]
    return tags


def _read_numbers(tag, at, count):
    return np.array(struct.unpack_from(f">{count}l", tag, at)) / 2**16


def _read_curve(tag):
    """Linear light of each level, [65536]."""
    share = np.arange(LARGEST + 1) / LARGEST
    kind, (count,) = tag[:4], struct.unpack_from(">L", tag, 8)
    if kind == b"para":
        light = _parametric(tag, share)
    elif kind != b"curv":
        raise ValueError("no curve")
    elif count == 0:
        light = share
    elif count == 1:
        light = share ** (struct.unpack_from(">H", tag, 12)[0] / 256)
    else:
        points = np.frombuffer(tag, ">u2", count, 12) / LARGEST
        light = np.interp(share, np.linspace(0, 1, count), points)
    if not np.isfinite(light).all():
        raise ValueError("a curve without end")
    return np.clip(light, 0, 1)


def _parametric(tag, share):
    """ICC.1, 10.18: a power of a line, and below it another line."""
    (kind,) = struct.unpack_from(">H", tag, 8)
    given = _read_numbers(tag, 12, _PARAMETERS[kind]).tolist()
    power, slope, shift, low_slope, border, high, low = given + [0.0] * (7 - len(given))
    if kind == 0:
        slope, border = 1.0, 0.0
    elif kind < 3:
        high = low = low_slope if kind == 2 else 0.0
        low_slope, border = 0.0, -shift / slope
    with np.errstate(all="ignore"):
        curved = np.maximum(slope * share + shift, 0) ** power + high
    return np.where(share >= border, curved, low_slope * share + low)
