"""Validation within a training: its programs, compiled beside the first epoch, and its results."""

import math
import time
from concurrent import futures
from typing import NamedTuple

import jax
import numpy as np

from jaxcolor import hosts
from jaxcolor.training.evaluation import evaluate, predict_samples
from jaxcolor.training.metric_rows import NotFinite
from jaxcolor.training.plan import Parts, Plan
from jaxcolor.training.reporting import write_sample_sheet
from jaxcolor.training.state import GanState
from jaxcolor.training.stopping import StopRequests
from jaxcolor.training.watchdog import Watchdog


class Validated(NamedTuple):
    """The results of a validation.

    Attributes:
      scores: means over all validation pictures, by metric.
      samples: predicted pictures of the sample sheet, uint8 [count, height, width, channels].
    """

    scores: dict[str, float]
    samples: np.ndarray


class Validation:
    """Validates the states of one run."""

    def __init__(self, plan: Plan, parts: Parts, rng: jax.Array):
        """Nothing is compiled as yet.

        Args:
          plan: names the metrics.
          parts: what to validate with.
          rng: root key, replicated.
        """
        self._plan, self._parts, self._rng = plan, parts, rng
        self._compiler = futures.ThreadPoolExecutor(1)
        self._programs: futures.Future | None = None

    def compile(self) -> futures.Future:
        """Its programs, which are compiled in a thread from the first call on."""
        if self._programs is None:
            self._programs = self._compiler.submit(self._parts.compile_validation)
        return self._programs

    def await_programs(self) -> float:
        """The seconds waited for them; an error in compiling is raised where they are used."""
        started = time.perf_counter()
        if self.compile().done():
            return 0.0
        futures.wait([self.compile()])
        return time.perf_counter() - started

    def run(
        self, state: GanState, step: int, epoch: int, *, stop: StopRequests, watchdog: Watchdog
    ) -> Validated:
        """The results at a state; writes the epoch's sample sheet. No batch may take too long.

        Raises:
          StopNow: asked to stop, before a batch.
          DataError: a picture cannot be read.
          NotFinite: the parameters are so large that the networks overflow.
        """
        parts, programs = self._parts, self.compile().result()
        options = {"step": programs.evaluation_step, "parallel": parts.parallel}
        options |= {"names": self._plan.metrics}
        batches = watchdog.through(stop.through(parts.validation_batches), "validation", step)
        scores = evaluate(state, batches, self._rng, **options)
        if math.isnan(scores["l1"]):
            raise NotFinite(step, {"validation l1": math.nan})
        conditions, targets = parts.samples["condition"], parts.samples["target"]
        options = {"predict": programs.predict, "parallel": parts.parallel}
        pictures = predict_samples(state, conditions, self._rng, **options)
        heading = f"epoch {epoch}: validation L1 {scores['l1']:.3f}, PSNR {scores['psnr']:.2f} dB"
        path = parts.workdir / "samples" / f"epoch_{epoch:04d}.png"
        if hosts.is_first():
            path.parent.mkdir(exist_ok=True)
            write_sample_sheet(path, conditions, targets, pictures, heading=heading)
        return Validated(scores, pictures)

    def __enter__(self) -> "Validation":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Lets go of the thread, without waiting for what it compiles."""
        self._compiler.shutdown(wait=False, cancel_futures=True)
