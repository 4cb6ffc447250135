"""Checks of the pictures before they are trained on: a quick one of headers, a full one of pixels.

Both take the splits of a data set, {"train": source, "val": source, ...}. A source whose records
come from files has `paths(index)`, the target's file first, and one whose files hold two pictures
each has `axis`, the axis along which they are halved as arrays; other sources have neither.
"""

import collections
import contextlib
import functools
import hashlib
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jaxcolor.data import pictures
from jaxcolor.data.check_report import Finding, Report, in_order
from jaxcolor.errors import DataError

HEADERS = 20_000  # read by a quick check at most: about two seconds on a local disk
RECORDS = 32  # decoded by a quick check in each split that has no files
CHUNK = 16  # records a thread takes at a time
HEADER_THREADS = 4  # no gain on a local disk, much on one across a network
ALIKE = 1.1  # aspect ratios within this factor count as one shape
UNLIKELY = 1.25  # halves of pairs are seldom further from a square
STRAY = 1.4  # a shape further than this factor from the others' is a stray
DIGEST_BYTES = 16

Size = tuple[int, int]


class _Look(NamedTuple):
    """What was seen of one record."""

    index: int
    sizes: list[Size]  # width and height of its files, or of its target and condition
    error: str = ""
    is_grey: bool = False
    target: bytes = b""  # digests, if it was decoded
    pair: bytes = b""


class _Inspection(NamedTuple):
    """What was seen of a split: indices by size and by target's digest, faults by kind."""

    examined: int
    by_size: dict[Size, list[int]]
    by_target: dict[bytes, list[int]]
    faults: dict[str, list[tuple[str, str]]]


def quick_check(
    splits: Mapping[str, Any], notes: Mapping[str, Sequence] | None = None, *, limit: int = HEADERS
) -> Report:
    """What the headers of the files tell, in about 0.1 ms a file.

    Of a source without files it looks at a few records instead.

    Args:
      splits: the sources by split.
      notes: "unpaired", names of files left out for want of a partner, and "ignored", (path,
        reason) of other files left out; either may be missing.
      limit: files to read at most; of more, an even sample is read.
    """
    files = sum(len(source) * _files_each(source) for source in splits.values())
    share = min(1.0, limit / max(1, files))
    inspections = {}
    with _quiet_pillow():
        for split, source in splits.items():
            most = math.ceil(share * len(source)) if _files_each(source) else RECORDS
            indices = _spread(len(source), most)
            inspections[split] = _inspect(source, indices, decode=False)
    return _report(splits, inspections, notes or {}, decoded=False)


def full_check(
    splits: Mapping[str, Any],
    notes: Mapping[str, Sequence] | None = None,
    *,
    verify: Callable[[], object] | None = None,
    progress: bool = True,
) -> Report:
    """What every picture tells, decoded, on all cores; memory grows by some 0.5 kB a picture.

    Duplicates are found by the pixels of the targets: across splits by those alone, within a
    split by those of the condition too, so that several drawings of one picture are none.

    Args:
      splits: the sources by split.
      notes: as for `quick_check`.
      verify: called first; checks the data's own checksums and raises DataError for damage.
      progress: whether to show a bar if standard error is a terminal.
    """
    inspections, findings = {}, []
    if verify is not None:
        try:
            verify()
        except DataError as error:
            findings.append(Finding("damaged", "", (("", str(error)),)))
    total = sum(len(source) for source in splits.values())
    bar = tqdm(
        total=total,
        desc="checking",
        unit="img",
        disable=None if progress else True,
        leave=False,
        dynamic_ncols=True,
    )
    with _quiet_pillow(), bar:
        for split, source in splits.items():
            inspections[split] = _inspect(source, range(len(source)), decode=True, bar=bar)
    findings += _across(splits, inspections)
    return _report(splits, inspections, notes or {}, decoded=True, findings=findings)


def _report(splits, inspections, notes, *, decoded, findings=()):
    findings = list(findings)
    for split, inspection in inspections.items():
        findings += [Finding(kind, split, tuple(x)) for kind, x in inspection.faults.items()]
    if notes.get("unpaired"):
        findings.append(Finding("unpaired", "", tuple((str(x), "") for x in notes["unpaired"])))
    if notes.get("ignored"):
        ignored = tuple((str(path), str(reason)) for path, reason in notes["ignored"])
        findings.append(Finding("ignored", "", ignored))
    sizes = {}
    for split, inspection in inspections.items():
        counted = [(*size, len(indices)) for size, indices in inspection.by_size.items()]
        sizes[split] = tuple(sorted(counted, key=lambda row: (-row[2], row)))
    return Report(
        counts={split: len(source) for split, source in splits.items()},
        examined={split: inspection.examined for split, inspection in inspections.items()},
        decoded=decoded,
        sizes=sizes,
        findings=in_order(findings),
    )


def _inspect(source, indices, *, decode, bar=None) -> _Inspection:
    names, has_files = source.names, _files_each(source) > 0
    axis = getattr(source, "axis", None) if has_files else None
    along = None if axis is None else 1 - axis  # of (width, height)
    by_size, by_target, faults = (collections.defaultdict(list) for _ in range(3))
    pairs = {}
    look = functools.partial(_look, source, has_files=has_files, decode=decode)
    threads = (_cores() if decode else HEADER_THREADS) if len(indices) > CHUNK else 1
    with contextlib.closing(_in_threads(look, indices, threads)) as looks:
        for seen in looks:
            name = names[seen.index]
            if seen.sizes:
                by_size[seen.sizes[0]].append(seen.index)
            fault = _size_fault(seen.sizes, along)
            if fault:
                faults[fault].append((name, " and ".join(_text(size) for size in seen.sizes)))
            if seen.error and fault != "odd":  # an odd picture cannot be read as a pair: said once
                faults["unreadable"].append((name, seen.error))
            if seen.is_grey:
                faults["greyscale"].append((name, ""))
            if seen.pair:
                first = pairs.setdefault(seen.pair, seen.index)
                if first != seen.index:
                    faults["duplicate"].append((name, f"= {names[first]}"))
                by_target[seen.target].append(seen.index)
            if bar is not None:
                bar.update()
    if along is not None:
        faults["stray"] = _strays(by_size, names)
        faults["halves"] = _unlikely_halves(by_size, along)
    faults = {kind: items for kind, items in faults.items() if items}
    return _Inspection(len(indices), dict(by_size), dict(by_target), faults)


