"""Distances between two sets of pictures, from a network's features of each: NumPy, float64."""

import numpy as np
import scipy.linalg

from jaxcolor.errors import UserError


def unbiased_kernel_distance(features: np.ndarray, reference: np.ndarray) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy; can be below 0 by chance.

    Its kernel is (x . y / d + 1)^3, as KID has it (Binkowski et al. 2018, arXiv 1801.01401); its
    expectation is 0 when both sets come from one distribution.

    Args:
      features: [n, d] of one set, n at least 2.
      reference: [m, d] of the other, m at least 2.

    Raises:
      UserError: a set is too small, or a feature is not finite.
    """
    features, reference = _two_sets(features, reference)
    within = sum(_mean_off_diagonal(_kernel(values, values)) for values in (features, reference))
    return float(within - 2 * np.mean(_kernel(features, reference)))


def kernel_distance(
    features: np.ndarray,
    reference: np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Mean and standard deviation over random subsets of the unbiased kernel distance.

    Where a set has fewer pictures than `subset_size` all subsets are as large as the smaller set;
    the deviation over subsets that are the whole of both sets is 0, and says nothing of the error.

    Args:
      features: [n, d], n at least 2.
      reference: [m, d], m at least 2.
      subsets: how many pairs of subsets are drawn, each without replacement.
      subset_size: pictures of each subset, at least 2.
      seed: of the draws.

    Raises:
      UserError: as of `unbiased_kernel_distance`, or a number above is out of range.
    """
    features, reference = _two_sets(features, reference)
    if subsets < 1 or subset_size < 2:
        raise UserError(f"{subsets} subsets of {subset_size} pictures: at least 1 of at least 2")
    size = min(subset_size, len(features), len(reference))
    if size == len(features) == len(reference):
        return unbiased_kernel_distance(features, reference), 0.0
    random = np.random.default_rng(seed)
    values = [
        unbiased_kernel_distance(
            *(part[random.choice(len(part), size, replace=False)] for part in (features, reference))
        )
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def frechet_distance(features: np.ndarray, reference: np.ndarray) -> float:
    """The squared Frechet distance between normal distributions fitted to both sets.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson and Landau 1982; Heusel et al. 2017,
    arXiv 1706.08500), with unbiased covariances. Biased upwards for few pictures: report n.

    Args:
      features: [n, d], n at least 2.
      reference: [m, d], m at least 2.

    Raises:
      UserError: a set is too small, or a feature is not finite.
    """
    first, second = (_factor(values) for values in _two_sets(features, reference))
    return _distance_of_factors(*first, *second)


def frechet_distance_of_moments(
    mean: np.ndarray,
    covariance: np.ndarray,
    reference_mean: np.ndarray,
    reference_covariance: np.ndarray,
) -> float:
    """The same of known means [d] and covariances [d, d], as published statistics files hold them.

    Args:
      mean: of one distribution.
      covariance: symmetric, no eigenvalue below 0 but for rounding.
      reference_mean: of the other.
      reference_covariance: as `covariance`.
    """

    def factor(matrix):
        values, vectors = scipy.linalg.eigh(np.asarray(matrix, np.float64))
        return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T

    means = (np.asarray(values, np.float64) for values in (mean, reference_mean))
    factors = (factor(matrix) for matrix in (covariance, reference_covariance))
    (first, second), (first_factor, second_factor) = means, factors
    return _distance_of_factors(first, first_factor, second, second_factor)


def _factor(features):
    """Mean and F with F^T F = covariance: no covariance is formed, so none can lose its rank."""
    mean = features.mean(axis=0)
    return mean, (features - mean) / np.sqrt(len(features) - 1)


def _distance_of_factors(mean, factor, reference_mean, reference_factor):
    """With C = F^T F the trace of (C1 C2)^(1/2) is the sum of the singular values of F1 F2^T."""
    offset = np.sum(np.square(mean - reference_mean))
    spreads = sum(np.sum(np.square(rows)) for rows in (factor, reference_factor))
    factor, reference_factor = (_at_most_square(rows) for rows in (factor, reference_factor))
    shared = np.sum(scipy.linalg.svdvals(factor @ reference_factor.T))
    return float(max(offset + spreads - 2 * shared, 0.0))


def _at_most_square(rows):
    """A factor of the same matrix with no more rows than columns."""
    if len(rows) <= rows.shape[1]:
        return rows
    return scipy.linalg.qr(rows, mode="r", check_finite=False)[0][: rows.shape[1]]


def _kernel(first, second):
    return (first @ second.T / first.shape[1] + 1) ** 3


def _mean_off_diagonal(matrix):
    count = len(matrix)
    return (np.sum(matrix) - np.trace(matrix)) / (count * (count - 1))


def _two_sets(features, reference):
    """Both as float64, checked."""
    sets = [np.asarray(values, np.float64) for values in (features, reference)]
    shapes = [values.shape for values in sets]
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            f"features of shapes {shapes[0]} and {shapes[1]} are not [n, d] and [m, d]"
        )
    for values in sets:
        if len(values) < 2:
            raise UserError(f"a distance between sets needs 2 pictures of each, not {len(values)}")
        if not np.isfinite(values).all():
            raise UserError("features are not finite, so their sets have no distance")
    return sets
