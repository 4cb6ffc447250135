"""Transforms of a pair of pictures: the random ones of training and the plain one of validation.

A pair is {"condition", "target"}: two uint8 RGB arrays [height, width, 3].
"""

import math

import numpy as np
from PIL import Image

from jaxcolor.errors import ConfigError

METHODS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
FILLS = ("white", "reflect")


def resize(picture, size, method):
    """The picture at `size` by `size` pixels, its proportions not kept.

    Args:
      picture: uint8 [height, width, 3].
      size: side of the result in pixels.
      method: a key of METHODS; all but "nearest" average over the pixels that they leave out.
    """
    if picture.shape[:2] == (size, size):
        return picture
    return np.asarray(Image.fromarray(picture).resize((size, size), METHODS[method]))


class ValidationTransform:
    """Resizes both pictures of a pair; nothing is random."""

    def __init__(self, *, image_size: int = 256, resize: str = "bicubic"):
        """Transform to `image_size` by `image_size` pixels; `resize` is a key of METHODS.

        Raises:
          ConfigError: an argument is out of range.
        """
        _check_resize(image_size, resize)
        self._size, self._method = image_size, resize

    def __call__(self, pair):
        """The pair at uint8 [image_size, image_size, 3]."""
        return {name: resize(pair[name], self._size, self._method) for name in sorted(pair)}


class TrainingTransform:
    """Moves both pictures of a pair in the same random way; noise goes on the condition alone."""

    def __init__(
        self,
        *,
        image_size: int = 256,
        load_size: int = 286,
        resize: str = "bicubic",
        flip: bool = True,
        rotation: float = 0.0,
        shear: float = 0.0,
        zoom: float = 0.0,
        shift: float = 0.0,
        noise: float = 0.0,
        fill: str = "white",
    ):
        """Transform that resizes, warps, crops and flips, as in pix2pix (section 6.2) and beyond.

        Args:
          image_size: side of the random crop in pixels.
          load_size: side in pixels to which both pictures are resized before they are cropped.
          resize: a key of METHODS.
          flip: whether half of the pairs are mirrored.
          rotation: largest turn in degrees, either way.
          shear: largest slant of the verticals in degrees, either way.
          zoom: z scales by a factor from [1 - z, 1 + z].
          shift: largest shift as a fraction of load_size, either way, down and across.
          noise: standard deviation, on a scale where black is -1 and white is 1, of the grey
            noise that is drawn for each pixel of the condition.
          fill: "white" or "reflect", what comes in from outside of a warped picture.

        Raises:
          ConfigError: an argument is out of range.
        """
        _check_resize(image_size, resize)
        if load_size < image_size:
            raise ConfigError(
                f"augment.load_size {load_size} must be at least data.image_size {image_size}"
            )
        limits = {"rotation": 180, "shear": 60, "zoom": 0.9, "shift": 1, "noise": 2}
        given = {"rotation": rotation, "shear": shear, "zoom": zoom, "shift": shift, "noise": noise}
        for name, value in given.items():
            if not 0 <= value <= limits[name]:
                raise ConfigError(f"augment.{name} {value} must be from 0 to {limits[name]}")
        if fill not in FILLS:
            raise ConfigError(f"augment.fill {fill!r} must be one of {', '.join(FILLS)}")
        self._size, self._load_size, self._method = image_size, load_size, resize
        self._flip, self._noise, self._fill = flip, noise, fill
        self._ranges = np.array([rotation, shear, zoom, shift, shift], dtype=np.float64)

    def __call__(self, pair, rng):
        """The pair at uint8 [image_size, image_size, 3], moved by draws from the generator `rng`.

        Both arrays own their memory and are contiguous.
        """
        # All draws are made whatever is switched on: a switch then changes nothing but its own.
        left, top = (int(offset) for offset in rng.integers(0, self._load_size - self._size + 1, 2))
        mirrored = rng.random() < 0.5 and self._flip
        warp = rng.uniform(-1.0, 1.0, 5) * self._ranges
        moved = {}
        for name in sorted(pair):
            picture = resize(pair[name], self._load_size, self._method)
            if self._ranges.any():
                picture = warp_crop(picture, left, top, self._size, affine(*warp), self._fill)
            else:
                picture = picture[top : top + self._size, left : left + self._size]
            moved[name] = np.array(picture[:, ::-1] if mirrored else picture, order="C")
        if self._noise:
            moved["condition"] = _add_noise(moved["condition"], self._noise, rng)
        return moved


def affine(rotation, shear, zoom, right, down):
    """Float [2, 3]: how an affine warp moves points of a picture whose centre is (0, 0), side 1.

    x goes to the right and y downwards.

    Args:
      rotation: degrees, clockwise.
      shear: degrees; what is above the centre leans to the left, what is below to the right.
      zoom: 0.1 makes everything 10 % larger.
      right: shift as a fraction of the side.
      down: shift as a fraction of the side.
    """
    cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    slant = np.array([[1.0, math.tan(math.radians(shear))], [0.0, 1.0]])
    linear = (1.0 + zoom) * np.array([[cos, -sin], [sin, cos]]) @ slant
    return np.concatenate([linear, [[right], [down]]], axis=1)


def warp_crop(picture, left, top, size, matrix, fill):
    """The square crop at (`left`, `top`) of the warped picture, in one bilinear resampling.

    Args:
      picture: uint8 [side, side, 3].
      left: first column of the crop.
      top: first row of the crop.
      size: side of the crop in pixels.
      matrix: the warp, as `affine` gives it.
      fill: "white" or "reflect".
    """
    side = picture.shape[0]
    # Pillow asks for the way back: where in the picture each pixel of the crop comes from.
    back = np.linalg.inv(matrix[:, :2])
    start = np.array([left, top]) - side * (0.5 + matrix[:, 2])
    origin = back @ start + side / 2
    if fill == "reflect":
        corners = origin[:, None] + size * back @ np.array([[0, 1, 0, 1], [0, 0, 1, 1]])
        # One pixel more, since a bilinear sample looks at its neighbours.
        margin = math.ceil(max(0.0, -corners.min(), corners.max() - side)) + 1
        picture = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
        origin = origin + margin
    data = (back[0, 0], back[0, 1], origin[0], back[1, 0], back[1, 1], origin[1])
    image = Image.fromarray(picture).transform(
        (size, size),
        Image.Transform.AFFINE,
        data,
        resample=Image.Resampling.BILINEAR,
        fillcolor=(255, 255, 255),
    )
    return np.asarray(image)


def _add_noise(picture, deviation, rng):
    # One draw for all three channels: a grey drawing stays grey. Pixels are whole numbers, so the
    # noise can be rounded before it is added: 16-bit sums take half the time of floats.
    noise = rng.standard_normal(picture.shape[:2], dtype=np.float32)
    noise = np.rint(noise * np.float32(deviation * 127.5)).astype(np.int16)
    return np.clip(picture + noise[..., None], 0, 255).astype(np.uint8)


def _check_resize(image_size, method):
    if image_size < 1:
        raise ConfigError(f"data.image_size {image_size} must be at least 1")
    if method not in METHODS:
        raise ConfigError(f"data.resize {method!r} must be one of {', '.join(METHODS)}")
