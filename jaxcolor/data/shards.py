"""Shards: a split's pictures in ArrayRecord files that are there whole or not at all.

Beside each shard lies a JSON file that says what is in it. It is written last, when the shard has
been closed, read over and given its name: a shard with such a file is finished.
"""

import contextlib
import functools
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from jaxcolor.errors import DataError
from jaxcolor.plain_json import parse_json

# What can become of a picture, and the lists of names in the file beside a shard.
KEPT, LEFT_OUT, GREYSCALE = "names", "left_out", "greyscale"
_READER_OPTIONS = {
    "options": "readahead_buffer_size:0,max_parallelism:0",  # for random access
    "file_reader_buffer_size": 32768,
}
_AHEAD = 4  # pictures under way for each thread

# Makes the record of a picture, given its split and index: (KEPT, bytes), (LEFT_OUT, reason) or
# (GREYSCALE, "").
Make = Callable[[str, int], tuple[str, Any]]


class Shard(NamedTuple):
    """Which of a split's pictures go into one file: those from `start` up to `stop`."""

    split: str
    number: int
    count: int
    start: int
    stop: int

    @property
    def file(self) -> str:
        """Name of the ArrayRecord file."""
        return f"{self.split}-{self.number:05d}-of-{self.count:05d}.array_record"

    @property
    def contents_file(self) -> str:
        """Name of the JSON file that says what is in it."""
        return f"{self.split}-{self.number:05d}-of-{self.count:05d}.json"


def divide(split: str, pictures: int, per_shard: int) -> list[Shard]:
    """The shards of a split."""
    starts = range(0, pictures, per_shard)
    return [
        Shard(split, number, len(starts), start, min(start + per_shard, pictures))
        for number, start in enumerate(starts)
    ]


def open_reader(path: Path) -> ArrayRecordReader:
    """Reader of a shard whose `read([place])` threads may call at once."""
    return ArrayRecordReader(str(path), **_READER_OPTIONS)


class ShardWriter:
    """Writes one shard under a temporary name, until it is published."""

    def __init__(self, directory: Path, shard: Shard, compression: str):
        """Starts the shard anew, whatever a killed run left of it.

        Raises:
          DataError: the directory cannot be written.
        """
        self._directory, self._shard, self._records = directory, shard, 0
        self._path = directory / (shard.file + ".tmp")
        self._writer = ArrayRecordWriter(str(self._path), f"group_size:1,{compression}")
        if not self._writer.ok():
            raise unwritable(directory, self.abandon() or OSError("it cannot be opened"))

    def add(self, data: bytes) -> None:
        """Appends a record.

        Raises:
          DataError: it cannot be written.
        """
        try:
            self._writer.write(data)
        except RuntimeError as error:
            raise unwritable(self._directory, error) from error
        self._records += 1

    def publish(self, contents: Mapping[str, Any]) -> None:
        """Gives the shard its name, and then writes what is in it beside it.

        Args:
          contents: for JSON; "records", "bytes" and "sha256" of the file are added.

        Raises:
          DataError: it cannot be written.
        """
        try:
            self._writer.close()
            with self._path.open("rb") as file:
                os.fsync(file.fileno())
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
            reader = open_reader(self._path)
            written = reader.num_records()
            reader.close()
            if written != self._records:
                raise OSError(f"{written} of {self._records} records of {self._path} arrived")
            self._path.replace(self._directory / self._shard.file)
            facts = {"records": self._records, "bytes": size, "sha256": digest}
            write_json(self._directory / self._shard.contents_file, facts | contents)
        except (RuntimeError, OSError) as error:
            self.abandon()
            raise unwritable(self._directory, error) from error

    def abandon(self) -> RuntimeError | None:
        """Removes what was written; returns what had gone wrong with it, if anything."""
        try:
            self._writer.close()
        except RuntimeError as error:
            return error
        finally:
            with contextlib.suppress(OSError):
                self._path.unlink()
        return None


