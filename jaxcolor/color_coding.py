"""What the networks see of a colour picture: its RGB, its L*a*b*, or its a*b* alone.

L*a*b* is scaled as by Nazeri, Ng and Ebrahimi (2018): L / 50 - 1, a / 110, b / 110, within [-1, 1]
for every colour of sRGB.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcolor import colorspace

HALF_LIGHTNESS = 50.0
CHROMA_RANGE = 110.0


class ColorCoding(NamedTuple):
    """A way to code pictures for the networks, as pure functions.

    Attributes:
      channels: of a coded picture.
      encode: RGB [batch, height, width, 3] in [-1, 1] -> coded, in [-1, 1].
      decode: (coded, lightness) -> RGB in [-1, 1], for any coded values in [-1, 1]: colours that
        sRGB lacks lose chroma, and keep lightness and hue. `lightness` is L* in 0..100,
        [batch, height, width, 1]; only "ab" reads it, and keeps it exactly.
      keeps_lightness: whether `decode` needs the lightness.
    """

    channels: int
    encode: Callable[[jax.Array], jax.Array]
    decode: Callable[[jax.Array, jax.Array | None], jax.Array]
    keeps_lightness: bool


def lightness_of_condition(condition: jax.Array) -> jax.Array:
    """L* in 0..100 of a condition of the kind "lab_l", of which -1 is black and 1 white.

    Args:
      condition: [batch, height, width, 1] in [-1, 1].
    """
    return HALF_LIGHTNESS * (condition + 1)


def lightness_of_picture(picture: jax.Array) -> jax.Array:
    """L* in 0..100, [batch, height, width, 1], not rounded to the 256 steps of a condition.

    Args:
      picture: RGB [batch, height, width, 3] in [-1, 1].
    """
    return colorspace.rgb_to_lab(picture)[..., :1]


def _encode_lab(picture):
    lab = colorspace.rgb_to_lab(picture)
    return jnp.concatenate([lab[..., :1] / HALF_LIGHTNESS - 1, lab[..., 1:] / CHROMA_RANGE], -1)


def _decode_lab(coded, lightness):
    del lightness
    return _decode_ab(coded[..., 1:], lightness_of_condition(coded[..., :1]))


def _encode_ab(picture):
    return colorspace.rgb_to_lab(picture)[..., 1:] / CHROMA_RANGE


def _decode_ab(coded, lightness):
    lab = jnp.concatenate([lightness.astype(coded.dtype), CHROMA_RANGE * coded], -1)
    return colorspace.lab_to_rgb(colorspace.fit_chroma(lab))


CODINGS = {
    "rgb": ColorCoding(3, lambda picture: picture, lambda coded, lightness: coded, False),
    "lab": ColorCoding(3, _encode_lab, _decode_lab, False),
    "ab": ColorCoding(2, _encode_ab, _decode_ab, True),
}
