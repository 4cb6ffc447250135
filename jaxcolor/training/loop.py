"""The training loop: steps, epochs, validation, checkpoints and reports, in that order of care.

It never waits for the device but for the step before last: that keeps the device busy and the
progress bar honest. Metrics are fetched at report intervals; nothing is saved unchecked.
"""

import math
import time
import typing
from collections import deque

import jax
import numpy as np
from tqdm import tqdm

from jaxcolor import hosts
from jaxcolor.errors import DataError
from jaxcolor.training.epoch_bar import EpochBar
from jaxcolor.training.health import Health
from jaxcolor.training.metric_rows import MetricRows, NotFinite
from jaxcolor.training.plan import Parts, Plan
from jaxcolor.training.reporting import EpochTiming, NoLog, RunLog, epoch_line, timing_table
from jaxcolor.training.rollbacks import go_back
from jaxcolor.training.state import GanState
from jaxcolor.training.stopping import Interrupted, StopNow, StopRequests
from jaxcolor.training.validation import Validation
from jaxcolor.training.watchdog import Watchdog

STEPS_IN_FLIGHT = 2


def train(state: GanState, rng: jax.Array, *, plan: Plan, parts: Parts) -> GanState:
    """The state after all epochs; reports and checkpoints are in the workdir.

    Args:
      state: fresh or restored, replicated. Its step says where to go on.
      rng: root key, replicated.
      plan: how long and how often.
      parts: what to drive.

    Raises:
      TrainingError: a number is not finite, and the plan does not allow to go back for it.
      DataError: a picture could not be read; the state before it is saved.
      Interrupted: asked to stop by SIGINT or SIGTERM; the state is saved.
    """
    like = jax.tree.map(_described, state)
    progress = plan.progress_at(int(jax.device_get(state.step)), parts.checkpoints)
    with (
        StopRequests() as stop,
        Validation(plan, parts, rng) as validation,
        Watchdog(plan.watchdog_seconds, parts.workdir) as watchdog,
    ):
        helpers = {"stop": stop, "validation": validation, "watchdog": watchdog}
        while True:
            run = _Run(state, progress, rng, plan, parts, **helpers)
            try:
                run.run_epochs()
                break
            except NotFinite as error:
                state = run.state = None  # so that there is room for another
                state, progress = go_back(error, run.progress, like, plan=plan, parts=parts)
            finally:
                run.close()
        parts.checkpoints.wait()
    if hosts.is_first() and parts.workdir.joinpath("timing.csv").exists():
        print(timing_table(parts.workdir / "timing.csv"), flush=True)
    if run.has_stalled():
        print(plan.explain_stop(run.progress), flush=True)
    return run.state


