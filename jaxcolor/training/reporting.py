"""What a run leaves for people: metrics.jsonl, TensorBoard events, timing.csv, sample sheets.

Matplotlib and tensorboardX, which imports PyTorch where that is installed, take up to two seconds
to import: that is done when they are needed, not before the first step.
"""

import csv
import dataclasses
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcolor.plain_json import parse_json

SAMPLE_TITLES = ("Input Image", "Ground Truth", "Predicted Image")


class EpochTiming(NamedTuple):
    """Where the time of one epoch went; `seconds` is training alone, without compilation.

    Attributes:
      epoch: from 1.
      steps: steps timed; fewer than an epoch's when the run was resumed in the middle of one.
      seconds: wall-clock seconds of those steps.
      images_per_second: images trained on in a second of them.
      data_wait_share: share of them spent waiting for the loader, in [0, 1].
      compile_seconds: compilation before this epoch; 0 after the first.
      validation_seconds: validation and the sample sheet.
      checkpoint_seconds: time the training stood still for the checkpoint.
      replaced_pictures: training and validation pictures that could not be read.
    """

    epoch: int
    steps: int
    seconds: float
    images_per_second: float
    data_wait_share: float
    compile_seconds: float
    validation_seconds: float
    checkpoint_seconds: float
    replaced_pictures: int = 0


@dataclasses.dataclass
class RunLog:
    """Appends to the logs of a workdir; rows that a resumed run will write again are dropped.

    Attributes:
      workdir: where the files lie.
      first_step: the step the run starts or resumes at.
      first_epoch: the epoch that step belongs to, from 1.
    """

    workdir: Path
    first_step: int
    first_epoch: int

    def __post_init__(self):
        """Tidies the logs up."""
        self.metrics_path = self.workdir / "metrics.jsonl"
        self.timing_path = self.workdir / "timing.csv"
        _keep_rows(self.metrics_path, self._is_past_metric)
        _keep_rows(self.timing_path, self._is_past_timing)
        if self.timing_path.exists() and not self.timing_path.read_text().startswith("epoch"):
            self.timing_path.unlink()  # the rows of a table without its head
        self._events = None

    def metrics(self, step: int, epoch: int, kind: str, values: dict[str, float]) -> None:
        """Writes one row and its events.

        Args:
          step: steps done.
          epoch: from 1.
          kind: "train" (means since the last such row) or "validation".
          values: scalars by name.
        """
        row = {"step": step, "epoch": epoch, "kind": kind}
        row |= {
            name: value if math.isfinite(value) else str(value) for name, value in values.items()
        }
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._events is None:
            self._events = _Events(self.workdir / "tensorboard", self.first_step + 1)
        self._events.write(step, {f"{kind}/{name}": value for name, value in values.items()})

    def timing(self, timing: EpochTiming) -> None:
        """Writes one row of timing.csv."""
        is_new = not self.timing_path.exists() or not self.timing_path.stat().st_size
        with self.timing_path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(EpochTiming._fields)
            writer.writerow([round(x, 4) if isinstance(x, float) else x for x in timing])

    def close(self) -> None:
        """Flushes the events."""
        if self._events is not None:
            self._events.close()

    def _is_past_metric(self, line: str) -> bool:
        try:
            return parse_json(line)["step"] <= self.first_step
        except (ValueError, KeyError, TypeError):  # the half line of a killed run
            return False

    def _is_past_timing(self, line: str) -> bool:
        epoch, *rest = line.split(",")
        if line == ",".join(EpochTiming._fields):
            return True
        complete = len(rest) == len(EpochTiming._fields) - 1
        return complete and epoch.isdigit() and int(epoch) < self.first_epoch


class NoLog:
    """In the place of a `RunLog` where another host writes it."""

    def metrics(self, *_: object) -> None:
        """Writes nothing."""

    def timing(self, *_: object) -> None:
        """Writes nothing."""

    def close(self) -> None:
        """Has nothing to close."""


class _Events:
    """TensorBoard's events, written in this thread, so that a full disk is an error here."""

    def __init__(self, directory: Path, first_step: int):
        """Events into `directory`; those of earlier runs from `first_step` on are dropped."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2, summary_pb2

        directory.mkdir(exist_ok=True)
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writer = EventsWriter(str(directory / "events"))
        log = event_pb2.SessionLog
        self._write(step=first_step, session_log=log(status=log.START))

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes scalars by name, and flushes."""
        for name, value in values.items():
            scalar = self._summary.Value(tag=name, simple_value=value)
            self._write(step=step, summary=self._summary(value=[scalar]))
        self._writer.flush()

    def close(self) -> None:
        """Flushes and closes."""
        self._writer.close()

    def _write(self, **content) -> None:
        self._writer.write_event(self._event(wall_time=time.time(), **content))


