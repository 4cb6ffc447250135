"""The directory of one run: made, kept from other runs, checked for space, given its config."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import filelock
import jax

from jaxcolor.errors import WorkdirError
from jaxcolor.settings import CheckpointSettings
from jaxcolor.training.checkpoints import Checkpoints
from jaxcolor.training.state import GanState


@contextlib.contextmanager
def own_workdir(workdir: Path) -> Iterator[None]:
    """Makes the workdir, and keeps other runs out of it until done or killed.

    Raises:
      WorkdirError: it cannot be written, or another run is in it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(workdir / ".lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise WorkdirError(
            f"workdir {workdir} is in use by another run: wait for it, or use another --workdir"
        ) from None
    except OSError as error:
        raise WorkdirError(
            f"workdir {workdir} cannot be written ({error.strerror}): use another --workdir"
        ) from error
    try:
        yield
    finally:
        lock.release()


def check_space(
    workdir: Path, state: GanState, kept: CheckpointSettings, checkpoints: Checkpoints
) -> None:
    """Raises WorkdirError if the checkpoints to come cannot fit on the disk."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    # One more than is kept: the old one goes when the new one is complete.
    missing = kept.keep_last + kept.keep_best + 1 - len(checkpoints.steps())
    free = shutil.disk_usage(workdir).free
    if size * missing > free:
        raise WorkdirError(
            f"workdir {workdir}: {missing} checkpoints of {size / 1e6:.1f} MB do not fit into the "
            f"{free / 1e6:.1f} MB free: free some, or lower checkpoint.keep_last and keep_best"
        )


def write_config(workdir: Path, config: dict) -> None:
    """Writes the resolved config to config.json, whole or not at all."""
    temporary = workdir / "config.json.tmp"
    temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    temporary.replace(workdir / "config.json")
