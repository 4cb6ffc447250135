"""Makes a prepared cache: every picture decoded and resized once, for `prepared` to read.

A killed run goes on where it was: each shard gets its name when it is complete, and the manifest,
without which there is no cache, is written last. Runs that end in the same pictures end in the
same bytes, interrupted or not.

Threads do the work, since Pillow decodes and resizes outside of the interpreter's lock. On 2 cores
(AMD EPYC Zen 3), to 286 pixels, they make 240 pairs/s of 512x256 PNGs and 430 pictures/s of JPEGs
of about 340x256; processes, which have to hand the pixels over, made 236 and 310.
"""

import contextlib
import functools
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import filelock
from tqdm import tqdm

from jaxcolor import __version__
from jaxcolor.data.pictures import is_greyscale
from jaxcolor.data.prepare_plan import begin, check_same, make_plan, plan_shards
from jaxcolor.data.prepared import (
    FORMAT,
    MANIFEST,
    UNFINISHED,
    VERSION,
    is_prepared,
    open_prepared,
    read_manifest,
)
from jaxcolor.data.record_format import PARTS, RAW, ZSTD, decode_record, encode_record
from jaxcolor.data.shards import (
    GREYSCALE,
    KEPT,
    LEFT_OUT,
    file_sha256,
    json_sha256,
    open_reader,
    read_finished,
    unwritable,
    write_json,
    write_shards,
)
from jaxcolor.data.transforms import fit_picture
from jaxcolor.errors import ConfigError, DataError

SHARD_BYTES = 1 << 27  # before compression; the most that a kill can lose
_LOCK = ".lock"
_LISTED = 5


class Prepared(NamedTuple):
    """What `prepare` did.

    Attributes:
      directory: of the cache.
      manifest: see `prepared.read_manifest`.
      kept: pictures whose shards were there from an earlier run.
      seconds: that it took.
      was_complete: whether there was nothing to do.
    """

    directory: Path
    manifest: dict[str, Any]
    kept: int
    seconds: float
    was_complete: bool

    def lines(self) -> list[str]:
        """What to tell the user: counts, time and size, then what was left out and why."""
        splits = self.manifest["splits"]
        counts = " and ".join(f"{split['records']:,} {name}" for name, split in splits.items())
        size = f"{sum(split['bytes'] for split in splits.values()) / 1e6:,.1f} MB"
        if self.was_complete:
            lines = [f"{self.directory} is complete: {counts} pictures, {size}; nothing to do"]
        else:
            pictures = sum(s["pictures"] for s in self.manifest["plan"]["splits"].values())
            earlier = f", {self.kept:,} of them by an earlier run" if self.kept else ""
            rate = f"{(pictures - self.kept) / self.seconds:,.0f}/s"
            lines = [
                f"prepared {counts} pictures{earlier} in {self.seconds:.1f} s ({rate}): {size} in "
                f"{self.directory}"
            ]
        for name, split in splits.items():
            if split[GREYSCALE]:
                lines.append(f"{name}: left out {len(split[GREYSCALE]):,} greyscale pictures")
            lines += [f"{name}: left out: {reason}" for _, reason in split[LEFT_OUT][:_LISTED]]
            if split[LEFT_OUT][_LISTED:]:
                more = len(split[LEFT_OUT]) - _LISTED
                lines.append(f"{name}: left out {more:,} more: see {self.directory / MANIFEST}")
        if self.was_complete and any(split[LEFT_OUT] for split in splits.values()):
            lines.append(f"to try again what was left out, delete {self.directory} first")
        return [line.encode("utf-8", "backslashreplace").decode() for line in lines]


def prepare(
    splits: Mapping[str, Any],
    directory: str | Path,
    *,
    sizes: Mapping[str, int],
    method: str,
    fit: str,
    description: Mapping[str, Any] | None = None,
    workers: int = 0,
    max_bad_fraction: float = 0.01,
    drop_greyscale: bool = False,
    compress: bool = False,
    progress: bool = True,
    shard_bytes: int = SHARD_BYTES,
) -> Prepared:
    """Makes the cache in `directory`, or goes on with it; does nothing if it is complete.

    Pictures that cannot be read are left out. Whoever goes on with an unfinished cache tries them
    again; whether other files have changed under their old names is not looked at.

    Args:
      splits: the sources by split: "train", "val" and maybe "test", which may be empty.
      directory: is made if missing; holds nothing but this cache.
      sizes: by split, the `size` of `transforms.fit_picture`.
      method: as for `transforms.fit_picture`.
      fit: likewise.
      description: what the pictures are and how they were opened, for JSON; goes into the
        manifest, and has to be the same for going on.
      workers: threads; 0 for as many as there are cores.
      max_bad_fraction: share of a split's pictures that may be left out as unreadable.
      drop_greyscale: whether to leave out pictures whose target is greyscale.
      compress: whether to compress the records, without loss: see `record_format`.
      progress: whether to show a bar if standard error is a terminal.
      shard_bytes: size of a shard before compression, about.

    Raises:
      ConfigError: `workers` is negative.
      DataError: too many pictures cannot be read, or none is left; or the directory cannot be
        written, is in use, too small, or holds something else, such as a cache made otherwise.
    """
    started = time.perf_counter()
    directory = Path(directory)
    if workers < 0:
        raise ConfigError(f"workers {workers} must be at least 0")
    splits = {split: source for split, source in splits.items() if len(source) or split != "test"}
    names = {split: list(source.names) for split, source in splits.items()}
    options = {"description": dict(description or {}), "method": method, "fit": fit}
    options |= {"drop_greyscale": drop_greyscale, "compression": ZSTD if compress else RAW}
    plan = make_plan(names, sizes, shard_bytes, options)
    kept, was_complete = 0, False
    try:
        with _own_directory(directory):
            if (directory / MANIFEST).exists():
                manifest, was_complete = read_manifest(directory), True
                check_same(directory, manifest["plan"], plan)
                for source in open_prepared(directory).values():
                    source.names  # noqa: B018 - raises DataError if a file is not as it was made
            else:
                make = functools.partial(_make_record, splits, plan)
                begin(directory, plan, make)
                bad = _BadPictures(plan, max_bad_fraction)
                kept = _write_splits(
                    directory, plan, names, make, bad, workers=workers, progress=progress
                )
                manifest = _write_manifest(directory, plan)
            (directory / UNFINISHED).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(directory, error) from error
    return Prepared(directory, manifest, kept, time.perf_counter() - started, was_complete)


