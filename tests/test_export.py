"""Exports: files that give the original's pictures again, a card that says what they are."""

import json
import re
import shutil
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
from small_workdir import make_workdir

from jaxcolor import __main__ as command
from jaxcolor import exported_programs
from jaxcolor.errors import ConfigError, WorkdirError
from jaxcolor.trained import load_trained


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, pictures):
    directory = tmp_path_factory.mktemp("export")
    make_workdir(directory, pictures, scores=((6, {"l1": 0.4}),), generator__norm="batch")
    return directory


@pytest.fixture(scope="module")
def out(workdir):
    """An export in the formats that need no extra."""
    directory = workdir / "exported"
    words = ["--format", "stablehlo,safetensors", "--license", "CC0-1.0"]
    assert command.main(["export", str(workdir), "--out", str(directory), *words]) == 0
    return directory


def draw_conditions(count):
    return np.random.default_rng(count).integers(0, 256, (count, 16, 16, 3), np.uint8)


def test_an_exported_directory_loads_like_its_workdir(workdir, out, pictures):
    ours, theirs = load_trained(out), load_trained(workdir)
    assert (ours.step, ours.scores, ours.condition) == (6, {"l1": 0.4}, "given")
    condition = draw_conditions(2)
    for statistics in ("picture", "running"):
        expected = theirs.with_inference(statistics, False).predict(condition)
        found = ours.with_inference(statistics, False).predict(condition)
        np.testing.assert_array_equal(found, expected)
    hidden = ours.config | {"data": ours.config["data"] | {"path": str(pictures)}}
    assert hidden == theirs.config, "all but the path is kept"
    assert str(pictures) not in "".join(path.read_text("latin-1") for path in out.iterdir())


@pytest.mark.parametrize("count", [1, 3])
def test_stablehlo_gives_the_originals_pictures(workdir, out, count):
    program = exported_programs.read_stablehlo(out / "model.stablehlo")
    condition = draw_conditions(count) / np.float32(127.5) - 1
    expected = load_trained(workdir).predict(condition)
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(program(condition), expected, atol=1e-5)


def test_stablehlo_is_for_every_platform_and_batch(out):
    exported = jax.export.deserialize(bytearray((out / "model.stablehlo").read_bytes()))
    assert exported.platforms == exported_programs.PLATFORMS
    (shape,) = [x.shape for x in exported.in_avals]
    assert (str(shape[0]), shape[1:]) == ("batch", (16, 16, 3))


