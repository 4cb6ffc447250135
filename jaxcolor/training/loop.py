"""The training loop: steps, epochs, validation, checkpoints and reports, in that order of care.

It never waits for the device but for the step before last: that keeps the device busy and the
progress bar honest. Metrics are fetched at report intervals; nothing is saved unchecked.
"""

import contextlib
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from jaxcolor import hosts
from jaxcolor.errors import DataError, TrainingError
from jaxcolor.parallel import DataParallel
from jaxcolor.training.checkpoints import Checkpoints
from jaxcolor.training.evaluation import evaluate, predict_samples
from jaxcolor.training.health import Health
from jaxcolor.training.progress import Progress
from jaxcolor.training.reporting import (
    EpochTiming,
    NoLog,
    RunLog,
    epoch_line,
    losses_in_words,
    timing_table,
    write_sample_sheet,
)
from jaxcolor.training.state import GanState

STEPS_IN_FLIGHT = 2


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


class Interrupted(hosts.AgreedStop):
    """The user or the system asked the run to stop; everything is saved."""


def train(state: GanState, rng: jax.Array, *, plan: Plan, parts: Parts) -> GanState:
    """The state after all epochs; reports and checkpoints are in the workdir.

    Args:
      state: fresh or restored, replicated. Its step says where to go on.
      rng: root key, replicated.
      plan: how long and how often.
      parts: what to drive.

    Raises:
      TrainingError: a loss or gradient norm is not finite.
      DataError: a picture could not be read; the state before it is saved.
      Interrupted: asked to stop by SIGINT or SIGTERM; the state is saved.
    """
    first_step = int(jax.device_get(state.step))
    first_epoch = plan.epoch_of(first_step)
    log = RunLog(parts.workdir, first_step, first_epoch) if hosts.is_first() else NoLog()
    batches = parts.open_batches(first_step)
    try:
        with _stop_requests() as stop, futures.ThreadPoolExecutor(1) as compiler:
            run = _Run(state, first_step, rng, plan, parts, log, batches, stop, compiler)
            for epoch in range(first_epoch, plan.epochs + 1):
                with hosts.errors_told():
                    run.run_epoch(epoch)
                if run.has_stalled():
                    break
        parts.checkpoints.wait()
    finally:
        batches.close()
        log.close()
    if parts.workdir.joinpath("timing.csv").exists():
        print(timing_table(parts.workdir / "timing.csv"), flush=True)
    if run.has_stalled():
        print(explain_stop(run.progress, plan), flush=True)
    return run.state


def stored_progress(checkpoints: Checkpoints, step: int, plan: Plan) -> Progress:
    """The progress up to a checkpoint, or anew where it holds none for this plan."""
    stored = checkpoints.progress(step) if step in checkpoints.steps() else None
    return Progress.restore(stored, plan.best_by, plan.epoch_of(step) - 1)


def explain_stop(progress: Progress, plan: Plan) -> str:
    """Why training stopped early, and where the best checkpoint is."""
    return progress.explain(plan.early_stopping_epochs, plan.epoch_end(progress.best_epoch))


