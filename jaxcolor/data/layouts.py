"""What lies under `data.path`: which files are pictures, which belong together, and to which split.

Splits are the folders train, val (or validation, valid) and test where they are there. Otherwise
a picture's name decides: the share `validation_fraction` of all names, by their hash, validates.
A name keeps its split when others are added or removed.
"""

import collections
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxcolor.data import buckets, conditions, pictures
from jaxcolor.data.pictures import SUFFIXES, is_directory, list_folders, list_pictures
from jaxcolor.data.prepared import is_prepared, open_prepared
from jaxcolor.data.sources import (
    ConcatenatedSource,
    FolderPairSource,
    PictureSource,
    SideBySideSource,
)
from jaxcolor.errors import ConfigError, DataError

SOURCES = ("auto", "side_by_side", "two_folders", "pictures", "tfds", "prepared")
GIVEN = "given"
SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}
# Where the two folders of a split may be, below data.path.
_PAIR_PLACES = ("{split}/{folder}", "{folder}/{split}", "{split}_{folder}", "{split}{folder}")


class Splits(NamedTuple):
    """The sources of a data set and what was noticed while looking for its files.

    Attributes:
      sources: by split: "train", "val" and maybe "test".
      kind: which of SOURCES it was found to be.
      condition: GIVEN by the data, or one of conditions.KINDS, to be made from the target.
      unpaired: files of pairs whose other half is missing.
      ignored: (path, reason) of files that look like pictures and cannot be any.
    """

    sources: dict[str, Any]
    kind: str
    condition: str
    unpaired: list[str]
    ignored: list[tuple[str, str]]

    def notes(self) -> dict[str, list]:
        """What was noticed, by the names that `checks` gives it."""
        return {"unpaired": self.unpaired, "ignored": self.ignored}


def open_splits(
    path: str | Path,
    *,
    source: str = "auto",
    condition: str = "auto",
    target_side: str = "left",
    target_folder: str = "B",
    condition_folder: str = "A",
    background: str = "white",
    validation_fraction: float = 0.05,
    tfds_directory: str = "",
) -> Splits:
    """The training, validation and, where there are any, test pictures under `path`.

    Args:
      path: a directory, be it in a bucket, or for TFDS the name of a data set.
      source: one of SOURCES. "auto" is the first that fits: "prepared" with its manifest,
        "pictures" if a condition is to be made, "two_folders" if these are there, "side_by_side".
      condition: "given", or how to make it from the target, one of conditions.KINDS; "auto" is
        "given" for pairs, and luma for single pictures.
      target_side: of side-by-side pictures, a key of `sources.SIDES`.
      target_folder: of two folders; within `path`, or an absolute path of its own.
      condition_folder: likewise.
      background: one of pictures.BACKGROUNDS, under transparent pixels.
      validation_fraction: share of the pictures that validate where no folder says which.
      tfds_directory: where TFDS keeps its data sets; "" for its own default.

    Raises:
      ConfigError: an argument out of range.
      DataError: the pictures are not there or do not make the splits.
    """
    _check(source, condition, background, validation_fraction)
    options = {"background": background}
    if source == "tfds":
        from jaxcolor.data.tfds_source import open_tfds

        given = {"directory": tfds_directory, "validation_fraction": validation_fraction}
        return _splits(open_tfds(str(path), **given, **options), "tfds", condition, path)
    path = buckets.local(path)
    folders = (target_folder, condition_folder)
    kind = _recognise(path, condition, folders) if source == "auto" else source
    if kind == "prepared":
        return _splits(open_prepared(path), kind, condition, path)
    if kind == "two_folders":
        found, unpaired, ignored = _pair_splits(path, folders, validation_fraction)
        make = FolderPairSource
    else:
        listings = _list_splits(path, validation_fraction)
        ignored = [row for listing in listings.values() for row in listing.ignored]
        found = {split: (rows.paths, rows.names) for split, rows in listings.items()}
        make, unpaired = PictureSource, []
        if kind == "side_by_side":
            make, options = SideBySideSource, options | {"target_side": target_side}
    opened = {split: make(*columns, **options) for split, columns in found.items()}
    return _splits(opened, kind, condition, path, unpaired, ignored)


