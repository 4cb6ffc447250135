"""EfficientNet-lite0 up to its pooled features: batch norms folded into the convolutions.

Tan and Le 2019 (arXiv 1905.11946) in the "lite" variant: no squeeze-and-excitation, ReLU6, stem
and head of fixed width, padding as TensorFlow's "SAME".
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcolor.perceptual.convolutions import Params, convolve, convolve_depthwise

SIDE = 224
FEATURES = 1280
NORM_EPSILON = 1e-3

# Of each stage: blocks, kernel size, stride of the first block, expansion, channels out.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
_OFFSET, _SCALE = 127.0, 128.0


def blocks() -> list[tuple[int, int, int, int, int, int, int]]:
    """Of each block: stage, place in it, kernel size, stride, expansion, channels in, out."""
    rows, channels = [], _STEM
    for stage, (count, size, stride, expansion, outs) in enumerate(_STAGES):
        for place in range(count):
            rows.append(
                (stage, place, size, stride if place == 0 else 1, expansion, channels, outs)
            )
            channels = outs
    return rows


def kernels() -> dict[str, tuple[int, int, int, int]]:
    """The shape [rows, columns, in, out] of every convolution, by name."""
    shapes = {"stem": (3, 3, 3, _STEM)}
    for index, (*_, size, _, expansion, ins, outs) in enumerate(blocks()):
        wide = ins * expansion
        if expansion > 1:
            shapes[f"block_{index}/expand"] = (1, 1, ins, wide)
        shapes[f"block_{index}/depthwise"] = (size, size, 1, wide)
        shapes[f"block_{index}/project"] = (1, 1, wide, outs)
    return shapes | {"head": (1, 1, _STAGES[-1][-1], FEATURES)}


def extract(images: jax.Array, params: Params) -> jax.Array:
    """Features [batch, 1280] of RGB pictures [batch, height, width, 3] in [-1, 1].

    Pictures are resized to 224x224, bilinear and antialiased, and scaled to (v - 127) / 128 for v
    in 0..255.
    """
    shape = (len(images), SIDE, SIDE, 3)
    if images.shape != shape:
        images = jax.image.resize(images, shape, "bilinear", antialias=True)
    x = ((images + 1) * 127.5 - _OFFSET) / _SCALE
    return jnp.mean(feature_map(x, params), axis=(1, 2))


def feature_map(x: jax.Array, params: Params) -> jax.Array:
    """The last map [batch, ceil(height / 32), ceil(width / 32), 1280] of a scaled input."""
    x = _relu6(convolve(x, params, "stem", stride=2, padding="SAME"))
    for index, (*_, stride, expansion, ins, outs) in enumerate(blocks()):
        y = x
        if expansion > 1:
            y = _relu6(convolve(y, params, f"block_{index}/expand"))
        y = _relu6(convolve_depthwise(y, params, f"block_{index}/depthwise", stride=stride))
        y = convolve(y, params, f"block_{index}/project")
        x = x + y if stride == 1 and ins == outs else y
    return _relu6(convolve(x, params, "head"))


def _relu6(x):
    return jnp.minimum(jnp.maximum(x, np.float32(0)), np.float32(6))
