"""python -m jaxcolor evaluate: every picture measured once, as NumPy would, and all its errors."""

import csv
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from small_workdir import make_workdir

from jaxcolor import colorspace, evaluate_command, evaluation_data, perceptual_measurement
from jaxcolor.__main__ import main
from jaxcolor.evaluation_place import make_directory
from jaxcolor.evaluation_results import Evaluation
from jaxcolor.evaluation_table import table
from jaxcolor.perceptual import distances
from jaxcolor.perceptual.features import FeatureNet
from jaxcolor.trained import load_trained

CHEAP = "--metrics=l1,psnr,chroma_ratio"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, pictures):
    directory = tmp_path_factory.mktemp("evaluated")
    make_workdir(directory, pictures)
    return directory


@pytest.fixture(scope="module")
def evaluated(workdir):
    """The evaluation that others compare theirs with, by its defaults but for the metrics."""
    return evaluate(workdir, "--metrics=l1,psnr,ssim,chroma_ratio")


def evaluate(*words):
    """The evaluation of these words, in this process and with its settings of JAX."""
    values, rest = evaluate_command.parser().parse_known_args([str(word) for word in words])
    return evaluate_command.evaluate(values, evaluation_data.parse_overrides(rest))


def read(path, box=None):
    image = Image.open(path)
    return np.asarray(image if box is None else image.crop(box).resize((16, 16), Image.BICUBIC))


def test_every_picture_is_measured_as_numpy_would(workdir, evaluated, pictures):
    files = sorted((pictures / "val").iterdir())
    assert evaluated.rows["name"].tolist() == [path.stem for path in files]
    trained = load_trained(workdir)
    for row, path in enumerate(files):
        target, condition = (read(path, (x, 0, x + 32, 32)) for x in (0, 32))
        prediction = np.asarray(trained.predict(condition[None])[0], np.float64)
        error = prediction - (target / 127.5 - 1)
        assert evaluated.rows["l1"][row] == pytest.approx(np.abs(error).mean(), abs=1e-5)
        psnr = 10 * np.log10(4 / np.square(error).mean())
        assert evaluated.rows["psnr"][row] == pytest.approx(psnr, abs=1e-3)
    metrics = evaluated.summary["metrics"]
    assert metrics["l1"]["value"] == pytest.approx(evaluated.rows["l1"].mean())
    ratio = evaluated.rows["chroma"].mean() / evaluated.rows["chroma_target"].mean()
    assert metrics["chroma_ratio"]["value"] == pytest.approx(ratio)
    for entry in metrics.values():
        assert entry["interval"][0] <= entry["value"] <= entry["interval"][1]


