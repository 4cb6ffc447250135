"""Whole runs without a discriminator and in other colour spaces, and what cannot be combined."""

import json

import jax
import numpy as np
import pytest
from PIL import Image
from test_configuration import load_config

from jaxcolor import description, experiment, runner
from jaxcolor.color_coding import lightness_of_picture
from jaxcolor.errors import ConfigError, WorkdirError
from jaxcolor.training.checkpoints import Checkpoints

TINY = {
    "data.image_size": 16,
    "augment.load_size": 18,
    "generator.base_width": 3,
    "generator.dropout_levels": (1,),
    "discriminator.base_width": 3,
    "discriminator.strided_layers": 1,
    "train.batch_size": 8,
    "train.epochs": 2,
    "evaluation.samples": 1,
    "loader.num_threads": 1,
}


def resolved(name, pictures, **changes):
    """The values of a config, made tiny, for 24 pairs of pictures."""
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    config = load_config(name)
    config.data.path = str(pictures)
    values, _ = experiment.resolve(config)
    for key, value in (TINY | changes).items():
        section, _, option = key.rpartition(".")
        if not section:
            values[option] = value
        elif section in values:
            values[section][option] = value
    return values


def train(workdir, name, pictures, **changes):
    return runner.run(experiment.build(resolved(name, pictures, **changes)), workdir)


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, *map(jax.device_get, (found, expected)))


@pytest.fixture(scope="module")
def regression(tmp_path_factory, pictures):
    """Workdir and final state of a run of two epochs under L2."""
    workdir = tmp_path_factory.mktemp("l2") / "run"
    return workdir, train(workdir, "unet_l2", pictures)


def test_a_run_without_a_discriminator_reports_no_discriminator(regression, capsys):
    workdir, state = regression
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    names = set().union(*rows)
    assert {"generator/l1", "generator/l2", "generator/learning_rate", "psnr"} <= names
    assert not [name for name in names if "discriminator" in name or "adversarial" in name]
    assert (workdir / "samples" / "epoch_0002.png").exists()
    assert not jax.tree.leaves(state.discriminator)
    config = json.loads((workdir / "config.json").read_text())
    assert not [name for name in config if "discriminator" in name]


def test_it_goes_on_bit_identically(regression, pictures, tmp_path, capsys):
    """After one epoch and one more: what two at once give."""
    first = train(tmp_path, "unet_l2", pictures, train__epochs=1)
    assert int(first.step) == 3
    second = train(tmp_path, "unet_l2", pictures)
    output = capsys.readouterr().out
    assert "resuming" in output
    assert_same(second, regression[1])
    line = next(line for line in output.splitlines() if line.startswith("epoch 1/1"))
    assert "| G l1 0." in line
    assert "D " not in line.split("|")[1]


@pytest.mark.slow
def test_generators_are_handed_on_between_runs_with_and_without_a_discriminator(
    regression, pictures, tmp_path, capsys
):
    """From L2 to a GAN, whose discriminator has another shape than the config's, and to L1."""
    workdir, gan = regression[0], tmp_path / "gan"
    still = {"generator_optimizer__learning_rate": 0.0, "train__epochs": 1}
    options = {"init_from": str(workdir), "discriminator__base_width": 5, **still}
    state = train(gan, "pix2pix", pictures, **options)
    with Checkpoints(workdir / "checkpoints", read_only=True) as theirs:
        step = theirs.best()
        expected = theirs.restore_weights(step, {"generator": state.generator})["generator"]
    start = "starting from the weights of the generator of"
    line = f"{start} {workdir}, step {step}; the discriminator starts afresh\n"
    assert line in capsys.readouterr().out
    assert_same(state.generator.params, expected["params"])
    assert jax.tree.leaves(state.discriminator.params)
    last = train(tmp_path / "l1", "unet_l1", pictures, init_from=str(gan), **still)
    assert f"{start} {gan}, step 3\n" in capsys.readouterr().out
    assert_same(last.generator.params, expected["params"])


