"""Facts about the anime sketch pairs of Kaggle as a TFDS data set."""

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxcolor.data import anime_sketch_pairs, tfds_preparation
from jaxcolor.data.tfds_source import open_tfds
from jaxcolor.errors import DataError


def random_picture(seed, height=32, width=32, channels=3):
    shape = (height, width, channels)[: 3 if channels > 1 else 2]
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(pixels, form="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def anime_pair(seed, size=16):
    """A colour picture and a grey one, side by side."""
    left, right = random_picture(seed, size, size), random_picture(1000 + seed, size, size, 1)
    return left, np.stack([right] * 3, axis=-1)


def write_download(directory, train=5, val=2, prefix="data/"):
    for split, count in (("train", train), ("val", val)):
        folder = Path(directory, prefix, split)
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = np.concatenate(anime_pair(number), axis=1)
            Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    return Path(directory)


def zipped(directory, prefix=""):
    path = Path(f"{directory}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(Path(directory).rglob("*")):
            archive.write(file, prefix + file.relative_to(directory).as_posix())
    return path


def assert_one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def open_anime(path, directory):
    name = f"anime_sketch_pairs:{path}"
    return open_tfds(name, directory=str(directory), validation_fraction=0.25)


def assert_anime_pairs(source, count):
    assert source.paired
    assert len(source) == count
    for number in range(count):
        colour, sketch = anime_pair(number)
        np.testing.assert_array_equal(source[number]["target"], colour)
        np.testing.assert_array_equal(source[number]["condition"], sketch)


@pytest.mark.parametrize("prefix", ["", "data/"])
@pytest.mark.parametrize("wrap", [None, "", "deep/er/"])
def test_anime_pairs_come_back_exactly(tmp_path, capsys, prefix, wrap):
    path = write_download(tmp_path / "download", prefix=prefix)
    if wrap is not None:
        path = zipped(path, wrap)
    sources = open_anime(path, tmp_path / "sets")
    assert_anime_pairs(sources["train"], 5)
    assert_anime_pairs(sources["val"], 2)
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == (
        "anime_sketch_pairs: 5 of 14,224 train and 2 of 3,545 val pairs"
    )
    assert "ownload" not in printed.replace(str(path), "")


def test_anime_files_are_kept_as_they_are(tmp_path):
    path = write_download(tmp_path / "download", train=1)
    open_anime(path, tmp_path / "sets")
    builder = tfds_preparation.find_prepared("anime_sketch_pairs", str(tmp_path / "sets"))
    raw = {"pair": tfds.decode.SkipDecoding()}
    record = builder.as_data_source("train", decoders=raw)[0]
    assert record["pair"] == (path / "data/train/0000.png").read_bytes()
    assert record["filename"] == b"0000.png"


def test_anime_pairs_are_prepared_once(tmp_path, capsys):
    path = write_download(tmp_path / "download")
    open_anime(path, tmp_path / "sets")
    capsys.readouterr()
    open_anime(path, tmp_path / "sets")
    shutil.rmtree(path)
    for name in (f"anime_sketch_pairs:{path}", "anime_sketch_pairs", "anime_sketch_pairs:1.0.0"):
        sources = open_tfds(name, directory=str(tmp_path / "sets"), validation_fraction=0.25)
        assert_anime_pairs(sources["train"], 5)
    assert capsys.readouterr().out == ""


def test_anime_pairs_of_another_count_are_noticed(tmp_path):
    open_anime(write_download(tmp_path / "part"), tmp_path / "sets")
    with pytest.raises(DataError) as caught:
        open_anime(write_download(tmp_path / "whole", train=6), tmp_path / "sets")
    assert_one_line(caught, "5 train and 2 val", "6 train and 2 val", tmp_path / "sets")


def test_anime_pairs_without_val_are_divided(tmp_path):
    sources = open_anime(write_download(tmp_path / "download", 30, 0), tmp_path / "sets")
    assert len(sources["train"]) + len(sources["val"]) == 30
    assert 0 < len(sources["val"]) < 20


def test_damaged_anime_pairs_are_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(anime_sketch_pairs, "_PAIRS_PER_SHARD", 2)
    path = write_download(tmp_path / "download")
    folder = path / "data" / "train"
    whole = (folder / "0004.png").read_bytes()
    (folder / "0005.png").write_bytes(whole[:-30])
    (folder / "0006.png").write_bytes(whole[:80] + bytes([whole[80] ^ 1]) + whole[81:])
    Image.new("RGB", (7, 4)).save(folder / "0007.png")
    (folder / "0008.jpg").write_bytes(encoded(random_picture(1), "JPEG")[:-200])
    (folder / "0009.png").write_text("")
    (folder / ".hidden.png").write_text("")
    (folder / "Thumbs.db").write_text("")
    sources = open_anime(path, tmp_path / "sets")
    assert_anime_pairs(sources["train"], 5)
    left_out = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    names = [f"data/train/000{n}" for n in range(5, 10)]
    assert [line.split(": ")[1][:15] for line in left_out] == names


def test_damage_within_a_zip_is_left_out(tmp_path, capsys):
    path = zipped(write_download(tmp_path / "download"))
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 100] ^= 1  # of the first picture
    path.write_bytes(data)
    assert len(open_anime(path, tmp_path / "sets")["train"]) == 4
    assert "left out: data/train/0000.png" in capsys.readouterr().out


def test_nothing_is_left_of_a_set_that_is_all_damaged(tmp_path):
    path = write_download(tmp_path / "download", 2, 0)
    for file in path.rglob("*.png"):
        file.write_text("")
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            open_anime(path, tmp_path / "sets")
        assert_one_line(caught, "data/train/0000.png", path)
    assert not [*(tmp_path / "sets").rglob("*array_record*")]


def test_a_download_of_something_else_is_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        open_anime(tmp_path / "nothing.zip", tmp_path / "sets")
    assert_one_line(caught, tmp_path / "nothing.zip")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(DataError) as caught:
        open_anime(tmp_path / "text.zip", tmp_path / "sets")
    assert_one_line(caught, tmp_path / "text.zip")
    write_download(tmp_path / "other", prefix="data/pictures/").joinpath("data", "train").mkdir()
    write_download(tmp_path / "other" / "twice")
    with pytest.raises(DataError) as caught:
        open_anime(tmp_path / "other", tmp_path / "sets")
    assert_one_line(caught, "data/pictures/train", "twice/data/train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        open_anime(tmp_path / "empty", tmp_path / "sets")
    assert_one_line(caught, "folder train", tmp_path / "empty")
