"""LPIPS: how far apart two pictures are in features of AlexNet or VGG16, by trained heads.

Zhang et al. 2018 (arXiv 1801.03924), version 0.1 of their heads ("lin"): features after five
rectifiers, each pixel's divided by its length; squared differences weighed per channel; mean over
the pixels; sum over the five layers.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcolor import colorspace
from jaxcolor.errors import UserError
from jaxcolor.perceptual.convolutions import Params, convolve, max_pool, pad_by

# The mean and deviation the heads were trained with, of pictures in [-1, 1].
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)
_SMALLEST_LENGTH = 1e-10


class Backbone(NamedTuple):
    """What LPIPS needs to know of a network whose convolutions are Conv_0, Conv_1, ..."""

    kernels: tuple[tuple[int, int, int, int], ...]  # [rows, columns, in, out] of each
    compared: tuple[int, ...]  # the convolutions whose rectified outputs are compared
    smallest: int  # pixels a side must have


def _vgg_kernels():
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    return tuple((3, 3, *pair) for pair in itertools.pairwise(widths))


_ALEX_KERNELS = (
    (11, 11, 3, 64),
    (5, 5, 64, 192),
    (3, 3, 192, 384),
    (3, 3, 384, 256),
    (3, 3, 256, 256),
)
BACKBONES = {
    "alex": Backbone(_ALEX_KERNELS, compared=(0, 1, 2, 3, 4), smallest=31),
    "vgg": Backbone(_vgg_kernels(), compared=(1, 3, 6, 9, 12), smallest=16),
}
PROTOCOL = (
    "LPIPS 0.1 ({net}): pictures as they are in [-1, 1], unit-length features, trained heads, "
    "mean over pixels, sum of five layers"
)


def alexnet(x: jax.Array, params: Params) -> list[jax.Array]:
    """The five rectified maps of AlexNet, [batch, height', width', 64, 192, 384, 256 or 256].

    Args:
      x: [batch, height, width, 3] with the mean taken off and divided by the deviation.
      params: "Conv_0/kernel" and so on.
    """
    maps = [jax.nn.relu(convolve(x, params, "Conv_0", stride=4, padding=pad_by(2)))]
    for index in range(1, 5):
        x = max_pool(maps[-1], window=3, stride=2) if index < 3 else maps[-1]
        padding = pad_by(2 if index == 1 else 1)
        maps.append(jax.nn.relu(convolve(x, params, f"Conv_{index}", padding=padding)))
    return maps


def vgg16(x: jax.Array, params: Params) -> list[jax.Array]:
    """The last rectified map of each of VGG16's five blocks: 64, 128, 256, 512, 512 channels.

    Args:
      x: [batch, height, width, 3] with the mean taken off and divided by the deviation.
      params: "Conv_0/kernel" and so on.
    """
    maps = []
    for index in range(13):
        x = jax.nn.relu(convolve(x, params, f"Conv_{index}", padding=pad_by(1)))
        if index in BACKBONES["vgg"].compared:
            maps.append(x)
            x = max_pool(x, window=2, stride=2)
    return maps


_MAPS = {"alex": alexnet, "vgg": vgg16}


def lpips_by_picture(
    prediction: jax.Array, target: jax.Array, params: Params, *, net: str
) -> jax.Array:
    """LPIPS of each pair, [batch] float32: 0 for equal pictures, about 0.1 to 1 for others.

    Symmetric, and its gradients are finite everywhere, where features vanish too.

    Args:
      prediction: RGB [batch, height, width, 3], floats in [-1, 1] or uint8.
      target: the same shape.
      params: what `weights.find("lpips_alex")` or `weights.find("lpips_vgg")` returns.
      net: "alex" or "vgg".

    Raises:
      UserError: the pictures are too small for the network.
      ValueError: the shapes differ or are not those of RGB pictures.
    """
    if prediction.shape != target.shape or prediction.ndim != 4 or prediction.shape[3] != 3:
        raise ValueError(
            f"pictures of shapes {prediction.shape} and {target.shape} are not two batches of "
            "[batch, height, width, 3]"
        )
    smallest = BACKBONES[net].smallest
    if min(prediction.shape[1:3]) < smallest:
        size = "x".join(str(side) for side in prediction.shape[1:3])
        raise UserError(f"LPIPS ({net}) needs pictures of {smallest} pixels or more, not {size}")
    first, second = (
        _unit_maps((colorspace.to_signed(images) - _SHIFT) / _SCALE, params, net)
        for images in (prediction, target)
    )
    total = jnp.zeros(len(prediction))
    for index, pair in enumerate(zip(first, second, strict=True)):
        weights = params[f"NetLinLayer_{index}/kernel"].reshape(-1)
        by_channel = jnp.mean(jnp.square(pair[0] - pair[1]), axis=(1, 2))
        total += jnp.sum(by_channel * weights, axis=1)
    return total


def _unit_maps(x, params, net):
    return [_unit_length(features) for features in _MAPS[net](x, params)]


def _unit_length(features):
    squared = jnp.sum(jnp.square(features), axis=3, keepdims=True)
    vanishes = squared == 0  # where the square root has no gradient
    length = jnp.where(vanishes, 0, jnp.sqrt(jnp.where(vanishes, 1, squared)))
    return features / (length + _SMALLEST_LENGTH)
