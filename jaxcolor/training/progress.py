"""Whether training still gains: the best validation so far, by the metric that is to decide."""

import math
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
    """The validations so far, as far as they decide when to stop; stored in every checkpoint.

    Attributes:
      best_by: the metric that decides.
      last_epoch: the last one validated; 0 before any.
      best_epoch: the first one with the best value; 0 before any.
      best: that value.
    """

    best_by: str
    last_epoch: int = 0
    best_epoch: int = 0
    best: float = math.nan

    @classmethod
    def restore(cls, stored: dict[str, Any] | None, best_by: str, epochs_done: int) -> "Progress":
        """What `to_json` gave; anew, as from epoch `epochs_done`, for another metric or None.

        Raises:
          WorkdirError: it is nothing of the kind.
        """
        try:
            if stored is None or stored["best_by"] != best_by:
                return cls(best_by, epochs_done, epochs_done)
            found = cls(**stored)._replace(best=float(stored["best"]))
            if type(found.last_epoch) is type(found.best_epoch) is int:
                return found
        except (KeyError, TypeError, ValueError):
            pass
        raise WorkdirError(
            "the newest checkpoint's progress is damaged: remove that checkpoint to go on from the "
            "one before"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON can hold, infinity included."""
        return self._asdict() | {"best": repr(self.best)}

    def after(self, epoch: int, scores: dict[str, float]) -> "Progress":
        """With the scores of another epoch; only a strict gain makes it the best."""
        before = goodness(self.best_by, scores | {self.best_by: self.best})
        if goodness(self.best_by, scores) > before:
            return self._replace(last_epoch=epoch, best_epoch=epoch, best=scores[self.best_by])
        return self._replace(last_epoch=epoch)

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
