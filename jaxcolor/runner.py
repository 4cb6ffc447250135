"""Runs an experiment in a workdir: starts or resumes, compiles, trains."""

import contextlib
import functools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

import jaxcolor
from jaxcolor import hosts, mirror, programs
from jaxcolor.data import pipeline
from jaxcolor.data.bad_records import BadRecords, News, read_or_replace
from jaxcolor.errors import ConfigError, WorkdirError
from jaxcolor.experiment import Experiment
from jaxcolor.loader_advice import Advice
from jaxcolor.starting_point import initial_state
from jaxcolor.training import loop
from jaxcolor.training.checkpoint_files import bring_back, set_damaged_aside
from jaxcolor.training.checkpoints import Checkpoints, differing_keys
from jaxcolor.training.plan import Parts
from jaxcolor.training.state import GanState
from jaxcolor.workdir import check_space, own_workdir, write_config

# What may differ between hosts that train together: where they find and how they read pictures.
FREE_AMONG_HOSTS = ("data.path", "data.tfds_directory", "loader.")


def run(experiment: Experiment, workdir: str | Path) -> GanState:
    """Trains in `workdir`, going on where an earlier run of the same experiment stopped there.

    Args:
      experiment: what to train.
      workdir: a path, or the URL of a folder in a bucket: see `mirror`.

    Raises:
      UserError: whatever the user can mend, in one line.
    """
    _check_same_on_all_hosts(experiment.config)
    many_hosts = hosts.count() > 1
    with mirror.opened(workdir, many_hosts=many_hosts) as workdir, own_workdir(workdir):
        settings = experiment.settings.checkpoint
        kept = {name: getattr(settings, name) for name in ("keep_last", "keep_best", "best_by")}
        with _clear_errors(workdir):
            _set_damaged_aside(workdir)
            with (
                Checkpoints(workdir / "checkpoints", **kept) as checkpoints,
                hosts.errors_told(),
                _clear_errors(workdir),  # so that the others are told the clear one, too
            ):
                return _run(experiment, workdir, checkpoints)


@contextlib.contextmanager
def _clear_errors(workdir: Path) -> Iterator[None]:
    """Turns what the disk raises into one line."""
    try:
        yield
    except OSError as error:
        raise WorkdirError(f"workdir {workdir}: {error.strerror or error}") from error


def _set_damaged_aside(workdir: Path) -> None:
    """Leaves the newest checkpoint a good one; where hosts train together, one of them does."""
    if hosts.is_first():
        bring_back(workdir / "checkpoints")
        lines = set_damaged_aside(workdir / "checkpoints", workdir / "damaged")
        print("".join(f"{line}\n" for line in lines), end="", flush=True)
    hosts.gather("damaged checkpoints are out of the way")


def _run(experiment: Experiment, workdir: Path, checkpoints: Checkpoints) -> GanState:
    state = initial_state(experiment, workdir, checkpoints)
    plan, devices = experiment.plan, experiment.devices
    # A fresh state is still being computed: asking it for its step would wait for that.
    step = checkpoints.latest() or 0
    progress = plan.progress_at(step, checkpoints)
    if step >= plan.total_steps and not progress.lacks(plan.epochs):
        print(
            f"{workdir} is trained: {plan.epochs} epochs, {step} steps. "
            "Raise train.epochs to go on (with constant learning rates), or use a new --workdir"
        )
        return state
    if progress.has_stalled(plan.early_stopping_epochs):
        print(
            f"{workdir} is trained: {plan.explain_stop(progress)}. Raise "
            "train.early_stopping_epochs to go on, or set it to 0"
        )
        return state
    check_space(workdir, state, experiment.settings.checkpoint, checkpoints)
    if hosts.is_first():
        write_config(workdir, experiment.config)
    parts = make_parts(experiment, workdir, checkpoints)
    rng = jax.random.fold_in(jax.random.key(experiment.config["seed"]), 1)
    return loop.train(state, devices.replicate(rng), plan=plan, parts=parts)


