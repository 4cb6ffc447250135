"""ICC profiles of what is coloured: into sRGB for the network, and back for the result."""

import functools
import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from jaxcolor.colorize import deep_profiles
from jaxcolor.data.pictures import srgb_transform

_ONE_WAY = "nothing can be written with its colour profile, and the result is in sRGB"
_TAKEN_FOR_SRGB = "its 16-bit numbers were taken for sRGB's, whatever its colour profile says"
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# What `picture_files.Picture` says of a profile: profile, converted and note.
Facts = dict[str, Any]


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, Facts]:
    """The picture in sRGB or grey, as `np.asarray` takes it; a profile that is damaged is ignored.

    Args:
      image: of mode L, RGB or CMYK.
      profile: ICC profile, if it has one.
    """
    space = _SPACES[image.mode]
    if _space(profile) == space and not _is_srgb(profile):
        transform = srgb_transform(profile, image.mode)
        if transform is not None:
            image = ImageCms.applyTransform(image, transform)
            if space != "RGB":
                return image, {}
            if _from_srgb(profile) is None:  # as of many scanners
                return image, {"note": _ONE_WAY}
            return image, {"profile": profile, "converted": True}
    image = image.convert("RGB") if space == "CMYK" else image
    return image, {"profile": profile} if _space(profile) == "RGB" == space else {}


def from_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """A picture of mode RGB or RGBA in the numbers of a profile that `to_srgb` converted from."""
    colours = ImageCms.applyTransform(image.convert("RGB"), _from_srgb(profile))
    if image.mode == "RGBA":
        colours.putalpha(image.getchannel("A"))
    return colours


def deep_to_srgb(pixels: np.ndarray, profile: bytes | None) -> tuple[np.ndarray, Facts]:
    """`to_srgb` of 16 bits a channel, as far as `deep_profiles` knows the profile.

    Args:
      pixels: uint16 [height, width, 1 to 4].
      profile: ICC profile, if there is one.
    """
    kept = {"profile": profile} if _space(profile) == "RGB" else {}
    if not profile or _is_srgb(profile):
        return pixels, kept
    colours = 1 if pixels.shape[2] < 3 else 3
    numbers = deep_profiles.parse(profile)
    if numbers is None or len(numbers.curves) != colours:
        return pixels, kept | {"note": _TAKEN_FOR_SRGB}
    converted = deep_profiles.to_srgb(pixels[..., :colours], numbers)
    pixels = np.concatenate([converted, pixels[..., colours:]], axis=2)
    return pixels, kept | {"converted": bool(kept)}


def deep_from_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """`from_srgb` of uint16 [height, width, 3 or 4]."""
    colours = deep_profiles.from_srgb(pixels[..., :3], deep_profiles.parse(profile))
    return np.concatenate([colours, pixels[..., 3:]], axis=2)


@functools.lru_cache(maxsize=16)
def _space(profile):
    """ "RGB", "GRAY", "CMYK" ... or "" where there is no profile that can be read."""
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
    except (OSError, TypeError, ValueError):
        return ""


@functools.lru_cache(maxsize=16)
def _is_srgb(profile):
    try:
        description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return True  # what cannot be read is left alone
    return "sRGB" in description and _space(profile) == "RGB"


@functools.lru_cache(maxsize=16)
def _from_srgb(profile):
    """The transform; None where the profile says what its numbers mean, but not which to write."""
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    try:
        return ImageCms.buildTransform(ImageCms.createProfile("sRGB"), given, "RGB", "RGB")
    except ImageCms.PyCMSError:
        return None
