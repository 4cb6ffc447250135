"""Arrays in colour: what the command, the GUI and programs call."""

import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import jax
import numpy as np

from jaxcolor import collector, colorspace
from jaxcolor.colorize import joining, tiling
from jaxcolor.data.conditions import make_condition
from jaxcolor.data.pictures import is_greyscale
from jaxcolor.data.transforms import resize
from jaxcolor.errors import ConfigError, DataError
from jaxcolor.trained import Trained, load_trained

MAX_RENDER_SIZE = 4096
# Kinds of conditions that are a photograph's grey.
_GREY = ("luma", "lab_l")
_ACCELERATOR_BATCH = 8
# Pixels of mirror image kept around a photograph, and at most a 16th of the canvas in all: around
# the canvas networks see zeros, which tints what they give for its outermost pixels.
_MARGIN = 8
# Rows of a sketch's colours that are rounded at once.
_ROWS = 64


class Colorizer:
    """Colours pictures of any size with a trained network.

    Networks trained to colour grey photographs (`data.condition` luma or lab_l) give a picture its
    chroma; its own L* stays, see `joining`. The others, of drawings and label maps, repaint it.

    The same picture gives the same result whatever comes before it or beside it; dropout is off
    and statistics of norms are each picture's own, or the running ones where the config says so.
    The network is compiled for one batch size, and for one canvas or, of the others, up to four.

    Attributes:
      trained: the network.
      batch_size: canvases that it is given at once: 1 on a CPU, 8 on accelerators, by default.
    """

    def __init__(self, trained: Trained, *, batch_size: int = 0):
        """Colorizer with a network that is loaded already.

        Args:
          trained: the network.
          batch_size: 0 for the device's default.
        """
        if batch_size < 0:
            raise ConfigError(f"batch_size {batch_size} must be at least 1, or 0 for the default")
        statistics = trained.experiment.settings.evaluation.statistics
        self.trained = trained.with_inference(statistics, dropout=False)
        usual = 1 if jax.default_backend() == "cpu" else _ACCELERATOR_BATCH
        self.batch_size = batch_size or usual
        self._data = self.trained.experiment.settings.data
        predict = self.trained.experiment.functions.predict
        self._compiled = jax.jit(functools.partial(_predict, predict, self.takes_grey))

    @classmethod
    def load(
        cls, workdir: str | Path, checkpoint: str = "best", *, batch_size: int = 0
    ) -> "Colorizer":
        """Colorizer with the network of a workdir.

        Args:
          workdir: of a training.
          checkpoint: "best", "latest" or a step: see `load_trained`.
          batch_size: 0 for the device's default.

        Raises:
          WorkdirError: there is no such network.
          ConfigError: it is of another version.
        """
        return cls(load_trained(workdir, checkpoint), batch_size=batch_size)

    @property
    def takes_grey(self) -> bool:
        """Whether it colours grey photographs, and makes colour pictures grey first."""
        return self.trained.condition in _GREY

    def colorize(self, picture: np.ndarray, render_size: int | None = None) -> np.ndarray:
        """The picture in colour: sRGB [height, width, 3], or 4 with alpha if it had alpha.

        Args:
          picture: uint8 or uint16, of which the result is too: [height, width] or, with 1 to 4
            channels, [height, width, channels]: grey, grey and alpha, sRGB, sRGB and alpha.
          render_size: the longer side in pixels at which the network sees the picture. By
            default the network's own for grey photographs, and the picture's for the others,
            which otherwise come out as sharp as their render_size is. Of photographs, a margin of
            up to 8 pixels a side may be taken off.

        Raises:
          DataError: the array is no picture.
          ConfigError: render_size is out of range.
        """
        return next(self.colorize_many([picture], render_size))

    def colorize_many(
        self, pictures: Iterable[np.ndarray], render_size: int | None = None
    ) -> Iterator[np.ndarray]:
        """The results of `colorize`, in order; `batch_size` pictures are held at once.

        Args:
          pictures: see `colorize`.
          render_size: see `colorize`.
        """
        check_render_size(render_size)
        pictures = iter(pictures)
        one = self._join_chroma if self.takes_grey else self._repaint_each
        while chunk := [check(p) for p in itertools.islice(pictures, self.batch_size)]:
            for picture, colours in zip(chunk, one(chunk, render_size), strict=True):
                alpha = picture[..., _colours(picture) :]
                yield np.concatenate([colours, alpha], axis=2) if alpha.size else colours

    def has_colour_to_lose(self, picture: np.ndarray) -> bool:
        """Whether the network takes grey and the picture has colours that anybody would see."""
        picture = check(picture)
        if not self.takes_grey or _colours(picture) == 1:
            return False
        return not is_greyscale(_to_8_bits(picture[..., :3]))

    def sees_parts(self, picture: np.ndarray, render_size: int | None = None) -> bool:
        """Whether it is a drawing so large that the network sees it in tiles, and never whole.

        What is drawn larger than in the training is then coloured badly: see `colorize`.

        Args:
          picture: see `colorize`.
          render_size: see `colorize`.
        """
        longer = render_size or max(check(picture).shape[:2])
        return not self.takes_grey and longer > 2 * self.trained.image_size

    def before(self, picture: np.ndarray) -> np.ndarray:
        """What is coloured, of the shape and type of the result: the grey picture, or the drawing.

        Args:
          picture: see `colorize`.
        """
        picture = check(picture)
        colours, alpha = picture[..., : _colours(picture)], picture[..., _colours(picture) :]
        if self.takes_grey:
            colours = joining.grey_levels(colours)[..., None]
        shape = (*picture.shape[:2], 3)
        return np.concatenate([np.broadcast_to(colours, shape), alpha], axis=2)

    def _join_chroma(self, pictures, render_size):
        size = render_size or self.trained.image_size
        canvases, windows = zip(*(self._grey_canvas(p, size) for p in pictures), strict=True)
        for picture, chroma, window in zip(
            pictures, self._network(np.stack(canvases)), windows, strict=True
        ):
            grey = joining.grey_levels(picture[..., : _colours(picture)])
            yield joining.join(grey, chroma[window])

    def _grey_canvas(self, picture, size):
        """The condition as in training, padded, and where in it the picture is."""
        small = self._on_background(picture)
        height, width = small.shape[:2]
        unit = self.trained.image_size
        canvas = -(-size // unit) * unit
        size = min(size, canvas - 2 * min(_MARGIN, canvas // 32))
        if self._data.fit == "stretch":
            height = width = size
        else:
            longer = max(height, width)
            height, width = (max(1, round(side * size / longer)) for side in (height, width))
        small = resize(small, height, width, self._data.resize)
        condition = make_condition(small, self.trained.condition)
        padded, top, left = tiling.pad(condition, canvas, canvas)
        return padded, (slice(top, top + height), slice(left, left + width))

    def _repaint_each(self, pictures, render_size):
        for picture in pictures:
            yield self._repaint(picture, render_size)

    def _repaint(self, picture, render_size):
        height, width = picture.shape[:2]
        condition = picture
        if render_size:
            longer = max(height, width)
            sides = (max(1, round(side * render_size / longer)) for side in (height, width))
            condition = resize(self._on_background(picture), *sides, self._data.resize)
        condition = self._drawing(condition)
        blocks = tiling.map_in_tiles(condition, self.trained.image_size, self._network)
        if condition.shape[:2] != (height, width):
            field = np.concatenate(list(blocks))
            blocks = joining.resize_rows(field, height, width, _ROWS)
        largest = np.iinfo(picture.dtype).max
        result = np.empty((height, width, 3), picture.dtype)
        first = 0
        for block in blocks:
            scaled = np.rint((block + 1) * (largest / 2))
            result[first : first + len(block)] = np.clip(scaled, 0, largest)
            first += len(block)
        return result

    def _drawing(self, picture):
        """The condition of a drawing, with the network's channels; of the picture's depth."""
        picture = self._on_background(picture, eight_bits=False)
        channels = self.trained.condition_channels
        if channels == picture.shape[2]:
            return picture
        if channels == 1:
            return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
        return np.broadcast_to(picture[..., :1], (*picture.shape[:2], channels))

    def _on_background(self, picture, eight_bits=True):
        """The picture without alpha, as the training's pictures were, [height, width, 1 or 3]."""
        picture = _to_8_bits(picture) if eight_bits else picture
        count = _colours(picture)
        if count == picture.shape[2]:
            return picture
        largest = np.iinfo(picture.dtype).max
        plain = largest if self._data.background == "white" else 0
        result = np.empty((*picture.shape[:2], count), picture.dtype)
        for first in range(0, len(picture), _ROWS):
            rows = picture[first : first + _ROWS].astype(np.float32)
            opacity = rows[..., count:] / largest
            mixed = rows[..., :count] * opacity + plain * (1 - opacity)
            result[first : first + _ROWS] = np.rint(mixed)
        return result

    def _network(self, canvases):
        """Chroma, or RGB, of canvases [any number, height, width, channels], a batch at a time."""
        results = []
        for first in range(0, len(canvases), self.batch_size):
            batch = _to_signed(canvases[first : first + self.batch_size])
            missing = self.batch_size - len(batch)
            batch = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)))
            with collector.held_back():  # the first is traced
                output = self._compiled(self.trained.state, batch)
            results.append(np.asarray(output)[: self.batch_size - missing])
        return np.concatenate(results)


