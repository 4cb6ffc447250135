"""How far a predicted picture is from the true one, picture by picture, whatever the channels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxcolor import colorspace

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # pixels
SSIM_K = (0.01, 0.03)


def l1_by_picture(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean absolute difference of each picture, [batch], on the pictures' own scale.

    Args:
      prediction: [batch, height, width, channels].
      target: the same shape and range.
    """
    return jnp.mean(jnp.abs(prediction - target), axis=(1, 2, 3))


def l2_by_picture(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared difference of each picture, [batch], on the pictures' own scale squared.

    Args:
      prediction: [batch, height, width, channels].
      target: the same shape and range.
    """
    return jnp.mean(jnp.square(prediction - target), axis=(1, 2, 3))


def psnr_by_picture(prediction: jax.Array, target: jax.Array, *, value_range: float) -> jax.Array:
    """Peak signal-to-noise ratio of each picture, [batch], in dB; infinite for equal pictures.

    Args:
      prediction: [batch, height, width, channels].
      target: the same shape and range.
      value_range: largest minus smallest possible value: 2 for [-1, 1].
    """
    return 20 * jnp.log10(value_range) - 10 * jnp.log10(l2_by_picture(prediction, target))


def luma_psnr_by_picture(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio of the lumas of Rec. 601, [batch], in dB.

    Args:
      prediction: RGB [batch, height, width, 3] in [-1, 1].
      target: the same.
    """
    lumas = colorspace.luma(prediction), colorspace.luma(target)
    return psnr_by_picture(*lumas, value_range=2.0)


def ssim_by_picture(prediction: jax.Array, target: jax.Array, *, value_range: float) -> jax.Array:
    """Structural similarity of each picture, [batch], at most 1: mean of pixels and channels.

    Wang et al., 2004: Gaussian window of 11 pixels and sigma 1.5, K 0.01 and 0.03, variances over
    n (not n - 1), each channel by itself, only where the whole window lies in the picture. A side
    of less than 11 pixels takes the largest odd window that fits, its weights divided by their
    sum: 1x1 compares the pixels' values alone.

    Args:
      prediction: [batch, height, width, channels].
      target: the same shape and range.
      value_range: largest minus smallest possible value: 2 for [-1, 1].
    """
    similarity = partial(_similarity, value_range=value_range)
    # One picture after another stays within a CPU's cache: 6 times as fast as all at once.
    return jax.lax.map(lambda pair: similarity(*pair), (prediction, target))


def _similarity(prediction, target, value_range):
    small, large = ((k * value_range) ** 2 for k in SSIM_K)
    moments = [prediction, target, prediction**2 + target**2, prediction * target]
    mean, mean_target, squares, product = _blur(_blur(jnp.stack(moments), 0), 1)
    means_squared, means_product = mean**2 + mean_target**2, mean * mean_target
    similarity = (2 * means_product + small) / (means_squared + small)
    similarity *= 2 * (product - means_product) + large
    similarity /= squares - means_squared + large
    return jnp.mean(similarity)


def _blur(moments, axis):
    # Shifted sums: a convolution of many channels, one filter each, takes 20 times as long on a
    # CPU. The loop over moments keeps both directions from fusing into one of 11 x 11 shifts.
    size = moments.shape[axis + 1]
    window = min(SSIM_WINDOW, size - 1 + size % 2)
    kept = size - window + 1

    def blur_one(values):
        shifted = (
            weight * jax.lax.slice_in_dim(values, start, start + kept, axis=axis)
            for start, weight in enumerate(_gaussian(window))
        )
        return sum(shifted)

    return jax.lax.map(blur_one, moments)


def _gaussian(window):
    places = np.arange(window) - window // 2
    weights = np.exp(-0.5 * (places / SSIM_SIGMA) ** 2)
    return (weights / weights.sum()).tolist()
