"""The pictures that a config names, opened, and how they are transformed."""

import functools
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from tqdm import tqdm

from jaxcolor import configuration
from jaxcolor.data import demo, layouts, sources, transforms
from jaxcolor.data.conditions import KINDS
from jaxcolor.errors import ConfigError, DataError
from jaxcolor.settings import DataSettings, DemoSettings, Settings

_LAYOUT_KEYS = (
    "source",
    "condition",
    "target_side",
    "target_folder",
    "condition_folder",
    "background",
    "validation_fraction",
    "tfds_directory",
)
# What decides how a record becomes a pair of the network's size, besides the augmentation.
_PICTURE_KEYS = ("image_size", "resize", "fit", "line_strength", "line_thickness")


class DataSet(NamedTuple):
    """Pictures by split, and the transforms of a config.

    Attributes:
      splits: the sources, and what was noticed while looking for them.
      training: transform of (record, generator).
      validation: transform of a record.
      condition_channels: of the pairs that both make.
    """

    splits: layouts.Splits
    training: transforms.TrainingTransform
    validation: transforms.ValidationTransform
    condition_channels: int

    def derived(self) -> dict[str, Any]:
        """What the data adds to a resolved config: enough to tell other pictures from these."""
        names = self.splits.sources["train"].names
        digest = hashlib.sha256("\n".join(names).encode("utf-8", "replace")).hexdigest()
        return {
            "training_pictures": len(names),
            "training_names": digest[:16],
            "condition": self.splits.condition,
            "condition_channels": self.condition_channels,
        }


def open_data(
    values: dict[str, Any], settings: Settings, *, drop_greyscale: bool = True
) -> DataSet:
    """The data set of a resolved config; draws the demo set if that is to be used.

    Args:
      values: the config.
      settings: its typed sections.
      drop_greyscale: whether to do as data.drop_greyscale says, which decodes every picture.

    Raises:
      ConfigError: a key or value that cannot work.
      DataError: pictures that cannot be used.
    """
    data, splits = settings.data, open_splits(values, settings)
    picture = _picture_options(data, splits.condition)
    augment = configuration.arguments(
        "augment", values["augment"], transforms.TrainingTransform, supplied=picture
    )
    training = transforms.TrainingTransform(**picture, **augment)
    if splits.kind == "prepared":
        _check_prepared(splits.sources, data, training.load_size)
    if data.drop_greyscale and drop_greyscale:
        splits = splits._replace(sources=drop_greyscale_records(splits.sources))
    return DataSet(
        splits=splits,
        training=training,
        validation=validation_transform(data, splits.condition),
        condition_channels=3 if splits.condition == layouts.GIVEN else 1,
    )


def open_splits(values: dict[str, Any], settings: Settings) -> layouts.Splits:
    """The pictures of a resolved config; draws the demo set if that is to be used.

    Args:
      values: the config.
      settings: its typed sections.

    Raises:
      ConfigError: a key or value that cannot work.
      DataError: pictures that cannot be used.
    """
    data = settings.data
    path, options = data.path, layout_options(data)
    if not path and data.source == "tfds":
        raise ConfigError("data.source=tfds needs data.path, the name of a data set")
    if not path and "demo" not in values:  # of imported or exported weights
        raise ConfigError(
            "these weights came without pictures: name some, evaluate by --path DIR and run.py by "
            "--config.data.path=DIR"
        )
    if not path:
        chosen = DemoSettings(**configuration.arguments("demo", values["demo"], DemoSettings))
        path = demo.demo_directory(size=data.image_size, **chosen._asdict())
        options |= {"source": "side_by_side", "target_side": "left"}
    return layouts.open_splits(path, **options)


def layout_options(data: DataSettings) -> dict[str, Any]:
    """What of a section `data` `layouts.open_splits` is to know besides the path."""
    return {name: getattr(data, name) for name in _LAYOUT_KEYS}


def without_pictures(settings: Settings, derived: dict[str, Any]) -> DataSet:
    """A data set of no pictures at all, whose validation transform makes what a network expects.

    Args:
      settings: of the network's config.
      derived: what that config says was derived from its data.

    Raises:
      ConfigError: it says nothing of the kind.
    """
    pictures, channels = derived["training_pictures"], derived["condition_channels"]
    counts = type(pictures) is int and pictures >= 0 and type(channels) is int and channels >= 1
    if not counts or derived["condition"] not in (layouts.GIVEN, *KINDS):
        raise ConfigError("the config is no checkpoint's: it does not say what was derived")
    splits = layouts.Splits({}, settings.data.source, derived["condition"], [], [])
    return DataSet(
        splits=splits,
        training=None,
        validation=validation_transform(settings.data, derived["condition"]),
        condition_channels=derived["condition_channels"],
    )


def validation_transform(data: DataSettings, condition: str) -> transforms.ValidationTransform:
    """How a record becomes a pair without augmentation.

    Args:
      data: a config's section.
      condition: given, or the kind to make of the target.
    """
    return transforms.ValidationTransform(**_picture_options(data, condition))


def _picture_options(data, condition):
    return {name: getattr(data, name) for name in _PICTURE_KEYS} | {"condition": condition}


def _check_prepared(by_split, data, load_size):
    """Raises ConfigError if a cache holds less than the config asks for, or was made otherwise."""
    needed = {"train": ("augment.load_size", load_size)}
    for split, source in by_split.items():
        key, size = needed.get(split, ("data.image_size", data.image_size))
        if source.size < size:
            raise ConfigError(
                f"{key} {size} is more than the {source.size} pixels of {split} in the prepared "
                "cache: prepare another with this config, or set it lower"
            )
        made = source.description | {"fit": source.fit, "resize": source.method}
        for name in ("fit", "resize", "target_side", "background"):
            if name in made and made[name] != getattr(data, name):
                raise ConfigError(
                    f"data.{name} {getattr(data, name)!r}: the cache was prepared with "
                    f"{made[name]!r}; set that, or prepare another with this config"
                )
        if source.size > size:
            print(f"{split}: resized again, from {source.size} pixels in the prepared cache")


def drop_greyscale_records(by_split: dict[str, Any]) -> dict[str, Any]:
    """The same sources without the records whose target has no colour; says how many.

    Raises:
      DataError: nothing is left of a source.
    """
    kept = {}
    for split, source in by_split.items():
        bar = tqdm(
            total=len(source),
            desc=f"looking for colour in {split}",
            unit="img",
            disable=None,
            leave=False,
            dynamic_ncols=True,
        )
        coloured = functools.partial(sources.has_colour, source)
        indices = []
        with ThreadPoolExecutor() as threads, bar:
            for index, has_colour in enumerate(threads.map(coloured, range(len(source)))):
                indices += [index] * has_colour
                bar.update()
        if not indices:
            raise DataError(f"all pictures of {split} are greyscale: set data.drop_greyscale=False")
        grey = len(source) - len(indices)
        if grey:
            print(f"{split}: {grey} of {len(source)} pictures are greyscale and left out")
        kept[split] = sources.SubsetSource(source, indices) if grey else source
    return kept
