"""Logs, tables, schedules and sample sheets."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxcolor import colorspace, image_metrics
from jaxcolor.errors import ConfigError
from jaxcolor.training import optimizers
from jaxcolor.training.reporting import EpochTiming, RunLog, timing_table, write_sample_sheet


def timing(epoch, **changes):
    values = dict.fromkeys(EpochTiming._fields, 1.5) | {"epoch": epoch, "steps": 10} | changes
    return EpochTiming(**values)


def write_run(workdir, *, first_step=0, first_epoch=1, epochs=(1, 2, 3)):
    log = RunLog(workdir, first_step, first_epoch)
    for epoch in epochs:
        for step in (10 * epoch - 5, 10 * epoch):
            log.metrics(step, epoch, "train", {"generator/l1": 1 / step})
        log.timing(timing(epoch))
    log.close()


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_resumed_run_writes_every_row_once(tmp_path):
    write_run(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 31, "epo')  # killed while writing
    with (tmp_path / "timing.csv").open("a") as file:
        file.write("4,10,1.")
    write_run(tmp_path, first_step=15, first_epoch=2, epochs=(2, 3))
    steps = [row["step"] for row in rows(tmp_path)]
    assert steps == [5, 10, 15, 15, 20, 25, 30]
    epochs = [line.split(",")[0] for line in (tmp_path / "timing.csv").read_text().splitlines()]
    assert epochs == ["epoch", "1", "2", "3"]


def test_tensorboard_events_hold_the_values(tmp_path):
    write_run(tmp_path)
    events = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    assert b"train/generator/l1" in events


def test_infinite_values_stay_valid_json(tmp_path):
    log = RunLog(tmp_path, 0, 1)
    log.metrics(1, 1, "validation", {"psnr": float("inf")})
    log.close()
    assert rows(tmp_path)[0]["psnr"] == "inf"


def test_the_table_has_a_row_an_epoch(tmp_path):
    write_run(tmp_path)
    lines = timing_table(tmp_path / "timing.csv").splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert "images per second" in lines[0]


def test_the_sample_sheet_shows_the_pictures_in_their_columns(tmp_path):
    colours = [(200, 30, 40), (20, 180, 60), (40, 60, 220)]
    pictures = [np.full((2, 64, 64, 3), colour, np.uint8) for colour in colours]
    path = tmp_path / "sheet.png"
    labels = ["\N{CJK UNIFIED IDEOGRAPH-6F22}.png", "\N{PILE OF POO}"]  # of no font of ours
    write_sample_sheet(path, *pictures, heading="epoch 1", labels=labels)
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    thirds = np.array_split(pixels, 3, axis=1)
    for third, colour in zip(thirds, colours, strict=True):
        assert (third == colour).all(-1).mean() > 0.6
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_the_rate_is_a_function_of_the_step():
    rate = optimizers.learning_rate_schedule(
        2e-4, schedule="constant_then_linear", total_steps=200, decay_fraction=0.5
    )
    assert float(rate(0)) == float(rate(100)) == pytest.approx(2e-4)
    assert float(rate(150)) == pytest.approx(1e-4)
    assert float(rate(199)) == pytest.approx(2e-6)  # the last step still learns
    assert float(rate(200)) == 0
    constant = optimizers.learning_rate_schedule(
        3e-4, schedule="constant", total_steps=200, decay_fraction=0.5
    )
    assert float(constant(10**6)) == pytest.approx(3e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "cosine"},
        {"learning_rate": -1.0},
        {"learning_rate": float("nan")},
        {"decay_fraction": 0.0},
        {"b1": 1.0},
        {"epsilon": 0.0},
    ],
)
def test_optimizer_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError):
        optimizers.adam(**options, total_steps=10)


def test_adam_moves_by_its_formula():
    """First two steps of Adam by hand (Kingma and Ba 2015, algorithm 1)."""
    optimizer, _ = optimizers.adam(0.1, b1=0.5, b2=0.9, epsilon=1e-8, total_steps=10)
    parameter, state = np.float32(1.0), optimizer.init(np.float32(1.0))
    mean = square = 0.0
    expected = 1.0
    for count, gradient in enumerate((0.3, -0.2), 1):
        update, state = optimizer.update(np.float32(gradient), state)
        parameter = parameter + update
        mean = 0.5 * mean + 0.5 * gradient
        square = 0.9 * square + 0.1 * gradient**2
        step = mean / (1 - 0.5**count) / (np.sqrt(square / (1 - 0.9**count)) + 1e-8)
        expected -= 0.1 * step
        assert float(parameter) == pytest.approx(expected, rel=1e-5)


def test_ranges_round_trip_and_clip():
    every = np.arange(256, dtype=np.uint8)
    signed = np.asarray(colorspace.to_signed(every))
    assert (signed.min(), signed.max(), signed.dtype) == (-1, 1, np.float32)
    np.testing.assert_array_equal(colorspace.to_uint8(signed), every)
    np.testing.assert_array_equal(colorspace.to_uint8(np.array([-3.0, 7.0])), [0, 255])


def test_metrics_by_hand():
    target = np.zeros((2, 4, 4, 3), np.float32)
    prediction = target + np.array([0.5, 0.1], np.float32)[:, None, None, None]
    np.testing.assert_allclose(
        image_metrics.l1_by_picture(prediction, target), [0.5, 0.1], rtol=1e-5
    )
    psnr = image_metrics.psnr_by_picture(prediction, target, value_range=2.0)
    np.testing.assert_allclose(psnr, [20 * np.log10(4), 20 * np.log10(20)], rtol=1e-5)
