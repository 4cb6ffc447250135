"""A contact sheet: pairs of pictures as the network will see them, several draws of each."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxcolor.data.check_report import printable
from jaxcolor.errors import DataError

MARGIN, GAP, SEAM, TEXT_HEIGHT = 16, 12, 2, 20  # pixels
PAPER, INK, FAINT_INK = (224, 224, 224), (0, 0, 0), (90, 90, 90)
SMALLEST, LARGEST = 128, 256  # side of a picture on the sheet
MOST_SKIPPED = 100

Pair = dict[str, np.ndarray]


def write_contact_sheet(
    path: str | Path,
    source: Any,
    transform: Callable[[Pair, np.random.Generator], Pair],
    validation: Callable[[Pair], Pair],
    *,
    pairs: int = 8,
    draws: int = 3,
    seed: int = 0,
    heading: str = "",
) -> list[str]:
    """Writes a PNG with a row for each of some records of a source; returns their names.

    A row shows condition and target side by side: as validation sees them, then as training does
    in `draws` random draws. Pictures of up to 256 pixels a side are shown pixel by pixel, those
    under 128 enlarged by a whole number; larger ones are reduced to 256. The records are chosen by
    the seed alone; those that cannot be read are passed over.

    Args:
      path: the PNG; its folder is made if need be.
      source: as in `sources`.
      transform: of training, called with a record and a generator.
      validation: transform of a record.
      pairs: rows, fewer if the source has fewer records.
      draws: random draws of each record.
      seed: of the choice of records and of the draws.
      heading: text above the rows, such as the split and the settings; wrapped.

    Raises:
      DataError: no record can be read, or the first hundred chosen can not.
    """
    rows = _draw_rows(source, transform, validation, pairs, draws, seed)
    sheet = _compose(rows, ["validation"] + [f"draw {draw + 1}" for draw in range(draws)], heading)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    sheet.save(temporary, format="PNG")
    temporary.replace(path)
    return [name for name, _ in rows]


def _draw_rows(source, transform, validation, pairs, draws, seed):
    """(name, images of its views) of every record shown."""
    most = min(len(source), pairs + MOST_SKIPPED)
    chosen = random.Random(seed).sample(range(len(source)), most)
    names, rows, failure = source.names, [], None
    for index in chosen:
        if len(rows) == pairs:
            break
        try:
            record = source[index]
            generators = [np.random.default_rng([seed, index, draw]) for draw in range(draws)]
            views = [validation(record), *(transform(record, rng) for rng in generators)]
        except DataError as error:
            failure = failure or error
        else:
            rows.append((names[index], [_side_by_side(view) for view in views]))
    if not rows:
        raise failure or DataError("no pictures to show on a contact sheet")
    return rows


def _side_by_side(pair):
    """Condition and target as one image."""
    condition, target = (_image(pair[name]) for name in ("condition", "target"))
    size = condition.width + SEAM + target.width, max(condition.height, target.height)
    both = Image.new("RGB", size, PAPER)
    both.paste(condition, (0, 0))
    both.paste(target, (condition.width + SEAM, 0))
    return both


def _image(picture):
    """A uint8 array [height, width, channels] as RGB; all but three channels show the first."""
    colours = picture if picture.shape[-1] == 3 else np.repeat(picture[..., :1], 3, -1)
    image = Image.fromarray(np.ascontiguousarray(colours))
    side = max(image.size)
    if side > LARGEST:
        size = [max(1, round(extent * LARGEST / side)) for extent in image.size]
        return image.resize(size, Image.Resampling.LANCZOS)
    times = -(-SMALLEST // side)
    size = image.width * times, image.height * times
    return image.resize(size, Image.Resampling.NEAREST) if times > 1 else image


def _compose(rows, titles, heading):
    columns = range(len(titles))
    widths = [max(views[column].width for _, views in rows) for column in columns]
    heights = [max(view.height for view in views) for _, views in rows]
    lefts = [MARGIN + sum(widths[:column]) + GAP * column for column in columns]
    width = lefts[-1] + widths[-1] + MARGIN
    # Matplotlib's: Pillow's own has no letters beyond ASCII.
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), 13)
    lines = _wrap(printable(heading), width - 2 * MARGIN, font)
    height = 2 * MARGIN + TEXT_HEIGHT * (len(lines) + 1)
    height += sum(heights) + (TEXT_HEIGHT + GAP) * len(rows) - GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    top = MARGIN
    for line in lines:
        pen.text((MARGIN, top), line, INK, font)
        top += TEXT_HEIGHT
    for left, room, title in zip(lefts, widths, titles, strict=True):
        label = _elide(f"{title}: condition, target", room, font)
        pen.text((left, top), label, FAINT_INK, font)
    top += TEXT_HEIGHT
    for (name, views), row_height in zip(rows, heights, strict=True):
        pen.text((MARGIN, top), _elide(printable(name), width - 2 * MARGIN, font), INK, font)
        top += TEXT_HEIGHT
        for left, view in zip(lefts, views, strict=True):
            sheet.paste(view, (left, top))
        top += row_height + GAP
    return sheet


def _wrap(text, room, font):
    """The words of a text in lines of `room` pixels."""
    lines = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(_elide(word, room, font))
    return lines


def _elide(text, room, font):
    """The text, with its middle left out where it is longer than `room` pixels."""
    if font.getlength(text) <= room:
        return text
    kept = len(text)
    while kept > 2 and font.getlength(_shortened(text, kept)) > room:
        kept -= 1
    return _shortened(text, kept)


def _shortened(text, kept):
    return text[: -(-kept // 2)] + "..." + text[len(text) - kept // 2 :]
