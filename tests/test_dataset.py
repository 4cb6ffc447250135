"""Facts about the pictures of a config: what is left out, and what is said about their reading."""

import time

import numpy as np
import pytest
from PIL import Image
from test_configuration import load_config

from jaxcolor import experiment
from jaxcolor.data.transforms import TrainingTransform
from jaxcolor.dataset import open_data
from jaxcolor.errors import DataError
from jaxcolor.loader_advice import Advice
from jaxcolor.settings import read_settings


def opened(path, **data):
    config = load_config("pix2pix")
    config.data.update({"path": str(path), **data})
    values, _ = experiment.resolve(config)
    return open_data(values, read_settings(values))


def write_pictures(directory, colours):
    directory.mkdir()
    for number, colour in enumerate(colours):
        Image.new("RGB", (8, 8), colour).save(directory / f"{number}.png")
    return directory


def test_pictures_without_colour_are_left_out_on_request(tmp_path, capsys):
    red, grey = (200, 30, 30), (90, 90, 90)
    path = write_pictures(tmp_path / "some", [red, grey] * 20)
    options = {"condition": "luma", "validation_fraction": 0.3}
    everything = opened(path, **options).splits.sources
    coloured = opened(path, **options, drop_greyscale=True).splits.sources
    assert sum(map(len, everything.values())) == 40
    assert sum(map(len, coloured.values())) == 20
    for split, source in coloured.items():
        assert set(source.names) < set(everything[split].names)
        assert all(int(name) % 2 == 0 for name in source.names)
    printed = capsys.readouterr().out
    counts = [len(everything[split]) - len(coloured[split]) for split in ("train", "val")]
    for split, count in zip(("train", "val"), counts, strict=True):
        assert f"{split}: {count} of {len(everything[split])} pictures are greyscale" in printed
    path = write_pictures(tmp_path / "grey", [grey] * 4)
    with pytest.raises(DataError, match="all pictures of train are greyscale"):
        opened(path, condition="luma", drop_greyscale=True)


@pytest.mark.parametrize(("condition", "channels"), [("auto", 3), ("luma", 1), ("lines", 1)])
def test_made_conditions_have_one_channel(tmp_path, condition, channels):
    data = opened(write_pictures(tmp_path / "some", [(9, 8, 7)] * 4), condition=condition)
    assert data.condition_channels == channels
    record = data.splits.sources["train"][0]
    pair = data.training(record, np.random.default_rng(0))
    assert pair["condition"].shape == (256, 256, channels)
    assert data.validation(record)["condition"].shape == (256, 256, channels)


def test_other_pictures_are_told_apart(tmp_path):
    first = opened(write_pictures(tmp_path / "a", [(9, 8, 7)] * 4), condition="luma")
    second = opened(write_pictures(tmp_path / "b", [(9, 8, 7)] * 5), condition="luma")
    assert first.derived() == opened(tmp_path / "a", condition="luma").derived()
    assert first.derived()["training_names"] != second.derived()["training_names"]


class SlowSource:
    """Records that take `seconds` each to read."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __len__(self):
        return 20

    def __getitem__(self, index):
        time.sleep(self.seconds)
        picture = np.zeros((20, 20, 3), np.uint8)
        return {"condition": picture, "target": picture}


def test_a_cache_is_advised_once_where_reading_is_what_is_waited_for():
    transform = TrainingTransform(image_size=16, load_size=20)
    advice = Advice(SlowSource(0.02), transform, prepared=False)
    assert advice(0.01) == ""
    line = advice(0.3)
    assert "waiting for data 30%" in line
    assert "python -m jaxcolor prepare" in line
    assert advice(0.3) == ""
    assert Advice(SlowSource(0.02), transform, prepared=True)(0.3) == ""


def test_a_cache_is_not_advised_where_it_gains_nothing():
    def slow(record, rng):
        time.sleep(0.005)

    slow.fit_record = lambda record: record
    line = Advice(SlowSource(0.0), slow, prepared=False)(0.3)
    assert "loader.num_threads" in line
    assert "prepare" not in line


def test_advice_passes_over_what_cannot_be_read():
    class Spoiled(SlowSource):
        def __getitem__(self, index):
            if index == 0:
                raise DataError("broken")
            return super().__getitem__(index)

    transform = TrainingTransform(image_size=16, load_size=20)
    assert "prepare" in Advice(Spoiled(0.02), transform, prepared=False)(0.3)
