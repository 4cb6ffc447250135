"""What docs/scaling.md derives: its tables are the script's, and the script's laws hold."""

import json

import numpy as np
import pytest

from benchmarks import scaling_laws as laws
from benchmarks import scaling_model, scaling_tables
from benchmarks.accelerators import ACCELERATORS
from benchmarks.scaling_laws import BFLOAT16, FLOAT32, PARAMETERS, Assumptions
from jaxcolor.training.optimizers import adam

ASSUMED = Assumptions({1: 0.05, 16: 0.3}, 0.8, {})
BY_NAME = {row.name: row for row in ACCELERATORS}
H100, V5E = BY_NAME["H100 SXM"], BY_NAME["TPU v5e"]


def tables_of(capsys, *words):
    assert scaling_model.main(words) == 0
    return capsys.readouterr().out


def test_the_document_shows_what_the_script_prints(capsys):
    document = scaling_model.DOCUMENT.read_text()
    parts = tables_of(capsys).split("\n\n")
    tables = dict(zip((part.removesuffix(":") for part in parts[::2]), parts[1::2], strict=False))
    assert len(tables) == 9
    for name, table in tables.items():
        assert f"<!-- scaling_model: {name} -->\n\n{table}\n\n<!-- end -->" in document, (
            f"table {name} of docs/scaling.md is old: python -m benchmarks.scaling_model --write"
        )
    assert document.count("<!-- scaling_model: ") == len(tables)


def test_the_document_is_filled_in_place(tmp_path, monkeypatch):
    known = scaling_model.DOCUMENT.read_text()
    emptied = scaling_model._MARKED.sub(r"\1\3", known)
    monkeypatch.setattr(scaling_model, "DOCUMENT", tmp_path / "scaling.md")
    scaling_model.DOCUMENT.write_text(emptied)
    assert "| TPU v5e | 8 |" in known
    assert "| TPU v5e | 8 |" not in emptied
    assert scaling_model.main(["--write"]) == 0
    assert scaling_model.DOCUMENT.read_text() == known


@pytest.mark.parametrize("devices", [2, 3, 8])
def test_a_ring_sends_what_the_formula_says(devices):
    parts = np.arange(devices * devices, dtype=float).reshape(devices, devices)
    held, sent = parts.copy(), np.zeros(devices)
    for phase in ("reduce", "gather"):
        for turn in range(devices - 1):
            before = held.copy()
            for device in range(devices):
                chunk = (device - turn + (phase == "gather")) % devices
                after = (device + 1) % devices
                if phase == "reduce":
                    held[after, chunk] = before[after, chunk] + before[device, chunk]
                else:
                    held[after, chunk] = before[device, chunk]
                sent[device] += 1 / devices
    np.testing.assert_array_equal(held, np.broadcast_to(parts.sum(axis=0), held.shape))
    np.testing.assert_allclose(sent, laws.ring_bytes(devices, 1.0))


def test_gradients_are_those_of_the_reference_networks():
    # The rest are biases and norms; see arithmetic.parameter_count.
    assert pytest.approx(54_413_955 + 2_768_705, rel=1e-3) == PARAMETERS


def test_a_reduction_goes_by_links_inside_of_an_island_and_by_the_network_outside():
    size = 1e9
    inside = 2 * 7 / 8 * size / 450e9
    assert laws.reduction_seconds(H100, 8, size, ASSUMED) == pytest.approx(inside / 0.8)
    outside = 2 * 7 / 8 * (size / 8) / 50e9
    assert laws.reduction_seconds(H100, 64, size, ASSUMED) == pytest.approx(
        (inside + outside) / 0.8
    )
    assert laws.reduction_seconds(H100, 1, size, ASSUMED) == 0
    with pytest.raises(ValueError, match="beyond 256 TPU v5e"):
        laws.reduction_seconds(V5E, 512, size, ASSUMED)


def test_an_open_torus_has_half_of_its_links():
    open_one = laws.reduction_seconds(V5E, 255, 1.0, ASSUMED) / laws.ring_bytes(255, 1.0)
    closed = laws.reduction_seconds(V5E, 256, 1.0, ASSUMED) / laws.ring_bytes(256, 1.0)
    assert open_one == pytest.approx(2 * closed)


def test_sharding_halves_nothing_but_adam():
    step = laws.step(V5E, 8, 16, FLOAT32, ASSUMED)
    assert laws.sharded_bytes(8, FLOAT32) == laws.ring_bytes(8, FLOAT32 * PARAMETERS)
    assert step.seconds - step.sharded == pytest.approx(7 / 8 * laws.adam_seconds(V5E))
    assert laws.sharded_bytes(8, BFLOAT16) == 0.75 * laws.sharded_bytes(8, FLOAT32)


