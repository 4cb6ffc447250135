"""Networks whose pooled features tell sets of pictures apart, and what their distances are called.

Distances of Inception features only are called KID and FID; those of any other network are named
after it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax

from jaxcolor import colorspace
from jaxcolor.perceptual import efficientnet, inception
from jaxcolor.perceptual.convolutions import Params


class FeatureNet(NamedTuple):
    """Features of pictures by one network."""

    extract: Callable[[jax.Array, Params], jax.Array]  # RGB [batch, h, w, 3] -> [batch, features]
    protocol: str  # how pictures reach the network
    features: int
    distance_names: Callable[[Params], tuple[str, str]]  # of the kernel and Frechet distance


def _efficientnet_features(images, params):
    return efficientnet.extract(colorspace.to_signed(images), params)


def _inception_features(images, params):
    return inception.extract(colorspace.to_signed(images), params)


def _efficientnet_names(params):
    return "kernel distance (efficientnet_lite0)", "Frechet distance (efficientnet_lite0)"


def _inception_names(params):
    if inception.variant(params) == "torchvision":
        return "KID-Inception (torchvision weights)", "FID-Inception (torchvision weights)"
    return "KID", "FID"


FEATURES = {
    "efficientnet_lite0": FeatureNet(
        _efficientnet_features,
        "EfficientNet-lite0, pooled 1280 features; pictures resized to 224x224 (bilinear, "
        "antialiased), (v - 127) / 128 of v in 0..255",
        efficientnet.FEATURES,
        _efficientnet_names,
    ),
    "inception_v3": FeatureNet(
        _inception_features,
        "Inception v3, pooled 2048 features (pool3); pictures resized to 299x299 (bilinear, "
        "antialiased where smaller), in [-1, 1]; poolings of the weights' own version",
        inception.FEATURES,
        _inception_names,
    ),
}
