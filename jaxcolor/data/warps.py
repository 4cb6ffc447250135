"""Crops of one picture, plain or warped: shift, turn, slant, zoom and mirror at once."""

import math

import cv2
import numpy as np

FILLS = {"white": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT_101}


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


def plain_crop(picture, left, top, size, mirrored=False):
    """The square crop at (`left`, `top`): uint8 [size, size, channels], in memory of its own."""
    crop = picture[top : top + size, left : left + size]
    return cv2.flip(crop, 1).reshape(crop.shape) if mirrored else np.array(crop, order="C")


def warp_crop(picture, left, top, size, matrix, fill, mirrored=False):
    """The square crop at (`left`, `top`) of the warped picture, in one bilinear resampling.

    Args:
      picture: uint8 [height, width, channels], of at most 4 channels. The warp is about its
        centre, and its side 1 is the shorter one.
      left: first column of the crop.
      top: first row of the crop.
      size: side of the crop in pixels.
      matrix: the warp, as `affine` gives it.
      fill: "white" or "reflect".
      mirrored: whether left and right of the crop change places.
    """
    height, width, channels = picture.shape
    centre, shorter = np.array([width, height]) / 2, min(height, width)
    # OpenCV asks for the way back: where in the picture each pixel of the crop comes from.
    back = np.linalg.inv(matrix[:, :2])
    origin = centre + back @ (np.array([left, top]) - centre - shorter * matrix[:, 2])
    if mirrored:
        origin, back = origin + size * back[:, 0], back * [-1, 1]
    # It counts from the centre of the first pixel, which is at (0.5, 0.5).
    origin = origin + back.sum(axis=1) / 2 - 0.5
    if channels == 3:
        # Warping four channels takes less than half the time of three.
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    warped = cv2.warpAffine(
        picture,
        np.column_stack([back, origin]),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=FILLS[fill],
        borderValue=(255, 255, 255, 255),
    )
    if channels == 3:
        warped = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)
    return warped.reshape(size, size, channels)