def test_its_files_hold_it(workdir, evaluated, pictures):
    directory = workdir / "evaluation" / "val"
    found = Evaluation.read(directory)
    assert found.summary == evaluated.summary
    for name, column in evaluated.rows.items():
        np.testing.assert_array_equal(found.rows[name], column)
    with (directory / "pictures.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 5
    summary = found.summary
    assert summary["checkpoint"] == {"which": "best", "step": 6, "epoch": 2}
    assert summary["data"]["count"] == 5
    assert summary["data"]["path"] == str(pictures)
    assert summary["protocol"]["statistics"] == "picture"
    assert summary["protocol"]["dropout"] is False
    for kind in summary["histograms"].values():
        assert len(kind["prediction"]) == len(kind["target"]) == len(kind["edges"]) - 1
    assert sum(summary["histograms"]["chroma"]["target"]) == pytest.approx(1, abs=1e-4)
    path = sorted((pictures / "val").iterdir())[3]
    shown = {
        kind: np.asarray(Image.open(directory / "pictures" / f"0003_{kind}.png"))
        for kind in ("condition", "target", "prediction")
    }
    np.testing.assert_array_equal(shown["target"], read(path, (0, 0, 32, 32)))
    prediction = load_trained(workdir).predict(shown["condition"][None])[0]
    assert np.abs(shown["prediction"] - 127.5 * (np.asarray(prediction) + 1)).max() < 0.51
    for sheet in ("best", "worst"):
        assert np.asarray(Image.open(directory / f"{sheet}.png")).std() > 10


@pytest.mark.parametrize("batch_size", [1, 5])
def test_batches_and_padding_change_nothing(workdir, evaluated, tmp_path, batch_size):
    found = evaluate(workdir, CHEAP, f"--batch_size={batch_size}", f"--out={tmp_path}")
    for name in ("l1", "psnr", "chroma"):
        np.testing.assert_allclose(found.rows[name], evaluated.rows[name], rtol=2e-4)
    assert found.summary["data"] == evaluated.summary["data"]
    for kind, expected in evaluated.summary["histograms"].items():
        for part in ("prediction", "target"):
            found_part = found.summary["histograms"][kind][part]
            np.testing.assert_allclose(found_part, expected[part], atol=5e-3)


def test_dropout_is_stated_and_repeats(workdir, evaluated, tmp_path):
    options = (CHEAP, "--dropout", f"--out={tmp_path}")
    found = evaluate(workdir, *options)
    again = evaluate(workdir, *options, "--batch_size=3")
    np.testing.assert_allclose(found.rows["l1"], again.rows["l1"], rtol=1e-4)
    assert np.abs(found.rows["l1"] - evaluated.rows["l1"]).max() > 1e-5
    assert found.summary["protocol"]["dropout"] is True
    assert "dropout on, seed 0" in table(found.summary)


def test_any_split_or_folder(workdir, evaluated, pictures, tmp_path):
    out = f"--out={tmp_path / 'out'}"
    assert len(evaluate(workdir, CHEAP, out, "--split=train").rows["l1"]) == 24
    everything = evaluate(workdir, CHEAP, out, "--split=all")
    assert len(everything.rows["l1"]) == 29
    assert "val/0000" in everything.rows["name"].tolist()
    for path in (pictures / "val", pictures):  # undivided, and divided
        found = evaluate(workdir, CHEAP, out, f"--path={path}")
        np.testing.assert_allclose(found.rows["l1"], evaluated.rows["l1"], rtol=1e-4)
        assert found.summary["data"]["digest"] == evaluated.summary["data"]["digest"]
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(pictures / "val" / "0002.png", one)
    found = evaluate(workdir, CHEAP, out, f"--path={one}")
    np.testing.assert_allclose(found.rows["l1"], evaluated.rows["l1"][2:3], rtol=1e-4)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("", "val"),
        ("--checkpoint best --statistics picture --no-dropout --seed 3", "val"),
        ("--split train --path {pictures}", "train"),
        ("--path {pictures}/val", "all_val"),
        ("--checkpoint latest", "val_latest"),
        ("--checkpoint 3 --statistics running", "val_step_3_running"),
        ("--dropout --seed 3", "val_dropout_seed_3"),
        ("--data.fit=crop --data.resize=bicubic", "val_fit_crop"),
        ("--predictions {pictures}/train --suffix=-x --path {pictures}/val", "all_val_train-x"),
    ],
)
def test_whatever_is_not_the_runs_own_has_a_directory_of_its_own(
    workdir, pictures, tmp_path, words, name
):
    """And compare goes on finding the run's own."""
    words = [str(tmp_path), *words.format(pictures=pictures).split()]
    values, rest = evaluate_command.parser().parse_known_args(words)
    changes = evaluation_data.parse_overrides(rest)
    built = load_trained(workdir).experiment
    if values.path:
        changes["path"] = values.path
    found = evaluation_data.open_pictures(built, values.split, changes, print)
    changes.pop("path", None)
    out = make_directory(values, found, changes, built)
    assert out == tmp_path / "evaluation" / name


def test_a_picture_that_cannot_be_read_is_left_out_and_named(workdir, pictures, tmp_path, capfd):
    broken = tmp_path / "broken"
    shutil.copytree(pictures / "val", broken)
    (broken / "0001.png").write_bytes((broken / "0001.png").read_bytes()[:200])
    options = [f"--path={broken}", f"--out={tmp_path / 'out'}"]
    assert fail(workdir, CHEAP, *options)
    assert "0001.png" in capfd.readouterr().err
    found = evaluate(workdir, CHEAP, *options, "--data.max_bad_fraction=0.5")
    assert found.rows["index"].tolist() == [0, 2, 3, 4]
    assert found.rows["name"].tolist() == ["0000", "0002", "0003", "0004"]
    assert "left out: " in capfd.readouterr().out


def test_pictures_made_elsewhere_are_matched_by_name(workdir, pictures, tmp_path, capsys):
    made, out = tmp_path / "made", f"--out={tmp_path / 'out'}"
    made.mkdir()
    for number in (0, 3):
        target = read(pictures / "val" / f"{number:04d}.png", (0, 0, 32, 32))
        Image.fromarray(target if number else 255 - target).save(made / f"{number:04d}-new.png")
    Image.fromarray(target).save(made / "0003-old.png")
    options = (f"--predictions={made}", "--suffix=-new", CHEAP, out)
    found = evaluate(workdir, *options)
    output = capsys.readouterr().out
    assert "3 of 5 pictures have no prediction and are left out, such as 0001\n" in output
    assert "n = 2 (3 more without a prediction)" in output
    assert found.summary["data"]["without_prediction"] == ["0001", "0002", "0004"]
    assert found.rows["name"].tolist() == ["0000", "0003"]
    assert found.rows["l1"][0] > 0.3
    assert found.rows["l1"][1] == 0
    assert found.rows["psnr"][1] == np.inf
    assert Evaluation.read(tmp_path / "out").summary["metrics"]["psnr"]["value"] == np.inf
    assert found.summary["checkpoint"] is None
    assert found.summary["protocol"]["predictions"] == "files, read with 8 bits, as they are"
    Image.fromarray(read(made / "0003-new.png")).resize((32, 32)).save(made / "0003-new.png")
    found = evaluate(workdir, *options)
    assert "resized" in found.summary["protocol"]["predictions"]


