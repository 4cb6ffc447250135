"""Conditions made from the target picture itself: its luma, its lightness, or lines drawn from it.

OpenCV does the work. Callers decide on how many threads: see `transforms.one_thread`.
"""

import functools

import cv2
import numpy as np

from jaxcolor.errors import ConfigError

KINDS = ("luma", "lab_l", "lines")
LINE_STRENGTH = (0.7, 2.0)
LINE_THICKNESS = (0.5, 1.2)

_LARGEST_STRENGTH, _LARGEST_THICKNESS = 10, 16
# Ratio of the two Gaussians, with which their difference resembles a Laplacian best: 1.6.
_RATIO = 1.6
# In pixels: below, the sampled Gaussians would both be one pixel and their difference nothing.
_THINNEST = 0.5
# Differences of Gaussians: a step from black, 0, to white, 1, has one of 0.11 at most.
_THRESHOLD, _SOFTNESS = 0.01, 0.02
# Steps of 1 within 16 bits: tanh(4) is as black as uint8 can be.
_PER_UNIT = 2**14


def make_condition(
    target, kind, rng=None, *, line_strength=LINE_STRENGTH, line_thickness=LINE_THICKNESS
):
    """A grey picture made from a colour picture: uint8 [height, width, 1].

    Args:
      target: uint8 RGB [height, width, 3], or grey [height, width, 1].
      kind: "luma" (Rec. 601: 0.299 R + 0.587 G + 0.114 B), "lab_l" (L* of CIELAB under D65, of
        which 100 becomes 255) or "lines" (see `draw_lines`).
      rng: NumPy generator of the lines' strength and thickness, from which two draws are taken
        whatever the kind; None: the middle of the ranges.
      line_strength: (low, high), the range of the strength.
      line_thickness: (low, high), the range of the thickness.
    """
    draws = (0.5, 0.5) if rng is None else rng.random(2)
    if kind == "lines":
        strength, thickness = (
            low + draw * (high - low)
            for draw, (low, high) in zip(draws, (line_strength, line_thickness), strict=True)
        )
        return draw_lines(target, strength=strength, thickness=thickness)
    return (_luma(target) if kind == "luma" else _lightness(target))[..., None]


def draw_lines(target, *, strength, thickness):
    """Dark lines on white along the edges of a picture: uint8 [height, width, 1].

    The extended difference of Gaussians of Winnemoeller, Kyprianidis and Olsen (2012): a pixel is
    inked as far as its surroundings, under the wide Gaussian, are lighter than itself, under the
    narrow one. Their term for the picture's own tone is left out: dark areas stay white. The line
    of an edge starts on the edge and lies on its dark side; a dark line gives one line; colours of
    one luma have no edge between them.

    Args:
      target: uint8 RGB [height, width, 3], or grey [height, width, 1].
      strength: 2 draws an edge as 1 draws one of twice the contrast. At 1, steps of less than 9 %
        of the way from black to white are not drawn, and from 40 % on the line is black.
      thickness: standard deviation of the narrow Gaussian, in pixels of a picture whose shorter
        side is 256. Lines are 2 to 3 of it wide, and not thinner than a pixel.
    """
    sigma = max(_THINNEST, thickness * min(target.shape[:2]) / 256)
    luma = _luma(target).astype(np.float32)
    narrow = cv2.GaussianBlur(luma, (0, 0), sigma)
    wide = cv2.GaussianBlur(luma, (0, 0), _RATIO * sigma)
    # What is lighter than its surroundings is cut off at 0, the blackest ink at 2**16 - 1.
    scale = _PER_UNIT / _SOFTNESS
    slope = strength / 255 * scale
    places = cv2.addWeighted(wide, slope, narrow, -slope, -_THRESHOLD * scale, dtype=cv2.CV_16U)
    return cv2.LUT(places, _tones())[..., None]


@functools.cache
def _tones():
    # uint8 [65536], the tones of ink: a table, since tanh takes as long as everything else.
    return np.rint(255 - 255 * np.tanh(np.arange(2**16) / _PER_UNIT)).astype(np.uint8)


def check_ranges(line_strength, line_thickness):
    """Raises ConfigError where a range is not two numbers, low to high, within what can be drawn.

    Args:
      line_strength: see `make_condition`.
      line_thickness: see `make_condition`.
    """
    given = {"line_strength": line_strength, "line_thickness": line_thickness}
    limits = {"line_strength": _LARGEST_STRENGTH, "line_thickness": _LARGEST_THICKNESS}
    for name, ends in given.items():
        if len(ends) != 2 or not 0 < ends[0] <= ends[1] <= limits[name]:
            raise ConfigError(
                f"data.{name} {ends} must be two numbers, low to high, above 0 and up to "
                f"{limits[name]}"
            )


def _luma(target):
    if target.shape[2] == 1:
        return target[..., 0].copy()
    return cv2.cvtColor(target, cv2.COLOR_RGB2GRAY)


def _lightness(target):
    if target.shape[2] == 1:
        target = cv2.cvtColor(target, cv2.COLOR_GRAY2RGB)
    # OpenCV's own conversion is off by up to 2 steps in uint8, and takes 4 times as long in floats.
    shares, steps = _lightness_tables()
    return cv2.LUT(cv2.transform(cv2.LUT(target, shares), np.ones((1, 3))), steps)


@functools.cache
def _lightness_tables():
    # (uint16 [1, 256, 3], each channel's share of Y; uint8 [65536], L* of a Y): sRGB, D65.
    signal = np.arange(256) / 255
    linear = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    shares = linear[None, :, None] * np.array([0.2126729, 0.7151522, 0.0721750]) * 65535
    y = np.arange(65536) / 65535
    steps = 2.55 * np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)
    return np.rint(shares).astype(np.uint16), np.rint(steps).astype(np.uint8)
