"""Pictures and caches in a bucket, gs:// or s3://: copied to the local disk once, or sent there.

Training reads each picture in every epoch and in a random order. From the disk that needs a thread
or two; from a bucket it would need a request each time. So what lies there is copied before
anything looks at it, and whatever reads pictures knows files only.

fsspec and its filesystems do the talking, as they do for Orbax; they find your credentials.
"""

import contextlib
import functools
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import filelock
from tqdm import tqdm

from jaxcolor.data.cache_root import cache_root
from jaxcolor.data.pictures import expand
from jaxcolor.errors import ConfigError, DataError, UserError
from jaxcolor.plain_json import parse_json

EXTRAS = {"gs": "gcs", "s3": "s3"}  # schemes, and what brings their filesystem
THREADS = 16  # files under way: a request is mostly waiting
NOTED_SECONDS = 5.0  # of copying that a kill can cost
_INDEX = ".copied.json"
_LOCK = ".lock"
_UNFINISHED = ".unfinished"


class Remote(NamedTuple):
    """A file in a bucket.

    Attributes:
      path: in its filesystem.
      size: bytes.
      version: what changes with its content.
    """

    path: str
    size: int
    version: str


def is_bucket(path: str | Path) -> bool:
    """Whether a path is one in a bucket.

    Raises:
      ConfigError: it is a URL of another kind, which as a path would be a folder of the disk.
    """
    scheme, separator, _ = str(path).partition("://")
    if separator and scheme.isalnum() and scheme not in EXTRAS:
        known = " and ".join(f"{scheme}://" for scheme in EXTRAS)
        raise ConfigError(f"{path} is a URL of an unknown kind: write {known} for buckets")
    return bool(separator) and scheme in EXTRAS


def has_bucket(word: object) -> bool:
    """Whether an argument of a command line names something in a bucket, be it after a label."""
    return isinstance(word, str) and any(f"{scheme}://" in word for scheme in EXTRAS)


def local(path: str | Path) -> Path:
    """The path itself with ~ replaced, or for one in a bucket what `fetch` makes of it."""
    return fetch(str(path)) if is_bucket(path) else expand(path)


@functools.lru_cache(maxsize=64)
def fetch(url: str, *, progress: bool = True) -> Path:
    """A local directory with all that is below `url`: copied where it is not there as it is now.

    Killed, it goes on with the files that were not yet whole. Files that have gone from the bucket
    go here, too. Other processes of this machine wait meanwhile. In one process a URL is looked at
    once.

    Args:
      url: of a folder in a bucket.
      progress: whether to show a bar if standard error is a terminal.

    Raises:
      ConfigError: the extra that reads it is not installed.
      DataError: it cannot be read, nothing is there, or the disk is too small.
    """
    place = cache_root() / "buckets" / local_name(url)
    with clear_errors(url, "read"):
        files = _list(url)
    if not files:
        raise DataError(f"nothing is below {url}: check its name")
    try:
        place.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(place.with_name(place.name + _LOCK)):
            _copy(url, files, place, progress)
    except OSError as error:
        raise DataError(
            f"cannot copy {url} to {place} ({error.strerror or error}): set JAXCOLOR_CACHE to a "
            "directory that can be written"
        ) from error
    return place


def staged(url: str) -> Path:
    """The local directory in which is made what `send` is to send to `url`."""
    return cache_root() / "buckets" / f"to-{local_name(url)}"


def send(directory: Path, url: str, last: str, *, progress: bool = True) -> None:
    """Copies the files of a directory to a folder of a bucket, hidden ones left out.

    Args:
      directory: without folders.
      url: where to.
      last: name of the file whose presence says that all are there; goes last.
      progress: whether to show a bar if standard error is a terminal.

    Raises:
      ConfigError: the extra that writes it is not installed.
      DataError: it cannot be written, or holds another such file.
    """
    names = sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))
    names.remove(last)
    with clear_errors(url, "written"):
        filesystem, root = open_bucket(url)
        target = f"{root}/{last}"
        if filesystem.exists(target):
            if filesystem.cat_file(target) == (directory / last).read_bytes():
                return
            raise DataError(f"{url} holds another {last}: choose another place, or delete it")
        sizes = [(directory / name).stat().st_size for name in names]
        with _bar(f"sending to {url}", sum(sizes), progress) as bar:

            def put(name, size):
                filesystem.put_file(str(directory / name), f"{root}/{name}")
                bar.update(size)

            in_threads(put, zip(names, sizes, strict=True))
        filesystem.put_file(str(directory / last), target)


def open_bucket(url: str) -> tuple[Any, str]:
    """The filesystem of a URL and the path in it.

    Raises:
      ConfigError: the extra that brings the filesystem is not installed.
    """
    import fsspec

    scheme = url.partition("://")[0]
    try:
        # Listings are not kept: another run of this process is to see what has changed.
        filesystem = fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        extra = EXTRAS[scheme]
        raise ConfigError(
            f"{url}: {scheme}:// needs the extra {extra}: pip install -e '.[{extra}]'"
        ) from error
    return filesystem, filesystem._strip_protocol(url).rstrip("/")