def test_onnx_gives_the_originals_pictures(workdir, tmp_path, capsys):
    pytest.importorskip("jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    words = ["export", str(workdir), "--out", str(tmp_path), "--format", "onnx"]
    assert command.main([*words, "--statistics", "running"]) == 0
    said = re.search(r"model\.onnx: .* MB; largest difference \D* (\S+),", capsys.readouterr().out)
    assert float(said[1]) < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    condition = draw_conditions(2) / np.float32(127.5) - 1
    (found,) = session.run(None, {session.get_inputs()[0].name: condition})
    expected = load_trained(workdir).with_inference("running", False).predict(condition)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_onnx_lacks_is_said_before_anything_is_made(workdir, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    words = ["export", str(workdir), "--out", str(tmp_path / "out")]
    assert command.main([*words, "--format", "safetensors,onnx"]) == 1
    assert 'pip install -e ".[onnx]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_card_says_data_recipe_metrics_and_licence(workdir, out, tmp_path):
    card = (out / "README.md").read_text()
    assert card.startswith('---\nlicense: "CC0-1.0"\nlibrary_name: jaxcolor\n')
    for words in ("24 training pictures", "6 steps of batch 8", "| l1 | 0.4000 |", "l1 100"):
        assert words in card
    assert "`model.safetensors`: largest difference 0.0e+00" in card
    run = tmp_path / "run"
    shutil.copytree(workdir, run, ignore=shutil.ignore_patterns("exported"))
    metric = {"value": 0.25, "interval": [0.2, 0.3], "unit": ""}
    for split, step in (("val", 6), ("test", 5)):
        (run / "evaluation" / split).mkdir(parents=True)
        summary = {"checkpoint": {"step": step}, "data": {"count": 5, "split": split}}
        text = json.dumps(summary | {"metrics": {"l1": metric}})
        (run / "evaluation" / split / "summary.json").write_text(text)
    assert command.main(["export", str(run), "--out", str(run / "out")]) == 0
    card = (run / "out" / "README.md").read_text()
    assert "| l1 | 0.2500 | 0.2000 .. 0.3000 |" in card
    assert "split val" in card
    assert "split test" not in card, "it is of another checkpoint"
    assert 'license: "unknown"' in card
    assert (run / "out" / "model.safetensors").stat().st_mode & 0o077 == (
        (run / "out" / "README.md").stat().st_mode & 0o077
    ), "for the same readers"


def test_nothing_is_overwritten_unasked(workdir, out, tmp_path, capsys):
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    (copy / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    words = ["export", str(workdir), "--out", str(copy)]
    assert command.main(words) == 1
    assert "--overwrite replaces them" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert command.main([*words, "--overwrite"]) == 0
    left = sorted(path.name for path in copy.iterdir())
    assert left == ["README.md", "config.json", "model.safetensors", "notes.txt"]
    for path, message in ((workdir, "workdir of a training"), (copy / "notes.txt", "is a file")):
        assert command.main(["export", str(out), "--out", str(path), "--overwrite"]) == 1
        assert message in capsys.readouterr().err
    assert command.main([*words, "--format", "pickle"]) == 1
    assert "'pickle' is none of safetensors, stablehlo, onnx" in capsys.readouterr().err
    assert command.main(["export", str(workdir), "--out", ""]) == 1
    assert "--out is empty" in capsys.readouterr().err


def test_an_export_that_differs_is_not_written(workdir, tmp_path, monkeypatch, capsys):
    def write_another(path, trained):
        generator = trained.state.generator
        zeros = jax.tree.map(np.zeros_like, generator.params)
        state = trained.state.replace(generator=generator.replace(params=zeros))
        write(path, trained._replace(state=state))

    write = exported_programs.write_stablehlo
    monkeypatch.setattr(exported_programs, "write_stablehlo", write_another)
    words = ["--out", str(tmp_path / "out"), "--format", "stablehlo"]
    assert command.main(["export", str(workdir), *words]) == 1
    assert "model.stablehlo differs from the original" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_damaged_exports_are_named(out, tmp_path):
    with pytest.raises(WorkdirError, match="step 6 was exported"):
        load_trained(out, "5")
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    values = json.loads((copy / "config.json").read_text())
    config = values["config"]
    for change, kind, message in (
        ({"format": "other"}, WorkdirError, "not written by an export"),
        ({"schema": 2}, WorkdirError, "version 2, not 1"),
        ({"step": "6"}, WorkdirError, "is damaged: config, step or scores"),
        ({"config": {"data": 3}}, (WorkdirError, ConfigError), "out"),
        (
            {"config": config | {"generator": config["generator"] | {"base_width": 6}}},
            WorkdirError,
            r"has the shape .* and not",
        ),
        (
            {"config": config | {"generator": config["generator"] | {"norm": "none"}}},
            WorkdirError,
            "other arrays than its config",
        ),
    ):
        (copy / "config.json").write_text(json.dumps(values | change))
        with pytest.raises(kind, match=message):
            load_trained(copy)
    (copy / "config.json").write_text(json.dumps(values))
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WorkdirError, match=r"model\.safetensors cannot be read"):
        load_trained(copy)
    weights.write_bytes(whole)
    arrays = {
        name: array.astype(np.float16)
        for name, array in safetensors.numpy.load_file(weights).items()
    }
    safetensors.numpy.save_file(arrays, weights)
    with pytest.raises(WorkdirError, match="holds float16 and not float32"):
        load_trained(copy)
    (copy / "config.json").unlink()
    with pytest.raises(WorkdirError, match=r"belongs to model\.safetensors"):
        load_trained(copy)
