"""Kernel and Frechet distances: their definitions, closed forms, SciPy, and few pictures."""

import itertools

import numpy as np
import pytest
import scipy.linalg

from jaxcolor.errors import UserError
from jaxcolor.perceptual.distances import (
    frechet_distance,
    frechet_distance_of_moments,
    kernel_distance,
    unbiased_kernel_distance,
)


def normal(count, features, *, seed, scale=1.0, offset=0.0):
    random = np.random.default_rng(seed)
    return offset + scale * random.standard_normal((count, features))


def with_moments(count, mean, covariance, seed):
    """Samples whose mean and unbiased covariance are exactly these."""
    samples = normal(count, len(mean), seed=seed)
    samples -= samples.mean(0)
    white = samples @ np.linalg.inv(np.linalg.cholesky(np.cov(samples.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_the_kernel_distance_is_its_definition():
    x, y = normal(7, 5, seed=0), normal(9, 5, seed=1, offset=0.5)

    def k(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / 5 + 1) ** 3

    within_x = np.mean([k(a, b) for a, b in itertools.permutations(x, 2)])
    within_y = np.mean([k(a, b) for a, b in itertools.permutations(y, 2)])
    across = np.mean([k(a, b) for a, b in itertools.product(x, y)])
    expected = within_x + within_y - 2 * across
    assert unbiased_kernel_distance(x, y) == pytest.approx(expected, rel=1e-12)
    assert kernel_distance(x[:7], y[:7], subset_size=7)[0] == unbiased_kernel_distance(x, y[:7])


def test_the_kernel_distance_does_not_depend_on_the_blocks_it_is_summed_in(monkeypatch):
    x, y = normal(23, 3, seed=0), normal(17, 3, seed=1)
    whole = unbiased_kernel_distance(x, y)
    monkeypatch.setattr("jaxcolor.perceptual.distances._BLOCK", 4)
    assert unbiased_kernel_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_all_subsets_together_give_the_full_estimate():
    """The estimate is a U-statistic: its mean over every pair of subsets is itself."""
    x, y = normal(4, 3, seed=0), normal(5, 3, seed=1, offset=1)
    values = [
        unbiased_kernel_distance(x[list(i)], y[list(j)])
        for i in itertools.combinations(range(4), 2)
        for j in itertools.combinations(range(5), 2)
    ]
    assert np.mean(values) == pytest.approx(unbiased_kernel_distance(x, y), rel=1e-12)
    mean, deviation = kernel_distance(x, y, subsets=4000, subset_size=2, seed=3)
    assert mean == pytest.approx(np.mean(values), abs=5 * np.std(values) / 4000**0.5)
    assert deviation == pytest.approx(np.std(values), rel=0.1)


def test_the_kernel_distance_is_unbiased_and_grows_with_the_difference():
    same = [
        unbiased_kernel_distance(normal(20, 4, seed=i), normal(20, 4, seed=10_000 + i))
        for i in range(400)
    ]
    assert abs(np.mean(same)) < 4 * np.std(same) / 20
    assert min(same) < 0
    far = [
        unbiased_kernel_distance(normal(50, 4, seed=1), normal(50, 4, seed=2, offset=offset))
        for offset in (0.5, 1, 2)
    ]
    assert 3 * np.std(same) < far[0] < far[1] < far[2]


def test_subsets_repeat_with_their_seed_and_shrink_to_the_smaller_set():
    x, y = normal(40, 3, seed=0), normal(12, 3, seed=1)
    first = kernel_distance(x, y, subsets=5, subset_size=10, seed=1)
    assert first == kernel_distance(x, y, subsets=5, subset_size=10, seed=1)
    assert first != kernel_distance(x, y, subsets=5, subset_size=10, seed=2)
    assert kernel_distance(x, y, subset_size=10**9) == kernel_distance(x, y, subset_size=12)


@pytest.mark.parametrize("count", [40, 3000])
def test_the_frechet_distance_of_known_normals(count):
    """Commuting covariances: |m1 - m2|^2 + sum (s1 - s2)^2 over the axes."""
    mean, other = np.array([1.0, -2, 0]), np.array([0.0, 1, 0.5])
    deviations, others = np.array([1.0, 2, 0.5]), np.array([3.0, 0.1, 0.5])
    x = with_moments(count, mean, np.diag(deviations**2), 0)
    y = with_moments(count, other, np.diag(others**2), 1)
    expected = np.sum((mean - other) ** 2) + np.sum((deviations - others) ** 2)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    moments = mean, np.diag(deviations**2), other, np.diag(others**2)
    assert frechet_distance_of_moments(*moments) == pytest.approx(expected, rel=1e-12)


def test_the_frechet_distance_is_that_of_scipys_matrix_root():
    random = np.random.default_rng(0)
    x = normal(60, 8, seed=1) @ random.standard_normal((8, 8))
    y = normal(90, 8, seed=2) @ random.standard_normal((8, 8)) + 1
    c, d = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(c @ d)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(c + d - 2 * root.real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    moments = x.mean(0), c, y.mean(0), d
    assert frechet_distance_of_moments(*moments) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)


def test_the_frechet_distance_with_fewer_pictures_than_features():
    """Covariances of rank 4 in 30 dimensions, where a root of their product is lost in rounding."""
    x, y = normal(5, 30, seed=0), normal(5, 30, seed=1)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 2) == pytest.approx(4 * 30, rel=1e-12)
    turned = scipy.linalg.qr(np.random.default_rng(2).standard_normal((30, 30)))[0]
    value = frechet_distance(x, y)
    assert frechet_distance(x @ turned, y @ turned) == pytest.approx(value, rel=1e-12)
    moments = x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T)
    assert frechet_distance_of_moments(*moments) == pytest.approx(value, rel=1e-6)
    apart = np.hstack([x, 0 * y]), np.hstack([0 * x, y])  # nothing shared: the traces add up
    means = sum(np.sum(part.mean(0) ** 2) for part in (x, y))
    traces = sum(np.trace(np.cov(part.T)) for part in (x, y))
    assert frechet_distance(*apart) == pytest.approx(means + traces, rel=1e-12)


@pytest.mark.parametrize("distance", [kernel_distance, frechet_distance])
def test_sets_without_a_distance_are_refused(distance):
    x = normal(4, 3, seed=0)
    with pytest.raises(UserError, match="needs 2 pictures of each, not 1"):
        distance(x, x[:1])
    with pytest.raises(UserError, match="not finite"):
        distance(x, np.where(x == x[1, 1], np.nan, x))
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(4, 2\)"):
        distance(x, x[:, :2])


def test_subsets_out_of_range_are_refused():
    x = normal(4, 3, seed=0)
    with pytest.raises(UserError, match="0 subsets of 3"):
        kernel_distance(x, x, subsets=0, subset_size=3)
    with pytest.raises(UserError, match="5 subsets of 1"):
        kernel_distance(x, x, subsets=5, subset_size=1)
