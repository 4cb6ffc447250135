"""python -m jaxcolor colorize: files and folders of pictures, coloured."""

import argparse
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from jaxcolor.colorize import Colorizer, jobs, picture_files
from jaxcolor.colorize.colorizer import check_render_size
from jaxcolor.colorize.jobs import Job
from jaxcolor.colorize.picture_files import Picture
from jaxcolor.command import errors_as_lines, make_parser, set_up_jax
from jaxcolor.data.check_report import printable
from jaxcolor.data.pictures import expand
from jaxcolor.errors import ConfigError, DataError, UserError

DESCRIPTION = """\
Colours pictures of any size and kind with a trained network.

  colorize PHOTO.jpg FOLDER 'scans/**/*.tif' --model WORKDIR --out DIR

A result has its picture's name, format, depth and colour profile, and its place in the folder that
was given. Nothing that is there already is replaced unasked; a run that was interrupted goes on
when the same command is given again. Pictures that cannot be read are named at the end, and the
exit status is then 1."""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    words = make_parser("colorize", DESCRIPTION, in_bucket=("model",))
    add = words.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="files, folders, quoted patterns")
    add("--model", required=True, metavar="WORKDIR", help="of a training, or an export")
    add("--out", required=True, metavar="DIR", help="where the results go")
    add("--checkpoint", default="best", metavar="best|latest|STEP", help="default: best")
    render = "longer side at which the network sees a picture; default: the network's own for "
    add("--render_size", type=int, metavar="N", help=f"{render}photographs, a drawing's own")
    there = words.add_mutually_exclusive_group()
    there.add_argument("--skip-existing", action="store_true", help="leave alone what is there")
    there.add_argument("--overwrite", action="store_true", help="replace what is there")
    add("--side-by-side", action="store_true", help="before | after in one picture")
    quality = f"1 to 100, of JPEG and lossy WebP; default: {picture_files.QUALITY}"
    add("--quality", type=int, default=picture_files.QUALITY, metavar="N", help=quality)
    add("--keep-metadata", action="store_true", help="EXIF and XMP: camera, time, place, author")
    add("--batch_size", type=int, default=0, help="default: 1 on a CPU, 8 on accelerators")
    limit = f"largest picture that is read; default: {picture_files.MAX_PIXELS}"
    add("--max_pixels", type=int, default=picture_files.MAX_PIXELS, metavar="N", help=limit)
    return words


def main(argv: Sequence[str]) -> int:
    """Runs the command on its words; returns the exit status."""
    values = parser().parse_args(list(argv))
    stopped = "stopped; the same command goes on with what is left"
    with errors_as_lines(stopped=stopped, files="the results") as status:
        set_up_jax()
        bad = colorize(values)
        status[0] = 1 if bad else 0
    return status[0]


def colorize(values: argparse.Namespace) -> list[str]:
    """Colours what the arguments ask for; returns a line for each picture that cannot be read.

    Raises:
      UserError: whatever else the user can mend, in one line.
      OSError: a result cannot be written.
    """
    _check(values)
    out = expand(values.out)
    every, passed_over = jobs.find_jobs(values.inputs, out)
    for line in passed_over:
        print(f"passed over: {printable(line)}")
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, values.max_pixels)
    colorizer = Colorizer.load(values.model, values.checkpoint, batch_size=values.batch_size)
    for line in colorizer.trained.warnings:
        print(printable(line))
    existing = {"skip_existing": values.skip_existing, "overwrite": values.overwrite}
    settings = _settings(values, colorizer)
    left = jobs.left_to_do(every, out, settings, **existing)
    if len(left) < len(every):
        print(f"{len(every) - len(left)} of {len(every)} results are there already")
    outcome = _Outcome()
    with tqdm(total=len(left), desc="colouring", unit="img", disable=None) as bar:
        for _ in _colour(left, colorizer, values, outcome):
            bar.update()
    jobs.finish(out)
    for line in outcome.lines(len(left), colorizer.trained.image_size):
        print(printable(line))
    return outcome.bad


