"""What the README and the configs show runs as printed."""

import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL_RUN

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
CONFIG_TEXTS = [path.read_text() for path in sorted(ROOT.glob("configs/*.py"))]


def shown_commands():
    """Every distinct training command in the README's blocks and the configs' docstrings."""
    lines = "\n".join([text for kind, text in BLOCKS if kind == "bash"] + CONFIG_TEXTS)
    found = re.findall(r"python run\.py[^#\n]*", lines)
    return sorted({" ".join(line.split()) for line in found})


def test_there_are_commands_and_they_name_existing_configs():
    assert len(shown_commands()) >= 4
    for path in re.findall(r"configs/\w+\.py", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("line", shown_commands())
def test_the_command_builds_its_experiment(line, environment, pictures):
    words = shlex.split(line.replace("DIR", str(pictures)))[2:]
    small = {key: value for key, value in SMALL_RUN.items() if "dropout" not in key}
    overrides = [f"--config.{key}={value}" for key, value in small.items()]
    if "paper" in line or "reference" in line:
        overrides = [word for word in overrides if "learning_rate" not in word]
    command = [sys.executable, "run.py", *words, *overrides, "--dry_run"]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    assert "GFLOP per image" in found.stdout


def test_the_library_example_runs():
    (example,) = [text for kind, text in BLOCKS if kind == "python"]
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["picture"].shape == (1, 64, 64, 3)


def test_the_two_set_up_commands_are_there():
    lines = [line for line in README.splitlines() if line.startswith("python -m venv .venv && ")]
    assert [".[test]" in line for line in lines] == [False, True]


def test_pictures_shown_exist():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).exists(), path
