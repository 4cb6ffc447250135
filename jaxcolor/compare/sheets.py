"""The pictures of the comparison: condition, truth and every run's, side by side, inlined."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcolor.compare.runs import Run
from jaxcolor.data.pictures import read_picture


class Row(NamedTuple):
    """One picture.

    Attributes:
      index: its place in the split.
      name: of the picture.
      images: data URIs: condition, truth, one prediction a run; "" for what was not kept.
    """

    index: int
    name: str
    images: tuple[str, ...]


def choose_rows(runs: Sequence[Run], *, first: int, different: int) -> tuple[list[Row], list[Row]]:
    """The first pictures, and of the other kept ones those in which runs differ the most.

    Of a run with several seeds the first is shown. Runs differ by the largest mean absolute
    difference between the predictions of any two, the furthest picture first.

    Args:
      runs: evaluated on the same pictures.
      first: how many of the first.
      different: how many of the others, at most.
    """
    folders = [run.members[0].directory / "pictures" for run in runs]
    kept = [
        {path.name.partition("_")[0] for path in folder.glob("[0-9]*_prediction.png")}
        for folder in folders
    ]
    stems = sorted(filter(str.isdecimal, set.intersection(*kept)), key=int)
    rest = stems[first:]
    distances = {stem: _distance([folder / _file(stem) for folder in folders]) for stem in rest}
    furthest = sorted(rest, key=lambda stem: -distances[stem])[:different]
    rows = runs[0].members[0].evaluation.rows
    names = dict(zip(rows["index"].tolist(), rows["name"].tolist(), strict=True))

    def make(stem: str) -> Row:
        paths = [folders[0] / _file(stem, kind) for kind in ("condition", "target")]
        paths += [folder / _file(stem) for folder in folders]
        return Row(int(stem), str(names.get(int(stem), "")), tuple(map(data_uri, paths)))

    return [make(stem) for stem in stems[:first]], [make(stem) for stem in furthest]


def _file(stem: str, kind: str = "prediction") -> str:
    return f"{stem}_{kind}.png"


def _distance(paths: Sequence[Path]) -> float:
    """The largest mean absolute difference of any two pictures, in levels of 255."""
    pictures = [read_picture(path).astype(np.float32) for path in paths]
    if len({picture.shape for picture in pictures}) > 1:
        return 0.0
    return max(
        float(np.abs(one - other).mean())
        for place, one in enumerate(pictures)
        for other in pictures[:place]
    )


def data_uri(path: Path) -> str:
    """A PNG file as a data URI; "" if it cannot be read."""
    try:
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return ""