def test_two_folders_are_compared_without_a_network(tmp_path):
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        pair = random.integers(0, 256, (2, 24, 40, 3), np.uint8)
        for folder, picture in zip(("made", "true"), pair, strict=True):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(picture).save(tmp_path / folder / f"{name}.png")
    folders = [f"--predictions={tmp_path / 'made'}", f"--targets={tmp_path / 'true'}"]
    found = evaluate(*folders, CHEAP, f"--out={tmp_path / 'out'}")
    error = (pair[0].astype(float) - pair[1]) / 127.5
    assert found.rows["l1"][2] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert found.summary["protocol"]["image_size"] == [24, 40]
    assert not (tmp_path / "out" / "pictures" / "0000_condition.png").exists()
    assert (tmp_path / "out" / "worst.png").exists()
    found = evaluate(*folders, CHEAP, f"--out={tmp_path / 'out'}", "--image_size=16")
    assert found.summary["protocol"]["image_size"] == 16


def test_lpips_and_distances_join_when_their_weights_are_there(workdir, evaluated, tmp_path):
    empty = evaluate(workdir, "--metrics=all", f"--weights={tmp_path}", f"--out={tmp_path / 'o'}")
    wanted = {"lpips_alex", "lpips_vgg", "kernel_distance", "frechet_distance"}
    assert empty.summary["missing"].keys() == wanted
    assert "no weights of lpips_alex" in empty.summary["missing"]["lpips_alex"]
    assert not wanted & empty.summary["metrics"].keys()
    text = table(empty.summary)
    assert all(re.search(f"^not measured: {name}: no weights", text, re.M) for name in wanted)


def test_what_was_asked_for_by_name_and_not_measured_fails_at_the_end(workdir, tmp_path, capsys):
    out = tmp_path / "out"
    options = (f"--weights={tmp_path}", f"--out={out}")
    assert fail(workdir, "--metrics=l1,lpips_alex", *options) == 1
    assert "error: --metrics: lpips_alex could not be measured" in capsys.readouterr().err
    assert Evaluation.read(out).summary["metrics"].keys() == {"l1"}


@pytest.mark.parametrize(
    ("called", "keys"),
    [
        (("KID", "FID"), ("kid", "fid")),
        (("kernel distance (some)", "Frechet distance (some)"), evaluate_command.DISTANCES),
    ],
)
def test_what_networks_measure_joins_the_table(workdir, tmp_path, monkeypatch, called, keys):
    net = FeatureNet(lambda x, params: x.mean((1, 2)) * params, "three means", 3, lambda _: called)
    monkeypatch.setattr(perceptual_measurement, "FEATURES", {"inception_v3": net})
    monkeypatch.setattr(perceptual_measurement.weights, "find", lambda *_: jax.numpy.ones(()))
    monkeypatch.setattr(perceptual_measurement, "lpips_by_picture", negative_l1)
    found = evaluate(workdir, "--metrics=all", f"--out={tmp_path}", "--batch_size=3")
    assert not found.summary["missing"]
    np.testing.assert_allclose(found.rows["lpips_alex"], -found.rows["l1"], rtol=1e-5)
    metrics = found.summary["metrics"]
    assert metrics["lpips_vgg"]["interval"][0] <= metrics["lpips_vgg"]["value"] < 0
    features = []
    trained, val = load_trained(workdir), evaluation_data.open_pictures
    batches = val(trained.experiment, None, {}, print).batches(5)
    (batch,) = batches
    for pictures in (trained.predict(batch["condition"]), batch["target"] / np.float32(127.5) - 1):
        features.append(np.asarray(pictures, np.float64).mean((1, 2)))
    kernel, frechet = (metrics[key] for key in keys)
    expected = distances.unbiased_kernel_distance(*features)
    assert kernel["value"] == pytest.approx(expected, rel=1e-3)
    assert kernel["interval"][0] < expected < kernel["interval"][1]
    assert frechet["value"] == pytest.approx(distances.frechet_distance(*features), rel=1e-3)
    assert frechet["interval"] is None
    for entry in (kernel, frechet):
        assert "three means; n = 5 of each" in entry["protocol"]
        assert "lpips_alex" in table(found.summary)


def negative_l1(prediction, target, params, *, net):
    return -jax.numpy.mean(abs(prediction - target), (1, 2, 3)) * params