def open_everything(
    path: str | Path,
    *,
    source: str = "auto",
    condition: str = "auto",
    target_side: str = "left",
    target_folder: str = "B",
    condition_folder: str = "A",
    background: str = "white",
    **_: Any,
) -> Splits:
    """All pictures under `path` as the one split "all", whichever split their folders are of.

    Args:
      path: a directory.
      source: as for `open_splits`, like the rest; not "tfds".
      condition: given, or how to make it.
      target_side: of side-by-side pictures.
      target_folder: of two folders.
      condition_folder: likewise.
      background: under transparent pixels.

    Raises:
      ConfigError: an argument out of range.
      DataError: the pictures are not there or make no pairs.
    """
    _check(source, condition, background, 0.5)
    path, folders = buckets.local(path), (target_folder, condition_folder)
    kind = _recognise(path, condition, folders) if source == "auto" else source
    if kind == "prepared":
        parts = open_prepared(path)
        return _splits({"all": ConcatenatedSource(list(parts.values()))}, kind, condition, path)
    if kind == "two_folders":
        places = _pair_places(path, [str(buckets.local(folder)) for folder in folders])
        opened, unpaired, ignored = [], [], []
        for both in places.values():
            listings = [list_pictures(folder) for folder in both]
            *columns, alone = _pair(*listings, both)
            _check_some(columns[2], f"{both[0]} and {both[1]} with the same name")
            opened.append(FolderPairSource(*columns, background=background))
            unpaired += alone
            ignored += [row for listing in listings for row in listing.ignored]
        _check_some(opened, f"pairs of folders {folders[1]} and {folders[0]} in {path}")
        everything = opened[0] if len(opened) == 1 else ConcatenatedSource(opened)
        return _splits({"all": everything}, kind, condition, path, unpaired, ignored)
    listing = list_pictures(path)
    _check_some(listing.paths, path)
    options = {"background": background}
    make = PictureSource
    if kind == "side_by_side":
        make, options = SideBySideSource, options | {"target_side": target_side}
    opened = make(listing.paths, listing.names, **options)
    return _splits({"all": opened}, kind, condition, path, [], listing.ignored)


def is_divided(path: str | Path, target_folder: str = "B", condition_folder: str = "A") -> bool:
    """Whether folders or a prepared cache say which pictures in a directory are of which split."""
    path = buckets.local(path)
    folders = [str(buckets.local(folder)) for folder in (target_folder, condition_folder)]
    names = {name.lower() for name in list_folders(path)}
    known = {name for split in SPLIT_FOLDERS.values() for name in split}
    return is_prepared(path) or bool(names & known or _pair_places(path, folders).keys() - {""})


def hash_fraction(name: str) -> float:
    """A number in [0, 1) that depends on the name alone, evenly spread over names."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8]) / 2**64


def split_by_name(names: Sequence[str], fraction: float) -> tuple[list[int], list[int]]:
    """Places of the names that train and of those that validate, by `hash_fraction`.

    At least one of two or more names validates and at least one trains, whatever the fraction.
    """
    values = [hash_fraction(name) for name in names]
    validating = {place for place, value in enumerate(values) if value < fraction}
    order = sorted(range(len(names)), key=values.__getitem__)
    if len(names) > 1:
        validating = (validating | {order[0]}) - {order[-1]}
    return (
        [place for place in range(len(names)) if place not in validating],
        sorted(validating),
    )


def _check(source, condition, background, fraction):
    if source not in SOURCES:
        raise ConfigError(f"data.source {source!r} must be one of {', '.join(SOURCES)}")
    choices = ("auto", GIVEN, *conditions.KINDS)
    if condition not in choices:
        raise ConfigError(f"data.condition {condition!r} must be one of {', '.join(choices)}")
    pictures.check_background(background)
    if not 0 < fraction < 1:
        raise ConfigError(f"data.validation_fraction {fraction} must be between 0 and 1")


def _recognise(path, condition, folders):
    """Which of SOURCES a directory holds."""
    if is_prepared(path):
        return "prepared"
    if condition in conditions.KINDS:
        return "pictures"
    folders = [str(buckets.local(folder)) for folder in folders]
    return "two_folders" if _pair_places(path, folders) else "side_by_side"


def _splits(sources, kind, condition, path, unpaired=(), ignored=()):
    """`Splits`, once the condition is known: whether the data gives one is seen in its pictures."""
    paired = kind in ("side_by_side", "two_folders") or _is_paired(sources)
    if condition == GIVEN and not paired:
        kinds = ", ".join(conditions.KINDS)
        raise ConfigError(
            f"data.condition=given: {path} holds single pictures; make the condition: {kinds}"
        )
    if condition == "auto":  # a prepared cache remembers what it was made for
        first = next(iter(sources.values()))
        remembered = getattr(first, "description", {}).get("condition")
        condition = remembered or (GIVEN if paired else conditions.KINDS[0])
    return Splits(sources, kind, condition, list(unpaired), list(ignored))


def _is_paired(sources):
    return getattr(next(iter(sources.values())), "paired", False)


def _split_folders(path):
    """The folder's name of every split that is there, by split; in any letter case."""
    there = {name.lower(): name for name in list_folders(path)}
    found = {}
    for split, names in SPLIT_FOLDERS.items():
        name = next((name for name in names if name in there), None)
        if name is not None:
            found[split] = there[name]
    if found and "train" not in found:
        raise DataError(f"{path} has the folder {next(iter(found.values()))} but none named train")
    return found