def _unlikely_halves(by_size, along):
    """The halves of the most frequent size, if they are far from square as pairs' seldom are."""
    if not by_size:
        return []
    size = list(max(by_size, key=lambda size: len(by_size[size])))
    whole = _text(size)
    size[along] //= 2
    if max(size) <= UNLIKELY * min(size):
        return []
    return [(f"{_text(size)} in files of {whole}", "")]


def _look(source, index, *, has_files, decode) -> _Look:
    sizes = []
    try:
        if has_files:
            sizes += [pictures.read_size(path) for path in source.paths(index)]
        if has_files and not decode:
            return _Look(index, sizes)
        record = source[index]
    except DataError as error:
        return _Look(index, sizes, error=str(error))
    target, condition = record["target"], record.get("condition")
    if not has_files:
        arrays = [target] if condition is None else [target, condition]
        sizes = [(array.shape[1], array.shape[0]) for array in arrays]
    if not decode:
        return _Look(index, sizes)
    digest = _digest(target)
    pair = digest if condition is None else digest + _digest(condition)
    is_grey = bool(pictures.is_greyscale(target))
    return _Look(index, sizes, is_grey=is_grey, target=digest, pair=pair)


def _across(splits, inspections):
    """Targets of a split that an earlier split has too, and splits that cannot be compared."""
    findings, order = [], list(splits)
    names = {split: source.names for split, source in splits.items()}
    for place, split in enumerate(order):
        leaked, incomparable = [], []
        for target, indices in inspections[split].by_target.items():
            twins = [other for other in order[:place] if target in inspections[other].by_target]
            if twins:
                twin = names[twins[0]][inspections[twins[0]].by_target[target][0]]
                leaked += [(names[split][index], f"= {twins[0]}/{twin}") for index in indices]
        for other in order[:place] if not _files_each(splits[split]) else ():
            sides = [_resized_to(inspections[x].by_size) for x in (split, other)]
            if None not in sides and sides[0] != sides[1]:
                incomparable.append((other, ""))
        found = {"leakage": leaked, "incomparable": incomparable}
        findings += [Finding(kind, split, tuple(items)) for kind, items in found.items() if items]
    return findings


def _resized_to(sizes):
    """The shorter side that all sizes share, or None."""
    shorter = {min(size) for size in sizes}
    return shorter.pop() if len(shorter) == 1 else None


def _size_fault(sizes, along):
    """The kind of fault in the sizes of one record, or None."""
    if along is not None:
        return "odd" if sizes and sizes[0][along] % 2 else None
    if len(sizes) != 2 or sizes[0] == sizes[1]:
        return None
    (width, height), (other_width, other_height) = sizes
    ratio = (width * other_height) / (height * other_width)
    rounding = max(0.01, 1 / min(width, height, other_width, other_height))  # a pixel, if small
    return "size" if abs(ratio - 1) <= rounding else "proportions"


def _strays(by_size, names):
    """Pictures of another shape than three quarters of them have; none if there is no such shape.

    A picture that is no pair among pairs has half their width or half their height.
    """
    count = sum(len(indices) for indices in by_size.values())
    if not count:
        return []
    shape = {size: math.log(size[0] / size[1]) for size in by_size}
    ordered = sorted(by_size, key=shape.get)
    reached = np.cumsum([len(by_size[size]) for size in ordered])
    median = ordered[int(np.searchsorted(reached, count / 2))]
    far = {size: abs(shape[size] - shape[median]) for size in by_size}
    alike = sum(len(by_size[size]) for size in by_size if far[size] <= math.log(ALIKE))
    if alike < 0.75 * count:
        return []
    strays = [(i, x) for x in by_size if far[x] > math.log(STRAY) for i in by_size[x]]
    return [(names[i], f"{_text(size)} among {_text(median)}") for i, size in sorted(strays)]


def _digest(picture):
    digest = hashlib.blake2b(repr(picture.shape).encode(), digest_size=DIGEST_BYTES)
    digest.update(np.ascontiguousarray(picture))
    return digest.digest()


def _files_each(source):
    """Files a record; 0 for a source that has none."""
    paths = getattr(source, "paths", None)
    return len(paths(0)) if paths is not None and len(source) else 0


def _spread(count, most):
    """At most `most` indices below `count`, evenly spread."""
    return range(count) if count <= most else [index * count // most for index in range(most)]


def _in_threads(look, indices, threads) -> Iterator[_Look]:
    chunks = (indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK))
    if threads == 1:
        for chunk in chunks:
            yield from map(look, chunk)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        for results in pool.map(lambda chunk: [look(index) for index in chunk], chunks):
            yield from results
    finally:  # at Ctrl-C the rest is not waited for
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _quiet_pillow():
    """Keeps Pillow's own warnings back: it is the report that says what is wrong."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _text(size):
    return f"{size[0]}x{size[1]}"
