"""Weights of PyTorch's pix2pix as ours: the same pictures and logits, and workdirs that work."""

import functools
import json

import jax
import numpy as np
import pytest
from PIL import Image
from test_configuration import load_config
from torch_format import save_zip

from jaxcolor import __main__ as command
from jaxcolor import experiment, starting_point
from jaxcolor.errors import ConfigError, UserError
from jaxcolor.reference_weights import convert
from jaxcolor.trained import load_trained
from jaxcolor.training.checkpoints import Checkpoints
from jaxcolor.weights_import import make_config, read_networks, write_workdir

WIDTH = 2


def generator_arrays(norm="batch", depth=5, width=WIDTH, inputs=3, outputs=3):
    """A state_dict of the reference's U-Net, by hand, of random numbers."""
    rng, found = np.random.default_rng(depth), {}
    widths = [width * min(2**level, 8) for level in range(depth)]
    bias = norm == "instance"

    def add(name, *shape):
        found[name] = rng.normal(0, 0.2, shape).astype(np.float32)

    def add_norm(name, count):
        if norm == "batch":
            for part in ("weight", "bias", "running_mean", "running_var"):
                found[f"{name}.{part}"] = rng.uniform(0.5, 1, count).astype(np.float32)
            found[f"{name}.num_batches_tracked"] = np.array(9)

    path, step = "model.model.", "1.model."
    for level, here in enumerate(widths):
        innermost = level == depth - 1
        places = (
            (0, None, 3, None) if level == 0 else (1, None, 3, 4) if innermost else (1, 2, 5, 6)
        )
        before, after = (widths[level - 1],) * 2 if level else (inputs, outputs)
        down, down_norm, up, up_norm = (f"{path}{place}" for place in places)
        add(f"{down}.weight", here, before, 4, 4)
        add(f"{up}.weight", here if innermost else 2 * here, after, 4, 4)
        if bias:
            add(f"{down}.bias", here)
        if bias or level == 0:
            add(f"{up}.bias", after)
        if places[1]:
            add_norm(down_norm, here)
        if places[3]:
            add_norm(up_norm, after)
        path, step = path + step, "3.model."
    return found


def discriminator_arrays(inputs=6):
    rng = np.random.default_rng(1)
    shapes = {0: (WIDTH, inputs), 2: (2 * WIDTH, WIDTH), 5: (4 * WIDTH, 2 * WIDTH)}
    shapes |= {8: (8 * WIDTH, 4 * WIDTH), 11: (1, 8 * WIDTH)}
    found = {}
    for place, (outs, ins) in shapes.items():
        found[f"model.{place}.weight"] = rng.normal(size=(outs, ins, 4, 4)).astype(np.float32)
        if place in (0, 11):
            found[f"model.{place}.bias"] = rng.normal(size=outs).astype(np.float32)
        else:
            for part in ("weight", "bias", "running_mean", "running_var"):
                array = rng.uniform(0.5, 1, outs).astype(np.float32)
                found[f"model.{place + 1}.{part}"] = array
    return found


def imported(path, workdir, *words):
    """Exit status of the command import."""
    return command.main(["import", str(path), "--out", str(workdir), *words])


