"""Orbax checkpoints: both networks, both optimizers, statistics, step, and the resolved config.

They are written in the background and appear whole or not at all, so that a run killed at any
moment finds the last complete one.
"""

import contextlib
import functools
import math
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxcolor import hosts
from jaxcolor.errors import UserError, WorkdirError
from jaxcolor.metrics import BY_PICTURE
from jaxcolor.plain_json import check_plain
from jaxcolor.training.checkpoint_files import (
    find_damage,
    keep_until_replaced,
    remove_replaced,
    write_checksums,
)
from jaxcolor.training.progress import goodness
from jaxcolor.training.state import GanState, NetworkState

DEFAULT_BEST_BY = "l1"
MISSING = "(not set)"
TEN_YEARS = 315_360_000  # seconds


class _EarliestBest(policies.BestN):
    """Orbax's own keeps the latest of equals; early stopping says that it was the first."""

    def should_preserve(self, checkpoints, *, context):
        return super().should_preserve(checkpoints[::-1], context=context)[::-1]


class _Manager(ocp.CheckpointManager):
    """Asks JAX nothing of preemptions: hosts stop at a question by its number, see `stopping`.

    Attributes:
      writing: makes the context in which its thread waits for what is being written.
    """

    writing: Callable = contextlib.nullcontext

    def reached_preemption(self, step):
        return False

    def _wait_for_checkpointers(self):
        with self.writing():
            super()._wait_for_checkpointers()


