"""Facts about reading pairs from a directory."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcolor.data.sources import SideBySideSource, open_pairs, read_picture
from jaxcolor.errors import ConfigError, DataError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def save_pair(path, width=8, height=4, left=RED, right=BLUE, **options):
    pair = Image.new("RGB", (width, height), right)
    pair.paste(Image.new("RGB", (width // 2, height), left))
    path.parent.mkdir(parents=True, exist_ok=True)
    pair.save(path, **options)
    return path


def assert_one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


@pytest.mark.parametrize(
    ("side", "target", "condition"), [("left", RED, BLUE), ("right", BLUE, RED)]
)
def test_target_side_chooses_the_half(tmp_path, side, target, condition):
    save_pair(tmp_path / "a.png")
    pair = SideBySideSource(tmp_path, target_side=side)[0]
    assert pair["target"].shape == pair["condition"].shape == (4, 4, 3)
    assert pair["target"].dtype == pair["condition"].dtype == np.uint8
    assert np.all(pair["target"] == target)
    assert np.all(pair["condition"] == condition)


@settings(max_examples=20, deadline=None)
@given(half=st.integers(1, 40), height=st.integers(1, 40))
def test_halves_of_any_size_come_back_exactly(tmp_path_factory, half, height):
    directory = tmp_path_factory.mktemp("pairs")
    pixels = np.random.default_rng(half).integers(0, 256, (height, 2 * half, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(directory / "a.png")
    pair = SideBySideSource(directory)[0]
    np.testing.assert_array_equal(pair["target"], pixels[:, :half])
    np.testing.assert_array_equal(pair["condition"], pixels[:, half:])


def test_order_is_that_of_the_names_and_other_files_are_ignored(tmp_path):
    for name in (
        "b.png",
        "a.PNG",
        "d.jpg",
        "c.WebP",
        "f.BMP",
        "e.tiff",
        "g.JPEG",
        "10.png",
        "9.png",
    ):
        save_pair(tmp_path / name)
    for name in (".hidden.png", "Thumbs.db", "notes.txt"):
        (tmp_path / name).write_bytes(b"no picture")
    (tmp_path / "folder.png").mkdir()
    source = SideBySideSource(tmp_path)
    assert source.names == ["10", "9", "a", "b", "c", "d", "e", "f", "g"]
    assert len(source) == 9
    for index in range(9):
        assert source[index]["target"][0, 0, 0] > 240, source.names[index]


def test_a_source_survives_pickling(tmp_path):
    save_pair(tmp_path / "a.png")
    source = SideBySideSource(tmp_path, target_side="right")
    copy = pickle.loads(pickle.dumps(source))
    assert copy.names == source.names
    np.testing.assert_array_equal(copy[0]["target"], source[0]["target"])


def test_transparent_parts_are_white(tmp_path):
    for mode, colour in (("RGBA", (255, 0, 0, 0)), ("LA", (0, 0))):
        Image.new(mode, (2, 2), colour).save(tmp_path / "a.png")
        assert np.all(read_picture(tmp_path / "a.png") == 255)
    Image.new("RGBA", (2, 2), (255, 0, 0, 51)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png")[0, 0], (255, 204, 204))
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "a.png", transparency=0)
    assert read_picture(tmp_path / "a.png").tolist() == [[[255] * 3, [40, 50, 60]]]


def test_other_modes_become_rgb(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (2, 2), 100).save(path)
    assert np.all(read_picture(path) == 100)
    Image.new("1", (2, 2), 1).save(path)
    assert np.all(read_picture(path) == 255)
    Image.fromarray(np.full((2, 2), 0x8080, np.uint16)).save(path)
    assert np.all(read_picture(path) == 0x80)
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert read_picture(tmp_path / "a.tif")[0, 0].tolist() == [255, 0, 0]
    Image.fromarray(np.full((2, 2), 0.5, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="32-bit numbers") as caught:
        read_picture(tmp_path / "a.tif")
    assert_one_line(caught, tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_is_honoured(tmp_path, suffix):
    # Orientation 6: what is stored must be turned by 90 degrees clockwise to be upright.
    stored = Image.new("RGB", (16, 48), RED)
    stored.paste(Image.new("RGB", (16, 24), BLUE))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / f"a.{suffix}", exif=exif)
    pixels = read_picture(tmp_path / f"a.{suffix}")
    assert pixels.shape == (16, 48, 3)
    assert pixels[8, 4, 0] > 240  # the bottom of what is stored is on the left
    assert pixels[8, 44, 2] > 240
    # The header is read as turned too: sizes agree with those of an upright picture.
    save_pair(tmp_path / "b.png", 48, 16)
    assert len(SideBySideSource(tmp_path)) == 2


def test_missing_or_empty_directories_are_named(tmp_path):
    with pytest.raises(DataError, match="no directory") as caught:
        SideBySideSource(tmp_path / "nowhere")
    assert_one_line(caught, tmp_path / "nowhere")
    (tmp_path / ".hidden.png").write_bytes(b"")
    with pytest.raises(DataError, match="no pictures") as caught:
        SideBySideSource(tmp_path)
    assert_one_line(caught, tmp_path)


@pytest.mark.parametrize("missing", ["train", "val"])
def test_open_pairs_names_the_directory_it_expected(tmp_path, missing):
    for split in {"train", "val"} - {missing}:
        save_pair(tmp_path / split / "a.png")
    with pytest.raises(DataError, match="expected the directory") as caught:
        open_pairs(tmp_path)
    assert_one_line(caught, tmp_path / missing)


def test_open_pairs_opens_train_then_validation(tmp_path):
    save_pair(tmp_path / "train" / "t.png")
    save_pair(tmp_path / "val" / "v.png")
    train, validation = open_pairs(tmp_path, target_side="right")
    assert (train.names, validation.names) == (["t"], ["v"])
    assert np.all(validation[0]["target"] == BLUE)


def test_odd_widths_are_refused_at_once_or_on_reading(tmp_path):
    Image.new("RGB", (7, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="7 pixels wide") as caught:
        SideBySideSource(tmp_path)
    assert_one_line(caught, tmp_path / "a.png")
    with pytest.raises(DataError, match="7 pixels wide") as caught:
        SideBySideSource(tmp_path, mixed_sizes="resize")[0]
    assert_one_line(caught, tmp_path / "a.png")


def test_mixed_sizes_are_an_error_unless_they_are_resized(tmp_path):
    save_pair(tmp_path / "a.png", 8, 4)
    save_pair(tmp_path / "b.png", 8, 4)
    save_pair(tmp_path / "c.png", 12, 6)
    with pytest.raises(DataError, match=r"data\.mixed_sizes=resize") as caught:
        SideBySideSource(tmp_path)
    assert_one_line(caught, tmp_path / "a.png", "8x4", tmp_path / "c.png", "12x6")
    source = SideBySideSource(tmp_path, mixed_sizes="resize")
    assert [source[i]["target"].shape for i in range(3)] == [(4, 4, 3), (4, 4, 3), (6, 6, 3)]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_truncated_pictures_are_named_when_read(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="cannot read the picture") as caught:
        SideBySideSource(tmp_path, mixed_sizes="resize")[0]
    assert_one_line(caught, path)


def test_what_is_no_picture_is_named(tmp_path):
    for data in (b"", b"no picture\nat all", b"\x89PNG\r\n\x1a\n garbage"):
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(DataError, match="cannot read the picture") as caught:
            SideBySideSource(tmp_path)
        assert_one_line(caught, tmp_path / "a.png")
    with pytest.raises(DataError) as caught:
        read_picture(tmp_path / "missing.png")
    assert_one_line(caught, tmp_path / "missing.png")


def test_reasons_of_several_lines_are_told_in_one(tmp_path, monkeypatch):
    def fail(path):
        raise OSError("first\n  second")

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(DataError, match=r"\(first second\)") as caught:
        read_picture(tmp_path / "a.png")
    assert_one_line(caught, tmp_path / "a.png")


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    save_pair(tmp_path / "a.png", 100, 100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="decompression bomb") as caught:
        read_picture(tmp_path / "a.png")
    assert_one_line(caught, tmp_path / "a.png")


@pytest.mark.parametrize("wrong", [{"target_side": "top"}, {"mixed_sizes": "crop"}])
def test_unknown_choices_name_the_key_and_the_value(tmp_path, wrong):
    save_pair(tmp_path / "a.png")
    ((key, value),) = wrong.items()
    with pytest.raises(ConfigError, match=f"data.{key} '{value}' must be one of") as caught:
        SideBySideSource(tmp_path, **wrong)
    assert_one_line(caught)
