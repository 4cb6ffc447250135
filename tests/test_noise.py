"""Facts about the noise: its distribution to the last level, and how it is added."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcolor.data.noise import add_noise, noise_tables


def noise_of_words(deviation):
    """The noise of every 16-bit word: int [65536]."""
    lighter, darker = noise_tables(deviation)
    assert lighter.shape == darker.shape == (65536,)
    assert not np.any(lighter & darker)
    return lighter.astype(int) - darker


@pytest.mark.parametrize("deviation", [0.01, 0.4, 1.0, 2.55, 12.75, 60.0, 255.0])
def test_every_level_has_its_probability(deviation):
    table = noise_of_words(deviation)
    shares = np.bincount(table + 255, minlength=511) / 65536
    normal = NormalDist(0, deviation)
    ends = [0.0] + [normal.cdf(level + 0.5) for level in range(-255, 255)] + [1.0]
    np.testing.assert_allclose(shares, np.diff(ends), atol=1.001 / 65536)
    if deviation < 60:  # nothing is cut off at 255
        assert abs(table.mean()) < 1e-3 * max(1, deviation)
        # Rounding to whole levels adds a twelfth to the variance, once they are fine enough.
        if deviation >= 1:
            assert table.var() == pytest.approx(deviation**2 + 1 / 12, rel=2e-3)
        assert np.abs(table).max() <= 0.5 + 4.5 * deviation


def drawn(deviation, shape, seed=0):
    noisy = np.full(shape, 128, np.uint8)
    add_noise(noisy, noise_tables(deviation), np.random.default_rng(seed))
    return noisy.astype(int) - 128


def test_drawn_noise_is_normal_out_to_its_tails():
    noise = drawn(12.75, (1024, 1024, 1)) / 12.75
    count = noise.size
    assert abs(noise.mean()) < 4 / count**0.5
    assert abs(noise.std() - 1) < 0.005
    for reach in (1.5, 2.5, 3.5):
        # The level of this reach, half a level in.
        reach = (round(reach * 12.75) - 0.5) / 12.75
        expected = 2 * NormalDist().cdf(-reach)
        margin = 5 * (expected / count) ** 0.5 + 4 / 65536
        assert abs(np.mean(np.abs(noise) > reach) - expected) < margin


def test_pixels_are_independent_of_their_neighbours():
    noise = drawn(20.0, (512, 512, 1))[..., 0]
    for shift in (1, 2, 3, 4, 512):
        moved = np.roll(noise.ravel(), shift)
        assert abs(np.corrcoef(noise.ravel(), moved)[0, 1]) < 5 / 512


@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([1, 2, 3, 4]),
    seed=st.integers(0, 99),
)
def test_sums_stop_at_black_and_white_and_are_grey(height, width, channels, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    noisy = picture.copy()
    add_noise(noisy, noise_tables(70.0), np.random.default_rng(seed))
    words = np.random.default_rng(seed).integers(0, 2**64, 99, dtype=np.uint64).view(np.uint16)
    noise = noise_of_words(70.0)[words[: height * width]].reshape(height, width, 1)
    np.testing.assert_array_equal(noisy, np.clip(picture + noise, 0, 255))
