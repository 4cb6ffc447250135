"""The directory of one run: made, kept from other runs, checked for space, given its config."""

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import jax

from jaxcolor import hosts
from jaxcolor.errors import WorkdirError
from jaxcolor.settings import CheckpointSettings
from jaxcolor.training.checkpoints import Checkpoints
from jaxcolor.training.state import GanState

SHARED_SECONDS = 20  # until a file that one host writes must be seen by all


@contextlib.contextmanager
def own_workdir(workdir: Path) -> Iterator[None]:
    """Makes the workdir, and keeps other runs out of it until done or killed.

    Of many hosts the first does, and the others make sure that they see the same directory.

    Raises:
      WorkdirError: it cannot be written, another run is in it, or hosts do not share it.
    """
    with _locked(workdir) if hosts.is_first() else contextlib.nullcontext():
        if hosts.count() > 1:
            _check_shared(workdir)
        yield


def _check_shared(workdir: Path) -> None:
    """Raises WorkdirError unless all hosts see a file that the first one writes."""
    token = secrets.token_hex(8)
    note = workdir / ".shared"
    if hosts.is_first():
        note.write_text(token, encoding="utf-8")
    token = hosts.gather(token)[0]
    until = time.monotonic() + SHARED_SECONDS
    while not (note.is_file() and note.read_text(encoding="utf-8") == token):
        if time.monotonic() > until:
            raise WorkdirError(
                f"workdir {workdir}: this host does not see what host 0 writes there: give all "
                "hosts a --workdir on a file system that they share"
            )
        time.sleep(0.1)
    hosts.gather("seen")
    if hosts.is_first():
        note.unlink()


@contextlib.contextmanager
def _locked(workdir: Path) -> Iterator[None]:
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
