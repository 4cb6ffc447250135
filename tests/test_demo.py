"""Facts about the demo set: it is determined, complete or absent, and worth learning from."""

import hashlib
import threading

import numpy as np
import pytest
from PIL import Image

from jaxcolor.data import demo
from jaxcolor.data.demo import demo_directory, write_demo_set
from jaxcolor.data.layouts import open_splits
from jaxcolor.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo")
    write_demo_set(directory, train=24, validation=8, size=96)
    return directory


def file_hashes(directory):
    files = sorted(directory.rglob("*.png"))
    return {str(f.relative_to(directory)): hashlib.sha256(f.read_bytes()).digest() for f in files}


def test_files_and_sizes(small_set):
    names = [f"train/{i:04d}.png" for i in range(24)] + [f"val/{i:04d}.png" for i in range(8)]
    assert list(file_hashes(small_set)) == names
    with Image.open(small_set / "val" / "0007.png") as pair:
        assert (pair.size, pair.mode) == ((192, 96), "RGB")


def test_the_seed_decides_every_byte(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_demo_set(tmp_path / name, train=4, validation=2, size=64, seed=seed)
    first, again, other = (file_hashes(tmp_path / name) for name in "abc")
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_a_longer_set_begins_with_the_shorter_one(small_set, tmp_path):
    write_demo_set(tmp_path, train=2, validation=1, size=96)
    longer = file_hashes(small_set)
    assert all(longer[name] == digest for name, digest in file_hashes(tmp_path).items())


def test_no_validation_scene_is_a_training_scene(small_set):
    hashes = file_hashes(small_set)
    assert len(set(hashes.values())) == len(hashes) == 32


def open_pairs(directory):
    """Training and validation pairs."""
    opened = open_splits(directory).sources
    return opened["train"], opened["val"]


def test_colours_are_far_from_the_drawing(small_set):
    train, validation = open_pairs(small_set)
    distances = [
        np.abs(pair["target"].astype(float) - pair["condition"]).mean() / 127.5
        for source in (train, validation)
        for pair in (source[i] for i in range(len(source)))
    ]
    assert np.mean(distances) >= 0.6
    assert min(distances) >= 0.5


def test_the_drawing_is_grey_dark_on_white_and_antialiased(small_set):
    drawing = open_pairs(small_set)[0][0]["condition"]
    assert np.ptp(drawing.astype(int), axis=-1).max() == 0
    assert 0.7 < np.mean(drawing > 200) < 0.98
    assert drawing.min() < 60
    assert np.any((drawing > 90) & (drawing < 200))


def test_colours_follow_from_the_place(small_set):
    # The top rows hold sky and clouds, the bottom rows ground: a network can learn this at once.
    train, _ = open_pairs(small_set)
    red, _, blue = np.mean([train[i]["target"][:6].mean(axis=(0, 1)) for i in range(24)], axis=0)
    assert blue > red + 60
    red, _, blue = np.mean([train[i]["target"][-6:].mean(axis=(0, 1)) for i in range(24)], axis=0)
    assert red > blue + 20


def test_every_edge_of_the_picture_has_a_line(small_set):
    # Lines and colours are of the same scene: strong edges between colours lie on dark lines.
    for index in range(4):
        pair = open_pairs(small_set)[0][index]
        luma = pair["target"].astype(float).mean(axis=-1)
        edges = np.abs(np.diff(luma, axis=1)) > 45
        dark = pair["condition"][..., 0] < 235
        near = dark[:, :-1] | dark[:, 1:] | np.roll(dark, 1, axis=1)[:, :-1]
        assert np.mean(near[edges]) > 0.95


def test_cache_is_made_once_and_named_by_its_parameters(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCOLOR_CACHE", str(tmp_path))
    path = demo_directory(train=2, validation=1, size=32)
    assert path.parent == tmp_path / "jaxcolor"
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*.png")}
    assert len(before) == 3
    monkeypatch.setattr(demo, "draw_pair", None)  # a second drawing would fail
    assert demo_directory(train=2, validation=1, size=32) == path
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*.png")} == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    monkeypatch.undo()
    others = [{"train": 3}, {"validation": 2}, {"size": 33}, {"seed": 1}]
    for other in others:
        options = {"train": 2, "validation": 1, "size": 32} | other
        assert demo_directory(tmp_path / "jaxcolor", **options) != path


def test_a_broken_off_write_leaves_no_set(tmp_path, monkeypatch):
    drawn = []

    def draw_one_then_break(seed, size):
        if drawn:
            raise KeyboardInterrupt
        drawn.append(seed)
        return Image.new("RGB", (size, size)), Image.new("RGB", (size, size))

    monkeypatch.setattr(demo, "draw_pair", draw_one_then_break)
    with pytest.raises(KeyboardInterrupt):
        demo_directory(tmp_path, train=2, validation=1, size=32)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    path = demo_directory(tmp_path, train=2, validation=1, size=32)
    assert len(file_hashes(path)) == 3


def test_two_writers_at_once_both_get_the_whole_set(tmp_path):
    start, paths = threading.Barrier(2), []

    def make():
        start.wait()
        paths.append(demo_directory(tmp_path, train=4, validation=1, size=32))

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 2
    assert paths[0] == paths[1]
    assert len(file_hashes(paths[0])) == 5
    assert [entry.name for entry in tmp_path.iterdir()] == [paths[0].name]


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(DataError, match="set JAXCOLOR_CACHE") as caught:
        demo_directory(tmp_path / "file", train=1, validation=1, size=32)
    assert str(tmp_path / "file") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"train": -1}, {"validation": -1}, {"size": 8}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tmp_path, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError, match=f"{name} {value} must be at least"):
        write_demo_set(tmp_path, **wrong)
