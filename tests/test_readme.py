"""What the README and the configs show runs as printed."""

import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, SMALL_RUN
from many_hosts import free_port
from PIL import Image
from small_workdir import make_workdir
from test_anime_sketch_pairs import write_download, zipped
from test_configuration import load_config
from test_tfds_preparation import PREPARE

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
CONFIG_TEXTS = [path.read_text() for path in sorted(ROOT.glob("configs/*.py"))]


def shown_commands(start=r"python run\.py"):
    """Every distinct command of one kind in the README's blocks and the configs' docstrings."""
    lines = "\n".join([text for kind, text in BLOCKS if kind == "bash"] + CONFIG_TEXTS)
    found = re.findall(rf"{start}[^#\n]*", lines)
    return sorted({" ".join(line.split()) for line in found})


@pytest.fixture(scope="module")
def places(tmp_path_factory, pictures):
    """What the capital words in the README's commands stand for, each made small."""
    root = tmp_path_factory.mktemp("readme")
    for number, path in enumerate(sorted((pictures / "train").iterdir())):
        pair = Image.open(path)
        for folder, left in (("folders/A", 32), ("folders/B", 0), ("photos", 0)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            pair.crop((left, 0, left + 32, 32)).save(root / folder / f"{number}.png")
    archive = zipped(write_download(root / "archive"))
    program = [sys.executable, "-c", PREPARE, str(root), "cifar10"]
    subprocess.run(program, cwd=ROOT, check=True, capture_output=True)
    return {
        "ARCHIVE.zip": archive,
        "FOLDERS": root / "folders",
        "PHOTOS": root / "photos",
        "CACHE": root / "cache",
        "DIR": pictures,
        "sets": root / "sets",
    }


@pytest.fixture(scope="module")
def run_as_shown(places, environment):
    """Runs a shown command with its places filled in and more words at its end."""

    def run(line, *more):
        for name, path in places.items():
            line = re.sub(rf"\b{re.escape(name)}\b", str(path), line)
        found = subprocess.run(
            [sys.executable, *shlex.split(line)[1:], *more],
            capture_output=True,
            text=True,
            env=environment | {"TFDS_DATA_DIR": str(places["sets"])},
            cwd=ROOT,
        )
        assert found.returncode == 0, found.stderr
        return found.stdout

    return run


def small(line):
    """Overrides that make the experiment of a command small: those of keys that its config has."""
    config = load_config(re.search(r"configs/(\w+)\.py", line)[1]).to_dict()
    settings = {key: value for key, value in SMALL_RUN.items() if "dropout" not in key}
    settings = {
        key: value
        for key, value in settings.items()
        if key.split(".")[1] in config.get(key.split(".")[0], {})
    }
    if "places365" in line:  # seven halvings
        settings |= {"data.image_size": 128, "augment.load_size": 128}
    if "paper" in line or "reference" in line:
        settings = {key: value for key, value in settings.items() if "learning_rate" not in key}
    return [f"--config.{key}={value}" for key, value in settings.items()]


def test_there_are_commands_and_they_name_existing_configs():
    assert len(shown_commands()) >= 10
    for path in re.findall(r"configs/\w+\.py", README):
        assert (ROOT / path).exists(), path


def by_cost(line):
    """The command, slow where only a config shows it: CI has no time for all of them."""
    shown = line in " ".join(README.split())
    return line if shown else pytest.param(line, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "line",
    [by_cost(x) for x in shown_commands() if not re.search("CACHE|WORKDIR|--coordinator", x)],
)
def test_the_command_builds_its_experiment(line, run_as_shown):
    assert "GFLOP per image" in run_as_shown(line, *small(line), "--dry_run")


@pytest.mark.slow
def test_two_processes_describe_the_experiment_as_shown(environment):
    (block,) = [text for _, text in BLOCKS if "--coordinator" in text]
    line = next(line for line in shown_commands() if "--coordinator" in line)
    overrides = [*small(line), "--config.train.batch_size=4"]
    words = " ".join(["--process_id $id --dry_run", *overrides])
    block = block.replace("--process_id $id", words).replace(":9876", f":{free_port()}")
    block = block.replace("python ", f"{sys.executable} ")
    found = subprocess.run(
        ["bash", "-c", block], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("each of 4 devices") == 1  # host 0 alone prints


def test_pictures_are_checked_and_prepared_as_shown(run_as_shown, tmp_path):
    shown = shown_commands("python -m jaxcolor")
    (check,) = [line for line in shown if "check-data" in line]
    (prepare,) = [line for line in shown if "prepare" in line]
    (train,) = [line for line in shown_commands() if "CACHE" in line]
    sizes = [word for word in small(train) if "_size" in word and "batch" not in word]
    sheet = tmp_path / "sheet.png"
    assert "nothing amiss" in run_as_shown(check, *sizes, f"--sheet={sheet}")
    assert sheet.exists()
    assert "24 train" in run_as_shown(prepare, *sizes)
    assert "GFLOP per image" in run_as_shown(train, *small(train), "--dry_run")


def test_runs_are_evaluated_and_compared_as_shown(places, run_as_shown, tmp_path, pictures):
    for name in ("RUN", "OTHER"):
        make_workdir(tmp_path / name, pictures)
        places[name] = tmp_path / name
    places["report.html"] = tmp_path / "report.html"
    shown = shown_commands("python -m jaxcolor")
    (evaluate,) = [line for line in shown if " evaluate " in line]
    (compare,) = [line for line in shown if " compare " in line]
    assert "psnr" in run_as_shown(evaluate)
    run_as_shown(compare)
    assert "</html>" in (tmp_path / "report.html").read_text()


def test_pictures_are_coloured_as_shown(places, run_as_shown, tmp_path, pictures):
    make_workdir(tmp_path / "RUN", pictures)
    places |= {"RUN": tmp_path / "RUN", "COLOURED": tmp_path / "out"}
    (colorize,) = [line for line in shown_commands("python -m jaxcolor") if " colorize " in line]
    run_as_shown(colorize)
    drawings = {path.name for path in (ROOT / "docs" / "drawings").iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == drawings != set()


def examples():
    return [text for kind, text in BLOCKS if kind == "python"]


def test_the_library_example_runs():
    (example,) = [text for text in examples() if "import jax\n" in text]
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["picture"].shape == (1, 64, 64, 3)


def test_the_colorizer_example_runs(photo_workdir):
    (example,) = [text for text in examples() if "Colorizer" in text]
    names = {"picture": np.zeros((20, 30), np.uint16)}
    exec(compile(example.replace('"RUN"', repr(str(photo_workdir))), "README.md", "exec"), names)
    assert names["coloured"].shape == (20, 30, 3)


def test_the_two_set_up_commands_are_there():
    lines = [line for line in README.splitlines() if line.startswith("python -m venv .venv && ")]
    assert [".[test]" in line for line in lines] == [False, True]


def test_pictures_shown_exist():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).exists(), path
