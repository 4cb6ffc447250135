"""Config sections: names, types, ranges, the demo's settings, and layering of the modules."""

import ast
import importlib.util
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from jaxcolor import configuration, experiment
from jaxcolor.errors import ConfigError
from jaxcolor.models.unet import UNet
from jaxcolor.settings import TrainSettings, read_settings

ROOT = Path(__file__).parents[1]

LAYERS = {
    0: [
        "errors",
        "colorspace",
        "losses",
        "image_metrics",
        "color_metrics",
        "color_histograms",
        "metrics",
        "parallel",
        "hosts",
        "huge_pages",
        "collector",
        "torch_pickle",
        "torch_files",
        "archives",
        "plain_json",
        "color_coding",
    ],
    1: ["models", "data", "perceptual"],
    2: [
        "training.state",
        "training.optimizers",
        "training.sharding",
        "training.updates",
        "training.adversary",
        "training.gradients",
        "training.steps",
    ],
    3: [
        "training.progress",
        "training.checkpoint_files",
        "training.checkpoints",
        "training.evaluation",
        "training.reporting",
        "training.health",
        "training.stopping",
        "training.plan",
        "training.metric_rows",
        "training.epoch_bar",
        "training.rollbacks",
        "training.watchdog",
        "training.validation",
        "training.loop",
    ],
    4: [
        "configuration",
        "settings",
        "dataset",
        "loader_advice",
        "data_commands",
        "__main__",
        "mirror",
        "workdir",
        "experiment",
        "programs",
        "starting_point",
        "runner",
        "compare",
        "description",
        "command",
        "exported",
        "trained",
        "evaluation_results",
        "evaluation_structure",
        "picture_measurement",
        "perceptual_measurement",
        "evaluation_sheets",
        "evaluation_table",
        "evaluation_arguments",
        "evaluation_data",
        "evaluation_place",
        "evaluate_command",
        "reference_weights",
        "weights_import",
        "import_command",
        "exported_programs",
        "model_card",
        "export_command",
        "colorize",
        "colorize_command",
        "gui",
        "train_command",
    ],
}


def layer_of(module):
    for layer, names in LAYERS.items():
        if any(module == name or module.startswith(f"{name}.") for name in names):
            return layer
    return {"": 0, "training": 0}.get(module)


def imported_modules(path):
    """Names below jaxcolor that a file imports, "from jaxcolor import x" included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("jaxcolor"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxcolor"):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = ROOT.joinpath(*full.split(".")).with_suffix(".py").exists()
                yield full if is_module else node.module


@pytest.mark.parametrize("path", sorted(ROOT.glob("jaxcolor/**/*.py")), ids=str)
def test_imports_go_downwards_only(path):
    module = ".".join(path.relative_to(ROOT / "jaxcolor").with_suffix("").parts)
    module = module.removesuffix("__init__").rstrip(".")
    layer = layer_of(module)
    assert layer is not None, f"{module} has no layer: add it to LAYERS"
    for name in imported_modules(path):
        other = name.removeprefix("jaxcolor").lstrip(".")
        assert layer_of(other) <= layer, f"{module} (layer {layer}) imports {other}"
        pair = {module.split(".")[0], other.split(".")[0]}
        assert pair != {"models", "data"}, f"{module} imports {other}"


def load_config(name, *arguments):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*arguments)


@pytest.fixture(params=sorted({path.stem for path in ROOT.glob("configs/*.py")} - {"finetune"}))
def config(request):
    return load_config(request.param)


def test_every_config_builds_with_the_demo_set(config, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCOLOR_CACHE", str(tmp_path))
    config.demo.update({"train": 8, "validation": 1})
    config.evaluation.batch_size = 8
    values, _ = experiment.resolve(config)
    values["train"]["batch_size"] = 8
    built = experiment.build(values)
    assert len(built.sources[0]) == 8
    assert built.plan.epoch_end(1) == 1


def test_demo_settings_give_way_to_the_command_line_and_to_real_pictures():
    config = load_config("pix2pix")
    values, changes = experiment.resolve(config, ["train.epochs"])
    assert values["train"]["epochs"] == config.train.epochs
    assert "train.epochs" not in changes
    assert values["generator"]["base_width"] == config.demo_settings.generator.base_width
    assert "demo_settings" not in values
    config.data.path = "somewhere"
    values, changes = experiment.resolve(config)
    assert changes == {}
    assert values["generator"]["base_width"] == 64
    assert "demo" not in values


def test_every_key_can_be_set_on_the_command_line():
    """A key named like a method of ConfigDict cannot: ConfigDict.update is found first."""
    for section, values in load_config("pix2pix").to_dict().items():
        for name in [section, *(values if isinstance(values, dict) else ())]:
            assert not hasattr(ConfigDict, name), f"{section}.{name}"


def test_demo_settings_with_an_unknown_key_are_refused():
    config = load_config("pix2pix")
    config.demo_settings.train = ConfigDict({"epoch": 3})
    with pytest.raises(ConfigError, match=r"train\.epoch is unknown; did you mean epochs"):
        experiment.resolve(config)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3, "batch_size": 1}, r"train\.epoch is unknown; did you mean epochs\?"),
        ({"batch_size": 1}, r"train\.epochs is missing"),
        ({"epochs": "3", "batch_size": 1}, r"train\.epochs must be of type int, not '3'"),
        ({"epochs": True, "batch_size": 1}, r"train\.epochs must be of type int, not True"),
        ({"epochs": 2.5, "batch_size": 1}, r"train\.epochs must be of type int, not 2.5"),
    ],
)
def test_wrong_keys_and_types_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        configuration.arguments("train", values, TrainSettings)


def test_arguments_convert_what_loses_nothing():
    given = {"dropout_levels": [1, 2], "dropout_rate": 0}
    found = configuration.arguments("generator", given, UNet, supplied=("image_size",))
    assert found == {"dropout_levels": (1, 2), "dropout_rate": 0.0}
    assert isinstance(found["dropout_rate"], float)
    for bad in ({"dropout_levels": (1, "2")}, {"dropout_levels": 1}, {"image_size": 64}):
        with pytest.raises(ConfigError):
            configuration.arguments("generator", bad, UNet, supplied=("image_size",))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "train.update_order",
            "both",
            "train.update_order 'both' is none of simultaneous, sequential",
        ),
        ("train.compute_dtype", "float16", "float16"),
        ("train.epochs", 0, "train.epochs 0 must be at least 1"),
        ("checkpoint.keep_last", 0, "checkpoint.keep_last 0 must be at least 1"),
        ("evaluation.statistics", "batch", "evaluation.statistics 'batch'"),
    ],
)
def test_values_out_of_range_are_named(key, value, message):
    config = load_config("pix2pix")
    config.demo_settings = ConfigDict()
    section, name = key.split(".")
    config[section][name] = value
    with pytest.raises(ConfigError, match=message):
        read_settings(experiment.resolve(config)[0])


def test_a_batch_that_does_not_divide_by_the_devices_is_refused():
    values, _ = experiment.resolve(load_config("pix2pix"))
    values["train"]["batch_size"] = 30
    with pytest.raises(ConfigError, match="30 must be a positive multiple of the 8 devices"):
        experiment.build(values)