def _list_splits(path, fraction):
    """A `Listing` by split."""
    folders = _split_folders(path)
    if not folders:
        everything = list_pictures(path)
        _check_some(everything.paths, path)
        return _divide(everything, fraction, path)
    found = {split: list_pictures(path / name) for split, name in folders.items()}
    for split, listing in found.items():
        _check_some(listing.paths, path / folders[split])
    if "val" not in found:
        found |= _divide(found["train"], fraction, path / folders["train"])
    return found


def _divide(listing, fraction, path):
    """Training and validation part of a listing; what was ignored stays with the first."""
    parts = split_by_name(listing.stems, fraction)
    _check_both(parts, path)
    train, val = map(listing.part, parts)
    return {"train": train._replace(ignored=listing.ignored), "val": val}


def _pair_places(path, folders):
    """By split, the two folders of pairs; under "" those that no folder assigns to a split."""
    found = {}
    for split, names in SPLIT_FOLDERS.items():
        for name in names:
            for place in _PAIR_PLACES:
                both = [_place(path, place, split=name, folder=folder) for folder in folders]
                if split not in found and all(is_directory(folder) for folder in both):
                    found[split] = both
    both = [path / folder for folder in folders]
    if "train" not in found and all(is_directory(folder) for folder in both):
        found[""] = both
    return found


def _place(path, place, *, split, folder):
    """A folder of a split below `path`, or below an absolute `folder`."""
    if Path(folder).is_absolute():
        return Path(folder) / split
    return path / place.format(split=split, folder=folder)


def _pair_splits(path, folders, fraction):
    """(paths of targets, paths of conditions, names) by split; unpaired files; ignored ones."""
    places = _pair_places(path, [str(buckets.local(folder)) for folder in folders])
    if "train" not in places and "" not in places:
        raise DataError(
            f"no pairs of folders {folders[1]} and {folders[0]} in {path}: expected {folders[1]} "
            f"and {folders[0]}, or train/{folders[1]} and train/{folders[0]}; set "
            "data.condition_folder and data.target_folder"
        )
    found, unpaired, ignored = {}, [], []
    for split, both in places.items():
        listings = [list_pictures(folder) for folder in both]
        ignored += [row for listing in listings for row in listing.ignored]
        *columns, alone = _pair(*listings, both)
        unpaired += alone
        _check_some(columns[2], f"{both[0]} and {both[1]} with the same name")
        found[split] = columns
    undivided = found.pop("", None)
    if "val" not in found:
        columns = undivided or found["train"]
        parts = split_by_name(columns[2], fraction)
        _check_both(parts, path)
        for split, part in zip(("train", "val"), parts, strict=True):
            found[split] = [[column[i] for i in part] for column in columns]
    elif undivided:
        found["train"] = undivided
    return found, unpaired, ignored


def _pair(targets, conditions_, folders):
    """Paths of targets and of conditions, their common names, and the files without partner."""
    by_name = []
    for listing, folder in zip((targets, conditions_), folders, strict=True):
        counts = collections.Counter(listing.stems)
        twice = [stem for stem, count in counts.items() if count > 1]
        if twice:
            raise DataError(
                f"{folder} has several pictures named {twice[0]}: pairs are made by name without "
                "suffix; remove or rename all but one"
            )
        by_name.append(dict(zip(listing.stems, listing.paths, strict=True)))
    both = sorted(by_name[0].keys() & by_name[1].keys())
    alone = sorted(
        own[name] for own, other in (by_name, by_name[::-1]) for name in own.keys() - other.keys()
    )
    return [by_name[0][name] for name in both], [by_name[1][name] for name in both], both, alone


def _check_some(found, where):
    if not found:
        raise DataError(f"no pictures in {where}: expected files {', '.join(SUFFIXES)}")


def _check_both(parts, path):
    if not all(parts):
        raise DataError(
            f"one picture in {path} cannot both train and validate: add more, or make the folders "
            "train and val"
        )