def _keep_rows(path: Path, is_kept: Callable[[str], bool]) -> None:
    """Drops the lines of `path` that are not to be kept; whole or not at all."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("".join(f"{x}\n" for x in lines if is_kept(x)), encoding="utf-8")
    temporary.replace(path)


def epoch_line(
    timing: EpochTiming,
    step_seconds: np.ndarray,
    metrics: dict[str, float],
    scores: dict[str, float],
    *,
    epochs: int,
    best_by: str,
) -> str:
    """What is printed after an epoch, in one line.

    Args:
      timing: of the epoch.
      step_seconds: of each of its steps; none where it was resumed at its end.
      metrics: means of the last training steps.
      scores: of the validation; `best_by` is among them.
      epochs: of the whole training.
      best_by: the metric that says which checkpoint is best, shown beside L1 and PSNR.
    """
    compiled = f", compile {timing.compile_seconds:.1f} s" if timing.compile_seconds else ""
    bad = timing.replaced_pictures
    replaced = f" | {bad} unreadable pictures replaced" if bad else ""
    decides = "" if best_by in ("l1", "psnr") else f", {best_by} {scores[best_by]:.4f}"
    step = ""
    if len(step_seconds):
        first, median, third = 1e3 * np.quantile(step_seconds, (0.25, 0.5, 0.75))
        step = f"step {median:.1f} ms ({first:.1f}..{third:.1f}), "
    return (
        f"epoch {timing.epoch}/{epochs}: {timing.seconds:.1f} s, {step}"
        f"{timing.images_per_second:.2f} images/s, waiting for data "
        f"{timing.data_wait_share:.1%}{compiled}, validation {timing.validation_seconds:.1f} s, "
        f"checkpoint {timing.checkpoint_seconds:.1f} s | {losses_in_words(metrics)} "
        f"| validation L1 {scores['l1']:.4f}, PSNR {scores['psnr']:.2f} dB"
        f"{decides}{replaced}"
    )


def losses_in_words(metrics: dict[str, float]) -> str:
    """The losses that there are: "G l1 0.123 adversarial 0.700, D 1.386"."""
    parts = [
        f"{name} {metrics[f'generator/{name}']:.3f}"
        for name in ("l1", "l2", "adversarial")
        if f"generator/{name}" in metrics
    ]
    loss = metrics.get("discriminator/loss")
    return f"G {' '.join(parts)}" + (f", D {loss:.3f}" if loss is not None else "")


def timing_table(path: Path) -> str:
    """All rows of a timing.csv, with aligned columns and one line a row."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    rows = [[name.replace("_", " ") for name in rows[0]], *rows[1:]]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def write_sample_sheet(
    path: Path,
    conditions: Sequence[np.ndarray] | None,
    targets: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    *,
    heading: str,
    labels: Sequence[str] = (),
) -> None:
    """Writes a PNG with one row a picture: Input Image, Ground Truth, Predicted Image.

    Drawn by Matplotlib without a display; the paper's Function 2.

    Args:
      path: the PNG.
      conditions: [height, width, 1 or 3] uint8 pictures; None leaves their column out.
      targets: the same for the true pictures.
      predictions: the same for the predicted ones.
      heading: a line above them.
      labels: a line under each row, if any.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    given = (targets, predictions) if conditions is None else (conditions, targets, predictions)
    titles, count = SAMPLE_TITLES[-len(given) :], len(targets)
    height = 2.9 if labels else 2.62
    figure = Figure(figsize=(2.6 * len(given), height * count + 0.7), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(heading, fontsize=11)
    axes = figure.subplots(count, len(given), squeeze=False)
    for row, pictures in zip(axes, zip(*given, strict=True), strict=True):
        for axis, picture in zip(row, pictures, strict=True):
            grey = picture.shape[-1] == 1
            axis.imshow(picture[..., 0] if grey else picture, cmap="gray", vmin=0, vmax=255)
            axis.set_axis_off()
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    for row, label in zip(axes, labels, strict=bool(labels)):
        row[0].text(0, -0.03, label, transform=row[0].transAxes, va="top", fontsize=8)
    temporary = path.with_name(path.name + ".tmp")
    with warnings.catch_warnings():  # names may be in any script
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(temporary, format="png")
    temporary.replace(path)
