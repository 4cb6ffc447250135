"""Goes through all pictures once: their quantities, histograms, features, and which to show."""

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcolor import color_histograms, colorspace, metrics
from jaxcolor.perceptual_measurement import Perceptual

SHOWN_FIRST, SHOWN_EXTREME = 24, 8
HISTOGRAMS = {
    "chroma": (color_histograms.chroma_histogram, color_histograms.CHROMA_EDGES),
    "hue": (color_histograms.hue_histogram, color_histograms.HUE_EDGES),
}


class Shown(NamedTuple):
    """A picture that is kept to be shown: uint8 [height, width, channels] each.

    Attributes:
      index: its place in the source.
      condition: what was coloured; None where that is not known.
      target: the truth.
      prediction: what came of it, rounded to 8 bits.
    """

    index: int
    condition: np.ndarray | None
    target: np.ndarray
    prediction: np.ndarray


class Measurements(NamedTuple):
    """What was measured of all pictures, in their order.

    Attributes:
      rows: [n] by column: "index", and every quantity.
      histograms: by kind: "edges", and the mean histogram of "prediction" and of "target".
      first: the first pictures.
      best: the best ones by `rank_by`, the best one first.
      worst: the worst ones, the worst one first.
      rank_by: the quantity, lower is better.
      digest: of the pictures that were to be predicted, in their order.
    """

    rows: dict[str, np.ndarray]
    histograms: dict[str, dict[str, list[float]]]
    first: list[Shown]
    best: list[Shown]
    worst: list[Shown]
    rank_by: str
    digest: str


def measure_pictures(
    batches: Iterable[dict[str, np.ndarray]],
    predict: Callable[[dict[str, np.ndarray]], jax.Array],
    names: Sequence[str],
    perceptual: Perceptual,
    on_done: Callable[[int], Any] = lambda count: None,
) -> Measurements:
    """Every real picture of the batches, measured once; none changes what is said of another.

    Args:
      batches: host batches with "target" uint8 RGB, "mask", "index" and maybe "condition".
      predict: of a batch, RGB [batch, height, width, 3] in [-1, 1].
      names: of the metrics, keys of `metrics.METRICS`; L1 is measured besides.
      perceptual: what else to measure.
      on_done: told how many pictures were measured, batch by batch.
    """
    collected = _Collected(perceptual)
    pending = None
    for batch in batches:
        prediction = predict(batch)
        target = colorspace.to_signed(jax.numpy.asarray(batch["target"]))
        found = _measure(prediction, target, names=tuple(dict.fromkeys(("l1", *names))))
        found["by_picture"] |= perceptual.measure(prediction, target)
        if pending is not None:
            on_done(collected.add(*pending))
        pending = batch, prediction, found  # a batch late: the device goes on meanwhile
    if pending is not None:
        on_done(collected.add(*pending))
    return collected.finish()


@functools.partial(jax.jit, static_argnames="names")
def _measure(prediction, target, *, names):
    histograms = {
        name: {"prediction": function(prediction), "target": function(target)}
        for name, (function, _) in HISTOGRAMS.items()
    }
    return {"by_picture": metrics.measure(prediction, target, names), "histograms": histograms}


class _Collected:
    """What was measured so far."""

    def __init__(self, perceptual):
        self._perceptual, self._columns, self._histograms = perceptual, [], []
        self._first, self._best, self._worst = [], [], []
        self._rank_by, self._digest = None, hashlib.sha256()

    def add(self, batch, prediction, found):
        """Takes the real pictures of a batch; how many there are."""
        real = batch["mask"] > 0
        found = jax.device_get(found)
        features = found["by_picture"].pop("features", None)
        if features is not None:
            self._perceptual.keep_features(*(x[real] for x in features))
        columns = {name: np.asarray(x)[real] for name, x in found["by_picture"].items()}
        self._columns.append({"index": batch["index"][real]} | columns)
        self._histograms.append(jax.tree.map(lambda x: x[real].sum(0), found["histograms"]))
        self._digest.update(np.ascontiguousarray(batch["target"][real]).tobytes())
        self._keep(batch, prediction, columns, np.flatnonzero(real))
        return int(real.sum())

    def _keep(self, batch, prediction, columns, rows):
        """Keeps the pictures of a batch that are to be shown as things stand."""
        if self._rank_by is None:
            self._rank_by = next((x for x in ("lpips_alex", "lpips_vgg") if x in columns), "l1")
        scores = columns[self._rank_by]
        pictures = colorspace.to_uint8(jax.device_get(prediction))

        def shown(row):
            condition = batch["condition"][row].copy() if "condition" in batch else None
            target = batch["target"][row].copy()
            return Shown(int(batch["index"][row]), condition, target, pictures[row].copy())

        rows_left = rows[: SHOWN_FIRST - len(self._first)]
        self._first += [shown(row) for row in rows_left]
        for kept, sign in ((self._best, 1), (self._worst, -1)):
            threshold = kept[-1][0] if len(kept) == SHOWN_EXTREME else np.inf
            kept += [
                (sign * score, shown(row))
                for score, row in zip(scores, rows, strict=True)
                if sign * score < threshold
            ]
            kept.sort(key=lambda pair: (pair[0], pair[1].index))
            del kept[SHOWN_EXTREME:]

    def finish(self):
        """The measurements."""
        rows = {
            name: np.concatenate([columns[name] for columns in self._columns]).astype(
                np.int64 if name == "index" else np.float64
            )
            for name in self._columns[0]
        }
        count = len(rows["index"])
        means = jax.tree.map(lambda *x: (sum(x) / count).tolist(), *self._histograms)
        histograms = {
            name: {"edges": np.asarray(edges).tolist()} | means[name]
            for name, (_, edges) in HISTOGRAMS.items()
        }
        return Measurements(
            rows=rows,
            histograms=histograms,
            first=self._first,
            best=[shown for _, shown in self._best],
            worst=[shown for _, shown in self._worst],
            rank_by=self._rank_by,
            digest=self._digest.hexdigest()[:16],
        )
