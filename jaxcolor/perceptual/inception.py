"""Inception v3 up to its pooled 2048 features: batch norms folded into the convolutions.

Szegedy et al. 2015 (arXiv 1512.00567). Two sets of weights are in use and pool differently: the
TensorFlow graph of 2015-12-05 that FID and KID are defined with (1008 classes), as ported to torch:
means leave out pixels past the edge and the last block pools maxima; and torchvision's (1000
classes): means count such pixels as zeros, in the last block too.
"""

import jax
import jax.numpy as jnp

from jaxcolor.perceptual.convolutions import Params, average_pool, convolve, max_pool, pad_by

SIDE = 299
FEATURES = 2048
NORM_EPSILON = 1e-3
CLASSES = {1008: "2015-12-05", 1000: "torchvision"}

_STEM = {
    "Conv2d_1a_3x3": (3, 3, 3, 32),
    "Conv2d_2a_3x3": (3, 3, 32, 32),
    "Conv2d_2b_3x3": (3, 3, 32, 64),
    "Conv2d_3b_1x1": (1, 1, 64, 80),
    "Conv2d_4a_3x3": (3, 3, 80, 192),
}
# Channels that the fourth branch of a 35x35 block, and the 7x7 branches of a 17x17 one, work in.
_A_BLOCKS = {"Mixed_5b": (192, 32), "Mixed_5c": (256, 64), "Mixed_5d": (288, 64)}
_C_BLOCKS = {"Mixed_6b": 128, "Mixed_6c": 160, "Mixed_6d": 160, "Mixed_6e": 192}
_E_BLOCKS = {"Mixed_7b": 1280, "Mixed_7c": 2048}


def kernels() -> dict[str, tuple[int, int, int, int]]:
    """The shape [rows, columns, in, out] of every convolution, by torchvision's name."""
    blocks = {block: _block_a_kernels(*sizes) for block, sizes in _A_BLOCKS.items()}
    blocks["Mixed_6a"] = _BLOCK_B_KERNELS
    blocks |= {block: _block_c_kernels(inner) for block, inner in _C_BLOCKS.items()}
    blocks["Mixed_7a"] = _BLOCK_D_KERNELS
    blocks |= {block: _block_e_kernels(ins) for block, ins in _E_BLOCKS.items()}
    branches = (
        (f"{block}.{branch}", shape)
        for block, shapes in blocks.items()
        for branch, shape in shapes.items()
    )
    return _STEM | dict(branches)


def _block_a_kernels(ins, pooled):
    return {
        "branch1x1": (1, 1, ins, 64),
        "branch5x5_1": (1, 1, ins, 48),
        "branch5x5_2": (5, 5, 48, 64),
        "branch3x3dbl_1": (1, 1, ins, 64),
        "branch3x3dbl_2": (3, 3, 64, 96),
        "branch3x3dbl_3": (3, 3, 96, 96),
        "branch_pool": (1, 1, ins, pooled),
    }


_BLOCK_B_KERNELS = {
    "branch3x3": (3, 3, 288, 384),
    "branch3x3dbl_1": (1, 1, 288, 64),
    "branch3x3dbl_2": (3, 3, 64, 96),
    "branch3x3dbl_3": (3, 3, 96, 96),
}


def _block_c_kernels(inner):
    return {
        "branch1x1": (1, 1, 768, 192),
        "branch7x7_1": (1, 1, 768, inner),
        "branch7x7_2": (1, 7, inner, inner),
        "branch7x7_3": (7, 1, inner, 192),
        "branch7x7dbl_1": (1, 1, 768, inner),
        "branch7x7dbl_2": (7, 1, inner, inner),
        "branch7x7dbl_3": (1, 7, inner, inner),
        "branch7x7dbl_4": (7, 1, inner, inner),
        "branch7x7dbl_5": (1, 7, inner, 192),
        "branch_pool": (1, 1, 768, 192),
    }


_BLOCK_D_KERNELS = {
    "branch3x3_1": (1, 1, 768, 192),
    "branch3x3_2": (3, 3, 192, 320),
    "branch7x7x3_1": (1, 1, 768, 192),
    "branch7x7x3_2": (1, 7, 192, 192),
    "branch7x7x3_3": (7, 1, 192, 192),
    "branch7x7x3_4": (3, 3, 192, 192),
}


def _block_e_kernels(ins):
    return {
        "branch1x1": (1, 1, ins, 320),
        "branch3x3_1": (1, 1, ins, 384),
        "branch3x3_2a": (1, 3, 384, 384),
        "branch3x3_2b": (3, 1, 384, 384),
        "branch3x3dbl_1": (1, 1, ins, 448),
        "branch3x3dbl_2": (3, 3, 448, 384),
        "branch3x3dbl_3a": (1, 3, 384, 384),
        "branch3x3dbl_3b": (3, 1, 384, 384),
        "branch_pool": (1, 1, ins, 192),
    }


