"""How chroma and hue are spread in pictures: what a report plots beside the truth."""

import jax
import numpy as np

from jaxcolor import colorspace
from jaxcolor.color_metrics import chroma, histogram, hue

CHROMA_EDGES = np.linspace(0, 140, 71)  # in units of L*a*b*; sRGB reaches 134
HUE_EDGES = np.linspace(0, 360, 73)  # in degrees


def chroma_histogram(images: jax.Array) -> jax.Array:
    """Share of the pixels in each bin of chroma, [batch, 70] float32: sums to 1.

    Args:
      images: RGB [batch, height, width, 3] in [-1, 1].
    """
    return histogram(chroma(colorspace.rgb_to_lab(images)), CHROMA_EDGES)


def hue_histogram(images: jax.Array) -> jax.Array:
    """Chroma in each bin of hue, divided by the number of pixels, [batch, 72] float32.

    It sums to the picture's mean chroma, so that means over pictures weigh each by its colour and a
    grey picture adds nothing. Divide by the sum for shares.

    Args:
      images: RGB [batch, height, width, 3] in [-1, 1].
    """
    lab = colorspace.rgb_to_lab(images)
    return histogram(hue(lab), HUE_EDGES, chroma(lab))