@pytest.mark.parametrize(
    ("depth", "norm"),
    [
        (7, "batch"),
        (8, "instance"),
        (5, "none"),
        pytest.param(7, "instance", marks=pytest.mark.slow),
        pytest.param(8, "batch", marks=pytest.mark.slow),
    ],
)
def test_generators_give_pytorchs_pictures(tmp_path, depth, norm):
    torch = pytest.importorskip("torch")
    import reference_pix2pix

    torch.manual_seed(0)
    network = reference_pix2pix.UnetGenerator(depth, norm=norm)
    network = reference_pix2pix.disturb(network)
    path, workdir = tmp_path / "latest_net_G.pth", tmp_path / "run"
    torch.save(network.state_dict(), path)
    assert imported(path, workdir) == 0
    trained, size = load_trained(workdir), 2**depth
    assert (trained.image_size, trained.step, trained.epoch) == (size, 0, 0)
    assert trained.config["generator"]["norm"] == norm
    assert tuple(trained.config["generator"]["dropout_levels"]) == tuple(range(1, depth - 4))
    condition = np.random.default_rng(0).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    inputs = torch.from_numpy(condition).permute(0, 3, 1, 2)
    with torch.no_grad():
        evaluated = network(inputs)
        own = reference_pix2pix.with_own_statistics(network)
        # One at a time: batch norm's statistics are then the picture's.
        trained_mode = torch.cat([own(inputs[row : row + 1]) for row in range(2)])
    modes = {"picture": trained_mode} | ({"running": evaluated} if norm == "batch" else {})
    for statistics, expected in modes.items():
        found = trained.with_inference(statistics, False).predict(condition)
        expected = expected.permute(0, 2, 3, 1).numpy()
        assert expected.std() > 0.1
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=statistics)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_discriminators_give_pytorchs_logits(norm):
    torch = pytest.importorskip("torch")
    import reference_pix2pix

    from jaxcolor.models.patchgan import PatchGAN

    torch.manual_seed(0)
    network = reference_pix2pix.disturb(reference_pix2pix.NLayerDiscriminator(norm=norm))
    tensors = {name: x.numpy().copy() for name, x in network.state_dict().items()}
    found = convert(tensors)
    assert (found.kind, found.section["norm"], found.input_channels) == ("discriminator", norm, 6)
    module = PatchGAN(**found.section)
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 2, 32, 32, 3)).astype(np.float32)
    inputs = torch.from_numpy(np.concatenate(pictures, -1)).permute(0, 3, 1, 2)
    variables = {"params": found.params, "batch_stats": found.batch_stats}
    with torch.no_grad():
        evaluated = network(inputs)
        batch = reference_pix2pix.with_own_statistics(network)(inputs)
    for statistics, expected in (("running", evaluated), ("batch", batch)):
        apply = jax.jit(functools.partial(module.apply, statistics=statistics))
        logits = np.asarray(apply(variables, *pictures))
        expected = expected.permute(0, 2, 3, 1).numpy()
        assert expected.std() > 0.1
        np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Of both networks, with instance norm in the generator, read from files without PyTorch."""
    directory = tmp_path_factory.mktemp("imported")
    save_zip(directory / "G.pth", generator_arrays("instance"))
    save_zip(directory / "D.pth", discriminator_arrays())
    words = [str(directory / name) for name in ("G.pth", "D.pth")]
    out = directory / "run"
    assert command.main(["import", *words, "--out", str(out), "--direction", "BtoA"]) == 0
    return out


def test_a_workdir_says_where_its_weights_come_from(workdir):
    trained = load_trained(workdir)
    config = trained.config
    assert config == json.loads((workdir / "config.json").read_text())
    assert config["derived"]["imported"]["generator"].startswith("G.pth, sha256 ")
    assert config["derived"]["imported"]["discriminator"].startswith("D.pth, sha256 ")
    assert (config["data"]["target_side"], config["data"]["condition_folder"]) == ("left", "B")
    arrays = generator_arrays("instance")
    kernel = trained.state.generator.params["up_4"]["kernel"]
    weight = arrays["model.model.3.weight"]  # [in, out, rows, columns], turned
    np.testing.assert_array_equal(kernel[1, 0], weight[:, :, 2, 3])
    bias = trained.state.generator.params["down_4"]["bias"]
    name = "model.model.1.model.3.model.3.model.3.model.1.bias"
    np.testing.assert_array_equal(bias, arrays[name])


def test_a_generator_that_is_random_is_not_used_without_a_word(workdir, tmp_path, capsys):
    save_zip(tmp_path / "D.pth", discriminator_arrays())
    assert imported(tmp_path / "D.pth", tmp_path / "run", "--image_size", "32") == 0
    Image.new("L", (20, 30), 128).save(tmp_path / "grey.png")
    capsys.readouterr()
    for model, warned in ((tmp_path / "run", True), (workdir, False)):
        words = ["--model", str(model), "--out", str(tmp_path / f"out-{warned}")]
        assert command.main(["colorize", str(tmp_path / "grey.png"), *words]) == 0
        assert ("run is untrained" in capsys.readouterr().out) == warned
    assert command.main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "export")]) == 0
    assert "run is untrained" in capsys.readouterr().out
    assert "its weights are random" in (tmp_path / "export" / "README.md").read_text()


def test_training_goes_on_from_an_imported_workdir(workdir, pictures, tmp_path):
    config = load_config("finetune", str(workdir))
    config.data.path = str(pictures)
    config.train.batch_size = 8
    built = experiment.build(experiment.resolve(config)[0])
    with Checkpoints(tmp_path) as checkpoints:
        state = starting_point.initial_state(built, tmp_path, checkpoints)
    found = load_trained(workdir).state.generator.params
    jax.tree.map(np.testing.assert_array_equal, state.generator.params, found)
    np.testing.assert_array_equal(
        state.discriminator.params["layer_0"]["kernel"],
        discriminator_arrays()["model.0.weight"].transpose(2, 3, 1, 0),
    )
    with pytest.raises(ConfigError, match="names no workdir"):
        load_config("finetune")
    with pytest.raises(ConfigError, match="config_none"):
        load_config("finetune", str(tmp_path / "config_none"))


def test_an_imported_workdir_is_evaluated_on_given_pictures_only(
    workdir, pictures, tmp_path, capsys
):
    words = ["evaluate", str(workdir), "--metrics", "l1", "--out", str(tmp_path)]
    assert command.main(words) == 1
    assert "evaluate by --path DIR" in capsys.readouterr().err
    assert command.main([*words, "--path", str(pictures)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["data"]["count"], summary["checkpoint"]["step"]) == (5, 0)


def test_what_is_not_ours_to_import_is_named(tmp_path, capsys):
    arrays = generator_arrays()
    path, out = tmp_path / "net.pth", tmp_path / "run"
    first = "model.model.0.weight"
    for change, message in (
        ({"model.0.weight": np.zeros((8, 3, 7, 7), np.float32)}, "none of the reference's"),
        (
            arrays | {"model.model.1.model.2.weight": None},
            "model.model.1.model.2.weight is missing",
        ),
        (arrays | {"extra.weight": np.zeros(3, np.float32)}, "more than the reference's: 'extra"),
        (arrays | {first: arrays[first][:, :, :3, :3]}, r"(2, 3, 3, 3) instead of (2, 3, 4, 4)"),
        (arrays | {first: arrays[first] * np.nan}, "NaN"),
        (arrays | {first: arrays[first].astype(np.int64)}, "int64, not floats"),
        (arrays | {first: arrays[first][0]}, "no convolution's"),
        (generator_arrays(outputs=2), "gives 2 channels"),
        (generator_arrays(inputs=4), "4 channels"),
        (generator_arrays(depth=4), "4 levels"),
    ):
        save_zip(path, {name: x for name, x in change.items() if x is not None})
        assert imported(path, out) == 1
        assert message in capsys.readouterr().err
        assert not out.exists()


def test_networks_that_do_not_fit_are_named(tmp_path):
    generator, other = tmp_path / "G.pth", tmp_path / "D.pth"
    save_zip(generator, generator_arrays())
    save_zip(other, discriminator_arrays(inputs=4))
    with pytest.raises(UserError, match="not of one pair"):
        make_config(read_networks([generator, other]))
    with pytest.raises(UserError, match="another generator"):
        read_networks([generator, generator])
    with pytest.raises(ConfigError, match="luma has 1 channels, and the network takes 3"):
        make_config(read_networks([generator]), condition="luma")
    (tmp_path / "x").touch()
    networks = read_networks([generator])
    with pytest.raises(UserError, match="not empty"):
        write_workdir(tmp_path, make_config(networks), networks)
    config = make_config(read_networks([other]), image_size=32)
    assert (config["data"]["condition"], config["data"]["image_size"]) == ("luma", 32)
    assert config["generator"]["base_width"] == WIDTH


def test_wrappers_and_old_instance_norms_are_seen_through():
    arrays = generator_arrays("instance")
    found = convert({f"module.{name}": array for name, array in arrays.items()})
    assert found.section["norm"] == "instance"
    assert found.section["plain_bias"] is True
    batch = generator_arrays("batch")
    running = {name: array for name, array in batch.items() if "running_" in name}
    old = convert(arrays | running)
    assert (old.section["norm"], old.batch_stats) == ("instance", {})
    jax.tree.map(np.testing.assert_array_equal, old.params, found.params)
