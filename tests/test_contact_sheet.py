"""Facts about the contact sheet of augmented pairs."""

import numpy as np
import pytest
from PIL import Image

from jaxcolor.data.contact_sheet import GAP, MARGIN, SEAM, TEXT_HEIGHT, write_contact_sheet
from jaxcolor.errors import DataError

COLOURS = [(200, 30, 40), (20, 180, 60), (40, 60, 220), (230, 200, 20), (120, 20, 160)]
DARK, LIGHT = 40, 250  # of conditions: as validation sees them, and as training does


class ColourSource:
    """Records of one colour each; those at `damaged` cannot be read."""

    names = ("red", "folder/green", "blue", "a name far too long to fit " * 20, "日本\n語\udcff")

    def __init__(self, damaged=()):
        self._damaged = damaged

    def __len__(self):
        return len(COLOURS)

    def __getitem__(self, index):
        if index in self._damaged:
            raise DataError(f"cannot read the picture {index}")
        return {"target": np.full((8, 8, 3), COLOURS[index], np.uint8)}


def views(size, channels):
    """Transforms that show the colour of a record, and what randomness they got as condition."""

    def view(record, value):
        target = np.broadcast_to(record["target"][0, 0], (size, size, 3))
        return {"condition": np.full((size, size, channels), value, np.uint8), "target": target}

    def training(record, rng):
        return view(record, LIGHT - rng.integers(0, 5))

    return training, lambda record: view(record, DARK)


def read(path):
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        return np.asarray(sheet.convert("RGB"))


def area(pixels, colour):
    return int((pixels == colour).all(-1).sum())


@pytest.mark.parametrize(
    ("size", "shown", "channels"),
    [(256, 256, 1), (160, 160, 3), (50, 150, 1), (32, 128, 3), (512, 256, 3)],
)
def test_the_sheet_holds_every_view_at_its_size(tmp_path, size, shown, channels):
    path = tmp_path / "folder" / "sheet.png"
    names = write_contact_sheet(path, ColourSource(), *views(size, channels), pairs=5, draws=2)
    assert sorted(names) == sorted(ColourSource.names)
    pixels = read(path)
    width = 2 * MARGIN + 3 * (2 * shown + SEAM) + 2 * GAP
    height = 2 * MARGIN + TEXT_HEIGHT + 5 * (TEXT_HEIGHT + shown) + 4 * GAP
    assert pixels.shape == (height, width, 3)
    for colour in COLOURS:
        assert area(pixels, colour) == 3 * shown**2
    assert area(pixels, (DARK,) * 3) >= 5 * shown**2
    left = pixels[:, : MARGIN + 2 * shown + SEAM]
    assert area(left, (DARK,) * 3) >= 5 * shown**2
    light = sum(area(pixels, (value,) * 3) for value in range(LIGHT - 4, LIGHT + 1))
    assert light == 2 * 5 * shown**2
    assert [x.name for x in path.parent.iterdir()] == ["sheet.png"]


def test_condition_stands_left_of_its_target(tmp_path):
    write_contact_sheet(tmp_path / "a.png", ColourSource(), *views(128, 1), pairs=1, draws=0)
    bottom = read(tmp_path / "a.png")[-MARGIN - 64]
    assert (bottom[MARGIN] == DARK).all()
    assert tuple(bottom[MARGIN + 128 + SEAM].tolist()) in COLOURS


def test_the_seed_alone_decides(tmp_path):
    sheets = []
    for number, seed in enumerate([0, 0, 1]):
        path = tmp_path / f"{number}.png"
        write_contact_sheet(path, ColourSource(), *views(64, 1), pairs=3, seed=seed)
        sheets.append(path.read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]


def test_damaged_records_are_passed_over(tmp_path):
    path = tmp_path / "a.png"
    names = write_contact_sheet(path, ColourSource(damaged=(0, 3)), *views(64, 1), pairs=5)
    assert sorted(names) == sorted(ColourSource.names[index] for index in (1, 2, 4))
    assert area(read(path), COLOURS[0]) == 0
    assert area(read(path), COLOURS[1]) > 0


def test_without_a_readable_record_nothing_is_written(tmp_path):
    with pytest.raises(DataError, match="cannot read the picture"):
        write_contact_sheet(tmp_path / "a.png", ColourSource(damaged=range(5)), *views(64, 1))
    assert not list(tmp_path.iterdir())


def test_a_long_heading_is_wrapped_and_takes_its_room(tmp_path):
    def height(heading):
        write_contact_sheet(
            tmp_path / "a.png", ColourSource(), *views(64, 1), pairs=1, heading=heading
        )
        return read(tmp_path / "a.png").shape[0]

    assert height("train") == height("") + TEXT_HEIGHT
    assert height("train, flip on, " * 40) >= height("") + 3 * TEXT_HEIGHT