def variant(params: Params) -> str:
    """Which weights these are, by their number of classes: "2015-12-05" or "torchvision"."""
    return CLASSES[params["fc/bias"].shape[0]]


def extract(images: jax.Array, params: Params) -> jax.Array:
    """Features [batch, 2048] (pool3) of RGB pictures [batch, height, width, 3] in [-1, 1].

    Pictures are resized to 299x299, bilinear, and antialiased where that makes them smaller; the
    network sees them in [-1, 1].
    """
    shape = (len(images), SIDE, SIDE, 3)
    if images.shape != shape:
        images = jax.image.resize(images, shape, "bilinear", antialias=True)
    return jnp.mean(feature_map(images, params), axis=(1, 2))


def feature_map(x: jax.Array, params: Params) -> jax.Array:
    """The last map [batch, height', width', 2048] of pictures in [-1, 1] of 75 pixels or more."""
    fid = variant(params) == "2015-12-05"

    def layer(x, name, stride=1, padding="VALID"):
        return jax.nn.relu(convolve(x, params, name, stride=stride, padding=padding))

    def around(x, name):
        """A layer padded so that the map keeps its size."""
        rows, columns = params[f"{name}/kernel"].shape[:2]
        return layer(x, name, padding=pad_by(rows // 2, columns // 2))

    def chain(x, *names):
        for name in names:
            x = around(x, name)
        return x

    def mean(x):
        return average_pool(x, count_padding=not fid)

    x = layer(x, "Conv2d_1a_3x3", stride=2)
    x = around(layer(x, "Conv2d_2a_3x3"), "Conv2d_2b_3x3")
    x = around(max_pool(x, window=3, stride=2), "Conv2d_3b_1x1")
    x = max_pool(layer(x, "Conv2d_4a_3x3"), window=3, stride=2)
    for block in _A_BLOCKS:
        x = _block_a(x, block, chain, mean)
    x = _block_b(x, "Mixed_6a", chain, layer)
    for block in _C_BLOCKS:
        x = _block_c(x, block, chain, mean)
    x = _block_d(x, "Mixed_7a", chain, layer)
    x = _block_e(x, "Mixed_7b", chain, mean)

    def largest(x):
        return max_pool(x, window=3, stride=1, padding=1)

    return _block_e(x, "Mixed_7c", chain, largest if fid else mean)


def _numbered(block, branch, count):
    return [f"{block}.{branch}_{number}" for number in range(1, count + 1)]


def _pooled_block(x, block, chain, pool, *others):
    # A 1x1 convolution, the `others` (branch, convolutions), and one of the pooled maps.
    branches = [
        chain(x, f"{block}.branch1x1"),
        *(chain(x, *_numbered(block, *other)) for other in others),
        chain(pool(x), f"{block}.branch_pool"),
    ]
    return jnp.concatenate(branches, axis=3)


def _block_a(x, block, chain, pool):
    return _pooled_block(x, block, chain, pool, ("branch5x5", 2), ("branch3x3dbl", 3))


def _block_b(x, block, chain, layer):
    double = chain(x, *_numbered(block, "branch3x3dbl", 2))
    branches = [
        layer(x, f"{block}.branch3x3", stride=2),
        layer(double, f"{block}.branch3x3dbl_3", stride=2),
        max_pool(x, window=3, stride=2),
    ]
    return jnp.concatenate(branches, axis=3)


def _block_c(x, block, chain, pool):
    return _pooled_block(x, block, chain, pool, ("branch7x7", 3), ("branch7x7dbl", 5))


def _block_d(x, block, chain, layer):
    seven = chain(x, *_numbered(block, "branch7x7x3", 3))
    branches = [
        layer(chain(x, f"{block}.branch3x3_1"), f"{block}.branch3x3_2", stride=2),
        layer(seven, f"{block}.branch7x7x3_4", stride=2),
        max_pool(x, window=3, stride=2),
    ]
    return jnp.concatenate(branches, axis=3)


def _block_e(x, block, chain, pool):
    single = chain(x, f"{block}.branch3x3_1")
    double = chain(x, f"{block}.branch3x3dbl_1", f"{block}.branch3x3dbl_2")
    branches = [
        chain(x, f"{block}.branch1x1"),
        *(chain(single, f"{block}.branch3x3_2{side}") for side in "ab"),
        *(chain(double, f"{block}.branch3x3dbl_3{side}") for side in "ab"),
        chain(pool(x), f"{block}.branch_pool"),
    ]
    return jnp.concatenate(branches, axis=3)
