"""Grey noise on uint8 pictures, fast enough for a loader: normal, rounded to whole grey levels."""

import math

import cv2
import numpy as np


def noise_tables(deviation):
    """What 16-bit words add and take off: uniform words, looked up, are round(N(0, deviation)).

    Args:
      deviation: standard deviation in grey levels, above 0.

    Returns:
      (lighter, darker): uint8 [65536], of which a word's noise is the difference; one is 0. Each
      level's share of the words is its probability to 1 / 65536, so that no noise is beyond 4.3
      deviations. What is beyond 255 counts as 255, which turns black into white alike.
    """
    # Level k has the words from the cumulative probability of k - 1/2 to that of k + 1/2.
    levels = np.arange(-255, 256)
    ends = [0.5 + 0.5 * math.erf((k + 0.5) / (deviation * math.sqrt(2))) for k in levels[:-1]]
    places = np.rint(np.array([0.0, *ends, 1.0]) * 2**16).astype(int)
    noise = np.repeat(levels, np.diff(places))
    return np.maximum(noise, 0).astype(np.uint8), np.maximum(-noise, 0).astype(np.uint8)


def add_noise(picture, tables, rng):
    """Adds noise to a picture, one draw for all channels of a pixel: a grey one stays grey.

    Args:
      picture: uint8 [height, width, channels], contiguous, of at most 4 channels; changed in
        place. Sums stop at black and white.
      tables: see `noise_tables`.
      rng: NumPy generator.
    """
    height, width, channels = picture.shape
    # A normal draw costs 8 ns, a quarter of a 64-bit word 1 ns: the tables make it normal.
    words = rng.integers(0, 2**64, -(-height * width // 4), dtype=np.uint64).view(np.uint16)
    words = words[: height * width].reshape(height, width)
    # In uint8 throughout: OpenCV adds 16-bit numbers to uint8 in five times the time.
    for table, combine in zip(tables, (cv2.add, cv2.subtract), strict=True):
        noise = cv2.merge([cv2.LUT(words, table)] * channels).reshape(picture.shape)
        combine(picture, noise, dst=picture)
