"""What the page does with a picture, without the page: takes it, colours it, says how it went."""

import contextlib
import functools
import io
import threading
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from jaxcolor.colorize import Colorizer, picture_files
from jaxcolor.data.demo_scenes import draw_pair
from jaxcolor.errors import DataError, UserError
from jaxcolor.gui.models import Models
from jaxcolor.gui.vault import Vault
from jaxcolor.trained import Trained

EXAMPLES = 8
PREVIEW = 1600  # longer side of what the page shows; the download has every pixel
_EXAMPLE_SIDES = (64, 512)
_SOURCE, _RESULT = "source", "result"
_BEFORE, _AFTER = "before", "after"
_COLOURS = {
    "given": "drawings or label maps, like those that it was trained on",
    "lines": "line drawings",
    "luma": "grey photographs",
    "lab_l": "grey photographs",
}
_SCORES = ("l1", "psnr")  # of its validation


class Shown(NamedTuple):
    """What the page shows after a picture.

    Attributes:
      pair: files of before and after, of up to PREVIEW pixels each way, or None if it was not
        coloured.
      status: HTML: what was done, or why it was not.
      result: the vault's token of the file to download, or "".
    """

    pair: tuple[Path, Path] | None
    status: str
    result: str = ""


def _told(method):
    """Makes a UserError of a method what the page shows."""

    @functools.wraps(method)
    def tell(self, session, *arguments):
        try:
            with self._at_work(session):
                return method(self, session, *arguments)
        except UserError as error:
            return Shown(None, f'<p class="refused">{escape(str(error))}</p>')

    return tell


class Desk:
    """Colours the pictures of several users, each of whom has one at a time."""

    def __init__(self, models: Models, vault: Vault, max_pixels: int):
        """Desk with no picture on it.

        Args:
          models: to choose among.
          vault: of the users' pictures.
          max_pixels: of a picture.
        """
        self._models, self._vault, self._max_pixels = models, vault, max_pixels
        self._jobs: dict[str, set[object]] = {}  # at work, by session
        self._lock = threading.Lock()

    @_told
    def take(self, session: str, token: str, model: str, render_size: int) -> Shown:
        """Colours a picture that was put into the vault.

        Args:
          session: whose it is from now on.
          token: of the picture.
          model: name of the model.
          render_size: see `Colorizer.colorize`; 0 for the default.
        """
        self._vault.get(token)
        self._vault.hold(session, _SOURCE, token)
        return self._colour(session, token, model, render_size)

    @_told
    def take_example(self, session: str, index: int, model: str, render_size: int) -> Shown:
        """Colours an example; see `take`."""
        if type(index) is not int or index not in range(EXAMPLES):
            raise DataError(f"there is no example {index}")
        example = self.examples(model)[index]
        name = f"example_{index + 1}.png"
        return self._take_pixels(session, example, name, model, render_size)

    @_told
    def take_sketch(self, session: str, token: str | None, model: str, render_size: int) -> Shown:
        """Colours what was drawn, at the size of the network's own pictures; see `take`.

        Args:
          session: whose it is.
          token: of the drawing that was put into the vault, of which white is empty, or None.
          model: name of the model.
          render_size: see `take`.
        """
        flat = None if token is None else _flatten(self._read(token, "sketch").pixels)
        if flat is None or flat.min() == 255:
            raise DataError("there is nothing on the canvas yet: draw something")
        scale = self._models.colorizer(model).trained.image_size / max(flat.shape[:2])
        sides = tuple(max(1, round(side * scale)) for side in flat.shape[1::-1])
        small = cv2.resize(flat, sides, interpolation=cv2.INTER_AREA)
        return self._take_pixels(session, small, "sketch.png", model, render_size)

    @_told
    def again(self, session: str, model: str, render_size: int) -> Shown | None:
        """Colours the session's picture anew, with other settings.

        Returns None where there is no picture, and nothing wrong with the model.
        """
        token = self._vault.held(session, _SOURCE)
        if token is None:
            self._models.colorizer(model)  # which may refuse
            return None
        return self._colour(session, token, model, render_size)

    def leave(self, session: str) -> None:
        """Deletes all that a session has, and of a job at work for it what that makes."""
        with self._lock:
            self._jobs.pop(session, None)
        self._vault.leave(session)

    @contextlib.contextmanager
    def _at_work(self, session: str) -> Iterator[None]:
        job = object()
        with self._lock:
            self._jobs.setdefault(session, set()).add(job)
        try:
            yield
        finally:
            with self._lock:
                jobs = self._jobs.get(session, set())
                has_left = job not in jobs
                jobs.discard(job)
                if not jobs:
                    self._jobs.pop(session, None)
            if has_left:
                self._vault.leave(session)

    def examples(self, model: str) -> list[np.ndarray]:
        """Demo pictures of a kind that a model takes: uint8, grey [side, side] or RGB.

        Raises:
          UserError: the model cannot be loaded.
        """
        colorizer = self._models.colorizer(model)
        low, high = _EXAMPLE_SIDES
        side = min(max(colorizer.trained.image_size, low), high)
        return _examples(colorizer.takes_grey, side)

    def about(self, model: str) -> str:
        """HTML on a model: what it colours, how far it was trained, and whether it was at all.

        Raises:
          UserError: the model cannot be loaded.
        """
        return _describe_model(self._models.colorizer(model).trained)

    def _read(self, token, name, least_side=1):
        limits = {"max_pixels": self._max_pixels, "least_side": least_side}
        return picture_files.read(self._vault.get(token).path, name=name, **limits)

    def _take_pixels(self, session, pixels, name, model, render_size):
        token = self._vault.put(_png(pixels), name)
        self._vault.hold(session, _SOURCE, token)
        return self._colour(session, token, model, render_size)

    def _colour(self, session, token, model, render_size):
        kept = self._vault.get(token)
        colorizer = self._models.colorizer(model)
        picture = self._read(token, kept.name, colorizer.trained.image_size)
        start = time.perf_counter()
        pixels = colorizer.colorize(picture.pixels, render_size or None)
        seconds = time.perf_counter() - start
        result = self._vault.put(picture_files.encode(pixels, picture), kept.name)
        self._vault.hold(session, _RESULT, result)
        pair = (
            self._show(session, _BEFORE, colorizer.before(picture.pixels)),
            self._show(session, _AFTER, pixels),
        )
        notes = _notes(colorizer, picture, render_size or None)
        status = _describe(kept.name, picture, model, seconds, notes)
        return Shown(pair, status, result)

    def _show(self, session, kind, pixels):
        token = self._vault.put(_png(_preview(pixels)), kind, ".png")
        self._vault.hold(session, kind, token)
        return self._vault.get(token).path


