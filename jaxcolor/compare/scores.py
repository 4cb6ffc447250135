"""The numbers of the comparison: every metric of every run, with intervals over the same pictures.

A run of several seeds has the mean of their values. Its interval is over pictures, which are drawn
for all runs alike, so that differences between runs are paired; what the seed changes is told
apart, as the spread over seeds.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcolor.compare.runs import Run
from jaxcolor.metrics import BADNESS, BY_PICTURE, truth_of

DRAWS = 1000
LEVEL = 0.95

Interval = tuple[float, float]


class Score(NamedTuple):
    """One metric of one run.

    Attributes:
      value: the mean over its seeds; NaN if any of them lacks it.
      seeds: the value of each.
      interval: 95 % over pictures, or None where the metric is of the whole set.
      behind: by how much it is worse than the best run; 0 of the best itself.
      behind_interval: 95 % of that over the same pictures; None like `interval`.
      is_best: whether no other run has a better value.
      reason: why there is no value.
    """

    value: float
    seeds: tuple[float, ...]
    interval: Interval | None
    behind: float = 0.0
    behind_interval: Interval | None = None
    is_best: bool = False
    reason: str = ""

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; NaN of one."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else math.nan

    @property
    def is_close(self) -> bool:
        """Whether it cannot be told from the best by the pictures."""
        within = self.behind_interval is not None and self.behind_interval[0] <= 0
        return within and not self.is_best


class MetricScores(NamedTuple):
    """A metric and its score for each run."""

    name: str
    better: str
    unit: str
    protocol: str
    scores: tuple[Score, ...]


def score_runs(runs: Sequence[Run], *, draws: int = DRAWS, seed: int = 0) -> list[MetricScores]:
    """The scores of all metrics that any run has, in the order of the first that has them.

    Args:
      runs: evaluated on the same pictures.
      draws: of the bootstrap.
      seed: of the draws.
    """
    entries: dict[str, dict] = {}
    for member in (member for run in runs for member in run.members):
        for name, entry in member.evaluation.summary["metrics"].items():
            entries.setdefault(name, entry)
    names = [name for name in entries if name in BY_PICTURE]
    drawn = [_draw(run, names, draws, seed) for run in runs]
    found = []
    for name, entry in entries.items():
        rule = BY_PICTURE[name].better if name in BY_PICTURE else entry.get("better", "")
        about = entry.get("unit", ""), entry.get("protocol", "")
        found.append(MetricScores(name, rule, *about, _compare(runs, name, rule, drawn)))
    return found


def _draw(run: Run, names: Sequence[str], draws: int, seed: int) -> dict[str, np.ndarray]:
    """[draws] values of each metric of a run over redrawn pictures, means over its seeds."""
    values: dict[str, list[np.ndarray]] = {}
    for member in run.members:
        rows = member.evaluation.rows
        found = [name for name in names if all(x in rows for x in BY_PICTURE[name].quantities)]
        columns = sorted({x for name in found for x in BY_PICTURE[name].quantities})
        if not columns:
            return {}
        table = np.stack([rows[column] for column in columns], axis=1)
        random = np.random.default_rng(seed)  # anew: the same pictures for every run
        means = np.stack(
            [table[random.integers(len(table), size=len(table))].mean(0) for _ in range(draws)]
        )
        for name in found:
            places = [columns.index(x) for x in BY_PICTURE[name].quantities]
            values.setdefault(name, []).append(_combine(name, means[:, places]))
    complete = {name: of for name, of in values.items() if len(of) == len(run.members)}
    return {name: np.mean(of, axis=0) for name, of in complete.items()}


def _combine(name: str, means: np.ndarray) -> np.ndarray:
    """[draws] values of a metric from [draws, quantities] means; NaN where it has none."""
    metric, values = BY_PICTURE[name], []
    for row in means.tolist():
        try:
            values.append(metric.combine(dict(zip(metric.quantities, row, strict=True))))
        except ZeroDivisionError:
            values.append(math.nan)
    return np.array(values, float)


def _compare(
    runs: Sequence[Run], name: str, better: str, drawn: Sequence[dict[str, np.ndarray]]
) -> tuple[Score, ...]:
    scores = [_score(run, name, of.get(name)) for run, of in zip(runs, drawn, strict=True)]
    if better not in BADNESS:
        return tuple(scores)
    badness, truth = BADNESS[better], truth_of(name)
    truths = [_score(run, truth, None).value if truth else 0.0 for run in runs]
    bad = [badness(score.value, other) for score, other in zip(scores, truths, strict=True)]
    if not any(map(math.isfinite, bad)):
        return tuple(scores)
    of_draws = [badness(of[name], of.get(truth, math.nan)) if name in of else None for of in drawn]
    least = min(value for value in bad if not math.isnan(value))
    best = bad.index(least)
    for place, score in enumerate(scores):
        if math.isnan(bad[place]):
            continue
        interval = None
        if place != best and of_draws[place] is not None and of_draws[best] is not None:
            interval = _interval(of_draws[place] - of_draws[best])
        behind = 0.0 if bad[place] == least else bad[place] - least
        scores[place] = score._replace(
            behind=behind, behind_interval=interval, is_best=bad[place] == least
        )
    return tuple(scores)


def _score(run: Run, name: str, draws: np.ndarray | None) -> Score:
    summaries = [member.evaluation.summary for member in run.members]
    entries = [summary["metrics"].get(name) for summary in summaries]
    if not all(entries):
        reasons = [summary.get("missing", {}).get(name, "") for summary in summaries]
        return Score(math.nan, (), None, reason=next(filter(None, reasons), "not measured"))
    seeds = tuple(float(entry["value"]) for entry in entries)
    interval = _interval(draws) if draws is not None else None
    if interval is None and len(entries) == 1 and entries[0].get("interval"):
        interval = tuple(map(float, entries[0]["interval"]))
    return Score(float(np.mean(seeds)), seeds, interval)


def _interval(draws: np.ndarray) -> Interval | None:
    """The percentile interval of finite draws; None if any is not."""
    if not np.isfinite(draws).all():
        return None
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return float(low), float(high)