def check(picture: np.ndarray) -> np.ndarray:
    """The array as a picture, [height, width, channels].

    Raises:
      DataError: it is none.
    """
    picture = np.asarray(picture)
    if picture.dtype not in (np.uint8, np.uint16):
        raise DataError(f"a picture must be of uint8 or uint16, not {picture.dtype}")
    picture = picture[..., None] if picture.ndim == 2 else picture
    if picture.ndim != 3 or not 1 <= picture.shape[2] <= 4 or not picture.size:
        raise DataError(
            "a picture must have the shape [height, width] or [height, width, 1 to 4 channels], "
            f"not {list(picture.shape)}"
        )
    return picture


def check_render_size(render_size: int | None) -> None:
    """Raises ConfigError unless it is None or a number of pixels that can be rendered."""
    if render_size is None:
        return
    is_whole = isinstance(render_size, (int, np.integer)) and render_size is not True
    if not is_whole or not 1 <= render_size <= MAX_RENDER_SIZE:
        raise ConfigError(f"render_size {render_size} must be from 1 to {MAX_RENDER_SIZE}")


def _predict(predict, chroma_only, state, condition):
    pictures = predict(state, condition, jax.random.key(0))
    return colorspace.rgb_to_lab(pictures)[..., 1:] if chroma_only else pictures


def _colours(picture):
    """How many of a picture's channels are not alpha."""
    return 1 if picture.shape[2] < 3 else 3


def _to_signed(canvases):
    largest = np.iinfo(canvases.dtype).max
    return canvases.astype(np.float32) / np.float32(largest / 2) - 1


def _to_8_bits(picture):
    if picture.dtype == np.uint8:
        return picture
    return cv2.convertScaleAbs(picture, alpha=1 / 257).reshape(picture.shape)
