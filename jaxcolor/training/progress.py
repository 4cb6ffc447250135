"""How far a training came, besides its state: the best validation, and batches left out."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from jaxcolor.errors import WorkdirError
from jaxcolor.metrics import BADNESS, BY_PICTURE, truth_of


def goodness(metric: str, scores: dict[str, float] | None) -> float:
    """How good scores are by a metric, higher is better; -inf where they lack it or are NaN.

    Args:
      metric: one that judges, a key of `metrics.BY_PICTURE`.
      scores: values by metric; what is best near the truth needs the truth's own besides.
    """
    value, truth = ((scores or {}).get(name, math.nan) for name in (metric, truth_of(metric)))
    bad = BADNESS[BY_PICTURE[metric].better](value, truth)
    return -math.inf if math.isnan(bad) else -bad


class Progress(NamedTuple):
    """What of the training so far decides how it goes on; stored in every checkpoint.

    Attributes:
      best_by: the metric that decides.
      last_epoch: the last one validated; 0 before any.
      best_epoch: the first one with the best value; 0 before any.
      best: that value.
      skipped: batches left out since numbers were not finite, by the steps before them.
      rollbacks: how often it went back for that.
    """

    best_by: str
    last_epoch: int = 0
    best_epoch: int = 0
    best: float = math.nan
    skipped: tuple[int, ...] = ()
    rollbacks: int = 0

    @classmethod
    def restore(cls, stored: dict[str, Any] | None, best_by: str, epochs_done: int) -> "Progress":
        """What `to_json` gave; anew, as from epoch `epochs_done`, for another metric or None.

        Raises:
          WorkdirError: it is nothing of the kind.
        """
        stored = stored or {}
        try:
            left_out = {
                "skipped": tuple(stored.get("skipped", ())),  # lacking in older versions
                "rollbacks": stored.get("rollbacks", 0),
            }
            if stored.get("best_by") != best_by:
                found = cls(best_by, epochs_done, epochs_done, **left_out)
            else:
                found = cls(**stored | left_out)._replace(best=float(stored["best"]))
            counts = (found.last_epoch, found.best_epoch, found.rollbacks, *found.skipped)
        except (KeyError, TypeError, ValueError, AttributeError):
            counts = (None,)
        if not all(type(count) is int for count in counts):
            raise WorkdirError(
                "the newest checkpoint's progress is damaged: remove that checkpoint to go on from "
                "the one before"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON can hold, infinity included."""
        return self._asdict() | {"best": repr(self.best)}

    def after(self, epoch: int, scores: dict[str, float]) -> "Progress":
        """With the scores of another epoch; only a strict gain makes it the best."""
        before = goodness(self.best_by, scores | {self.best_by: self.best})
        if goodness(self.best_by, scores) > before:
            return self._replace(last_epoch=epoch, best_epoch=epoch, best=scores[self.best_by])
        return self._replace(last_epoch=epoch)

    def lacks(self, epoch: int) -> bool:
        """Whether the validation of an epoch is missing, such as one that was cut short."""
        return self.last_epoch < epoch

    def without(self, batches: Iterable[int]) -> "Progress":
        """After it went back once more, to go on without `batches`."""
        skipped = tuple(sorted({*self.skipped, *batches}))
        return self._replace(skipped=skipped, rollbacks=self.rollbacks + 1)

    def has_stalled(self, epochs: int) -> bool:
        """Whether the last `epochs` epochs brought no gain; never for 0."""
        return 0 < epochs <= self.last_epoch - self.best_epoch

    def explain(self, epochs: int, best_step: int) -> str:
        """Why training stopped, and where the best is."""
        return (
            f"stopped early after epoch {self.last_epoch}: no gain in {self.best_by} for "
            f"{epochs} epochs (train.early_stopping_epochs); the best, {self.best_by} "
            f"{self.best:.4f} of epoch {self.best_epoch}, is kept as checkpoint {best_step}"
        )