def _described(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


class _Run:
    """The moving parts of one call of `train`."""

    def __init__(self, state, progress, rng, plan, parts, *, stop, validation, watchdog):
        self.state, self.progress, self.rng = state, progress, rng
        self.plan, self.parts = plan, parts
        self.stop, self.validation, self.watchdog = stop, validation, watchdog
        self.step = int(jax.device_get(state.step))
        first = (self.step, plan.epoch_of(self.step))
        self.log = RunLog(parts.workdir, *first) if hosts.is_first() else NoLog()
        self.health = Health(self.step)
        self.rows = MetricRows()
        self.compile_seconds = 0.0 if progress.rollbacks else parts.compile_seconds
        self.last_metrics: dict[str, float] = {}
        self.batches = parts.open_batches(self.step)

    def close(self) -> None:
        """Lets go of threads and files."""
        self.batches.close()
        self.log.close()

    def has_stalled(self) -> bool:
        """Whether validation has not gained for as long as the plan allows."""
        return self.progress.has_stalled(self.plan.early_stopping_epochs)

    def run_epochs(self) -> None:
        """Trains to the end, early or not; begins with a validation that was cut short."""
        done = self.plan.epoch_of(self.step) - 1
        first = done if self.progress.lacks(done) else done + 1
        for epoch in range(first, self.plan.epochs + 1):
            self.run_epoch(epoch)
            if self.has_stalled():
                break

    def run_epoch(self, epoch: int) -> None:
        """Trains to the end of `epoch`, validates, saves and reports."""
        ends, waited, saving = self._train_steps(epoch)
        steps, seconds = len(ends) - 1, ends[-1]
        scores, validation_seconds = self._validate(epoch)
        validated = time.perf_counter()
        if self._is_worth_saving(epoch, scores):
            self._save(scores)
        saving += time.perf_counter() - validated
        images = steps * self.plan.batch_size
        timing = EpochTiming(
            epoch=epoch,
            steps=steps,
            seconds=seconds,
            images_per_second=images / seconds if seconds else 0.0,
            data_wait_share=waited / seconds if seconds else 0.0,
            compile_seconds=self.compile_seconds,
            validation_seconds=validation_seconds,
            checkpoint_seconds=saving,
            replaced_pictures=self.parts.count_bad(),
        )
        self.compile_seconds = 0.0
        self.log.timing(timing)
        options = {"epochs": self.plan.epochs, "best_by": self.plan.best_by}
        line = epoch_line(timing, np.diff(ends), self.last_metrics, scores, **options)
        print(line, flush=True)
        advice = self.parts.advise(timing.data_wait_share)
        if advice:
            print(advice, flush=True)

    def _is_worth_saving(self, epoch: int, scores: dict[str, float]) -> bool:
        """Takes account of the scores; whether the epoch ends with a checkpoint.

        The best is to be there when training stops early, and so is where it stopped.
        """
        plan, self.progress = self.plan, self.progress.after(epoch, scores)
        gained = bool(plan.early_stopping_epochs) and self.progress.best_epoch == epoch
        due = epoch % plan.checkpoint_every_epochs == 0 or epoch == plan.epochs
        return due or gained or self.has_stalled()

    def _train_steps(self, epoch: int) -> tuple[list[float], float, float]:
        """When each step was done, seconds of them waiting for data, seconds saving besides.

        The first number is 0; then one a step in seconds of training, which leaves out the saving.
        """
        end = self.plan.epoch_end(epoch)
        waited, saving = 0.0, 0.0
        in_flight: deque = deque()
        started = time.perf_counter()
        ends = [0.0]
        with EpochBar(self.plan, epoch, self.step) as bar, jax.transfer_guard("disallow"):
            while self.step < end:
                asked = time.perf_counter()
                batch = self._next_batch(epoch, bar)
                waited += time.perf_counter() - asked
                if self.step in self.progress.skipped:
                    self._leave_out_step(epoch)
                else:
                    in_flight.append(self._take_step(batch))
                if len(in_flight) >= STEPS_IN_FLIGHT:
                    jax.block_until_ready(in_flight.popleft())
                    ends.append(time.perf_counter() - started - saving)
                    self.validation.compile()
                bar.step()
                if (self.step - 1) % self.plan.log_every == 0:
                    self._report(self.step - 1, epoch, bar)  # late, so as not to wait
                saving += self._save_between_epochs(end)
            jax.block_until_ready(self.state)
            self._report(end, epoch, bar)
            ends += [time.perf_counter() - started - saving] * len(in_flight)
        return ends, waited, saving

    def _take_step(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Trains on a batch; the metrics, which may still be computed."""
        self.watchdog.at("a training step", self.step)
        batch = self.parts.parallel.shard(batch)
        self.state, metrics = self.parts.train_step(self.state, batch, self.rng)
        self.step += 1
        self.rows.add(self.step, metrics)
        return metrics

    def _leave_out_step(self, epoch: int) -> None:
        """Goes on to the next step without training: the others keep their batches and draws."""
        self.step += 1
        self.state = self.state.replace(step=self.parts.parallel.replicate(np.int32(self.step)))
        self.log.metrics(self.step, epoch, "skipped", {"rollbacks": self.progress.rollbacks})

    def _next_batch(self, epoch: int, bar: EpochBar) -> dict[str, np.ndarray]:
        """The next batch; if there is to be none, everything done so far is saved first."""
        try:
            if self.stop.is_due():
                raise StopNow
            self.watchdog.at("waiting for data", self.step)
            with self.stop.cutting_short():
                return next(self.batches)
        except StopNow:
            self._report(self.step, epoch, bar)
            self._save_and_stop()
        except DataError:
            self._report(self.step, epoch, bar)
            self._save_if_alone()
            raise

    def _save_between_epochs(self, end: int) -> float:
        """Saves if the interval in steps is over; the seconds it took."""
        every = self.plan.checkpoint_every_steps
        if not every or self.step % every or self.step == end:
            return 0.0
        started = time.perf_counter()
        self._save(None)
        return time.perf_counter() - started

    def _save(self, scores: dict[str, float] | None) -> None:
        """Starts writing a checkpoint, once the state is known to be finite.

        The metrics of a step describe the parameters before it, so they do not tell.
        """
        self.watchdog.at("saving", self.step)
        self.rows.fetch(self.step)
        if not jax.device_get(self.parts.is_finite(self.state)):
            raise NotFinite(self.step, {"a parameter": math.nan})
        with jax.transfer_guard("allow"):
            progress = self.progress.to_json()
            self.parts.checkpoints.save(self.step, self.state, self.parts.config, scores, progress)

    def _save_and_wait(self) -> None:
        self._save(None)
        self.parts.checkpoints.wait()

    def _save_if_alone(self) -> None:
        """Saves after an error, unless that takes other hosts, which may not have it."""
        if hosts.count() == 1:
            self._save_and_wait()

    def _save_and_stop(self) -> typing.NoReturn:
        """Saves, and raises Interrupted."""
        self._save_and_wait()
        line = f"stopped at step {self.step}, saved in {self.parts.workdir}: "
        raise Interrupted(f"{line}run the same command to go on", self.stop.status) from None

    def _report(self, last: int, epoch: int, bar: EpochBar) -> None:
        """Writes the means of the steps since the last report, up to step `last`."""
        means = self.rows.take_means(last)
        if not means:
            return
        self.last_metrics = means
        self.log.metrics(last, epoch, "train", means)
        for warning in self.health.after_steps(last, means):
            tqdm.write(warning)
        bar.show(means)

    def _validate(self, epoch: int) -> tuple[dict[str, float], float]:
        """The scores of the state, and the seconds that took without compiling.

        Cut short by a request to stop, it is made up for when the run goes on.
        """
        try:
            with self.stop.cutting_short():
                self.watchdog.rest()
                self.compile_seconds += self.validation.await_programs()
                started = time.perf_counter()
                watches = {"stop": self.stop, "watchdog": self.watchdog}
                found = self.validation.run(self.state, self.step, epoch, **watches)
        except StopNow:
            self._save_and_stop()
        except (DataError, RuntimeError):  # the latter of XLA: out of memory, for one
            self._save_if_alone()
            raise
        self.log.metrics(self.step, epoch, "validation", found.scores)
        targets = self.parts.samples["target"]
        for warning in self.health.after_epoch(epoch, found.scores, found.samples, targets):
            print(warning, flush=True)
        return found.scores, time.perf_counter() - started