class _Outcome:
    """What there is to say of pictures after a run."""

    def __init__(self):
        self.bad, self.notes, self.lost_colour, self.seen_in_parts = [], [], 0, 0

    def lines(self, count: int, image_size: int) -> Iterator[str]:
        """Lines for the user, of `count` pictures and a network for those of `image_size`."""
        yield from (f"note: {note}" for note in self.notes)
        if self.lost_colour:
            yield (
                f"note: pictures that were in colour: {self.lost_colour}; the network colours "
                "grey ones, so that their own colours were dropped"
            )
        if self.seen_in_parts:
            yield (
                f"note: drawings longer than {2 * image_size} pixels: {self.seen_in_parts}; the "
                "network saw them in parts; if the colours are poor, "
                f"--render_size {image_size} shows it the whole, with softer lines"
            )
        yield f"{count - len(self.bad)} of {count} pictures coloured"
        yield from (f"not coloured: {line}" for line in self.bad)


def _check(values):
    if not values.out or not all(values.inputs):  # of a variable that a script did not set
        raise ConfigError("an INPUT or --out is empty: write . for this directory")
    check_render_size(values.render_size)
    if not 1 <= values.quality <= 100:
        raise ConfigError(f"--quality {values.quality} must be from 1 to 100")
    if values.max_pixels < 1:
        raise ConfigError(f"--max_pixels {values.max_pixels} must be at least 1")


def _settings(values, colorizer) -> dict[str, Any]:
    trained = colorizer.trained
    return {
        "inputs": [os.path.abspath(expand(word)) for word in values.inputs],
        "model": str(trained.workdir.resolve()),
        "step": trained.step,
        "render_size": values.render_size,
        "side_by_side": values.side_by_side,
        "quality": values.quality,
        "keep_metadata": values.keep_metadata,
    }


def _colour(left, colorizer, values, outcome: _Outcome) -> Iterator[Job]:
    """Each job when its result is written, or cannot be. Reads ahead and writes in threads.

    Pictures in memory: those of three batches at most.
    """

    def write(job, picture, result):
        if values.side_by_side:
            result = np.concatenate([colorizer.before(picture.pixels), result], axis=1)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        options = {"quality": values.quality, "keep_metadata": values.keep_metadata}
        picture_files.write(job.target, result, picture, **options)

    def written(job, future):
        try:
            future.result()
        except DataError as error:
            outcome.bad.append(f"{job.source}: {error}")
        return job

    limits = {"max_pixels": values.max_pixels, "least_side": colorizer.trained.image_size}
    read = _read_ahead(left, colorizer.batch_size, **limits)
    with ThreadPoolExecutor(1) as writer:
        writing = deque()
        for chunk in read:
            good = [(job, found) for job, found in chunk if isinstance(found, Picture)]
            for job, found in chunk:
                if not isinstance(found, Picture):
                    outcome.bad.append(str(found))
                    yield job
            arrays = [picture.pixels for _, picture in good]
            results = colorizer.colorize_many(arrays, values.render_size)
            for (job, picture), result in zip(good, results, strict=True):
                if picture.note:
                    outcome.notes.append(f"{job.source}: {picture.note}")
                outcome.lost_colour += colorizer.has_colour_to_lose(picture.pixels)
                outcome.seen_in_parts += colorizer.sees_parts(picture.pixels, values.render_size)
                while len(writing) >= colorizer.batch_size:
                    yield written(*writing.popleft())
                writing.append((job, writer.submit(write, job, picture, result)))
        while writing:
            yield written(*writing.popleft())


def _read_ahead(left, size, **limits) -> Iterator[list[tuple[Job, Picture | UserError]]]:
    """The pictures in lists of `size`, or why one cannot be read; one list ahead."""

    def read(chunk):
        found = []
        for job in chunk:
            try:
                found.append((job, picture_files.read(job.source, **limits)))
            except UserError as error:
                found.append((job, error))
        return found

    chunks = [left[first : first + size] for first in range(0, len(left), size)]
    with ThreadPoolExecutor(1) as reader:
        ahead = deque()
        for chunk in chunks:
            ahead.append(reader.submit(read, chunk))
            if len(ahead) > 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
