"""Temporary folders of users' pictures, of which none outlives its server by more than the next."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "jaxcolor-gui-"
_LOCK = "in-use"
_YOUNG = 60  # seconds in which a server locks the folder that it made


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder, deleted in the end; those of servers that were killed are deleted now."""
    _delete_abandoned(Path(tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX) as name,
        Path(name, _LOCK).open("wb") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


def _delete_abandoned(directory):
    for folder in directory.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it is in use, or somebody else's
            if folder.lstat().st_uid == os.getuid() and _is_abandoned(folder / _LOCK):
                shutil.rmtree(folder)


def _is_abandoned(path):
    with path.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return time.time() - os.fstat(lock.fileno()).st_mtime > _YOUNG
