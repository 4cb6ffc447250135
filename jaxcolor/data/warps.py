"""Crops of one picture, plain or warped: shift, turn, slant, zoom and mirror at once."""

import math
import threading

import cv2
import numpy as np

FILLS = {"white": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT_101}

# Of each thread: what a call needs and does not return. Asked of the system anew for every
# picture, its pages can cost as much as the warp.
_scratch = threading.local()


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
    slant, scale = math.tan(math.radians(shear)), 1.0 + zoom
    return np.array(
        [
            [scale * cos, scale * (slant * cos - sin), right],
            [scale * sin, scale * (slant * sin + cos), down],
        ]
    )


def way_back(height, width, left, top, size, matrix, mirrored=False):
    """Float [2, 3]: where in a picture each pixel of the square crop of its warp comes from.

    It takes the numbers (column, row, 1) of a pixel of the crop to those of a place in the picture,
    which whole numbers have at the centres of pixels.

    Args:
      height: rows of the picture.
      width: columns of the picture. The warp is about its centre; its side 1 is the shorter side.
      left: first column of the crop in the warped picture.
      top: first row of the crop.
      size: side of the crop in pixels.
      matrix: the warp, as `affine` gives it.
      mirrored: whether left and right of the crop change places.
    """
    # In plain numbers: NumPy takes 0.03 ms for arrays as small as these.
    (a, b, right), (c, d, down) = matrix.tolist()
    determinant, shorter = a * d - b * c, min(height, width)
    a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
    x, y = left - width / 2 - shorter * right, top - height / 2 - shorter * down
    x, y = width / 2 + a * x + b * y, height / 2 + c * x + d * y
    if mirrored:
        x, y, a, c = x + size * a, y + size * c, -a, -c
    # So far the first pixel had its corner at 0 and its centre at 0.5.
    return np.array([[a, b, x + (a + b) / 2 - 0.5], [c, d, y + (c + d) / 2 - 0.5]])


def plain_crop(picture, left, top, size, mirrored=False):
    """The square crop at (`left`, `top`): uint8 [size, size, channels], in memory of its own."""
    crop = picture[top : top + size, left : left + size]
    return cv2.flip(crop, 1).reshape(crop.shape) if mirrored else np.array(crop, order="C")


def warp_crop(picture, size, back, fill):
    """A square crop of a warped picture, in one bilinear resampling.

    Args:
      picture: uint8 [height, width, channels], of at most 4 channels.
      size: side of the crop in pixels.
      back: see `way_back`.
      fill: "white" or "reflect", what is outside of the picture.

    Returns:
      uint8 [size, size, channels].
    """
    height, width, channels = picture.shape
    if channels != 3:
        warped = cv2.warpAffine(picture, back, (size, size), **_options(fill))
        return warped.reshape(size, size, channels)
    # OpenCV 5 warps four channels in less than half the time of three.
    four = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA, _memory("picture", height, width))
    return cv2.cvtColor(_warp_four(four, size, back, fill), cv2.COLOR_RGBA2RGB)


def warp_crop_both(picture, grey, size, back, fill):
    """What `warp_crop` makes of a picture in colour and of a grey one, in the time of the first.

    Args:
      picture: uint8 [height, width, 3].
      grey: uint8 [height, width].
      size: see `warp_crop`.
      back: see `way_back`.
      fill: see `warp_crop`.

    Returns:
      uint8 [size, size, 3] and [size, size, 1].
    """
    four = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA, _memory("picture", *grey.shape))
    cv2.insertChannel(grey, four, 3)
    warped = _warp_four(four, size, back, fill)
    return cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), cv2.extractChannel(warped, 3)[..., None]


def _warp_four(four, size, back, fill):
    # Into the memory of this thread.
    return cv2.warpAffine(four, back, (size, size), _memory("crop", size, size), **_options(fill))


def _options(fill):
    return {
        "flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        "borderMode": FILLS[fill],
        "borderValue": (255, 255, 255, 255),
    }


def near_outside(height, width, size, back, margin):
    """Bool [size, size]: which pixels of a warped crop lie near to where there is no picture.

    Args:
      height: rows of the picture.
      width: columns of the picture.
      size: side of the crop in pixels.
      back: see `way_back`.
      margin: how many pixels count as near.
    """
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside = np.full((height, width), 255, np.uint8)
    inside = cv2.warpAffine(inside, back, (size, size), flags=flags, borderValue=0)
    return cv2.erode(inside, np.ones((2 * margin + 1,) * 2, np.uint8)) < 255


def _memory(name, height, width):
    """Uint8 [height, width, 4], the same memory for every call of a thread with this name."""
    count = 4 * height * width
    memory = getattr(_scratch, name, None)
    if memory is None or memory.size < count:
        memory = np.empty(count, np.uint8)
        setattr(_scratch, name, memory)
    return memory[:count].reshape(height, width, 4)
