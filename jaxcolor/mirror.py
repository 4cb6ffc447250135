"""A workdir in a bucket, gs:// or s3://: a local directory whose content is copied there.

All of a run's files are written to the local disk as ever, with its lock and its renames, which a
bucket does not have. A thread copies what is new: a checkpoint once it is complete, the logs as
they stand. An index in the bucket, replaced at the end of each round, says which files make the
workdir, so that a round that was cut short leaves the one before. On a machine without the local
directory, or with an older one, the run starts with a copy of what the bucket holds.
"""

import contextlib
import json
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from jaxcolor.data import buckets
from jaxcolor.data.cache_root import cache_root
from jaxcolor.data.pictures import expand
from jaxcolor.errors import UserError, WorkdirError
from jaxcolor.plain_json import parse_json

INDEX = "workdir.json"  # in the bucket
SECONDS = 30.0  # between two rounds
READ_SECONDS = 5.0  # to wait for others of this machine that copy the same workdir
STILL_SECONDS = 1.0  # for which a checkpoint must not change: it may be under removal
_STATE = ".mirrored.json"  # in the local directory: the index that it was last the same as
_CHECKPOINTS = "checkpoints"
_PROBE = ".writable"


class InUse(WorkdirError):
    """Another process of this machine has the workdir."""


@contextlib.contextmanager
def opened(workdir: str | Path, *, many_hosts: bool = False) -> Iterator[Path]:
    """The local directory of a workdir; for one in a bucket a mirror, copied there meanwhile.

    Args:
      workdir: a path or the URL of a folder in a bucket.
      many_hosts: whether others train with this host; they need a disk that they share.

    Raises:
      WorkdirError: the bucket cannot be read or written, another run writes to it, or many hosts
        are to train in it.
    """
    if not buckets.is_bucket(workdir):
        yield Path(workdir).expanduser().absolute()
        return
    if many_hosts:
        raise WorkdirError(
            f"workdir {workdir}: many hosts cannot train in a bucket: give them a --workdir on a "
            "disk that they share, such as NFS or Filestore"
        )
    mirror = Mirror(str(workdir))
    print(f"{workdir} is kept in {mirror.local} and copied every {SECONDS:.0f} s", flush=True)
    with mirror.running():
        yield mirror.local


def as_it_is(workdir: str | Path) -> Path:
    """The path of a workdir to be read, ~ replaced; of one in a bucket a copy as of now.

    Where a run of this machine is writing to it, that is the directory from which it is copied.

    Raises:
      WorkdirError: the bucket cannot be read, or has no workdir there.
    """
    if not buckets.is_bucket(workdir):
        return expand(workdir)
    try:
        mirror = Mirror(str(workdir), wait_seconds=READ_SECONDS)
    except InUse:
        local = local_directory(str(workdir))
        if not local.is_dir():  # another is making the copy
            raise
        return local
    mirror.release()
    if not _files(mirror.local):
        raise WorkdirError(f"{workdir} is no workdir of a training: nothing is there")
    return mirror.local


def local_directory(url: str) -> Path:
    """Where the files of a workdir in a bucket are kept on this machine."""
    return cache_root() / "workdirs" / buckets.local_name(url)


