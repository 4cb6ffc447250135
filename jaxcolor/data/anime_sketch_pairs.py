"""The TFDS data set anime_sketch_pairs: colour pictures beside sketches of them, from Kaggle.

As downloaded, it is a zip with 14,224 pictures in data/train and 3,545 in data/val: PNG, 1024x512
pixels, the colour picture in the left half and the sketch in the right.

Importing this module imports TFDS and registers the data set with it, as for any TFDS data set.
"""

import collections
import contextlib
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from jaxcolor.data.pictures import FORMATS, SUFFIXES
from jaxcolor.data.tfds_preparation import FILE_FORMAT, find_prepared, one_line, prepare_once
from jaxcolor.errors import DataError

NAME = "anime_sketch_pairs"
WHOLE_COUNTS = {"train": 14_224, "val": 3_545}
# TFDS keeps the pictures of a shard in memory while it writes it: some 100 MB.
_PAIRS_PER_SHARD = 256
_MOST_LINES = 10


class Download:
    """The pictures in a directory or zip, below folders train and val at any one depth."""

    def __init__(self, path: str | Path):
        """Finds the pictures.

        Args:
          path: a directory, or a zip, which is read without unpacking it.

        Raises:
          DataError: it is neither, or has no pictures in a folder train.
        """
        self.path = Path(path).expanduser()
        self._zip = None
        try:
            if self.path.is_dir():
                names = [file.relative_to(self.path).as_posix() for file in self.path.rglob("*")]
            else:
                self._zip = zipfile.ZipFile(self.path)
                names = self._zip.namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"cannot use {self.path} for {NAME} ({one_line(error)}): expected the zip that "
                "Kaggle gives or the directory unpacked from it"
            ) from error
        found = {split: self._select(names, split) for split in WHOLE_COUNTS}
        self.names = {split: names for split, names in found.items() if names}
        if "train" not in self.names:
            raise DataError(f"no pictures in a folder train in {self.path}, for {NAME}")

    def counts(self) -> dict[str, int]:
        """Number of pictures by split."""
        return {split: len(names) for split, names in self.names.items()}

    def read(self, name: str) -> bytes:
        """The bytes of a picture."""
        return self._zip.read(name) if self._zip else (self.path / name).read_bytes()

    def _select(self, names, split):
        files = [PurePosixPath(name) for name in names if name.lower().endswith(SUFFIXES)]
        files = [
            file
            for file in files
            if file.parent.name == split
            and not any(part.startswith((".", "__MACOSX")) for part in file.parts)
        ]
        folders = sorted({file.parent.as_posix() for file in files})
        if len(folders) > 1:
            raise DataError(f"several folders {split} in {self.path}: {', '.join(folders)}")
        return sorted(file.as_posix() for file in files)


class AnimeSketchPairs(tfds.core.ShardBasedBuilder):
    """TFDS builder of the pairs; in the order of the file names.

    `pair` holds a file as it was: nothing is decoded to prepare it, and nothing lost. A builder of
    this kind writes one shard after another; the usual kind sorts all records by a hash, for which
    it needs TensorFlow from 1 GB on.
    """

    VERSION = tfds.core.Version("1.0.0")
    name = NAME

    def __init__(self, *, download: Download | None = None, **options: Any):
        """Builder.

        Args:
          download: what to prepare from.
          **options: of any TFDS builder, such as data_dir.
        """
        self.damaged: list[str] = []
        self._kept: dict[str, int] = collections.Counter()
        self._download = download
        super().__init__(**options)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="Colour drawings (left half) beside sketches of them (right half).",
            homepage="https://www.kaggle.com/datasets/ktaebum/anime-sketch-colorization-pair",
            features=tfds.features.FeaturesDict(
                {"pair": tfds.features.Image(), "filename": tfds.features.Text()}
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _shard_iterators_per_split(self, dl_manager):
        del dl_manager  # nothing is downloaded
        self.info.metadata["found"] = self._download.counts()
        return {split: self._shards(split) for split in self._download.names}

    def _shards(self, split):
        names = self._download.names[split]
        bar = tqdm(total=len(names), desc=split, unit="img", disable=None, dynamic_ncols=True)
        starts = range(0, len(names), _PAIRS_PER_SHARD)
        parts = [names[start : start + _PAIRS_PER_SHARD] for start in starts]
        return [lambda part=part: self._examples(split, part, bar) for part in parts]

    def _examples(self, split, names, bar) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in names:
            try:
                data = self._download.read(name)
                _check(data)
            except Exception as error:  # zip and Pillow meet damage with errors of any kind
                self.damaged.append(f"{name} ({one_line(error)})")
            else:
                self._kept[split] += 1
                yield name, {"pair": data, "filename": PurePosixPath(name).name}
            bar.update()
        if names[-1] == self._download.names[split][-1]:
            bar.close()
            if not self._kept[split]:
                raise DataError(
                    f"no picture of {split} in {self._download.path} can be read; the first is "
                    f"{self.damaged[0]}"
                )


def prepare_anime_sketch_pairs(path: str | Path, directory: str | Path) -> None:
    """Prepares the data set, without what is damaged, and says how much of it there was.

    Args:
      path: see `Download`.
      directory: where TFDS data sets are kept.

    Raises:
      DataError: the pictures are not there, or all of a split are damaged.
    """
    download = Download(path)
    builder = AnimeSketchPairs(download=download, data_dir=os.fspath(directory))
    print(f"preparing {NAME} in {directory}, once, from {download.path}", flush=True)
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS says that it downloads
        builder.download_and_prepare(file_format=FILE_FORMAT)
    for line in builder.damaged[:_MOST_LINES]:
        print(f"left out: {line}")
    if len(builder.damaged) > _MOST_LINES:
        print(f"left out: {len(builder.damaged) - _MOST_LINES} more")
    kept = {split: info.num_examples for split, info in builder.info.splits.items()}
    counts = [f"{kept.get(split, 0):,} of {n:,} {split}" for split, n in WHOLE_COUNTS.items()]
    print(f"{NAME}: {' and '.join(counts)} pairs", flush=True)


def open_or_prepare(path: str | Path, directory: str) -> Any:
    """The builder of the data set in `directory`, prepared from `path` if it is not there.

    Raises:
      DataError: see `prepare_anime_sketch_pairs`; or it was prepared from other pictures.
    """
    builder = find_prepared(NAME, directory)
    if builder is None:
        return prepare_once(NAME, directory, lambda: prepare_anime_sketch_pairs(path, directory))
    if Path(path).expanduser().exists():
        found, counts = builder.info.metadata["found"], Download(path).counts()
        if found != counts:
            raise DataError(
                f"{builder.data_dir} was prepared from {_listed(found)} pictures and {path} has "
                f"{_listed(counts)}: delete the former to prepare it anew"
            )
    return builder


def _listed(counts):
    return " and ".join(f"{count:,} {split}" for split, count in counts.items())


def _check(data):
    """Raises an error of any kind unless `data` is an undamaged picture that can be halved."""
    try:
        opened = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError("not a picture of a known kind") from error
    with opened as image:
        if image.width % 2:
            raise ValueError(f"{image.width} pixels wide: two halves need an even width")
        if image.format == "PNG":
            image.verify()  # its checksums, many times faster than decoding
        else:
            image.load()