class Checkpoints:
    """The checkpoints of one workdir, by step."""

    def __init__(
        self,
        directory: str | Path,
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        best_by: str = "",
        read_only: bool = False,
    ):
        """Opens a directory of checkpoints.

        Args:
          directory: where they lie; made if missing.
          keep_last: how many of the newest are kept.
          keep_best: how many of the best are kept besides.
          best_by: the validation metric, a key of `metrics.BY_PICTURE`, by which they are; ""
            for the one in the newest checkpoint's config. A checkpoint without it is worse than
            any other.
          read_only: never write nor tidy up: for reading another run's workdir.

        Raises:
          WorkdirError: it cannot be opened.
        """
        self.directory = Path(directory).absolute()
        self._best_by = best_by
        self._saving: int | None = None
        score = functools.partial(goodness, best_by or DEFAULT_BEST_BY)
        kept = policies.AnyPreservationPolicy(
            [
                policies.LatestN(keep_last),
                _EarliestBest(
                    get_metric_fn=score,
                    n=keep_best,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        # Without best_fn Orbax does not write the metrics down, and a resumed run forgets the best.
        best = {"best_fn": score, "best_mode": "max"}
        options = (
            ocp.CheckpointManagerOptions(read_only=True, save_interval_steps=0, **best)
            if read_only
            else ocp.CheckpointManagerOptions(
                preservation_policy=kept,
                cleanup_tmp_directories=True,
                async_options=ocp.AsyncOptions(
                    post_finalization_callback=self._finish_files,
                    timeout_secs=TEN_YEARS,  # by the time of day too, which may jump
                    # Else, where they cannot be made, it waits 20 minutes by the time of day.
                    create_directories_asynchronously=False,
                ),
                **best,
            )
        )
        with self._clear_errors("opened"):
            self._manager = _Manager(self.directory, options=options)
        self._manager.writing = self._errors_end_all

    def save(
        self,
        step: int,
        state: GanState,
        config: dict,
        metrics: dict[str, float] | None,
        progress: dict | None = None,
    ) -> None:
        """Starts writing a checkpoint, unless one of `step` is there; returns before it is done.

        One that was saved before the validation of its step gives way to one with its numbers.

        Args:
          step: its name.
          state: copied before this returns, so that its buffers may be donated afterwards.
          config: the resolved config, JSON values only.
          metrics: validation numbers, or None between validations.
          progress: what `training.progress` must know to go on, JSON values only.

        Raises:
          WorkdirError: this or the previous checkpoint could not be written.
        """
        gives_way = step in self.steps()
        if gives_way and (metrics is None or self.metrics(step)):
            return
        if metrics is not None:
            metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
        with self._clear_errors("written"):
            self._manager.wait_until_finished()
            if hosts.is_first() and not self.directory.is_dir():  # Orbax would make it anew
                raise FileNotFoundError(self.directory)
            if gives_way:
                self._on_one_host(keep_until_replaced, step)
                self._manager.reload()
            self._saving = step
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    config=ocp.args.JsonSave(config),
                    progress=ocp.args.JsonSave(progress or {}),
                ),
                metrics=metrics or None,
            )
            if gives_way:
                self._manager.wait_until_finished()
                self._on_one_host(remove_replaced, step)

    def _on_one_host(self, act: Callable[[Path, int], None], step: int) -> None:
        """Has one of the hosts change the files of a checkpoint; all others wait for it."""
        if hosts.is_first():
            act(self.directory, step)
        hosts.gather(f"{act.__name__} {step}")

    def _finish_files(self) -> None:
        """Adds checksums to what Orbax has just written, before it gives it its name.

        Called by Orbax in its own thread, in the first process.
        """
        write_checksums(self.directory / f"{self._saving}{ocp.utils.TMP_DIR_SUFFIX}")

    def check(self, step: int) -> None:
        """Reads all of a checkpoint and compares it with its checksums, if it has any.

        Raises:
          WorkdirError: it is not what was written.
        """
        with self._clear_errors("read", step):
            damage = find_damage(self.directory / str(step))
            if damage:
                raise ValueError(damage.reason)

    @contextlib.contextmanager
    def checking(self, step: int) -> Iterator[None]:
        """What `check` does, beside the body, which may read the checkpoint but use nothing of it.

        Raises:
          WorkdirError: it is not what was written; instead of any error that came of that.
        """
        with ThreadPoolExecutor(1, "checksums") as pool:  # hashing leaves the interpreter free
            checked = pool.submit(self.check, step)
            try:
                yield
            except Exception as error:
                checked.result()
                raise error
            checked.result()

    def steps(self) -> list[int]:
        """Steps of all complete checkpoints."""
        return sorted(self._manager.all_steps())

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Step of the best checkpoint; None before any validation.

        Where none has the metric that decides, such as in older workdirs, L1 does.
        """
        with self._clear_errors("read"):
            scores = {step: _numbers(self._manager.metrics(step)) for step in self.steps()}
        for metric in (self.best_by(), DEFAULT_BEST_BY):
            values = {step: goodness(metric, found) for step, found in scores.items()}
            if any(math.isfinite(value) for value in values.values()):
                return max(values, key=values.get)
        return None

    def best_by(self) -> str:
        """The metric that decides which checkpoint is best."""
        latest = self.latest()
        if self._best_by or latest is None:
            return self._best_by or DEFAULT_BEST_BY
        stored = flatten(self.config(latest)).get("checkpoint.best_by")
        judges = isinstance(stored, str) and stored in BY_PICTURE and BY_PICTURE[stored].better
        return stored if judges else DEFAULT_BEST_BY

    def metrics(self, step: int) -> dict[str, float]:
        """The validation numbers stored at `step`; empty if it was saved between validations."""
        with self._clear_errors("read", step):
            return _numbers(self._manager.metrics(step))

    def progress(self, step: int) -> dict | None:
        """What was saved as the progress at `step`; None in checkpoints of older versions."""
        path = self.directory / str(step) / "progress"
        if not path.exists():
            return None
        with self._clear_errors("read", step):
            args = ocp.args.Composite(progress=ocp.args.JsonRestore())
            return check_plain(self._manager.restore(step, args=args)["progress"]) or None

    def config(self, step: int) -> dict:
        """The resolved config stored at `step`."""
        with self._clear_errors("read", step):
            args = ocp.args.Composite(config=ocp.args.JsonRestore())
            config = check_plain(self._manager.restore(step, args=args)["config"])
            if not isinstance(config, dict):
                raise WorkdirError(f"checkpoint {step} in {self.directory} holds no config")
            return config

    def restore(self, step: int, like: GanState) -> GanState:
        """The state stored at `step`.

        Args:
          step: which checkpoint.
          like: a state, or jax.ShapeDtypeStructs, with the shapes, types and shardings to restore.

        Raises:
          WorkdirError: it cannot be read, or does not have those shapes.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        with self._clear_errors("read", step):
            args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
            return self._manager.restore(step, args=args)["state"]

    def restore_weights(self, step: int, like: dict[str, NetworkState]) -> dict[str, dict]:
        """{"generator": {"params", "batch_stats"}, ...} of `step`: the networks of `like` alone.

        Whatever else is stored, optimizers and other networks, is not read and may have any shape.

        Args:
          step: which checkpoint.
          like: networks with the shapes, types and shardings to restore, by name.

        Raises:
          WorkdirError: it cannot be read, or does not have those shapes.
        """
        wanted = {
            name: {"params": network.params, "batch_stats": network.batch_stats}
            for name, network in like.items()
        }
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, wanted)
        restored = ocp.checkpoint_utils.construct_restore_args(abstract)
        with self._clear_errors("read", step):
            args = ocp.args.PyTreeRestore(abstract, restored, partial_restore=True)
            found = self._manager.restore(step, args=ocp.args.Composite(state=args))["state"]
            _check_shapes(found, abstract)  # Orbax would cut or pad
        return found

    def wait(self) -> None:
        """Returns when everything is on disk; raises WorkdirError if it could not be written."""
        with self._clear_errors("written"):
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def close(self) -> None:
        """Waits, and lets go of the directory."""
        with self._clear_errors("written"):
            self._manager.close()

    def __enter__(self) -> "Checkpoints":
        """Itself; closed at the end."""
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        """Closes; an error that is on its way comes before what closing says.

        After one among many hosts nothing is closed, which would wait for all of them.
        """
        if kind and hosts.count() > 1 and not issubclass(kind, hosts.AgreedStop):
            return
        try:
            self.close()
        except WorkdirError:
            if kind is None:
                raise

    @contextlib.contextmanager
    def _errors_end_all(self) -> Iterator[None]:
        """A context whose errors end all hosts, which else would wait for one another for ever."""
        try:
            with self._clear_errors("written"):
                yield
        except WorkdirError as error:
            hosts.end_all(error)
            raise

    @contextlib.contextmanager
    def _clear_errors(self, done: str, step: int | None = None) -> Iterator[None]:
        """Turns what Orbax raises into one line that names the directory."""
        where = self.directory if step is None else self.directory / str(step)
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # Orbax meets damage with errors of any kind
            hint = (
                "remove the damaged one to go on from the one before; " if done != "written" else ""
            )
            has_gone = done == "written" and _is_of_missing_files(error)
            reason = "files have gone meanwhile: was it removed?" if has_gone else _reason(error)
            raise WorkdirError(
                f"checkpoint in {where} could not be {done}: {hint}{reason}"
            ) from error


