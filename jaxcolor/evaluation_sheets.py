"""The pictures that an evaluation leaves: its first ones, and sheets of its best and worst."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jaxcolor.data.check_report import printable
from jaxcolor.metrics import BY_PICTURE
from jaxcolor.picture_measurement import Measurements, Shown
from jaxcolor.training.reporting import write_sample_sheet

_FEW_DIGITS = 3
_BESIDE = ("l1", "psnr", "ssim", "lpips_alex", "lpips_vgg")
_LONGEST_NAME = 32


def write_pictures(directory: Path, measured: Measurements, names: Sequence[str]) -> None:
    """Writes best.png, worst.png and pictures/NNNN_{condition,target,prediction}.png.

    Args:
      directory: made if missing; sheets and pictures of an earlier evaluation go.
      measured: what to show.
      names: of all pictures, in the order of the rows.
    """
    folder = directory / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9]*_*.png"):
        old.unlink()
    for shown in measured.first:
        for kind in ("condition", "target", "prediction"):
            if getattr(shown, kind) is not None:
                path = folder / f"{shown.index:04d}_{kind}.png"
                _image(getattr(shown, kind)).save(path)
    for title, chosen in (("best", measured.best), ("worst", measured.worst)):
        _write_sheet(directory / f"{title}.png", title, chosen, measured, names)


def _write_sheet(path, title, chosen: list[Shown], measured, names):
    if not chosen:  # all numbers are NaN
        path.unlink(missing_ok=True)
        return
    places = {int(index): place for place, index in enumerate(measured.rows["index"])}
    labels = [
        _label(names[places[shown.index]], measured.rows, places[shown.index]) for shown in chosen
    ]
    conditions = [shown.condition for shown in chosen]
    write_sample_sheet(
        path,
        None if conditions[0] is None else conditions,
        [shown.target for shown in chosen],
        [shown.prediction for shown in chosen],
        heading=f"the {title} {len(chosen)} of {len(names)} by {measured.rank_by}",
        labels=labels,
    )


def _label(name, rows, place):
    numbers = [
        f"{metric} {rows[metric][place]:.{_FEW_DIGITS}f} {BY_PICTURE[metric].unit}".rstrip()
        for metric in _BESIDE
        if metric in rows
    ]
    # Matplotlib takes what is between two dollars for a formula.
    name = printable(name).replace("$", r"\$")
    return "   ".join([name[-_LONGEST_NAME:], *numbers])


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
