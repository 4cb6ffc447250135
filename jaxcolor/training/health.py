"""Warnings about a training that goes on without learning: one line each, once an episode.

A GAN fails in ways that no exception shows: its losses stay finite while nothing is learned. What
is watched are the rows of metrics.jsonl and the fixed validation samples, which cost nothing more.
"""

import math
import statistics
from collections import deque
from collections.abc import Mapping

import numpy as np

PATIENCE_STEPS = 200  # that a sign must last, over at least two rows
PATIENCE_EPOCHS = 2
MOST = 0.7  # share of the rows in that time that must show it
WON = 0.01  # discriminator loss at which it no longer errs
LOST = 5 * WON  # and at which it errs again
GREY = 0.1  # share of the truth's chroma
CONSTANT = 0.02  # share of the truth's spread over pictures
SATURATED = 0.1  # share of the truth's values between black and white
STILL = 1e-4  # share of the usual gradient norm
STILL_LEVELS = 0.02  # grey levels of 255 by which the samples change in an epoch
LEARNING = 0.1  # share of the highest learning rate under which little movement is meant


class Health:
    """Watches one run.

    `after_steps` and `after_epoch` give the warnings that are new, none most of the time. A warning
    comes again only after its sign was gone for as long as it takes to raise it.
    """

    def __init__(self, first_step: int = 0):
        """Nothing seen yet.

        Args:
          first_step: the step the run starts or goes on at.
        """
        self._episodes = {
            "won": _Episode(PATIENCE_STEPS, first_step),
            "still": _Episode(PATIENCE_STEPS, first_step),
            "grey": _Episode(PATIENCE_EPOCHS),
            "constant": _Episode(PATIENCE_EPOCHS),
            "saturated": _Episode(PATIENCE_EPOCHS),
            "same": _Episode(PATIENCE_EPOCHS),
        }
        self._norms: list[float] = []
        self._rate = self._highest_rate = math.nan
        self._last_pictures: np.ndarray | None = None

    def after_steps(self, step: int, means: Mapping[str, float]) -> list[str]:
        """New warnings after a "train" row of metrics.jsonl.

        Args:
          step: steps done.
          means: of the steps since the last row. Without a discriminator its names are missing.
        """
        self._rate = means.get("generator/learning_rate", math.nan)
        if not self._highest_rate >= self._rate:
            self._highest_rate = self._rate
        found = [self._won(step, means), self._still(step, means)]
        return [warning for warning in found if warning]

    def after_epoch(
        self,
        epoch: int,
        scores: Mapping[str, float],
        predictions: np.ndarray | None = None,
        targets: np.ndarray | None = None,
    ) -> list[str]:
        """New warnings after a validation.

        Args:
          epoch: from 1.
          scores: validation metrics; of use is "chroma_ratio".
          predictions: the fixed samples, uint8 [count, height, width, channels], or None.
          targets: their true pictures.
        """
        found = [self._grey(epoch, scores)]
        if predictions is not None and targets is not None:
            found.append(self._constant(epoch, predictions, targets))
            found.append(self._saturated(epoch, predictions, targets))
            found.append(self._same(epoch, predictions))
        return [warning for warning in found if warning]

    def _won(self, step: int, means: Mapping[str, float]) -> str:
        loss = means.get("discriminator/loss", math.inf)
        # Smoothed labels put a floor under the loss on true pictures, not under that on fakes.
        right = min(means.get(f"discriminator/accuracy_{name}", 0) for name in ("real", "fake"))
        sure = right > 0.999 and means.get("discriminator/fake", math.inf) < WON / 2
        has_won = loss < WON or sure
        if not self._episodes["won"].begins(step, has_won, loss > LOST and not has_won):
            return ""
        return (
            f"warning: the discriminator has won: its loss is {loss:.2g} at step {step}, and the "
            "generator learns little from it; lower discriminator_optimizer.learning_rate or "
            "losses.discriminator, or raise losses.l1"
        )

    def _still(self, step: int, means: Mapping[str, float]) -> str:
        norm = means.get("generator/gradient_norm", math.nan)
        usual = statistics.median(self._norms) if self._norms else math.nan
        is_still = norm < STILL * usual or norm == 0
        if not is_still and math.isfinite(norm):
            self._norms = [*self._norms[-999:], norm]
        if not self._episodes["still"].begins(step, is_still and not self._is_slow()):
            return ""
        return (
            f"warning: the generator has stopped moving: its gradient norm is {norm:.2g} at step "
            f"{step}; go on from an earlier checkpoint with a lower "
            "generator_optimizer.learning_rate"
        )

    def _grey(self, epoch: int, scores: Mapping[str, float]) -> str:
        ratio = scores.get("chroma_ratio", math.nan)  # not finite where the truth has no chroma
        if not self._episodes["grey"].begins(epoch, ratio < GREY):
            return ""
        return (
            f"warning: the outputs have faded to grey: {ratio:.1%} of the true pictures' chroma in "
            f"epoch {epoch}; raise losses.adversarial against losses.l1 and losses.l2, check that "
            "the targets are in colour, and train for longer"
        )

    def _constant(self, epoch: int, predictions: np.ndarray, targets: np.ndarray) -> str:
        if len(targets) < 2:
            return ""
        spread = [float(x.astype(np.float32).std(axis=0).mean()) for x in (predictions, targets)]
        is_constant = spread[1] > 1 and spread[0] < CONSTANT * spread[1]
        if not self._episodes["constant"].begins(epoch, is_constant):
            return ""
        return (
            f"warning: the outputs are the same whatever the input in epoch {epoch}: the generator "
            "has collapsed; start over with a lower generator_optimizer.learning_rate or a higher "
            "losses.l1"
        )

    def _saturated(self, epoch: int, predictions: np.ndarray, targets: np.ndarray) -> str:
        share, true = (float(np.isin(x, (0, 255)).mean()) for x in (predictions, targets))
        is_saturated = 1 - share < SATURATED * (1 - true)
        if not self._episodes["saturated"].begins(epoch, is_saturated):
            return ""
        return (
            f"warning: the outputs are saturated: {share:.0%} of their values are 0 or 255 in "
            f"epoch {epoch}, {true:.0%} of the true pictures', and hardly any gradient passes; "
            "start over with a lower generator_optimizer.learning_rate"
        )

    def _same(self, epoch: int, predictions: np.ndarray) -> str:
        before, self._last_pictures = self._last_pictures, predictions.astype(np.float32)
        if before is None or before.shape != predictions.shape:
            return ""
        change = float(np.abs(self._last_pictures - before).mean())
        if not self._episodes["same"].begins(epoch, change < STILL_LEVELS and not self._is_slow()):
            return ""
        return (
            f"warning: the generator has stopped moving: its samples changed by {change:.2g} of "
            f"255 levels in epoch {epoch}; raise generator_optimizer.learning_rate, or go "
            "on from an earlier checkpoint"
        )

    def _is_slow(self) -> bool:
        """Whether the schedule has brought the learning rate down, so that rest is meant."""
        return self._rate <= LEARNING * self._highest_rate


class _Episode:
    """Whether a sign has lasted long enough, told once until it has been gone as long.

    Not every row needs to show it: now and again a generator finds a trick, which raises the loss
    of a discriminator that has won for some ten steps.
    """

    def __init__(self, patience: int, start: int = 0):
        self._patience = patience
        self._last = start
        self._rows: deque[tuple[int, bool, bool]] = deque()  # beginning, sign, gone
        self._told = False

    def begins(self, position: int, sign: bool, gone: bool | None = None) -> bool:
        """Whether the sign, seen from the last position up to this one, is now to be told.

        Args:
          position: steps or epochs done.
          sign: whether it is seen.
          gone: whether it is clearly not; by default, when it is not seen.
        """
        self._rows.append((self._last, sign, not sign if gone is None else gone))
        self._last = position
        while len(self._rows) > 2 and self._rows[1][0] <= position - self._patience:
            self._rows.popleft()
        if position - self._rows[0][0] < self._patience or len(self._rows) < 2:
            return False
        shown, ended = (
            sum(row[index] for row in self._rows) >= MOST * len(self._rows) for index in (1, 2)
        )
        begins = shown and not self._told
        self._told = shown or (self._told and not ended)
        return begins