def _is_of_missing_files(error: Exception) -> bool:
    """Whether an error of Python's or TensorStore's is that a file is not there."""
    return isinstance(error, FileNotFoundError) or str(error).startswith("NOT_FOUND: ")


def _reason(error: Exception) -> str:
    """What an error says, in one line: of a long one of TensorStore's, what the system says."""
    line = " ".join(str(error).split())
    code = re.search(r"os_error_code='(\d+)'", line)
    if code:
        return os.strerror(int(code[1]))
    return line[:300] or type(error).__name__


def _numbers(metrics: Any) -> dict[str, float]:
    """What was stored as metrics, without what is none."""
    found = check_plain(metrics) if isinstance(metrics, dict) else {}
    return {name: value for name, value in found.items() if type(value) in (int, float)}


def _check_shapes(found: Any, expected: Any) -> None:
    """Raises WorkdirError unless all arrays are there in the shapes expected."""
    for (path, x), want in zip(
        jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        if x.shape != want.shape:
            name = jax.tree_util.keystr(path)
            raise WorkdirError(f"{name} has the shape {x.shape} and not {want.shape}")


def differing_keys(ours: dict[str, Any], stored: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """{"section.key": (our value, stored value)} of every leaf in which two configs differ."""
    ours, stored = flatten(ours), flatten(stored)
    return {
        key: (ours.get(key, MISSING), stored.get(key, MISSING))
        for key in sorted(ours.keys() | stored.keys())
        if ours.get(key, MISSING) != stored.get(key, MISSING)
    }


def flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
    """{"section.key": value} of every leaf of a config; tuples as lists, as JSON has them."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat
