"""Validation: mean metrics over every validation picture, and the sample sheet's predictions."""

from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np

from jaxcolor import colorspace, metrics
from jaxcolor.parallel import DataParallel
from jaxcolor.training.state import GanState


def evaluate(
    state: GanState,
    batches: Iterable[dict[str, np.ndarray]],
    rng: jax.Array,
    *,
    step: Callable,
    parallel: DataParallel,
    names: Sequence[str],
) -> dict[str, float]:
    """Metrics over all real pictures, from the means of what `evaluation_step` sums.

    Args:
      state: replicated.
      batches: host batches with "condition", "target", "mask" and "index".
      rng: replicated key.
      step: the compiled evaluation step.
      parallel: where batches are placed.
      names: of the metrics, as the step was told.
    """
    totals: dict[str, float] = {}
    pending = None
    for batch in batches:
        sums = step(state, parallel.shard(batch), rng)
        if pending is not None:
            _add(totals, pending)
        pending = sums  # fetched a batch late, so that the device never waits for the host
    if pending is not None:
        _add(totals, pending)
    count = totals.pop("count")
    return metrics.combine({name: total / count for name, total in totals.items()}, names)


def _add(totals: dict[str, float], sums: dict[str, jax.Array]) -> None:
    for name, value in jax.device_get(sums).items():
        totals[name] = totals.get(name, 0.0) + float(value)


def predict_samples(
    state: GanState,
    conditions: np.ndarray,
    rng: jax.Array,
    *,
    predict: Callable,
    parallel: DataParallel,
) -> np.ndarray:
    """Predicted pictures, uint8 [count, height, width, channels], made one by one.

    Args:
      state: replicated.
      conditions: uint8 [count, height, width, channels].
      rng: key of the dropout masks.
      predict: compiled function of (state, condition, rng).
      parallel: where conditions are placed; every device makes the same picture.
    """
    pictures = [predict(state, parallel.replicate(x[None]), rng) for x in conditions]
    return np.concatenate([colorspace.to_uint8(jax.device_get(picture)) for picture in pictures])
