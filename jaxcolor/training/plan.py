"""What the training loop is given: how long and how often, and the parts that it drives."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcolor.parallel import DataParallel
from jaxcolor.training.checkpoints import Checkpoints
from jaxcolor.training.progress import Progress


class Plan(NamedTuple):
    """How long to train, and how often to do what.

    Attributes:
      epochs: passes over the training pictures.
      pictures: in a pass.
      batch_size: pictures in a global batch.
      log_every: steps between rows of metrics.jsonl, and between checks for NaN.
      checkpoint_every_epochs: epochs between checkpoints; the last epoch always has one.
      checkpoint_every_steps: steps between further ones; 0 for none.
      metrics: what validation computes, keys of `metrics.METRICS`, "l1" and "psnr" among them.
      best_by: the one that says which checkpoint is best.
      early_stopping_epochs: how many epochs without a gain in it end the training; 0 for never.
      on_nan: what follows a number that is not finite, one of `rollbacks.POLICIES`.
      max_rollbacks: how often to go back at most.
      watchdog_seconds: after which something that is still not done is reported; 0 for never.
    """

    epochs: int
    pictures: int
    batch_size: int
    log_every: int
    checkpoint_every_epochs: int
    checkpoint_every_steps: int
    metrics: tuple[str, ...] = ("l1", "psnr")
    best_by: str = "l1"
    early_stopping_epochs: int = 0
    on_nan: str = "stop"
    max_rollbacks: int = 3
    watchdog_seconds: float = 600.0

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.epoch_end(self.epochs)

    def epoch_end(self, epoch: int) -> int:
        """Steps before the end of an epoch, the first being 1.

        Batches are cut from the passes laid end to end, so that no picture is left out: one that
        spans two passes belongs to the second.
        """
        return epoch * self.pictures // self.batch_size

    def epoch_of(self, step: int) -> int:
        """The epoch to which the step belongs that follows `step` others."""
        return -(-(step + 1) * self.batch_size // self.pictures)

    def progress_at(self, step: int, checkpoints: Checkpoints) -> Progress:
        """The progress up to a checkpoint, or anew where it holds none for this plan."""
        stored = checkpoints.progress(step) if step in checkpoints.steps() else None
        return Progress.restore(stored, self.best_by, self.epoch_of(step) - 1)

    def explain_stop(self, progress: Progress) -> str:
        """Why training stopped early, and where the best checkpoint is."""
        return progress.explain(self.early_stopping_epochs, self.epoch_end(progress.best_epoch))


class Parts(NamedTuple):
    """What the loop drives.

    Attributes:
      parallel: places batches.
      train_step: compiled function of (state, batch, rng); donates the state.
      is_finite: compiled function of a state.
      compile_validation: gives two compiled functions, `evaluation_step` of (state, batch, rng)
        and `predict` of (state, condition, rng); called in a thread beside the first epoch.
      compile_seconds: how long compiling the others took.
      open_batches: step -> iterator of training batches from that step on, with close().
      count_bad: how many records were replaced since it was last called.
      advise: share of the time spent waiting for data -> a line of advice, or "".
      validation_batches: iterable of validation batches.
      samples: the pairs of the sample sheet, {"condition", "target"} uint8.
      checkpoints: of the workdir.
      config: the resolved config, stored in every checkpoint.
      workdir: where the reports go.
    """

    parallel: DataParallel
    train_step: Callable
    is_finite: Callable
    compile_validation: Callable
    compile_seconds: float
    open_batches: Callable
    count_bad: Callable[[], int]
    advise: Callable[[float], str]
    validation_batches: object
    samples: dict[str, np.ndarray]
    checkpoints: Checkpoints
    config: dict
    workdir: Path
