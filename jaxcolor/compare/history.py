"""What a training left behind, read for plotting: metrics.jsonl and timing.csv."""

import csv
import math
from pathlib import Path
from typing import NamedTuple

from jaxcolor.plain_json import parse_json

POINTS = 160  # of a curve; more would not be seen

Curve = list[tuple[float, float]]  # (epochs done, value)


class History(NamedTuple):
    """The curves and the clock of one training.

    Attributes:
      training: values by name over epochs, as means of stretches when there were many rows.
      validation: values by name over epochs.
      timing: columns of timing.csv, one number an epoch.
    """

    training: dict[str, Curve]
    validation: dict[str, Curve]
    timing: dict[str, list[float]]

    @property
    def seconds(self) -> float:
        """Of training alone, all epochs together."""
        return sum(self.timing.get("seconds", ()))


def read_history(workdir: Path) -> History:
    """The history in `workdir`; what is missing or damaged there is left out."""
    rows = _read_rows(workdir / "metrics.jsonl")
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("train", "validation")}
    # Batches differ between runs, passes over the pictures do not: epochs are the common measure.
    steps_per_epoch = 1.0
    for row in kinds["validation"] or kinds["train"]:
        steps_per_epoch = row["step"] / max(row["epoch"], 1) or 1.0
    training, validation = (_curves(kinds[kind], steps_per_epoch) for kind in kinds)
    thinned = {name: _thin(curve) for name, curve in training.items()}
    return History(thinned, validation, _read_timing(workdir / "timing.csv"))


def _read_rows(path: Path) -> list[dict]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = parse_json(line)
            place = {key: float(row[key]) for key in ("step", "epoch")}
            if all(map(math.isfinite, place.values())):
                rows.append(row | place | {"kind": row["kind"]})
        except (ValueError, KeyError, TypeError):  # the half line of a killed run
            continue
    return rows


def _curves(rows: list[dict], steps_per_epoch: float) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for row in rows:
        for name, value in row.items():
            is_number = isinstance(value, int | float) and math.isfinite(value)
            if name not in ("step", "epoch", "kind") and is_number:
                curves.setdefault(name, []).append((row["step"] / steps_per_epoch, float(value)))
    return curves


def _thin(curve: Curve) -> Curve:
    """Means of as many neighbours as leaves at most POINTS."""
    stretch = math.ceil(len(curve) / POINTS)
    parts = [curve[start : start + stretch] for start in range(0, len(curve), stretch)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def _read_timing(path: Path) -> dict[str, list[float]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (OSError, ValueError, TypeError, csv.Error):
        return {}
