"""Sources: random access to pictures or pairs of pictures in files.

A source has `len(source)`; `source[index]`, a record {"target"} or {"condition", "target"} of uint8
RGB arrays [height, width, 3]; and `source.names`, what to call the records in files and reports.
One whose records come from files has `source.paths(index)`. It can be pickled, since worker
processes each take a copy. A record that cannot be read raises DataError.
"""

import bisect
import itertools
from collections.abc import Sequence

import numpy as np

from jaxcolor.data.pictures import is_greyscale, read_picture
from jaxcolor.errors import ConfigError, DataError

# How to halve a picture [height, width, 3]: the axis, and whether the target comes first.
SIDES = {"left": (1, True), "right": (1, False), "top": (0, True), "bottom": (0, False)}


class PictureSource:
    """Colour pictures, of which a transform makes the conditions."""

    def __init__(self, paths: Sequence[str], names: Sequence[str], *, background: str = "white"):
        """Source of the pictures at `paths`; see `pictures.read_picture` for `background`."""
        self.names, self._paths, self._background = list(names), list(paths), background

    def __len__(self):
        """Number of pictures."""
        return len(self._paths)

    def __getitem__(self, index):
        """{"target": uint8 [height, width, 3]}."""
        return {"target": read_picture(self._paths[index], background=self._background)}

    def paths(self, index):
        """The files of a record."""
        return [self._paths[index]]


class SideBySideSource:
    """Pairs stored as one picture each, the target in one half and the condition in the other."""

    def __init__(
        self,
        paths: Sequence[str],
        names: Sequence[str],
        *,
        target_side: str = "left",
        background: str = "white",
    ):
        """Source of the pairs in `paths`.

        Args:
          paths: picture files.
          names: what to call them.
          target_side: a key of SIDES, the half of each picture that is the target.
          background: as for `pictures.read_picture`.

        Raises:
          ConfigError: there is no such side.
        """
        if target_side not in SIDES:
            raise ConfigError(f"data.target_side {target_side!r} must be one of {', '.join(SIDES)}")
        self._pictures = PictureSource(paths, names, background=background)
        self.axis, self._target_is_first = SIDES[target_side]

    @property
    def names(self):
        """What the pairs are called."""
        return self._pictures.names

    def __len__(self):
        """Number of pairs."""
        return len(self._pictures)

    def __getitem__(self, index):
        """The pair {"condition", "target"}: uint8 arrays [height, width, 3] of one size.

        Raises:
          DataError: the picture cannot be read, or not be halved.
        """
        picture = self._pictures[index]["target"]
        if picture.shape[self.axis] % 2:
            extent = ("high", "wide")[self.axis]
            raise DataError(
                f"{self.paths(index)[0]} is {picture.shape[self.axis]} pixels {extent}: two "
                "pictures side by side need an even number"
            )
        first, second = np.split(picture, 2, self.axis)
        target, condition = (first, second) if self._target_is_first else (second, first)
        return {"condition": condition, "target": target}

    def paths(self, index):
        """The file of a pair."""
        return self._pictures.paths(index)


class FolderPairSource:
    """Pairs stored as two pictures each."""

    def __init__(
        self,
        target_paths: Sequence[str],
        condition_paths: Sequence[str],
        names: Sequence[str],
        *,
        background: str = "white",
    ):
        """Source of pairs of files; see `pictures.read_picture` for `background`."""
        self._targets = PictureSource(target_paths, names, background=background)
        self._conditions = PictureSource(condition_paths, names, background=background)

    @property
    def names(self):
        """What the pairs are called."""
        return self._targets.names

    def __len__(self):
        """Number of pairs."""
        return len(self._targets)

    def __getitem__(self, index):
        """The pair {"condition", "target"}: uint8 arrays [height, width, 3], each of its size."""
        target, condition = (s[index]["target"] for s in (self._targets, self._conditions))
        return {"condition": condition, "target": target}

    def paths(self, index):
        """The files of a pair: target, condition."""
        return self._targets.paths(index) + self._conditions.paths(index)


class SubsetSource:
    """Some records of another source, in an order of choice."""

    def __init__(self, source, indices: Sequence[int]):
        """The records of `source` at `indices`."""
        self._source, self._indices = source, [int(index) for index in indices]
        if hasattr(source, "paths"):
            self.paths = self._paths
        if hasattr(source, "axis"):
            self.axis = source.axis

    @property
    def names(self):
        """What the records are called."""
        names = self._source.names
        return [names[index] for index in self._indices]

    def __len__(self):
        """Number of records."""
        return len(self._indices)

    def __getitem__(self, index):
        """A record of the other source."""
        return self._source[self._indices[index]]

    def _paths(self, index):
        return self._source.paths(self._indices[index])


class ConcatenatedSource:
    """The records of several sources of one kind, one source after the other."""

    def __init__(self, sources: Sequence):
        """All records of `sources`, of which there is at least one."""
        self._sources = list(sources)
        self._ends = list(itertools.accumulate(map(len, self._sources)))
        for name in ("paired", "description", "axis"):
            if hasattr(self._sources[0], name):
                setattr(self, name, getattr(self._sources[0], name))

    @property
    def names(self):
        """What the records are called."""
        return [name for source in self._sources for name in source.names]

    def __len__(self):
        """Number of records."""
        return self._ends[-1]

    def __getitem__(self, index):
        """A record of the source it lies in."""
        number = bisect.bisect_right(self._ends, index)
        return self._sources[number][index - self._ends[number] + len(self._sources[number])]


def has_colour(source, index: int) -> bool:
    """Whether the target of a record shows any colour; true of one that cannot be read."""
    try:
        return not is_greyscale(source[index]["target"])
    except DataError:
        return True