def test_other_networks_and_colour_spaces_are_no_starting_point(regression, pictures, tmp_path):
    origin = str(regression[0])
    for changes, message in (
        ({"generator__base_width": 4}, "generator.base_width is 4, there 3"),
        ({"train__color_space": "lab"}, "train.color_space is 'lab', there 'rgb'"),
    ):
        with pytest.raises(ConfigError, match=f"has other networks: {message}"):
            train(tmp_path, "unet_l1", pictures, init_from=origin, **changes)


def test_a_config_without_the_newer_keys_is_the_same_experiment(regression, pictures, capsys):
    """As those stored by earlier versions are: it does what the keys stand for."""
    values = resolved("unet_l2", pictures)
    for name in ("color_space", "generator_updates"):
        del values["train"][name]
    runner.run(experiment.build(values), regression[0])
    assert "is trained: 2 epochs" in capsys.readouterr().out
    values["train"]["color_space"] = "lab"
    with pytest.raises(ConfigError, match=r"train\.color_space is 'lab', was 'rgb'"):
        runner.run(experiment.build(values), regression[0])


def test_a_and_b_from_lightness(pictures, tmp_path, capsys):
    """A run of the ab config; on the sheet the prediction has the lightness of the condition."""
    state = train(tmp_path, "colorize_lab", pictures, data__fit="stretch", train__epochs=1)
    assert state.generator.params["up_3"]["kernel"].shape[-1] == 2
    assert state.discriminator.params["layer_0"]["kernel"].shape[2] == 3
    built = experiment.build(resolved("colorize_lab", pictures, data__fit="stretch"))
    condition = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 1), dtype=np.uint8)
    picture = jax.jit(built.functions.predict)(state, condition, jax.random.key(0))
    assert picture.shape == (1, 16, 16, 3)
    error = np.abs(lightness_of_picture(picture) - condition / 255 * 100)
    assert error.max() < 0.01
    sheet = np.asarray(Image.open(tmp_path / "samples" / "epoch_0001.png"))
    assert sheet.std() > 10


@pytest.mark.slow
def test_nazeri_in_lab_with_two_generator_updates(pictures, tmp_path, capsys):
    small = {
        "data__source": "auto",
        "augment__load_size": 16,
        "generator__width_factors": (1, 2, 2),
        "train__epochs": 1,
    }
    state = train(tmp_path, "cifar10", pictures, **small)
    assert [int(x.opt_state[0].count) for x in (state.generator, state.discriminator)] == [6, 3]


def test_dry_run_describes_a_network_alone(pictures):
    values = resolved("unet_l1", pictures)
    text = description.describe(experiment.build(values))
    assert "UNet Summary" in text
    assert "PatchGAN" not in text
    assert "GFLOP per image" in text


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("colorize_lab", {"data__condition": "luma"}, r"set data\.condition=lab_l \(it is 'luma'"),
        ("pix2pix", {"train__color_space": "ab"}, "output_channels 3 must be 2"),
        ("pix2pix", {"train__color_space": "yuv"}, "color_space 'yuv' is none of rgb, lab, ab"),
        ("pix2pix", {"train__generator_updates": 2}, "needs losses.adversarial above 0 and train"),
        ("unet_l2", {"train__generator_updates": 2}, "needs losses.adversarial above 0 and train"),
        ("unet_l2", {"losses__l2": 0.0}, "nothing would be learnt"),
        ("unet_l2", {"losses__adversarial": 1.0}, "config section discriminator is missing"),
        ("pix2pix", {"generator__architecture": "vit"}, "'vit' is none of unet, nazeri"),
        ("cifar10", {"generator__norm": "batch"}, r"generator\.norm is unknown"),
    ],
)
def test_what_cannot_be_combined_is_one_clear_line(pictures, name, changes, message):
    extra = {"data__source": "auto", "generator__width_factors": (1, 2)} if "cifar" in name else {}
    with pytest.raises(ConfigError, match=message):
        experiment.build(resolved(name, pictures, **extra, **changes))


def test_weights_of_another_shape_are_refused(regression):
    with Checkpoints(regression[0] / "checkpoints", read_only=True) as theirs:
        wider = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((*x.shape[:-1], x.shape[-1] + 1), x.dtype),
            regression[1].generator.replace(opt_state={}),
        )
        with pytest.raises(WorkdirError, match=r"has the shape .* and not"):
            theirs.restore_weights(theirs.latest(), {"generator": wider})