class Mirror:
    """A local directory and the folder of a bucket that it is copied to.

    Attributes:
      url: of the folder.
      local: the directory, with the content of the folder unless it was ahead of that.
    """

    def __init__(self, url: str, *, wait_seconds: float = 0):
        """Makes the local directory the same as the bucket, unless it already was or is ahead.

        Args:
          url: of a folder in a bucket.
          wait_seconds: how long others of this machine may be in the workdir.

        Raises:
          InUse: others are in it for longer.
          WorkdirError: the bucket cannot be read, or the extra that reads it is not installed.
        """
        self.url = url.rstrip("/")
        self.local = local_directory(url)
        self._stop = threading.Event()
        self.local.parent.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(f"{self.local}.lock", timeout=wait_seconds)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise InUse(
                f"workdir {self.url} is in use by another run: wait for it, or use another "
                "--workdir"
            ) from None
        try:
            with self._clear_errors("read"):
                self._filesystem, self._root = buckets.open_bucket(self.url)
                self._index = self._begin()
            self.local.mkdir(exist_ok=True)
        except BaseException:
            self.release()
            raise

    def _begin(self) -> dict[str, Any]:
        """The index that the local directory is the same as, once it is."""
        here, there = self._read_local(), self._read_remote()
        if there is None and here["round"]:
            raise WorkdirError(
                f"workdir {self.url} has gone, and its copy {self.local} has not: move that away "
                "to start over, or copy it there"
            )
        if there is None or here["round"] == there["round"]:
            return here
        part = self.local.with_name(self.local.name + ".unfinished")
        missing = self._get(there, part)
        while missing:
            newer = self._read_remote()
            if newer is None or newer["round"] == there["round"]:
                self._leave_out(missing, there, part)
                break
            there = newer  # a run elsewhere has removed what it replaced
            missing = self._get(there, part)
        return self._put_in_place(part, there, here["files"])

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """A context in which a thread copies what is new; all has been copied at its end.

        Not so after KeyboardInterrupt, which is to end a run at once: the next one copies the rest.

        Raises:
          WorkdirError: the bucket cannot be written, or what was there at the end could not be
            copied. Where another error is on its way, that one goes on, and this is a line on
            standard error.
        """
        thread = threading.Thread(target=self._run, name="jaxcolor_mirror", daemon=True)
        try:
            self._check_writable()
            thread.start()
            try:
                yield
            except KeyboardInterrupt:
                raise
            except BaseException:
                self._finish(thread, told=True)
                raise
            self._finish(thread)
        finally:
            self._stop.set()
            self.release()

    def _check_writable(self) -> None:
        """Raises WorkdirError unless a file can be written to the bucket and removed from it.

        Before hours of training are, of which nothing could be kept there.
        """
        with self._clear_errors("written"):
            self._filesystem.pipe_file(f"{self._root}/{_PROBE}", b"-")
            self._filesystem.rm_file(f"{self._root}/{_PROBE}")

    def _finish(self, thread: threading.Thread, *, told: bool = False) -> None:
        """The last round; with `told`, a line on standard error where it fails."""
        self._stop.set()
        thread.join()
        try:
            self.push()
        except UserError as error:
            if not told:
                raise
            sys.stderr.write(f"{error}\n")

    def release(self) -> None:
        """Lets others of this machine use the local directory."""
        self._lock.release()

    def push(self) -> None:
        """One round: copies what is new, then the index, then removes what has gone.

        Raises:
          WorkdirError: it could not be copied, another run has written to the bucket, or the
            local directory has gone.
        """
        files = _files(self.local)
        if files == self._index["files"]:
            return
        with self._clear_errors("written"):
            there = (self._read_remote() or _no_index())["round"]
            if there != self._index["round"]:
                raise WorkdirError(
                    f"workdir {self.url} is written by another run: use another --workdir. This "
                    f"run's own files are in {self.local}"
                )
            old = self._index["files"]
            new = [name for name, state in files.items() if old.get(name) != state]
            gone = set(filter(None, buckets.in_threads(self._put, [(name,) for name in new])))
            time.sleep(STILL_SECONDS)
            files = _settled(files, _files(self.local), gone)
            if self._index["round"] and self._read_local()["round"] != self._index["round"]:
                raise WorkdirError(
                    f"workdir {self.url}: its local copy {self.local} has been removed; the bucket "
                    "keeps what it holds, from where the same command goes on"
                )
            index = {"round": secrets.token_hex(8), "files": files}
            self._filesystem.pipe_file(f"{self._root}/{INDEX}", json.dumps(index).encode())
            self._index = index
            _write_state(self.local, index)
            unused = (old.keys() | set(new)) - files.keys() - gone
            if unused:
                self._filesystem.rm([f"{self._root}/{name}" for name in sorted(unused)])

    def _put(self, name: str) -> str | None:
        """Copies a file; its name if it has gone meanwhile."""
        try:
            self._filesystem.put_file(str(self.local / name), f"{self._root}/{name}")
        except FileNotFoundError:
            if (self.local / name).exists():  # then it is the bucket that is missing
                raise
            return name
        return None

    def _run(self) -> None:
        while not self._stop.wait(SECONDS):
            try:
                self.push()
            except UserError as error:  # the last round, in the run's own thread, raises it
                sys.stderr.write(f"{error}; trying again in {SECONDS:.0f} s\n")

    def _read_remote(self) -> dict[str, Any] | None:
        try:
            return parse_json(self._filesystem.cat_file(f"{self._root}/{INDEX}"))
        except FileNotFoundError:
            return None

    def _read_local(self) -> dict[str, Any]:
        try:
            return parse_json((self.local / _STATE).read_bytes())
        except (OSError, ValueError):
            return _no_index()

    def _get(self, index: dict[str, Any], part: Path) -> list[str]:
        """Copies what an index names to the new directory `part`; the names that are not there."""
        if part.exists():
            shutil.rmtree(part)
        part.mkdir()
        sizes = {name: state[0] for name, state in index["files"].items()}
        for name in sizes:
            buckets.check_name(name, self.url)
        print(f"copying {self.url}, {sum(sizes.values()) / 1e6:,.1f} MB, to {self.local}")
        return buckets.get_files(self._filesystem, self._root, part, sizes)

    def _leave_out(self, missing: list[str], index: dict[str, Any], part: Path) -> None:
        """Removes checkpoints from `part` whose files have gone from the bucket; says what has.

        Raises:
          WorkdirError: there are checkpoints, and this befell all of them.
        """
        every = {_checkpoint(name) for name in index["files"]} - {None}
        partial = {_checkpoint(name) for name in missing} - {None}
        if partial and partial == every:
            raise WorkdirError(
                f"workdir {self.url}: every checkpoint lacks files, such as {missing[0]}: put them "
                "back, or use another --workdir"
            )
        for step in partial:
            shutil.rmtree(part / _CHECKPOINTS / step, ignore_errors=True)
        of = f", and with it checkpoint {' and '.join(sorted(partial))}" if partial else ""
        print(f"{self.url} lacks {missing[0]}, which its index names: left out{of}", flush=True)

    def _put_in_place(
        self, part: Path, index: dict[str, Any], known: dict[str, Any]
    ) -> dict[str, Any]:
        """Replaces the local directory by a copy of the bucket; the index of what is there now.

        Args:
          part: the copy.
          index: of the bucket.
          known: files of the local directory that the bucket once had; others are set aside.
        """
        index = index | {"files": _files(part)}
        _write_state(part, index)
        if _files(self.local) != known:
            aside = self.local.with_name(f"{self.local.name}-{secrets.token_hex(4)}")
            self.local.rename(aside)
            print(f"what an earlier run did not copy to the bucket is in {aside}", flush=True)
        elif self.local.exists():
            shutil.rmtree(self.local)
        part.rename(self.local)
        return index

    @contextlib.contextmanager
    def _clear_errors(self, done: str) -> Iterator[None]:
        try:
            with buckets.clear_errors(f"workdir {self.url}", done):
                yield
        except WorkdirError:
            raise
        except UserError as error:
            raise WorkdirError(str(error)) from error