def get_files(filesystem: Any, root: str, place: Path, sizes: dict[str, int]) -> list[str]:
    """Copies files of a bucket, by their names below `root`; the names of those that are not there.

    Args:
      filesystem: see `open_bucket`.
      root: likewise.
      place: a new directory to copy them to.
      sizes: of the files in bytes, for the bar.
    """
    with _bar("copying", sum(sizes.values())) as bar:

        def get(name, size):
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                filesystem.get_file(f"{root}/{name}", str(path))
            except FileNotFoundError:
                path.unlink(missing_ok=True)
                return name
            bar.update(size)
            return ""

        return [name for name in in_threads(get, sizes.items()) if name]


def in_threads(work: Callable, arguments: Iterable[tuple]) -> list:
    """What `work` returns for each of the arguments; the first error ends it."""
    with ThreadPoolExecutor(THREADS) as threads:
        pending = [threads.submit(work, *each) for each in arguments]
        try:
            return [each.result() for each in pending]
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def clear_errors(url: str, done: str) -> Iterator[None]:
    """Turns what the clouds' libraries raise, of many kinds, into one line: DataError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(
            f"{url} cannot be {done} ({reason}): check its name, your permissions and credentials"
        ) from error


def local_name(url: str) -> str:
    """A name for a folder that tells people which URL it is of, and that no other has."""
    readable = url.rstrip("/").replace("://", "-").replace("/", "-")[-60:]
    return f"{readable}-{hashlib.sha256(url.rstrip('/').encode()).hexdigest()[:8]}"


def check_name(name: str, url: str) -> None:
    """Raises DataError if the name of a file in a bucket would lead out of its local directory."""
    path = PurePosixPath(name)
    if ".." in path.parts or path.is_absolute() or str(path) != name or "\\" in name:
        raise DataError(f"{url} holds {name!r}, which is no name for a file: rename it")


def _list(url: str) -> dict[str, Remote]:
    """All files below a URL by their names within it; markers of folders are left out.

    Raises:
      DataError: a name would lead out of the directory that it is copied to.
    """
    filesystem, root = open_bucket(url)
    files = {}
    for path, info in filesystem.find(root, detail=True).items():
        name = path.removeprefix(root).lstrip("/")
        if not name or path.endswith("/") or info["type"] != "file":
            continue
        check_name(name, url)
        changing = ("etag", "ETag", "md5Hash", "updated", "LastModified", "created")
        version = next((str(info[key]) for key in changing if info.get(key)), "")
        files[name] = Remote(path, int(info["size"]), version)
    return files


def _copy(url: str, files: dict[str, Remote], place: Path, progress: bool) -> None:
    """Makes `place` hold these files and no others."""
    index_path = place.with_name(place.name + _INDEX)
    index = _read_index(index_path)
    whole = {name for name, file in files.items() if _is_whole(place / name, file, index.get(name))}
    for path in sorted(place.rglob("*")):
        if path.is_file() and path.relative_to(place).as_posix() not in files:
            path.unlink()
    index = {name: index[name] for name in whole}
    missing = {name: file for name, file in files.items() if name not in whole}
    size = sum(file.size for file in missing.values())
    if not missing:
        return
    free = shutil.disk_usage(place).free
    if size > free:
        raise DataError(
            f"{url} needs {size / 1e9:,.2f} GB more in {place}, whose disk has "
            f"{free / 1e9:,.2f} GB free: make room, or set JAXCOLOR_CACHE to another disk"
        )
    print(f"copying {len(missing):,} files of {url}, {size / 1e6:,.1f} MB, to {place}", flush=True)
    filesystem, _ = open_bucket(url)
    noting, noted = threading.Lock(), time.monotonic()
    with _bar("copying", size, progress) as bar:

        def get(name, file):
            nonlocal noted
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + _UNFINISHED)
            with clear_errors(f"{url}/{name}", "read"):
                filesystem.get_file(file.path, str(part))
            if part.stat().st_size != file.size:
                raise DataError(f"{url}/{name} has changed while it was copied: start again")
            part.replace(path)
            with noting:
                index[name] = [file.size, file.version]
                bar.update(file.size)
                if time.monotonic() > noted + NOTED_SECONDS:
                    _write_index(index_path, index)
                    noted = time.monotonic()

        try:
            in_threads(get, missing.items())
        finally:
            _write_index(index_path, index)


def _is_whole(path: Path, file: Remote, noted: list | None) -> bool:
    """Whether a local file is a copy of what the bucket holds now."""
    return (
        noted == [file.size, file.version] and path.is_file() and path.stat().st_size == file.size
    )


def _read_index(path: Path) -> dict[str, list]:
    try:
        return dict(parse_json(path.read_bytes()))
    except (OSError, ValueError, TypeError):  # none, or the half of one: all is copied again
        return {}


def _write_index(path: Path, index: dict[str, list]) -> None:
    temporary = path.with_name(path.name + _UNFINISHED)
    temporary.write_text(json.dumps(index), encoding="ascii")
    temporary.replace(path)


def _bar(what: str, size: int, progress: bool = True) -> tqdm:
    return tqdm(
        total=size,
        desc=what,
        unit="B",
        unit_scale=True,
        disable=None if progress else True,
        leave=False,
        dynamic_ncols=True,
    )