@contextlib.contextmanager
def _own_directory(directory: Path) -> Iterator[None]:
    """Makes the directory, refuses one of something else, and keeps other runs out of it."""
    directory.mkdir(parents=True, exist_ok=True)
    own = {_LOCK, UNFINISHED + ".tmp"}
    if not is_prepared(directory) and {path.name for path in directory.iterdir()} - own:
        raise DataError(
            f"{directory} is not empty and holds no prepared cache: choose another directory"
        )
    lock = filelock.FileLock(directory / _LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise DataError(
            f"{directory} is being prepared by another process: wait for it, or choose another "
            "directory"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _make_record(splits, plan, split, index):
    """(KEPT, bytes), (LEFT_OUT, reason) or (GREYSCALE, "") for a picture."""
    try:
        record = splits[split][index]
    except DataError as error:
        return LEFT_OUT, str(error)
    except OSError as error:  # else it would count as one of the cache's own
        return LEFT_OUT, f"cannot read picture {index} of {split} ({error})"
    if plan["drop_greyscale"] and is_greyscale(record["target"]):
        return GREYSCALE, ""
    size, method, fit = plan["splits"][split]["size"], plan["method"], plan["fit"]
    parts = {name: record[name] for name in PARTS if name in record}
    return KEPT, encode_record(
        {name: fit_picture(part, size, method, fit) for name, part in parts.items()}
    )


class _BadPictures:
    """Counts the pictures that cannot be read."""

    def __init__(self, plan, most):
        self._counts = {split: planned["pictures"] for split, planned in plan["splits"].items()}
        self._most, self._bad = most, Counter()

    def note(self, split, reason):
        """Raises DataError when there are too many of them, naming the last."""
        self._bad[split] += 1
        bad, count = self._bad[split], self._counts[split]
        if bad > self._most * count:
            raise DataError(
                f"{reason}. With it {bad} of {count} {split} pictures are bad, more than "
                f"data.max_bad_fraction {self._most:g} allows: python -m jaxcolor check-data names "
                "them all"
            )


def _write_splits(directory, plan, names, make, bad, *, workers, progress):
    """Writes the shards that are missing; returns how many pictures are in the others."""
    facts = {"plan_sha256": json_sha256(plan)}
    missing, kept = [], 0
    for split in plan["splits"]:
        for shard in plan_shards(plan, split):
            found = read_finished(directory, shard, make, names=names, facts=facts)
            if found is None:
                missing.append(shard)
                continue
            kept += shard.stop - shard.start
            for _, reason in found[LEFT_OUT]:
                bad.note(split, reason)
    bar = tqdm(
        total=sum(map(len, names.values())),
        initial=kept,
        desc="preparing",
        unit="img",
        disable=None if progress else True,
        leave=False,
        dynamic_ncols=True,
    )

    def note(split, kind, value):
        bar.update()
        if kind == LEFT_OUT:
            bad.note(split, value)

    with bar:
        write_shards(
            directory,
            missing,
            make,
            names=names,
            facts=facts,
            compression=plan["compression"],
            workers=workers or os.cpu_count() or 1,
            note=note,
        )
    return kept


def _write_manifest(directory, plan):
    """Writes down what lies in the directory, and returns it."""
    results = {}
    for split in plan["splits"]:
        result = _describe_split(directory, plan, split)
        if result["records"]:
            results[split] = result
        elif split != "test":
            raise DataError(
                f"no picture of {split} is left: {len(result[LEFT_OUT])} cannot be read, "
                f"{len(result[GREYSCALE])} are greyscale"
            )
    manifest = {"format": FORMAT, "version": VERSION, "jaxcolor": __version__}
    manifest |= {"plan": plan, "splits": results}
    write_json(directory / MANIFEST, manifest | {"checksum": json_sha256(manifest)})
    return manifest


def _describe_split(directory, plan, split):
    result = {"records": 0, "bytes": 0, "paired": False, LEFT_OUT: [], GREYSCALE: []}
    result["shards"] = []
    for shard in plan_shards(plan, split):
        path = directory / shard.contents_file
        contents = json.loads(path.read_bytes())
        if contents["records"] and not result["records"]:
            reader = open_reader(directory / shard.file)
            result["paired"] = "condition" in decode_record(reader.read([0])[0])
            reader.close()
        for key in ("records", "bytes", LEFT_OUT, GREYSCALE):
            result[key] += contents[key]
        row = {"file": shard.file, "contents_file": path.name, "contents_sha256": file_sha256(path)}
        result["shards"].append(
            row | {key: contents[key] for key in ("records", "bytes", "sha256")}
        )
    return result
