"""The pictures of an evaluation: a split or a folder, made as a network's own were, in batches."""

import ast
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcolor import dataset
from jaxcolor.configuration import arguments
from jaxcolor.data import layouts, pictures, pipeline
from jaxcolor.data.bad_records import BadRecords
from jaxcolor.data.sources import PictureSource, SubsetSource
from jaxcolor.errors import ConfigError, DataError
from jaxcolor.experiment import Experiment
from jaxcolor.settings import DataSettings

SPLITS = ("train", "val", "test", "all")
# What the network was made for; other values would show it what it has never seen.
_OF_THE_NETWORK = ("image_size",)
_OF_A_PLACE = ("source", "tfds_directory", "target_folder", "condition_folder")


class Pictures(NamedTuple):
    """Pairs to evaluate on.

    Attributes:
      source: see `sources`.
      transform: makes a pair of a record.
      settings: the section `data` they were opened with.
      condition: "given" by them, or what was made of the targets.
      has_condition: whether the condition means anything.
      split: one of SPLITS, or "" for a folder of targets.
      bad: account of those that could not be read.
    """

    source: Any
    transform: Callable
    settings: DataSettings
    condition: str
    has_condition: bool
    split: str
    bad: BadRecords

    def batches(self, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
        """All pairs once, as `pipeline.validation_batches` gives them."""
        made = pipeline.validation_batches(
            self.source, self.transform, batch_size=batch_size, on_bad=self.bad.note
        )
        for batch in made:
            if not self.has_condition:
                del batch["condition"]
            yield batch


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Values of the section `data` by key, from words "--data.key=value".

    Raises:
      ConfigError: a word is nothing of the kind.
    """
    found = {}
    for word in words:
        name, equals, text = word.partition("=")
        key = name.removeprefix("--config.").removeprefix("--").removeprefix("data.")
        if not (name.startswith(("--data.", "--config.data.")) and equals):
            raise ConfigError(f"unknown argument {word!r}: --help lists them")
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[key] = text
    return found


def open_pictures(
    built: Experiment, split: str | None, changes: dict[str, Any], say: Callable[[str], None]
) -> Pictures:
    """A split of a network's data set, or of other pictures that `changes` names.

    Args:
      built: the experiment, as `experiment.rebuild` made it.
      split: one of SPLITS; "all" is every picture below data.path, whichever split it is of. None
        is "val", but "all" for a folder of the user's that has no folder of that name.
      changes: values that replace the config's section `data`, "path" among them maybe.
      say: prints a line about a picture that cannot be read.

    Raises:
      ConfigError: a value that cannot work, or does not fit the network.
      DataError: pictures that cannot be used, or no such split.
    """
    trained_on = built.config["data"]
    for key in _OF_THE_NETWORK:
        if key in changes and changes[key] != trained_on[key]:
            raise ConfigError(f"data.{key} {changes[key]} must be the network's {trained_on[key]}")
    values = dict(trained_on)
    if "path" in changes:  # the other place may be of another kind
        values = {name: x for name, x in values.items() if name not in _OF_A_PLACE}
    condition = built.config["derived"]["condition"]
    values |= {"condition": condition} | changes
    data = DataSettings(**arguments("data", values, DataSettings))
    settings = built.settings._replace(data=data)
    split = split or _default_split(data, "path" in changes)
    if split == "all" and data.path and data.source != "tfds":
        splits = layouts.open_everything(data.path, **dataset.layout_options(data))
    else:
        splits = dataset.open_splits(built.config, settings)
    if split not in splits.sources:
        there = ", ".join(splits.sources)
        raise DataError(f"{data.path or 'the demo set'} has no split {split}: it has {there}")
    if (splits.condition == layouts.GIVEN) != (condition == layouts.GIVEN):
        raise ConfigError(
            f"these pictures make the condition {splits.condition!r}, and the network was trained "
            f"with {condition!r}: set --data.condition"
        )
    chosen = {split: splits.sources[split]}
    if data.drop_greyscale:
        chosen = dataset.drop_greyscale_records(chosen)
    transform = dataset.validation_transform(data, splits.condition)
    source = chosen[split]
    bad = BadRecords(source, data.max_bad_fraction, say)
    return Pictures(source, transform, data, splits.condition, True, split, bad)


def _default_split(data, is_other):
    """ "val", unless the folder is the user's and not divided."""
    if (
        not is_other
        or data.source == "tfds"
        or layouts.is_divided(data.path, data.target_folder, data.condition_folder)
    ):
        return "val"
    return "all"


def open_targets(directory: str, data: DataSettings, say: Callable[[str], None]) -> Pictures:
    """The pictures of a folder as truths to compare others with; what was coloured is not known.

    Args:
      directory: of the pictures.
      data: how to fit them; image_size 0 leaves them as they are, and all must have one size.
      say: as for `open_pictures`.

    Raises:
      DataError: no pictures there.
      ConfigError: a value that cannot work.
    """
    listing = _list(directory, "--targets")
    source = PictureSource(listing.paths, listing.stems, background=data.background)
    kind = "luma"  # made, and not used
    transform = dataset.validation_transform(data, kind) if data.image_size else Unchanged(source)
    bad = BadRecords(source, data.max_bad_fraction, say)
    return Pictures(source, transform, data, "", False, "", bad)


class Unchanged:
    """A transform that leaves targets as they are, once they have the first one's size."""

    def __init__(self, source: Any):
        """For the pictures of a source; reads the first."""
        self._shape = source[0]["target"].shape

    def __call__(self, record):
        """{"condition", "target"}: both the target.

        Raises:
          ConfigError: it has another size.
        """
        target = record["target"]
        if target.shape != self._shape:
            sizes = ["x".join(map(str, shape[1::-1])) for shape in (self._shape, target.shape)]
            raise ConfigError(f"targets of {sizes[0]} and of {sizes[1]} pixels: set --image_size")
        return {"condition": target, "target": target}


class Predictions(NamedTuple):
    """Pictures made elsewhere, beside the truths that they predict.

    Attributes:
      pictures: the truths, those that have a prediction.
      source: the predictions in the same order.
      transform: brings them to the size of the truths.
      without: names of the truths that have no prediction, and are left out.
      resized: whether predictions are brought to another size.
    """

    pictures: Pictures
    source: PictureSource
    transform: Callable
    without: tuple[str, ...]
    resized: bool

    def batches(self, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
        """Batches of the truths, with "prediction" besides."""
        others = pipeline.validation_batches(self.source, self.transform, batch_size=batch_size)
        for batch, other in zip(self.pictures.batches(batch_size), others, strict=True):
            if not (other["mask"] >= batch["mask"]).all():
                bad = batch["index"][other["mask"] < batch["mask"]][0]
                self.source[bad]  # raises what is wrong with it
            yield batch | {"prediction": other["target"]}


def match_predictions(
    found: Pictures, directory: str, *, suffix: str = "", target_suffix: str = ""
) -> Predictions:
    """The pictures of a folder, matched by name without suffix with the truths of `found`.

    Args:
      found: the truths.
      directory: of the predictions.
      suffix: what follows a picture's name in the names of its prediction, before the dot; files
        without it are not looked at.
      target_suffix: the same in the names of the truths.

    Raises:
      DataError: no prediction has the name of a truth, or two have the same.
    """
    listing = _list(directory, "--predictions")
    by_name: dict[str, str] = {}
    for stem, path in zip(listing.stems, listing.paths, strict=True):
        name = Path(stem).name
        if not name.endswith(suffix):
            continue
        name = name.removesuffix(suffix)
        if name in by_name:
            raise DataError(f"{by_name[name]} and {path} are both predictions of {name}")
        by_name[name] = path
    names = [_stem(name) for name in found.source.names]
    wanted = [name.removesuffix(target_suffix) for name in names]
    chosen = [
        place
        for place, name in enumerate(wanted)
        if name in by_name and names[place].endswith(target_suffix)
    ]
    if not chosen:
        example = f"{wanted[0]}{suffix}.png" if wanted else ""
        raise DataError(
            f"no picture in {directory} has the name of one to compare with, such as {example}"
        )
    twice = {wanted[place] for place in chosen if wanted.count(wanted[place]) > 1}
    if twice:
        raise DataError(f"several of the pictures to compare with are called {sorted(twice)[0]}")
    truths = SubsetSource(found.source, chosen)
    paths = [by_name[wanted[place]] for place in chosen]
    pair = found.transform(truths[0])["target"]
    sizes = {pictures.read_size(path) for path in paths}
    resized = sizes != {pair.shape[1::-1]}
    return Predictions(
        pictures=found._replace(source=truths),
        source=PictureSource(paths, truths.names, background=found.settings.background),
        transform=_FitTo(pair.shape, found.settings.resize),
        without=tuple(
            found.source.names[place]
            for place, name in enumerate(names)
            if name.endswith(target_suffix) and wanted[place] not in by_name
        ),
        resized=resized,
    )


class _FitTo:
    """A transform that stretches pictures to a size."""

    def __init__(self, shape, method):
        self._height, self._width = shape[:2]
        self._method = method

    def __call__(self, record):
        from jaxcolor.data.transforms import resize

        target = resize(record["target"], self._height, self._width, self._method)
        return {"condition": target, "target": target}


def _stem(name):
    """The last part of a record's name, without the suffix of a picture."""
    path = Path(name)
    return path.stem if path.suffix.lower() in pictures.SUFFIXES else path.name


def _list(directory, flag):
    try:
        listing = pictures.list_pictures(pictures.expand(directory))
    except DataError as error:
        raise DataError(str(error).replace("set data.path", f"set {flag}")) from error
    if not listing.paths:
        raise DataError(f"no pictures in {directory}: {flag} takes a folder of them")
    return listing
