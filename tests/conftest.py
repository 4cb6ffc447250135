"""Eight simulated CPU devices for all tests, set before jax starts; small runs of the command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Optimised less, XLA compiles twice as fast; runs in processes of their own are as shipped.
_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
# The workers of pytest-xdist inherit what its controller has set already.
_given = os.environ.get("XLA_FLAGS", "").removesuffix(_FLAGS).strip()
SHIPPED_ENVIRONMENT = dict(os.environ) | {"XLA_FLAGS": _given}
os.environ["XLA_FLAGS"] = f"{_given} {_FLAGS}"
os.environ["JAX_PLATFORMS"] = "cpu"

ROOT = Path(__file__).parents[1]

SMALL_RUN = {
    "data.image_size": 32,
    "augment.load_size": 36,
    "generator.base_width": 4,
    "generator.dropout_levels": "(1,2)",
    "discriminator.base_width": 4,
    "discriminator.strided_layers": 1,
    "generator_optimizer.learning_rate": 0.001,
    "evaluation.samples": 2,
    "train.batch_size": 2,
    "train.epochs": 2,
    "train.log_every": 5,
}


def command_line(workdir, overrides, *flags):
    """Arguments of run.py for a small run with these overrides."""
    settings = {**SMALL_RUN, **overrides}
    return [
        sys.executable,
        str(ROOT / "run.py"),
        f"--config={ROOT / 'configs' / 'pix2pix.py'}",
        f"--workdir={workdir}",
        *(f"--config.{key}={value}" for key, value in settings.items()),
        *flags,
    ]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache directory of the session's own, for demo pictures and compiled programs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def environment(cache):
    """The environment of a command run as a user runs it: one device, all optimisation."""
    return SHIPPED_ENVIRONMENT | {"JAXCOLOR_CACHE": str(cache), "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """24 training and 5 validation pairs of 32 pixels, as a user's folder."""
    from jaxcolor.data import demo

    directory = tmp_path_factory.mktemp("pictures")
    demo.write_demo_set(directory, train=24, validation=5, size=32, seed=3)
    return directory


@pytest.fixture(scope="session")
def photo_workdir(tmp_path_factory, pictures):
    """Two checkpoints, 6 the better, of a network for grey photographs that was never trained."""
    from small_workdir import make_workdir

    directory = tmp_path_factory.mktemp("workdir") / "photos"
    make_workdir(directory, pictures, data__condition="luma", data__source="pictures")
    return directory


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """An empty bucket in memory behind gs://, and an empty place for copies."""
    from memory_bucket import empty_bucket

    return empty_bucket(monkeypatch, tmp_path)


@pytest.fixture
def start(environment, pictures):
    """Starts a small run in a process of its own; killed when the test is over."""
    started = []

    def start_run(workdir, *flags, **overrides):
        overrides = {"data.path": pictures} | {
            key.replace("__", "."): value for key, value in overrides.items()
        }
        process = subprocess.Popen(
            command_line(workdir, overrides, *flags),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        return process

    yield start_run
    for process in started:
        process.kill()
        process.communicate()
