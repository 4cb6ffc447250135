"""The result of an evaluation: every picture's numbers, their summary, and both as files."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcolor.errors import DataError
from jaxcolor.evaluation_structure import check_structure
from jaxcolor.metrics import BY_PICTURE
from jaxcolor.plain_json import parse_json

SCHEMA = 1
SUMMARY, PICTURES = "summary.json", "pictures.csv"
# Columns of the table of pictures that are no quantities.
LABELS = ("index", "name")
_MOST_PICTURES = 2**53  # whole numbers that a float holds
_SHOWN = 300  # characters of what a reader says, which may quote the file


class Evaluation(NamedTuple):
    """What was measured.

    Attributes:
      summary: plain values, see `write`; numbers may be infinite or NaN.
      rows: [n] arrays by column, one number a picture: "index" and "name" of the pictures, and
        every quantity.
    """

    summary: dict[str, Any]
    rows: dict[str, np.ndarray]

    @classmethod
    def read(cls, directory: str | Path) -> "Evaluation":
        """The evaluation in a directory.

        Raises:
          DataError: there is none, or it is damaged or of another version.
        """
        directory = Path(directory)
        try:
            text = (directory / SUMMARY).read_text(encoding="utf-8")
            summary = parse_json(text, parse_constant=_refuse_constant)
            if summary["schema"] != SCHEMA:
                raise DataError(
                    f"{directory / SUMMARY} has schema {summary['schema']!r}, this program reads "
                    f"{SCHEMA}: evaluate again"
                )
            with (directory / PICTURES).open(encoding="utf-8", newline="") as file:
                header, *table = csv.reader(file)
            columns = dict(zip(header, zip(*table, strict=True), strict=True))
            rows = {
                name: np.array(column, str if name == "name" else float)
                for name, column in columns.items()
            }
            if not (np.abs(rows["index"]) < _MOST_PICTURES).all():
                raise ValueError(f"{PICTURES} has a picture whose index is no number")
            rows["index"] = rows["index"].astype(np.int64)
            if "name" not in rows:
                raise ValueError(f"{PICTURES} has no names")
            check_structure(summary)
        except FileNotFoundError as error:
            raise DataError(
                f"no evaluation in {directory}: python -m jaxcolor evaluate makes one"
            ) from error
        except OSError as error:
            raise DataError(f"cannot read {directory} ({error.strerror})") from error
        except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
            reason = " ".join(str(error).split())[:_SHOWN]
            raise DataError(f"the evaluation in {directory} is damaged: {reason}") from error
        return cls(summary, rows)

    def write(self, directory: str | Path) -> None:
        """Writes summary.json and pictures.csv; the summary last, so that it tells of both.

        JSON has no infinity: such numbers are written as strings, which `read` takes for numbers.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / SUMMARY).unlink(missing_ok=True)
        _write(directory / PICTURES, self._table)
        text = json.dumps(_finite(self.summary), indent=2, allow_nan=False) + "\n"
        _write(directory / SUMMARY, lambda file: file.write(text))

    def _table(self, file):
        writer = csv.writer(file)
        names = [*LABELS, *(name for name in self.rows if name not in LABELS)]
        writer.writerow(names)
        for row in zip(*(self.rows[name].tolist() for name in names), strict=True):
            writer.writerow(repr(x) if isinstance(x, float) else x for x in row)


def _refuse_constant(name):
    raise ValueError(f"{SUMMARY} has {name} for a number")


def is_evaluation(directory: str | Path) -> bool:
    """Whether an evaluation of ours is there, of this version or another."""
    try:
        summary = parse_json((Path(directory) / SUMMARY).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(summary, dict) and {"schema", "metrics", "protocol"} <= summary.keys()


def _write(path, fill):
    """Writes a text file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    # Names of files may hold bytes that are no text.
    with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        fill(file)
    temporary.replace(path)


def _finite(tree):
    """`tree` with a string for each number that JSON lacks."""
    if isinstance(tree, dict):
        return {name: _finite(value) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_finite(value) for value in tree]
    return str(tree) if isinstance(tree, float) and not math.isfinite(tree) else tree


def combine(rows: dict[str, np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """Metrics of all pictures, from the means of their quantities.

    Args:
      rows: [n] arrays by quantity.
      names: keys of BY_PICTURE.
    """
    return {name: _of_pictures(rows, name, slice(None)) for name in names}


def bootstrap_interval(
    rows: dict[str, np.ndarray],
    metric: str,
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """The percentile interval of a metric over redrawn sets of pictures (Efron 1979).

    Each draw takes as many pictures as there are, with replacement, and combines their means as the
    metric does. It tells how much the choice of pictures matters; of other trainings it says
    nothing. Of one picture both ends are its own value.

    Args:
      rows: [n] arrays by quantity; others may be among them.
      metric: a key of BY_PICTURE.
      draws: how many.
      seed: of the draws: the same pictures are drawn for every metric and every network, so that
        intervals of the same pictures can be compared.
      level: share of the draws within the interval.
    """
    count = len(rows[BY_PICTURE[metric].quantities[0]])
    random = np.random.default_rng(seed)
    values = [_of_pictures(rows, metric, random.integers(count, size=count)) for _ in range(draws)]
    tail = 100 * (1 - level) / 2
    # With infinities among the values there is nothing to interpolate.
    method = "linear" if np.isfinite(values).all() else "nearest"
    low, high = np.percentile(values, [tail, 100 - tail], method=method)
    return float(low), float(high)


def _of_pictures(rows, metric, chosen):
    quantities, combine_means, *_ = BY_PICTURE[metric]
    return float(combine_means({name: float(np.mean(rows[name][chosen])) for name in quantities}))
