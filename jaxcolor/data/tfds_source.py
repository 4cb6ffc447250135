"""Pictures of a TFDS data set: read through its data source, decoded here, never with TensorFlow.

A data set with image features `target` and `condition` gives pairs, and so does one with the image
feature `pair`, which holds the two side by side, the target in the left half. Of any other, the
feature `image`, or else the first image feature by name, gives single pictures.
"""

import functools
import io
import os
import re
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcolor.data.layouts import SPLIT_FOLDERS, split_by_name
from jaxcolor.data.pictures import read_picture
from jaxcolor.data.tfds_preparation import (
    FILE_FORMAT,
    find_prepared,
    import_tfds,
    one_line,
    prepare_known,
    tfds_directory,
)
from jaxcolor.errors import DataError

ANIME_SKETCH_PAIRS = "anime_sketch_pairs"
PAIR = "pair"


class TfdsSource:
    """Random access to the pictures of one split, by threads and, pickled, by processes."""

    def __init__(
        self,
        directory: str,
        split: str,
        features: Sequence[str],
        places: Sequence[int],
        *,
        background: str = "white",
    ):
        """Source of some records of a split.

        Args:
          directory: of the prepared data set: its name, configuration and version included.
          split: as the data set calls it.
          features: image features: ("target", "condition"), ("pair",) or one of any other name.
          places: numbers of the records within the split.
          background: as for `pictures.read_picture`.
        """
        self._directory, self._split, self._features = directory, split, tuple(features)
        self._places, self._background = places, background
        self._forget()

    @property
    def paired(self):
        """Whether records have a condition."""
        return self._features == (PAIR,) or len(self._features) == 2

    @property
    def names(self):
        """What the records are called: the split and their number in it, as in train/000123."""
        if self._names is None:
            self._names = [self._name(place) for place in self._places]
        return self._names

    def __len__(self):
        """Number of records."""
        return len(self._places)

    def __getitem__(self, index):
        """{"target"} or {"condition", "target"}: uint8 arrays [height, width, 3].

        Raises:
          DataError: the record, or a picture in it, cannot be read.
        """
        place = int(self._places[index])
        pictures = [self._decode(data, place) for data in self._read(place)]
        if self._features == (PAIR,):
            pictures = self._halves(pictures[0], place)
        return dict(zip(("target", "condition"), pictures, strict=False))

    def __getstate__(self):
        """Without the open files, which every process opens for itself."""
        return {**vars(self), "_lock": None, "_opened": None, "_names": None}

    def __setstate__(self, state):
        """Another source of the same records."""
        vars(self).update(state)
        self._forget()

    def _forget(self):
        self._lock, self._opened, self._names = threading.Lock(), None, None

    def _name(self, place):
        return f"{self._split}/{place:06d}"

    def _read(self, place):
        """The encoded pictures of a record."""
        try:
            with self._lock:
                if self._opened is None:
                    self._opened = _open_records(self._directory, self._split, self._features)
            records, parser, decoders = self._opened
            record = parser.deserialize_example_np(records[place], decoders=decoders)
        except Exception as error:  # ArrayRecord meets damage with errors of any kind
            raise DataError(
                f"cannot read {self._name(place)} in {self._directory} ({one_line(error)}): delete "
                "the data set and prepare it anew"
            ) from error
        return [record[feature] for feature in self._features]

    def _decode(self, data, place):
        file = io.BytesIO(data)
        file.name = f"{self._name(place)} in {self._directory}"  # for its error messages
        return read_picture(file, background=self._background)

    def _halves(self, picture, place):
        width = picture.shape[1]
        if width % 2:
            raise DataError(
                f"{self._name(place)} in {self._directory} is {width} pixels wide: two pictures "
                "side by side need an even width"
            )
        return picture[:, : width // 2], picture[:, width // 2 :]


def open_tfds(
    name: str, *, directory: str = "", validation_fraction: float, background: str = "white"
) -> dict[str, TfdsSource]:
    """The sources of a TFDS data set, by split: "train", "val" and, where one is left, "test".

    What is not in `directory` yet is downloaded and prepared there, once. "val" is the data set's
    own validation split, or else its test split, or else a share of its training split that
    `layouts.split_by_name` chooses by the records' numbers.

    Args:
      name: as TFDS spells it: cifar10, places365_small, name/config, name:1.2.3. Our own
        anime_sketch_pairs is prepared from the directory or zip that Kaggle gives:
        "anime_sketch_pairs:PATH" does that the first time and checks that PATH, if it is still
        there, holds as many pictures as were prepared; "anime_sketch_pairs" uses what is there.
      directory: where data sets are kept; "" for TFDS's own, ~/tensorflow_datasets.
      validation_fraction: share of the records that validate if no split does.
      background: as for `pictures.read_picture`.

    Raises:
      ConfigError: no data set has this name, or TFDS is not installed.
      DataError: it cannot be prepared or does not hold pictures that can be used.
    """
    directory = tfds_directory(directory)
    builder = _open_builder(name, directory)
    _check_format(name, builder)
    features = _image_features(builder.info)
    opened = functools.partial(TfdsSource, os.fspath(builder.data_dir), features=features)
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    counts = {split: count for split, count in counts.items() if count}
    sources = {
        split: opened(split=own, places=range(counts[own]), background=background)
        for split, own in _choose_splits(counts, builder.info.full_name).items()
    }
    if "val" not in sources:
        parts = split_by_name(sources["train"].names, validation_fraction)
        if not all(parts):
            raise DataError(f"{builder.data_dir} has one record, which cannot train and validate")
        for split, part in zip(("train", "val"), parts, strict=True):
            sources[split] = opened(split="train", places=np.array(part), background=background)
    return sources


def _open_builder(name, directory):
    import_tfds()
    own, _, path = name.partition(":")
    if own == ANIME_SKETCH_PAIRS and path and not re.fullmatch(r"[\d*]+(\.[\d*]+){2}", path):
        from jaxcolor.data import anime_sketch_pairs

        return anime_sketch_pairs.open_or_prepare(path, directory)
    builder = find_prepared(name, directory)
    if builder is not None:
        return builder
    if own == ANIME_SKETCH_PAIRS:
        raise DataError(
            f"{name} is not in {directory}: set data.path={ANIME_SKETCH_PAIRS}:PATH once, with the "
            "zip that Kaggle gives or the directory unpacked from it"
        )
    return prepare_known(name, directory)


def _check_format(name, builder):
    formats = sorted(form.value for form in builder.info.available_file_formats())
    if FILE_FORMAT not in formats:
        raise DataError(
            f"{builder.data_dir} is prepared as {' and '.join(formats)}, which cannot be read at "
            f"random: set data.tfds_directory to another directory, to have {name} prepared there "
            f"as {FILE_FORMAT}"
        )


def _image_features(info):
    """The features to read: see `TfdsSource`."""
    features = import_tfds().features
    images = [
        key
        for key, feature in sorted(info.features.items())  # they come in no certain order
        # Numbers that only look like a picture once encoded.
        if isinstance(feature, features.Image) and feature.np_dtype != np.float32
    ]
    if {"target", "condition"} <= set(images):
        return ("target", "condition")
    plain = [key for key in images if not isinstance(info.features[key], features.LabeledImage)]
    if not plain:
        raise DataError(
            f"the TFDS data set {info.full_name} has no image feature, only "
            f"{', '.join(sorted(info.features))}: choose one of pictures"
        )
    return (next((key for key in (PAIR, "image") if key in plain), plain[0]),)


def _choose_splits(counts, name):
    """What the data set calls each split of ours."""
    if "train" not in counts:
        raise DataError(
            f"the TFDS data set {name} has no split train, only {', '.join(counts) or 'empty ones'}"
        )
    chosen = {"train": "train"}
    validation = next((own for own in (*SPLIT_FOLDERS["val"], "test") if own in counts), None)
    if validation:
        chosen["val"] = validation
    if "test" in counts and validation != "test":
        chosen["test"] = "test"
    return chosen


def _open_records(directory, split, features):
    """The records of a split as bytes, what parses them, and how: into pictures still encoded."""
    tfds = import_tfds()
    builder = tfds.builder_from_directory(directory)
    records: Any = builder.as_data_source(
        split,
        deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
        file_format=FILE_FORMAT,
    )
    # Other features are not even parsed: some need TensorFlow, some take long.
    parser = tfds.features.FeaturesDict({key: builder.info.features[key] for key in features})
    return records, parser, {key: tfds.decode.SkipDecoding() for key in features}