def fail(*words):
    """The exit status of a command that must not succeed."""
    return main(["evaluate", *map(str, words)])


@pytest.fixture
def one_line(monkeypatch, capsys):
    """The one line of an error."""
    monkeypatch.setattr(evaluate_command, "set_up_jax", lambda: None)

    def run(*words):
        try:
            status = fail(*words)
        except SystemExit as stop:
            status = stop.code
        errors = capsys.readouterr().err
        assert status in (1, 2)
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1, errors
        return errors

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{tmp}/none"], "no directory"),
        ([], "give a WORKDIR, or --predictions DIR and --targets DIR"),
        (["{run}", "--split=valid"], "invalid choice: 'valid'"),
        (["{run}", "--split=test"], "has no split test: it has train, val"),
        (["{run}", "--checkpoint=9"], "choose best, latest or one of 3, 6"),
        (["{run}", "--metrics=simm"], "there is no metric 'simm'; did you mean ssim?"),
        (["{run}", "--bacth_size=3"], "unknown argument '--bacth_size=3'"),
        (["{run}", "--batch_size=0"], "--batch_size 0 must be at least 1"),
        (["{run}", "--batch_size=x"], "invalid int value"),
        (["{run}", "--statistics=mean"], "invalid choice: 'mean'"),
        (["{run}", "--path={tmp}/none"], "no directory"),
        (["{run}", "--path={tmp}"], "no pictures in"),
        (["{run}", "--data.image_size=32"], "must be the network's 16"),
        (["{run}", "--data.fits=crop"], "data.fits is unknown; did you mean fit?"),
        (["{run}", "--data.condition=luma"], "make the condition 'luma', and the network"),
        (["{run}", "--predictions={tmp}"], "no pictures in"),
        (["{run}", "--targets={tmp}"], "--targets is for use without a WORKDIR"),
        (["{run}", "--metrics="], "--metrics is empty: leave it out, or name some of l1"),
        (["{run}", "--weights={tmp}/none"], "--weights {tmp}/none is no directory"),
        (["{run}", "--predictions={tmp}", "--dropout"], "--dropout is of a network"),
        (["{run}", "--predictions={tmp}", "--checkpoint=3"], "--checkpoint is of a network"),
        (["{run}", "--suffix=-x"], "--suffix is for use with --predictions"),
        (["{run}", "--out={tmp}/file/x"], "cannot be made"),
        (["{run}", "--out={pictures}"], "whose pictures are measured: name a folder elsewhere"),
        (["{run}", "--out={pictures}/val/new"], "whose pictures are measured"),
        (["{run}", "--path={pictures}/val", "--out={pictures}/val"], "pictures are measured"),
        (["{run}", "--predictions={pictures}/val", "--out={pictures}/val/x"], "are measured"),
        (["{run}", "--out={tmp}"], "holds other files and no evaluation"),
        (["--predictions={pictures}", "--targets={tmp}"], "--targets takes a folder"),
        (["--predictions={pictures}/val", "--targets={pictures}", "--split=val"], "leave them out"),
        (["{run}", "--predictions={pictures}/val", "--suffix=-x"], "such as 0000-x.png"),
    ],
)
def test_mistakes_are_one_line(one_line, workdir, pictures, tmp_path, words, message):
    (tmp_path / "file").write_text("")
    places = {"run": workdir, "tmp": tmp_path, "pictures": pictures}
    assert message.format(**places) in one_line(*(word.format(**places) for word in words))


def test_help_tells_of_every_argument(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name in ("--checkpoint", "--split", "--weights", "--predictions", "WORKDIR", "lpips_alex"):
        assert name in text


def test_the_lightness_of_a_picture_is_kept_unrounded(pictures, tmp_path):
    """As validation has it; and a network trained without a discriminator is loaded."""
    options = {"data__condition": "lab_l", "train__color_space": "ab"}
    options |= {"generator__output_channels": 2, "losses__adversarial": 0.0}
    make_workdir(tmp_path, pictures, **options)
    found = evaluate(tmp_path, "--metrics=l1,chroma_ratio")
    trained = load_trained(tmp_path)
    (batch,) = evaluation_data.open_pictures(trained.experiment, None, {}, print).batches(5)
    target = batch["target"] / np.float32(127.5) - 1
    lightness = colorspace.rgb_to_lab(target)[..., :1]
    kept, rounded = (
        np.asarray(trained.predict(batch["condition"], **options))
        for options in ({"lightness": lightness}, {})
    )
    np.testing.assert_allclose(found.rows["l1"], np.abs(kept - target).mean((1, 2, 3)), rtol=1e-4)
    assert np.abs(kept - rounded).max() > 1e-4
    assert found.summary["model"]["color_space"] == "ab"