class _Run:
    """The moving parts of one call of `train`."""

    def __init__(self, state, step, rng, plan, parts, log, batches, stop, compiler):
        self.state, self.step, self.rng = state, step, rng
        self.plan, self.parts, self.log, self.batches = plan, parts, log, batches
        self.stop, self.compiler = stop, compiler
        self.validation: futures.Future | None = None
        self.unfetched: deque[tuple[int, dict[str, jax.Array]]] = deque()
        self.unreported: list[tuple[int, dict[str, float]]] = []
        self.compile_seconds = parts.compile_seconds
        self.last_metrics: dict[str, float] = {}
        self.health = Health(step)
        self.progress = stored_progress(parts.checkpoints, step, plan)

    def has_stalled(self) -> bool:
        """Whether validation has not gained for as long as the plan allows."""
        return self.progress.has_stalled(self.plan.early_stopping_epochs)

    def run_epoch(self, epoch: int) -> None:
        """Trains to the end of `epoch`, validates, saves and reports."""
        ends, waited, saving = self._train_steps(epoch)
        steps, seconds = len(ends) - 1, ends[-1]
        self._await_validation()
        started = time.perf_counter()
        try:
            scores = self._validate(epoch)
        except (DataError, RuntimeError):  # the latter of XLA: out of memory, for one
            self._save_if_alone()
            raise
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
            validation_seconds=validated - started,
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
        with self._progress(epoch, end) as bar, jax.transfer_guard("disallow"):
            while self.step < end:
                asked = time.perf_counter()
                batch = self._next_batch(epoch, bar)
                waited += time.perf_counter() - asked
                batch = self.parts.parallel.shard(batch)
                self.state, metrics = self.parts.train_step(self.state, batch, self.rng)
                self.step += 1
                self.unfetched.append((self.step, metrics))
                in_flight.append(metrics)
                if len(in_flight) >= STEPS_IN_FLIGHT:
                    jax.block_until_ready(in_flight.popleft())
                    ends.append(time.perf_counter() - started - saving)
                    self._compile_validation()
                bar.update(self.plan.batch_size)
                if (self.step - 1) % self.plan.log_every == 0:
                    self._report(self.step - 1, epoch, bar)  # late, so as not to wait
                saving += self._save_between_epochs(end)
            jax.block_until_ready(self.state)
            self._report(end, epoch, bar)
            ends += [time.perf_counter() - started - saving] * len(in_flight)
        return ends, waited, saving

    def _next_batch(self, epoch: int, bar: tqdm) -> dict[str, np.ndarray]:
        """The next batch; if there is to be none, everything done so far is saved first."""
        if self.stop.is_set():
            self._report(self.step, epoch, bar)
            self._save_and_wait()
            raise Interrupted(
                f"stopped at step {self.step}, saved in {self.parts.workdir}: "
                "run the same command to go on"
            )
        try:
            return next(self.batches)
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
        self._fetch_metrics(self.step)
        if not jax.device_get(self.parts.is_finite(self.state)):
            self._stop_at_bad_loss(self.step, {"a parameter": math.nan})
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

    def _fetch_metrics(self, last: int) -> None:
        """Moves metrics up to step `last` to the host; stops the run if one is not finite."""
        while self.unfetched and self.unfetched[0][0] <= last:
            step, metrics = self.unfetched.popleft()
            values = {name: float(x) for name, x in jax.device_get(metrics).items()}
            bad = {name: value for name, value in values.items() if not math.isfinite(value)}
            if bad:
                self._stop_at_bad_loss(step, bad)
            self.unreported.append((step, values))

    def _stop_at_bad_loss(self, step: int, bad: dict[str, float]) -> None:
        self.parts.checkpoints.wait()
        good = self.parts.checkpoints.latest()
        where = f"the last good checkpoint is step {good}" if good is not None else "none was saved"
        names = ", ".join(f"{name} = {value}" for name, value in sorted(bad.items()))
        sections = ("generator_optimizer", "discriminator_optimizer")
        rates = " and ".join(f"{x}.learning_rate" for x in sections if x in self.parts.config)
        raise TrainingError(
            f"step {step}: {names}; {where} in {self.parts.checkpoints.directory}. Start over in a "
            f"new --workdir with a lower {rates}"
        )

    def _report(self, last: int, epoch: int, bar: tqdm) -> None:
        """Writes the means of the steps since the last report, up to step `last`."""
        self._fetch_metrics(last)
        rows = [values for step, values in self.unreported if step <= last]
        if not rows:
            return
        self.unreported = [(step, values) for step, values in self.unreported if step > last]
        means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        self.last_metrics = means
        self.log.metrics(last, epoch, "train", means)
        for warning in self.health.after_steps(last, means):
            tqdm.write(warning)
        if bar.disable:
            return
        bar.set_postfix_str(f"{losses_in_words(means)}, all epochs {self._time_left(bar)} left")

    def _time_left(self, bar: tqdm) -> str:
        """Training time of the steps to come, at the rate of this epoch."""
        progress = bar.format_dict
        done = progress["n"] - progress["initial"]
        seconds = progress["elapsed"] / done * self.plan.batch_size if done else 0.0
        return tqdm.format_interval((self.plan.total_steps - self.step) * seconds)

    def _compile_validation(self) -> futures.Future:
        if self.validation is None:
            self.validation = self.compiler.submit(self.parts.compile_validation)
        return self.validation

    def _await_validation(self) -> None:
        """Waits for what validation runs; an error in it is raised where it is used."""
        started = time.perf_counter()
        if not self._compile_validation().done():
            futures.wait([self.validation])
            self.compile_seconds += time.perf_counter() - started

    def _validate(self, epoch: int) -> dict[str, float]:
        parts = self.parts
        programs = self.validation.result()
        options = {"step": programs.evaluation_step, "parallel": parts.parallel}
        options |= {"names": self.plan.metrics}
        scores = evaluate(self.state, parts.validation_batches, self.rng, **options)
        if math.isnan(scores["l1"]):  # parameters so large that the networks overflow
            self._stop_at_bad_loss(self.step, {"validation l1": math.nan})
        self.log.metrics(self.step, epoch, "validation", scores)
        conditions, targets = parts.samples["condition"], parts.samples["target"]
        options = {"predict": programs.predict, "parallel": parts.parallel}
        pictures = predict_samples(self.state, conditions, self.rng, **options)
        heading = f"epoch {epoch}: validation L1 {scores['l1']:.3f}, PSNR {scores['psnr']:.2f} dB"
        path = parts.workdir / "samples" / f"epoch_{epoch:04d}.png"
        if hosts.is_first():
            path.parent.mkdir(exist_ok=True)
            write_sample_sheet(path, conditions, targets, pictures, heading=heading)
        for warning in self.health.after_epoch(epoch, scores, pictures, targets):
            print(warning, flush=True)
        return scores

    def _progress(self, epoch: int, end: int) -> tqdm:
        """A bar over the epoch's pictures; silent when standard error is no terminal."""
        start = self.plan.epoch_end(epoch - 1)
        return tqdm(
            total=(end - start) * self.plan.batch_size,
            initial=(self.step - start) * self.plan.batch_size,
            desc=f"epoch {epoch}/{self.plan.epochs}",
            unit="img",
            disable=None,
            leave=False,
            dynamic_ncols=True,
        )


@contextlib.contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """An event set by the first SIGINT or SIGTERM; the second SIGINT stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number, frame):
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {
        number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
