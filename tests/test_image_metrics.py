"""Distances between pictures: scikit-image's PSNR and SSIM, and formulas in NumPy."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from skimage import metrics as reference

from jaxcolor import image_metrics


def pair(height, width, seed=0, noise=0.3):
    """Two smooth pictures alike, float32 [1, height, width, 3] in [-1, 1]."""
    generator = np.random.default_rng(seed)
    ramp = np.linspace(-0.8, 0.8, height)[:, None, None] * np.linspace(0.2, 1, width)[:, None]
    target = ramp + generator.normal(0, 0.1, (1, height, width, 3))
    prediction = 0.8 * target + generator.normal(0, noise, target.shape)
    return [np.clip(images, -1, 1).astype(np.float32) for images in (prediction, target)]


def ssim(prediction, target):
    return np.asarray(image_metrics.ssim_by_picture(prediction, target, value_range=2.0))


@pytest.mark.parametrize("shape", [(11, 11), (12, 30), (40, 33)])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_ssim_is_that_of_scikit_image(shape, noise):
    prediction, target = pair(*shape, noise=noise)
    expected = reference.structural_similarity(
        prediction[0].astype(float),
        target[0].astype(float),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1,
        data_range=2,
    )
    np.testing.assert_allclose(ssim(prediction, target), expected, atol=2e-5)


def ssim_of_small(prediction, target):
    """SSIM of one picture with no side above 11, by a full window of its largest odd size."""
    windows = [np.exp(-0.5 * (np.arange(-(s // 2), s // 2 + 1) / 1.5) ** 2) for s in (7, 3)]
    window = np.outer(*windows) / np.outer(*windows).sum()
    values = []
    for top, left, channel in np.ndindex(8 - 7 + 1, 3 - 3 + 1, 3):
        x = prediction[top : top + 7, left : left + 3, channel].astype(float)
        y = target[top : top + 7, left : left + 3, channel].astype(float)
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
        cov = (window * (x - mx) * (y - my)).sum()
        c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
        values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return np.mean(values)


def test_ssim_of_a_small_picture_takes_the_largest_odd_window_that_fits():
    prediction, target = pair(8, 3)
    expected = ssim_of_small(prediction[0], target[0])
    np.testing.assert_allclose(ssim(prediction, target), expected, atol=1e-5)


def test_ssim_of_single_pixels_compares_their_values():
    black, white = -jnp.ones((1, 1, 1, 3)), jnp.ones((1, 1, 1, 3))
    c1 = (0.01 * 2) ** 2
    np.testing.assert_allclose(ssim(black, white), (-2 + c1) / (2 + c1), atol=1e-6)
    np.testing.assert_allclose(ssim(black, black), 1, atol=1e-6)


@settings(deadline=None, max_examples=8)
@given(height=st.integers(1, 13), width=st.integers(1, 13))
def test_ssim_of_equal_pictures_is_one_at_any_size(height, width):
    _, target = pair(height, width)
    np.testing.assert_allclose(ssim(target, target), 1, atol=1e-5)


def test_psnr_is_that_of_scikit_image():
    prediction, target = pair(20, 17)
    expected = reference.peak_signal_noise_ratio(
        target.astype(float), prediction.astype(float), data_range=2
    )
    psnr = image_metrics.psnr_by_picture(prediction, target, value_range=2.0)
    np.testing.assert_allclose(psnr, expected, atol=1e-4)
    equal = image_metrics.psnr_by_picture(target, target, value_range=2.0)
    assert np.isposinf(equal).all()


def test_luma_psnr_is_that_of_the_weighted_channels_and_blind_to_hue():
    prediction, target = pair(20, 17)
    shares = np.array([0.299, 0.587, 0.114])
    expected = reference.peak_signal_noise_ratio(target @ shares, prediction @ shares, data_range=2)
    psnr = image_metrics.luma_psnr_by_picture(prediction, target)
    np.testing.assert_allclose(psnr, expected, atol=1e-4)
    red = np.array([[[[0.2, 0.0, 0.0]]]], np.float32)
    green = np.array([[[[0.0, 0.2 * 0.299 / 0.587, 0.0]]]], np.float32)
    assert image_metrics.luma_psnr_by_picture(red, green) > 100


def test_l1_and_l2_are_means_over_each_picture():
    prediction, target = pair(6, 5)
    both = np.concatenate([prediction, target]), np.concatenate([target, target])
    difference = (prediction - target).astype(float)
    np.testing.assert_allclose(
        image_metrics.l1_by_picture(*both), [np.abs(difference).mean(), 0], rtol=1e-5
    )
    np.testing.assert_allclose(
        image_metrics.l2_by_picture(*both), [(difference**2).mean(), 0], rtol=1e-5
    )


def test_ssim_has_a_finite_gradient_of_flat_pictures():
    flat = jnp.full((1, 12, 12, 3), 0.5)
    gradient = jax.grad(lambda x: image_metrics.ssim_by_picture(x, flat, value_range=2.0).sum())
    assert np.isfinite(gradient(flat)).all()
