"""Which picture files are to be coloured, and where each result goes."""

import fnmatch
import glob
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from jaxcolor.colorize.picture_files import PART
from jaxcolor.data.pictures import SUFFIXES, expand, list_pictures
from jaxcolor.errors import ConfigError, DataError, WorkdirError
from jaxcolor.plain_json import parse_json

# In the directory of the results while a run is unfinished: what it was asked for.
UNFINISHED = ".jaxcolor-unfinished.json"


class Job(NamedTuple):
    """A picture and its result.

    Attributes:
      source: file to read.
      target: file to write.
    """

    source: Path
    target: Path


def find_jobs(inputs: list[str], out: Path) -> tuple[list[Job], list[str]]:
    """A job for each picture, in order, and a line for each file that is passed over.

    A result has its picture's name, below `out` at the place that the picture has below the folder
    that was given, or below the part of a pattern before its first wildcard.

    Args:
      inputs: files, folders, and patterns with *, ?, [] and **.
      out: directory of the results, which is not searched itself.

    Raises:
      DataError: an input does not exist, or holds no picture.
      ConfigError: two pictures would have one result, or one would be a folder of another, or a
        result would replace a picture.
    """
    found: dict[Path, Path] = {}
    passed_over = []
    for word in inputs:
        pairs, ignored = _expand(word, out.resolve())
        passed_over += ignored
        if not pairs:
            raise DataError(f"no pictures in {word}: there are none of {', '.join(SUFFIXES)}")
        for source, name in pairs:
            target = out / name
            other = found.setdefault(target, source)
            if other.resolve() != source.resolve():
                raise ConfigError(
                    f"{other} and {source} would both become {target}: colour them into two "
                    "directories"
                )
    _check_originals(found)
    return [Job(source, target) for target, source in found.items()], passed_over


def _expand(word, out):
    """(file, name of its result) of each picture of an input; lines for what is passed over."""
    path = expand(word)
    if path.is_file():
        return [(path, path.name)], []
    if path.is_dir():
        return _in_folder(path, "", _results_within(path, out))
    if not glob.has_magic(word):
        raise DataError(f"no file or folder {word}")
    root = Path(*_fixed_part(path))
    pairs, ignored, results = [], [], _results_within(root, out)
    for match in _matches(root, path.parts[len(root.parts) :]):
        name = match.relative_to(root) if root.parts else match
        if match.is_dir() and "**" not in path.parts:  # with ** its files match themselves
            more, passed_over = _in_folder(match, name, results)
            pairs, ignored = pairs + more, ignored + passed_over
        elif match.is_file() and match.name.lower().endswith(SUFFIXES):
            if results not in match.resolve().parents:
                pairs.append((match, str(name)))
        elif match.is_file():
            ignored.append(f"{match}: no picture of a kind that is read")
    return pairs, ignored


def _matches(folder, parts):
    """What the parts of a pattern find in a folder, in order; hidden names only if they say so.

    Unlike the module glob's, a ** enters each folder once: links may lead in circles.
    """
    if not parts:
        yield folder
        return
    first, *rest = parts
    if first == "**":
        for inner in _folders_below(folder, set()):
            yield from _matches(inner, rest or ["*"])
    elif glob.has_magic(first):
        for name in _names(folder):
            if fnmatch.fnmatchcase(name, first) and name.startswith(".") == first.startswith("."):
                yield from _matches(folder / name, rest)
    elif os.path.lexists(folder / first):
        yield from _matches(folder / first, rest)


def _folders_below(folder, seen):
    real = os.path.realpath(folder)
    if real not in seen:
        seen.add(real)
        yield folder
        for name in _names(folder):
            if not name.startswith(".") and (folder / name).is_dir():
                yield from _folders_below(folder / name, seen)


def _names(folder):
    try:
        return sorted(os.listdir(folder))
    except NotADirectoryError:
        return []
    except OSError as error:
        raise DataError(f"cannot list {folder} ({error.strerror})") from error


def _in_folder(folder, name, results):
    listing = list_pictures(folder)
    pairs = [
        (Path(path), os.path.join(name, os.path.relpath(path, folder)))
        for path in listing.paths
        if results not in Path(path).resolve().parents
    ]
    return pairs, [f"{path}: {reason}" for path, reason in listing.ignored]


def _results_within(folder, out):
    """`out`, whose files are not to be coloured again; None where the folder itself lies in it."""
    real = folder.resolve()
    return None if out in (real, *real.parents) else out


def _fixed_part(pattern):
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            return
        yield part


def _check_originals(found):
    originals = {source.resolve() for source in found.values()}
    for target, source in found.items():
        if target.resolve() in originals:
            raise ConfigError(
                f"{target} is one of the pictures to colour: choose another directory for --out"
            )
        for folder in target.parents:
            if folder in found:
                raise ConfigError(
                    f"{found[folder]} would become {folder}, the folder of what {source} becomes: "
                    "colour them into two directories"
                )


def left_to_do(
    jobs: list[Job], out: Path, settings: dict[str, Any], *, skip_existing: bool, overwrite: bool
) -> list[Job]:
    """The jobs without those whose results are there already, which nothing overwrites unasked.

    An unfinished run with the same settings goes on, one that overwrites with what it has not
    written yet.

    Args:
      jobs: all.
      out: directory of the results; made.
      settings: what, if it changed, would make results that do not belong together.
      skip_existing: leave out what is there, whoever made it.
      overwrite: leave out nothing.

    Raises:
      ConfigError: there are results and neither is asked for.
      WorkdirError: the directory cannot be made or written.
    """
    record = out / UNFINISHED
    settings = settings | {"overwrite": overwrite}
    try:
        out.mkdir(parents=True, exist_ok=True)
        unfinished = _read_record(record)
        going_on = unfinished == settings
        since = record.stat().st_mtime_ns if going_on else None
        existing = {job for job in jobs if os.path.lexists(job.target)}
        if overwrite:
            existing = {job for job in existing if going_on and _changed(job.target) > since}
        elif existing and not (skip_existing or going_on):
            first = next(job.target for job in jobs if job in existing)
            raise ConfigError(
                f"{len(existing)} of {len(jobs)} results are there already, the first {first}: "
                "add --skip-existing to colour the others alone, or --overwrite"
            )
        left = [job for job in jobs if job not in existing]
        if unfinished is not None:
            _remove_parts({job.target.parent for job in jobs})
        if not going_on:
            record.write_text(json.dumps(settings))
    except OSError as error:
        raise WorkdirError(f"--out {out} cannot be used ({error.strerror})") from error
    return left


def _changed(path):
    return path.lstat().st_mtime_ns


def _remove_parts(folders):
    """Takes away what a run that was killed had half written."""
    for folder in filter(os.path.isdir, folders):
        for name in os.listdir(folder):
            part = PART.fullmatch(name)
            if part and not _is_running(int(part[1])):
                (folder / name).unlink(missing_ok=True)


def _is_running(process):
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def finish(out: Path) -> None:
    """Notes that nothing is left to go on with."""
    (out / UNFINISHED).unlink(missing_ok=True)


def _read_record(path):
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