def _no_index() -> dict[str, Any]:
    return {"round": "", "files": {}}


def _write_state(directory: Path, index: dict[str, Any]) -> None:
    temporary = directory / f"{_STATE}.tmp"
    temporary.write_text(json.dumps(index), encoding="ascii")
    temporary.replace(directory / _STATE)


def _files(directory: Path) -> dict[str, list[int]]:
    """Size and time of change of every file of a run by its name; not of unfinished ones."""
    found = {}
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        hidden = any(part.startswith(".") or ".orbax-checkpoint-tmp" in part for part in parts)
        if hidden or path.name.endswith(".tmp"):
            continue
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                status = path.stat()
                found["/".join(parts)] = [status.st_size, status.st_mtime_ns]
    return found


def _settled(before: dict, after: dict, gone: set[str]) -> dict[str, list[int]]:
    """What of `before` belongs together: checkpoints that have changed since are left out whole."""
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    checkpoints = {_checkpoint(name) for name in changed | gone} - {None}
    return {
        name: state
        for name, state in before.items()
        if name not in gone and _checkpoint(name) not in checkpoints
    }


def _checkpoint(name: str) -> str | None:
    """The checkpoint that a file is of, if it is of one."""
    parts = name.split("/")
    return parts[1] if parts[0] == _CHECKPOINTS and len(parts) > 2 else None
