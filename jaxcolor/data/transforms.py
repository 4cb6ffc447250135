"""Transforms of a record: the random ones of training and the plain one of validation.

A record is {"target"} or {"condition", "target"}: uint8 [height, width, channels] arrays, the
target in RGB; the two may differ in size. Its transform is {"condition", "target"} at one size.
"""

import math

import cv2
import numpy as np
from PIL import Image

from jaxcolor.data import conditions
from jaxcolor.data.noise import add_noise, noise_tables
from jaxcolor.data.warps import (
    FILLS,
    affine,
    near_outside,
    plain_crop,
    warp_crop,
    warp_crop_both,
    way_back,
)
from jaxcolor.errors import ConfigError

METHODS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
FITS = ("stretch", "crop")
GIVEN = "given"
CONDITIONS = (GIVEN, *conditions.KINDS)


def resize(picture, height, width, method):
    """The picture at `height` by `width` pixels: itself where it has that size already.

    Args:
      picture: uint8 [height, width, channels].
      height: rows of the result.
      width: columns of the result.
      method: a key of METHODS; all but "nearest" average over the pixels that they leave out.
    """
    if picture.shape[:2] == (height, width):
        return picture
    # Pillow and not OpenCV: its cubic is that of the reference recipe and has no aliasing.
    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    return np.asarray(image.resize((width, height), METHODS[method])).reshape(height, width, -1)