@functools.lru_cache(maxsize=4)
def _examples(grey: bool, side: int):
    """Validation pictures of the demo set, which no training on it sees."""
    pairs = [draw_pair((0, 1, index), side) for index in range(EXAMPLES)]
    return [np.asarray(colour.convert("L") if grey else sketch) for colour, sketch in pairs]


def _notes(
    colorizer: Colorizer, picture: picture_files.Picture, render_size: int | None
) -> list[str]:
    notes = [picture.note] if picture.note else []
    if colorizer.has_colour_to_lose(picture.pixels):
        notes.append("it was in colour; the network colours grey pictures, so its own was dropped")
    if colorizer.sees_parts(picture.pixels, render_size):
        notes.append(
            "the network saw this large drawing in parts; if the colours are poor, choose render "
            f"size {colorizer.trained.image_size}, which shows it the whole, with softer lines"
        )
    return notes


def _describe(name, picture, model, seconds, notes):
    height, width = picture.pixels.shape[:2]
    facts = f"{width} x {height}, {8 * picture.pixels.itemsize} bits, {picture.format}"
    lines = [
        f'<p class="done"><b>{escape(name)}</b> {facts}; coloured by <b>{escape(model)}</b> '
        f"in {seconds:.1f} s</p>",
        *(f'<p class="note">Note: {escape(note)}.</p>' for note in notes),
    ]
    return "".join(lines)


def _describe_model(trained: Trained) -> str:
    demo = trained.condition == "given" and "demo" in trained.config
    kind = "drawings like the examples" if demo else _COLOURS.get(trained.condition, "pictures")
    facts = [f"Colours {kind}", f"{trained.image_size} pixels"]
    if trained.epoch:
        facts.append(f"epoch {trained.epoch}")
    facts += [f"{name} {trained.scores[name]:.3g}" for name in _SCORES if name in trained.scores]
    warnings = "".join(f'<p class="refused">{escape(line)}</p>' for line in trained.warnings)
    return f"<p>{escape('; '.join(facts))}</p>{warnings}"


def _preview(pixels: np.ndarray) -> np.ndarray:
    """A picture as a page can show it: uint8 [height, width, 3] on white, not too large."""
    longer = max(pixels.shape[:2])
    if longer > PREVIEW:
        sides = (max(1, round(side * PREVIEW / longer)) for side in pixels.shape[1::-1])
        pixels = cv2.resize(pixels, tuple(sides), interpolation=cv2.INTER_AREA)
    return _flatten(pixels)


def _flatten(pixels):
    """uint8 RGB of a picture of any channels and depth, on white."""
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257).reshape(pixels.shape)
    if pixels.shape[2] < 3:  # grey
        pixels = np.concatenate([pixels[..., :1].repeat(3, axis=2), pixels[..., 1:]], axis=2)
    if pixels.shape[2] == 3:
        return pixels
    opacity = pixels[..., 3:] / np.float32(255)
    return np.rint(pixels[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