@pytest.mark.parametrize("row", ACCELERATORS, ids=lambda row: row.name)
@pytest.mark.parametrize("size", [FLOAT32, BFLOAT16])
def test_the_smallest_batch_is_the_smallest_that_is_efficient(row, size):
    for devices in scaling_tables.DEVICES:
        batch = laws.smallest_batch(row, devices, size, 0.9, ASSUMED)
        assumed = ASSUMED._replace(shares=dict.fromkeys((batch - 1, batch), 0.3))
        enough, less = (laws.step(row, devices, n, size, assumed) for n in (batch, batch - 1))
        assert less.efficiency(less.seconds) < 0.9 <= enough.efficiency(enough.seconds)


def test_no_way_is_better_than_all_hidden_nor_worse_than_one_after_the_other():
    for row in ACCELERATORS:
        step = laws.step(row, 64, 1, FLOAT32, ASSUMED)
        assert max(step.alone, step.reduction) == step.overlapped < step.seconds
        assert step.sharded < step.seconds


def test_a_measured_rate_takes_the_place_of_the_assumption(capsys):
    before, after = (tables_of(capsys, *words) for words in ((), ("--measured", "TPU v5e:16=1000")))
    assert "| TPU v5e | 16 | given | 1.95 | 16.00 | 1,000 |" in after
    assert "| TPU v5e | 16 | 0.3, assumed | 1.95 | 25.46 | 628 |" in before
    # 8 chips: 16 ms and 5 ms of all-reduce
    assert "| TPU v5e | 8 | 16 (128) | 16.00 | 5.00 (2.50) | 0.76 (0.86) |" in after
    assert "| TPU v5e | 16 | 8,000 |" in after


@pytest.mark.parametrize(
    "words",
    [
        ["--measured", "TPU v5e:16"],
        ["--measured", "TPU v9:16=3"],
        ["--measured", "TPU v5e:4=3"],  # no share of 4 pictures
        ["--share", "16:1.5"],
        ["--share", "0:0.5"],
        ["--link_share", "0"],
    ],
)
def test_a_mistake_is_named_and_nothing_is_printed(words, capsys):
    try:
        status = scaling_model.main(words)
    except SystemExit as stop:
        status = stop.code
    printed = capsys.readouterr()
    assert status == 2
    assert "error: " in printed.err
    assert not printed.out


@pytest.mark.parametrize(
    "text", [None, '{"tables": [{"update": "sequential"}], "platform": "cpu"}']
)
def test_results_that_are_missing_or_damaged_are_one_line(text, tmp_path, capsys):
    for name in ("train_step", "input_pipeline") if text else ("train_step_quick",):
        (tmp_path / f"{name}.json").write_text(text or "{}")
    assert scaling_model.main(["--results", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {tmp_path}")
    assert printed.err.count("\n") == 1
    assert not printed.out


def test_hosts_are_planned_by_the_slowest_of_the_measured_sets(tmp_path):
    def table(cache, files):
        samples = {"jaxcolor cache, 1 core": [cache] * 3, "jaxcolor files, 1 core": [files] * 3}
        return {"contenders": {}, "images": 32, "samples": samples}

    stages = {"images": 1, "samples": {"resize": [1.0]}}
    loading = {"tables": [table(0.032, 0.16), table(0.064, 0.128), stages], "platform": "cpu"}
    step = {"machine": "an abacus", "tables": [], "platform": "cpu"}
    for images, update, seconds in ((1, "sequential", 2.0), (1, "simultaneous", 1.0)):
        samples = {"jaxcolor float32": [seconds] * 3}
        step["tables"].append({"images": images, "update": update, "samples": samples})
    (tmp_path / "train_step.json").write_text(json.dumps(step))
    (tmp_path / "input_pipeline.json").write_text(json.dumps(loading))
    found = scaling_tables.read_measured(tmp_path)
    assert found.machine == "an abacus"
    assert found.steps == {1: 2.0}
    assert found.loaders == pytest.approx({"cache": 500, "files": 200})


def test_the_rates_start_from_the_numbers_that_training_starts_from():
    assert (adam.__defaults__[:3]) == (
        scaling_tables.BASE_RATE,
        scaling_tables.BASE_B1,
        scaling_tables.BASE_B2,
    )
    rows = {row[0]: row[1:] for row in scaling_tables.learning_rates().rows}
    assert rows["16"] == ("3.2e-03", "8.0e-04", "0.984", "below 0")