def fit_picture(picture, size, method, fit):
    """The picture, resized for crops of `size`: what a prepared cache holds, to the bit.

    Args:
      picture: uint8 [height, width, channels]; returned itself where nothing is to be done.
      size: length in pixels.
      method: a key of METHODS.
      fit: "stretch" gives [size, size, channels], proportions not kept; "crop" keeps the
        proportions and gives the shorter side the length `size`.
    """
    if fit == "stretch":
        return resize(picture, size, size, method)
    shorter = min(picture.shape[:2])
    height, width = ((2 * side * size + shorter) // (2 * shorter) for side in picture.shape[:2])
    return resize(picture, height, width, method)


class ValidationTransform:
    """Resizes what a record has and makes the condition if it has none; nothing is random."""

    def __init__(
        self,
        *,
        image_size: int = 256,
        resize: str = "bicubic",
        fit: str = "stretch",
        condition: str = GIVEN,
        line_strength: tuple[float, ...] = conditions.LINE_STRENGTH,
        line_thickness: tuple[float, ...] = conditions.LINE_THICKNESS,
    ):
        """Transform to `image_size` by `image_size` pixels; in the fit "crop", of the centre.

        Args:
          image_size: side of the result in pixels.
          resize: a key of METHODS.
          fit: see `fit_picture`.
          condition: "given" by the record, or what to make of the target: see `make_condition`.
          line_strength: of lines, (low, high), of which the middle is taken.
          line_thickness: the same.

        Raises:
          ConfigError: an argument is out of range.
        """
        _check(image_size, resize, fit, condition, line_strength, line_thickness)
        self._size, self._resize, self._fit, self._kind = image_size, resize, fit, condition
        self._lines = {"line_strength": line_strength, "line_thickness": line_thickness}

    def __call__(self, record):
        """{"condition", "target"}: uint8 [image_size, image_size, channels], contiguous.

        Raises:
          ConfigError: the condition is to be given and the record has none.
        """
        one_thread()
        fitted = _fit_record(record, self._size, self._resize, self._fit, self._kind)
        height, width = fitted["target"].shape[:2]
        left, top = (width - self._size) // 2, (height - self._size) // 2
        pair = {
            name: np.ascontiguousarray(picture[top : top + self._size, left : left + self._size])
            for name, picture in fitted.items()
        }
        if self._kind != GIVEN:
            pair["condition"] = conditions.make_condition(pair["target"], self._kind, **self._lines)
        return pair


class TrainingTransform:
    """Moves both pictures of a record in the same random way; noise goes on the condition alone."""

    def __init__(
        self,
        *,
        image_size: int = 256,
        load_size: int = 286,
        resize: str = "bicubic",
        fit: str = "stretch",
        condition: str = GIVEN,
        line_strength: tuple[float, ...] = conditions.LINE_STRENGTH,
        line_thickness: tuple[float, ...] = conditions.LINE_THICKNESS,
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
          load_size: size in pixels to which pictures are fitted before they are cropped.
          resize: a key of METHODS.
          fit: how: see `fit_picture`. Crops are taken from the whole of the fitted picture.
          condition: "given" by the record, or what to make of the moved target: see
            `make_condition`.
          line_strength: of lines, (low, high): the range to draw from.
          line_thickness: the same.
          flip: whether half of the pairs are mirrored.
          rotation: largest turn in degrees, either way, about the centre of the fitted picture.
          shear: largest slant of the verticals in degrees, either way.
          zoom: z scales by a factor from [1 - z, 1 + z].
          shift: largest shift as a fraction of load_size, either way, down and across.
          noise: standard deviation, on a scale where black is -1 and white is 1, of the grey
            noise that is drawn for each pixel of the condition.
          fill: "white" or "reflect", what comes in from outside of a warped picture.

        Raises:
          ConfigError: an argument is out of range.
        """
        _check(image_size, resize, fit, condition, line_strength, line_thickness)
        if load_size < image_size:
            raise ConfigError(
                f"augment.load_size {load_size} must be at least data.image_size {image_size}"
            )
        limits = {"rotation": 180, "shear": 60, "zoom": 0.9, "shift": 1, "noise": 2}
        given = {"rotation": rotation, "shear": shear, "zoom": zoom, "shift": shift, "noise": noise}
        for name, value in given.items():
            if not 0 <= value <= limits[name]:
                raise ConfigError(f"augment.{name} {value} must be from 0 to {limits[name]}")
        _check_choice("augment.fill", fill, FILLS)
        self._size, self.load_size, self._resize = image_size, load_size, resize
        self._fit, self._kind, self._flip, self._fill = fit, condition, flip, fill
        self._lines = {"line_strength": line_strength, "line_thickness": line_thickness}
        self._ranges = np.array([rotation, shear, zoom, shift, shift], dtype=np.float64)
        self._noise = noise_tables(noise * 127.5) if noise else None

    def __call__(self, record, rng):
        """{"condition", "target"}: uint8 [image_size, image_size, channels], drawn from `rng`.

        Both arrays are contiguous and share no memory with the record.

        Raises:
          ConfigError: the condition is to be given and the record has none.
        """
        one_thread()
        # All draws are made whatever is switched on: a switch then changes nothing but its own.
        draws = rng.random(8)
        fitted = self.fit_record(record)
        height, width = fitted["target"].shape[:2]
        left = int(draws[0] * (width - self._size + 1))
        top = int(draws[1] * (height - self._size + 1))
        mirrored = self._flip and draws[2] < 0.5
        warps = self._ranges.any()
        if warps:
            matrix = affine(*(2 * draws[3:] - 1) * self._ranges)
            back = way_back(height, width, left, top, self._size, matrix, mirrored)
            pair = self._warp(fitted, back)
        else:
            pair = {
                name: plain_crop(picture, left, top, self._size, mirrored)
                for name, picture in fitted.items()
            }
        if self._kind != GIVEN:
            pair["condition"] = conditions.make_condition(
                pair["target"], self._kind, rng, **self._lines
            )
        if self._kind == "lines" and warps and self._fill == "white":
            # Where the picture ends there is no edge of anything in it.
            margin = math.ceil(3 * max(self._lines["line_thickness"]) * self._size / 256) + 1
            outside = near_outside(height, width, self._size, back, margin)
            pair["condition"][outside] = 255
        if self._noise is not None:
            add_noise(pair["condition"], self._noise, rng)
        if pair["condition"].shape[2] < fitted.get("condition", pair["condition"]).shape[2]:
            pair["condition"] = cv2.merge([pair["condition"]] * 3)
        return pair

    def _warp(self, fitted, back):
        # A grey condition comes with one channel, whatever it had.
        condition = fitted.get("condition")
        grey = condition is not None and (condition.shape[2] == 1 or condition.strides[2] == 0)
        if not grey or fitted["target"].shape[2] != 3:
            return {
                name: warp_crop(picture, self._size, back, self._fill)
                for name, picture in fitted.items()
            }
        # A view with the same channel three times: a cache stores it as one, and it is warped so.
        plane = np.ascontiguousarray(condition[..., 0])
        target, moved = warp_crop_both(fitted["target"], plane, self._size, back, self._fill)
        return {"condition": moved, "target": target}

    def fit_record(self, record):
        """The record with its pictures fitted, as a prepared cache holds them."""
        return _fit_record(record, self.load_size, self._resize, self._fit, self._kind)


def one_thread():
    """Keeps OpenCV to the calling thread, in this process and from now on.

    The loader has threads or processes for every core already. Their calls would queue for
    OpenCV's own pool, of which each process would have one. It is one setting for the process:
    worker processes unpickle a transform and know nothing of what was set where it was made, so
    that it is looked at, in less than a microsecond, by each call.
    """
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)


def _fit_record(record, size, method, fit, kind):
    # The fitted pictures at the target's shape; the target alone where the condition is made of it.
    fitted = {"target": fit_picture(record["target"], size, method, fit)}
    if kind != GIVEN:
        return fitted
    if "condition" not in record:
        raise ConfigError(
            "data.condition 'given' needs pictures that come with one: set it to one of "
            f"{', '.join(conditions.KINDS)} to make it of the target"
        )
    condition = fit_picture(record["condition"], size, method, fit)
    height, width = fitted["target"].shape[:2]
    return {"condition": resize(condition, height, width, method)} | fitted


def _check(image_size, method, fit, condition, line_strength, line_thickness):
    if image_size < 1:
        raise ConfigError(f"data.image_size {image_size} must be at least 1")
    _check_choice("data.resize", method, METHODS)
    _check_choice("data.fit", fit, FITS)
    _check_choice("data.condition", condition, CONDITIONS)
    conditions.check_ranges(line_strength, line_thickness)


def _check_choice(key, value, choices):
    if value not in choices:
        raise ConfigError(f"{key} {value!r} must be one of {', '.join(choices)}")
