"""Prepared caches: pictures decoded and resized once by `prepare`, read back without decoding.

A cache is a directory of ArrayRecord shards, a JSON file beside each with the names of its
pictures, and manifest.json, which is written last: what it was made from, with which options, and
how many records, which size and which SHA-256 each file has.
"""

import bisect
import itertools
import operator
import threading
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxcolor.data.manifest_structure import check_structure
from jaxcolor.data.record_format import decode_record
from jaxcolor.data.shards import file_sha256, json_sha256, open_reader
from jaxcolor.errors import DataError
from jaxcolor.plain_json import parse_json

FORMAT = "jaxcolor prepared cache"
VERSION = 1  # raise it when an older program could misread a cache
MANIFEST = "manifest.json"
UNFINISHED = "prepare.unfinished.json"  # the plan, there from the start until the manifest is
_HEAD_BYTES = 256


class PreparedSource:
    """One split of a prepared cache as a source.

    Attributes:
      size: length to which `fit_picture` brought its pictures, in pixels.
      method: the resampling it used, a key of transforms.METHODS.
      fit: one of transforms.FITS.
      paired: whether its records have a condition.
      description: what the cache was made from, as `prepare` was told.
    """

    def __init__(self, directory: str | Path, split: str):
        """Source of the records of `split`; looks at the size of every file, and opens none.

        Raises:
          DataError: there is no finished cache with this split, or a shard is missing or broken.
        """
        manifest = read_manifest(directory)
        if split not in manifest["splits"]:
            there = ", ".join(manifest["splits"])
            raise DataError(f"the prepared cache {directory} has no split {split}: it has {there}")
        plan, kept = manifest["plan"], manifest["splits"][split]
        self.size, self.paired = plan["splits"][split]["size"], kept["paired"]
        self.method, self.fit = plan["method"], plan["fit"]
        self.description = plan["description"]
        self._directory, self._shards = Path(directory), kept["shards"]
        for shard in self._shards:
            _check_size(self._directory, shard)
        self._ends = list(itertools.accumulate(shard["records"] for shard in self._shards))
        self._forget_opened()

    def _forget_opened(self):
        self._readers = [None] * len(self._shards)
        self._names = None
        self._lock = threading.Lock()

    def __getstate__(self):
        """Without the open files, which each process opens for itself, and without the names."""
        opened = ("_readers", "_names", "_lock")
        return {name: value for name, value in vars(self).items() if name not in opened}

    def __setstate__(self, state):
        """Opens nothing."""
        vars(self).update(state)
        self._forget_opened()

    @property
    def names(self) -> list[str]:
        """What the records are called, as in the source they were made from.

        Raises:
          DataError: a file of names is not as it was written.
        """
        if self._names is None:
            names = []
            for shard in self._shards:
                _check_digest(self._directory / shard["contents_file"], shard["contents_sha256"])
                names += _read_names(self._directory / shard["contents_file"], shard["records"])
            self._names = names
        return self._names

    def __len__(self):
        """Number of records."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index) -> dict[str, np.ndarray]:
        """The record: "target" and, if `paired`, "condition", uint8 [height, width, channels].

        The arrays are read-only. Threads may call this at once.

        Raises:
          DataError: the record is damaged; it says which one of which shard.
        """
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"there is no record {index}: the source has {len(self)}")
        number = bisect.bisect_right(self._ends, index)
        place = index - (self._ends[number] - self._shards[number]["records"])
        try:
            (data,) = self._reader(number).read([place])
            return decode_record(data)
        except Exception as error:  # ArrayRecord meets damage with errors of any kind
            path = self._directory / self._shards[number]["file"]
            raise _damaged(f"record {place} of {path}", error) from error

    def _reader(self, number):
        reader = self._readers[number]
        if reader is None:
            with self._lock:
                if self._readers[number] is None:
                    shard = self._shards[number]
                    opened = open_reader(self._directory / shard["file"])
                    if opened.num_records() != shard["records"]:
                        raise ValueError(f"its file does not hold {shard['records']} records")
                    self._readers[number] = opened
                reader = self._readers[number]
        return reader


def open_prepared(directory: str | Path) -> dict[str, PreparedSource]:
    """The sources of a cache by split: "train", "val" and maybe "test".

    Raises:
      DataError: as for `PreparedSource`.
    """
    return {split: PreparedSource(directory, split) for split in read_manifest(directory)["splits"]}


def is_prepared(directory: str | Path) -> bool:
    """Whether a directory is a prepared cache, be it an unfinished or a damaged one."""
    directory = Path(directory)
    try:
        if (directory / UNFINISHED).is_file():
            return True
        with (directory / MANIFEST).open("rb") as file:
            return FORMAT.encode() in file.read(_HEAD_BYTES)
    except OSError:
        return False


def read_manifest(directory: str | Path) -> dict[str, Any]:
    """What a cache holds: "format", "version", "jaxcolor", "plan" and "splits".

    The "plan" is what `prepare` was asked for: "description", "method", "fit", "drop_greyscale",
    "compression", and for each split its "size" and the number and digest of the "pictures" of its
    source. "splits" says for each split what came of it: "records", "bytes", "paired", "left_out"
    (name and reason of pictures that could not be read), "greyscale" (names of pictures left out
    for it) and its "shards" with their "file", "records", "bytes", "sha256", "contents_file" and
    "contents_sha256".

    Raises:
      DataError: there is no cache, or it was not finished, is damaged or of another version.
    """
    path = Path(directory, MANIFEST)
    try:
        manifest = parse_json(path.read_bytes())
    except FileNotFoundError:
        if Path(directory, UNFINISHED).is_file():
            raise DataError(
                f"the prepared cache {directory} was not finished: run the same prepare command "
                "again"
            ) from None
        raise DataError(
            f"no prepared cache in {directory}: python -m jaxcolor prepare makes one"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}): check its permissions") from error
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{path} is not of a {FORMAT}: set data.path to the directory of one")
    if manifest.get("version") != VERSION:
        raise DataError(
            f"the prepared cache {directory} has version {manifest.get('version')}, this program "
            f"reads version {VERSION}: prepare it again in another directory"
        )
    checksum = manifest.pop("checksum", None)
    if checksum != json_sha256(manifest):
        raise _damaged(path, "its checksum is not that of its contents")
    try:
        check_structure(manifest)
    except ValueError as error:
        raise _damaged(path, error) from error
    return manifest


def verify(directory: str | Path, *, progress: bool = True) -> None:
    """Reads the whole cache and compares every file with its checksum.

    Args:
      directory: of the cache.
      progress: whether to show a bar if standard error is a terminal.

    Raises:
      DataError: the first file that is not as it was written.
    """
    directory = Path(directory)
    splits = read_manifest(directory)["splits"].values()
    bar = tqdm(
        total=sum(split["bytes"] for split in splits),
        desc="checking the cache",
        unit="B",
        unit_scale=True,
        disable=None if progress else True,
        leave=False,
        dynamic_ncols=True,
    )
    with bar:
        for shard in itertools.chain.from_iterable(split["shards"] for split in splits):
            _check_size(directory, shard)
            _check_digest(directory / shard["file"], shard["sha256"])
            _check_digest(directory / shard["contents_file"], shard["contents_sha256"])
            bar.update(shard["bytes"])


def _read_names(path, count):
    """The names in the file beside a shard, one for each record."""
    try:
        names = parse_json(path.read_bytes())["names"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("its names are no list of text")
        if len(names) != count:
            raise ValueError(f"it has {len(names)} names for {count} records")
        return names
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _check_size(directory, shard):
    path = directory / shard["file"]
    try:
        size = path.stat().st_size
    except OSError as error:
        raise _damaged(path, error) from error
    if size != shard["bytes"]:
        raise _damaged(path, f"it has {size} bytes, not {shard['bytes']}")


def _check_digest(path, expected):
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise _damaged(path, error) from error
    if digest != expected:
        raise _damaged(path, "its SHA-256 is not that of the manifest")


def _damaged(what, reason):
    reason = " ".join((getattr(reason, "strerror", None) or str(reason)).split())
    return DataError(
        f"{what} is damaged ({reason}): delete the prepared cache and prepare it again"
    )