def _check_same_on_all_hosts(config: dict) -> None:
    """Raises ConfigError unless all hosts run the same experiment by the same programs."""
    versions = {"jax": jax.__version__, "jaxcolor": jaxcolor.__version__}
    all_of_them = hosts.gather(json.dumps(config | {"version": versions}))
    first, *others = (json.loads(theirs) for theirs in all_of_them)
    for host, theirs in enumerate(others, start=1):
        differing = differing_keys(theirs, first)
        changed = {key: x for key, x in differing.items() if not key.startswith(FREE_AMONG_HOSTS)}
        if changed:
            listed = "; ".join(f"{key} is {a!r}, there {b!r}" for key, (a, b) in changed.items())
            raise ConfigError(f"host {host} has another config than host 0: {listed}")


def make_parts(experiment: Experiment, workdir: Path, checkpoints: Checkpoints) -> Parts:
    """What `loop.train` drives, compiled.

    Args:
      experiment: what to train.
      workdir: where the reports go; made.
      checkpoints: of the workdir.
    """
    data, (training, validation) = experiment.data, experiment.sources
    most = experiment.settings.data.max_bad_fraction
    bad = [BadRecords(source, most, _say) for source in (training, validation)]
    print("compiling ...", flush=True)
    started = time.perf_counter()
    train_step = programs.compile_train_step(experiment)
    is_finite = programs.compile_is_finite(experiment)
    seconds = time.perf_counter() - started
    hosts.gather("compiled")  # the first sum over hosts does not wait for long
    print(f"compiled in {seconds:.1f} s", flush=True)
    return Parts(
        parallel=experiment.devices,
        train_step=train_step,
        is_finite=is_finite,
        compile_validation=functools.partial(programs.compile_validation, experiment),
        compile_seconds=seconds,
        open_batches=functools.partial(_open_batches, experiment, bad[0]),
        count_bad=functools.partial(_count_bad, bad),
        advise=Advice(training, data.training, prepared=data.splits.kind == "prepared"),
        validation_batches=pipeline.validation_batches(
            validation,
            data.validation,
            batch_size=programs.evaluation_batch_size(experiment),
            on_bad=bad[1].note,
            **_share(),
        ),
        samples=_samples(experiment),
        checkpoints=checkpoints,
        config=experiment.config,
        workdir=workdir,
    )


def _open_batches(experiment: Experiment, bad: BadRecords, step: int):
    return pipeline.training_batches(
        experiment.sources[0],
        experiment.data.training,
        batch_size=experiment.settings.train.batch_size,
        seed=experiment.config["seed"],
        start_step=step,
        on_bad=bad.note,
        **experiment.settings.loader._asdict(),
        **_share(),
    )


def _share() -> dict[str, int]:
    """Which part of each batch this host reads."""
    return {"process_index": hosts.index(), "process_count": hosts.count()}


def _say(line: str) -> None:
    """Prints above the progress bar; on a host that prints nothing else, as an error."""
    if hosts.is_first():
        tqdm.write(line)
    else:
        sys.stderr.write(f"host {hosts.index()}: {line}\n")


def _count_bad(bad: list[BadRecords]) -> int:
    """Records replaced since this was last asked, on all hosts, which all know of them then.

    Raises:
      DataError: all of them together are more than may be.
    """
    own = json.dumps([records.take_news() for records in bad])
    news = [[News(*x) for x in json.loads(said)] for said in hosts.gather(own)]
    for records, of_all in zip(bad, zip(*news, strict=True), strict=True):
        records.learn(index for of_host in of_all for index in of_host.found)
    return sum(x.replaced for of_host in news for x in of_host)


def _samples(experiment: Experiment) -> dict[str, np.ndarray]:
    """The first validation pairs, as the network sees them."""
    source = experiment.sources[1]
    count = min(experiment.settings.evaluation.samples, len(source))
    records = [read_or_replace(source, index)[0] for index in range(count)]
    pairs = [experiment.data.validation(record) for record in records]
    return {name: np.stack([pair[name] for pair in pairs]) for name in ("condition", "target")}