def write_shards(
    directory: Path,
    shards: Sequence[Shard],
    make: Make,
    *,
    names: Mapping[str, Sequence[str]],
    facts: Mapping[str, Any],
    compression: str,
    workers: int,
    note: Callable[[str, str, Any], None],
) -> None:
    """Writes shards one after the other, their records made by threads.

    Args:
      directory: where to.
      shards: which.
      make: makes the record of a picture.
      names: of all pictures, by split.
      facts: go into the files beside the shards.
      compression: as ArrayRecord writes its options.
      workers: number of threads.
      note: called in order with the split, the kind and the record or reason of each picture; what
        it raises ends the work.

    Raises:
      DataError: the directory cannot be written.
    """
    pictures = ((shard.split, index) for shard in shards for index in range(*shard[3:]))
    pool = ThreadPoolExecutor(workers)
    publications = deque()
    try:
        made = _in_order(pool, make, pictures, _AHEAD * workers)
        for shard in shards:
            writer, contents = _write_shard(directory, shard, made, names, compression, note)
            # The disk is waited for by a thread, while others make the next records.
            publish = functools.partial(writer.publish, {**contents, **facts})
            publications.append((publish, pool.submit(publish)))
            if len(publications) > 1:
                publications[0][1].result()
                publications.popleft()
        for _, publication in publications:
            publication.result()
    finally:
        pool.shutdown(cancel_futures=True)
        for publish, publication in publications:
            if publication.cancelled():
                with contextlib.suppress(DataError):  # what ended the work says it all
                    publish()


def _write_shard(directory, shard, made, names, compression, note):
    """The closed writer of a shard, and the names of its pictures by what became of them."""
    writer = ShardWriter(directory, shard, compression)
    contents = {KEPT: [], LEFT_OUT: [], GREYSCALE: []}
    try:
        for index in range(shard.start, shard.stop):
            kind, value = next(made)
            note(shard.split, kind, value)
            name = names[shard.split][index]
            contents[kind].append([name, value] if kind == LEFT_OUT else name)
            if kind == KEPT:
                writer.add(value)
    except BaseException:
        writer.abandon()
        raise
    return writer, contents


def _in_order(pool, make, pictures: Iterable, ahead: int) -> Iterator:
    """What `make` makes of each picture, the next `ahead` of them under way."""
    pending = deque()
    for picture in pictures:
        pending.append(pool.submit(make, *picture))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def read_finished(
    directory: Path,
    shard: Shard,
    make: Make,
    *,
    names: Mapping[str, Sequence[str]],
    facts: Mapping[str, Any],
) -> dict[str, Any] | None:
    """What is in a shard, if it is finished, has these `facts`, and all there is to have.

    A shard is to be made again when a picture that it had to leave out can be read by now.
    """
    try:
        contents = parse_json((directory / shard.contents_file).read_bytes())
        if (directory / shard.file).stat().st_size != contents["bytes"]:
            return None
        if any(contents[key] != value for key, value in facts.items()):
            return None
        own = names[shard.split][shard.start : shard.stop]
        indices = [shard.start + own.index(name) for name, _ in contents[LEFT_OUT]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return contents if all(make(shard.split, i)[0] == LEFT_OUT for i in indices) else None


def unwritable(directory: Path, error: Exception) -> DataError:
    """The error for a cache that cannot be written."""
    reason = getattr(error, "strerror", None) or str(error).split(";")[0]
    return DataError(
        f"cannot write the prepared cache {directory} ({' '.join(reason.split())}): make room or "
        "permit it, and run the same command again, which keeps the finished shards; or use "
        "another directory"
    )


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, whole or not at all, and waits until the disk has it."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="ascii") as file:
        json.dump(content, file, indent=1)  # escapes what is no ASCII, broken file names included
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def json_sha256(content: Any) -> str:
    """Hexadecimal SHA-256 of what JSON makes of `content`, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("ascii")).hexdigest()


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
