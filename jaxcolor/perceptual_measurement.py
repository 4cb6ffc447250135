"""LPIPS and the distances between sets of features, as far as their weights are there."""

import contextlib
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcolor.errors import ConfigError, UserError
from jaxcolor.metrics import DISTANCES, PERCEPTUAL
from jaxcolor.perceptual import distances, weights
from jaxcolor.perceptual.features import FEATURES
from jaxcolor.perceptual.lpips import lpips_by_picture

# What distances are called where they are the published ones.
PUBLISHED = {"kernel_distance": "kid", "frechet_distance": "fid"}
# Inception first: what it measures can be compared with published numbers.
_NETS = ("inception_v3", "efficientnet_lite0")
_SUBSETS, _SUBSET_SIZE = 100, 1000
_NORMAL_95 = 1.959964


def is_measurable(name: str, directory: str | Path | None = None) -> bool:
    """Whether the weights that metric `name` needs are there, if it needs any."""
    if name not in PERCEPTUAL and name not in DISTANCES:
        return True
    for net in (name,) if name in PERCEPTUAL else _NETS:
        with contextlib.suppress(weights.MissingWeights):
            weights.locate(net, directory)
            return True
    return False


def lacks_weights_only(reason: str) -> bool:
    """Whether a metric is missing, for this reason, because of its weights alone."""
    return reason.startswith("no weights")


def bind_lpips(names: Iterable[str], size: int) -> dict[str, Callable]:
    """By name, those of PERCEPTUAL among `names`, with their weights as constants, for validation.

    Args:
      names: of metrics.
      size: side in pixels of the pictures.

    Raises:
      ConfigError: weights are missing or damaged, or the pictures too small.
    """
    found = {}
    for name in filter(PERCEPTUAL.__contains__, names):
        try:
            params, net = weights.find(name), name.removeprefix("lpips_")
            found[name] = functools.partial(lpips_by_picture, params=params, net=net)
            pictures = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
            jax.eval_shape(found[name], pictures, pictures)
        except UserError as error:
            raise ConfigError(f"evaluation.metrics: {name}: {error}") from error
    return found


class Perceptual:
    """What the weights at hand can measure of the metrics asked for.

    Attributes:
      missing: why each of the others cannot be measured.
    """

    def __init__(self, names: list[str], directory: str | Path | None = None):
        """Loads weights, for keys of PERCEPTUAL and of DISTANCES among `names`.

        Args:
          names: of metrics.
          directory: of weights, see `weights.find`.

        Raises:
          UserError: a file of weights is damaged.
        """
        self.missing: dict[str, str] = {}
        self._lpips = {}
        for name in filter(names.__contains__, PERCEPTUAL):
            try:
                params = jax.device_put(weights.find(name, directory))
            except weights.MissingWeights as error:
                self.missing[name] = str(error)
            else:
                net = name.removeprefix("lpips_")
                by_picture = jax.jit(functools.partial(lpips_by_picture, net=net))
                self._lpips[name] = functools.partial(by_picture, params=params)
        self._distances = [name for name in DISTANCES if name in names]
        self._net, self._extract = None, None
        self._features: tuple[list, list] = ([], [])
        if self._distances:
            self._find_features(directory)

    def _find_features(self, directory):
        reasons = []
        for net in _NETS:
            try:
                params = weights.find(net, directory)
            except weights.MissingWeights as error:
                reasons.append(str(error))
            else:
                self._net, self._names = net, FEATURES[net].distance_names(params)
                extract = jax.jit(FEATURES[net].extract)
                self._extract = functools.partial(extract, params=jax.device_put(params))
                return
        self.missing |= dict.fromkeys(self._distances, "; ".join(reasons))

    def measure(self, prediction: jax.Array, target: jax.Array) -> dict[str, jax.Array]:
        """LPIPS, [batch] by metric, and under "features" those of both, [batch, n], if any.

        Args:
          prediction: RGB [batch, height, width, 3] in [-1, 1].
          target: the same.
        """
        found: dict[str, Any] = {}
        for name, function in list(self._lpips.items()):
            try:
                found[name] = function(prediction, target)
            except UserError as error:  # the pictures are too small for it
                del self._lpips[name]
                self.missing[name] = str(error)
        if self._extract is not None:
            found["features"] = self._extract(prediction), self._extract(target)
        return found

    def keep_features(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Takes the features of more pictures, [some, n] each."""
        for kept, features in zip(self._features, (prediction, target), strict=True):
            kept.append(np.asarray(features, np.float64))

    def distances(self) -> dict[str, dict[str, Any]]:
        """Entries of a summary for the distances asked for, once all features are there.

        They are called kid and fid only where that is what they are; the protocol names the
        network. The interval of the kernel distance is by the jackknife over pictures: a bootstrap
        would take the same picture twice, and find sets alike that are not. Frechet has none.
        """
        if self._extract is None:
            return {}
        prediction, target = map(np.concatenate, self._features)
        count, called = len(prediction), dict(zip(DISTANCES, self._names, strict=True))
        if count < 2:
            self.missing |= dict.fromkeys(self._distances, "it needs two pictures or more")
            return {}
        found = {}
        for name in self._distances:
            if name == "kernel_distance":
                value, interval, how = _kernel_distance(prediction, target)
            else:
                value = distances.frechet_distance(prediction, target)
                interval, how = None, "biased upwards for so few" if count < 10_000 else ""
            key = PUBLISHED[name] if called[name] in ("KID", "FID") else name
            protocol = f"{called[name]}: {FEATURES[self._net].protocol}; n = {count} of each"
            found[key] = {
                "value": float(value),
                "interval": interval,
                "unit": "",
                "better": "lower",
                "protocol": f"{protocol}; {how}" if how else protocol,
            }
        return found


def _kernel_distance(prediction, target):
    """Its value, interval and how the value was made."""
    value, _ = distances.kernel_distance(
        prediction, target, subsets=_SUBSETS, subset_size=_SUBSET_SIZE, seed=0
    )
    count = len(prediction)
    how = "unbiased estimate"
    if count > _SUBSET_SIZE:
        how = f"mean of {_SUBSETS} subsets of {_SUBSET_SIZE}"
    half = _NORMAL_95 * jackknife_deviation(prediction, target)
    return value, [value - half, value + half], f"{how}, polynomial kernel of degree 3"


def jackknife_deviation(features: np.ndarray, reference: np.ndarray) -> float:
    """Standard error of the kernel distance, by leaving out each picture and its truth in turn.

    Args:
      features: [n, d] of the predicted pictures, n at least 3; NaN for fewer.
      reference: [n, d] of the true ones, in the same order.
    """
    count, size = features.shape
    if count < 3:
        return np.nan

    def kernel(x, y):
        return (x @ y.T / size + 1) ** 3

    def without_each(values, *, diagonal):
        """Sums over a matrix less each row and its column in turn, with or without its diagonal."""
        if not diagonal:
            values = values - np.diag(np.diag(values))
        return values.sum() - values.sum(0) - values.sum(1) + np.diag(values)

    left = count - 1
    within = sum(
        without_each(kernel(x, x), diagonal=False) / (left * (left - 1))
        for x in (features, reference)
    )
    across = without_each(kernel(features, reference), diagonal=True) / left**2
    values = within - 2 * across
    return float(np.sqrt(left / count * np.square(values - values.mean()).sum()))
