"""Workdirs made of a PyTorch reference's weights: a checkpoint at step 0, like one of our own."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcolor import experiment
from jaxcolor.data.conditions import KINDS
from jaxcolor.data.layouts import GIVEN
from jaxcolor.errors import ConfigError, UserError, WorkdirError
from jaxcolor.models import patchgan, unet
from jaxcolor.reference_weights import Converted, convert
from jaxcolor.settings import (
    CheckpointSettings,
    DataSettings,
    EvaluationSettings,
    LoaderSettings,
    ParallelSettings,
    TrainSettings,
)
from jaxcolor.torch_files import read_tensors
from jaxcolor.training import steps
from jaxcolor.training.checkpoints import Checkpoints
from jaxcolor.training.state import GanState
from jaxcolor.workdir import check_space, own_workdir, write_config

PICTURE_CHANNELS = 3
# The reference's --direction: A is the left half of a picture, or the folder A.
DIRECTIONS = {
    "AtoB": {"target_side": "right", "condition_folder": "A", "target_folder": "B"},
    "BtoA": {"target_side": "left", "condition_folder": "B", "target_folder": "A"},
}
CONDITIONS = (GIVEN, *KINDS)
_JITTER = 286 / 256  # what pictures are resized to before they are cropped
_ADAM = {
    "learning_rate": 2e-4,
    "b1": 0.5,
    "b2": 0.999,
    "epsilon": 1e-8,
    "schedule": "constant",
    "decay_fraction": 0.5,
}


def read_networks(paths: list[str | Path]) -> dict[str, Converted]:
    """The networks in the files, by kind.

    Raises:
      UserError: a file is none of the reference's, or two are of one kind.
    """
    found = {}
    for path in paths:
        tensors = read_tensors(path)
        try:
            network = convert(tensors)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        if network.kind in found:
            raise UserError(f"{path} is another {network.kind}: give one of each at most")
        found[network.kind] = network
    return found


def make_config(
    networks: dict[str, Converted],
    *,
    direction: str = "AtoB",
    condition: str = "",
    image_size: int = 0,
    origin: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The config of the reference's pix2pix around the networks, as a checkpoint holds it.

    Args:
      networks: by kind; what is missing has the shape that fits the other.
      direction: a key of DIRECTIONS.
      condition: what the generator colours, one of CONDITIONS; "" for what its channels allow:
        a picture of three that is given, or luma.
      image_size: side in pixels, of a discriminator without generator; 0 for 256.
      origin: where the weights come from, name by kind.

    Raises:
      UserError: the networks do not fit each other, or these settings.
    """
    channels = _condition_channels(networks)
    condition = condition or (GIVEN if channels == PICTURE_CHANNELS else "luma")
    if (condition == GIVEN) != (channels == PICTURE_CHANNELS):
        raise ConfigError(
            f"--condition {condition} has {1 if condition != GIVEN else PICTURE_CHANNELS} "
            f"channels, and the network takes {channels}"
        )
    size = _image_size(networks, image_size)
    data = DataSettings(path="", condition=condition, image_size=size, **DIRECTIONS[direction])
    return {
        "seed": 0,
        "init_from": "",
        "data": data._asdict(),
        "augment": {"load_size": round(size * _JITTER), "flip": True},
        "loader": LoaderSettings()._asdict(),
        **_network_sections(networks, size),
        "losses": steps.LossWeights(discriminator=0.5)._asdict(),
        "generator_optimizer": dict(_ADAM),
        "discriminator_optimizer": dict(_ADAM),
        "train": TrainSettings(epochs=100, batch_size=1, update_order="sequential")._asdict(),
        "checkpoint": CheckpointSettings()._asdict(),
        "evaluation": EvaluationSettings()._asdict(),
        "parallel": ParallelSettings()._asdict(),
        "derived": {
            "training_pictures": 0,
            "training_names": "",
            "condition": condition,
            "condition_channels": channels,
            "imported": origin or {},
        },
    }


def _condition_channels(networks):
    found = {}
    if "generator" in networks:
        generator = networks["generator"]
        found["generator"] = generator.input_channels
        outputs = generator.section["output_channels"]
        if outputs != PICTURE_CHANNELS:
            raise UserError(f"the generator gives {outputs} channels, and not the 3 of RGB")
    if "discriminator" in networks:
        judged = networks["discriminator"].input_channels
        found["discriminator"] = judged - PICTURE_CHANNELS
    if len(set(found.values())) > 1:
        listed = " and ".join(f"those of the {name} {count}" for name, count in found.items())
        raise UserError(f"the networks are not of one pair: conditions have channels, {listed}")
    (channels,) = set(found.values())
    if channels not in (1, PICTURE_CHANNELS):
        raise UserError(f"a condition of {channels} channels: only those of 1 or 3 can be imported")
    return channels


def _image_size(networks, image_size):
    if "generator" not in networks:
        return image_size or 256
    size = networks["generator"].image_size
    if image_size not in (0, size):
        raise ConfigError(f"--image_size {image_size}: the generator's is {size}")
    return size


def _network_sections(networks, size):
    """The sections of both networks; a missing one has the other's width and norm."""
    sections = {name: dict(network.section) for name, network in networks.items()}
    (one, *_) = sections.values()
    alike = {name: one[name] for name in ("base_width", "norm")}
    depth = unet.depth_of(size)
    levels = tuple(range(1, max(1, depth - 4)))
    generator = unet.REFERENCE | {"output_channels": 3, "dropout_levels": levels}
    sections.setdefault("generator", generator | alike)
    sections.setdefault("discriminator", patchgan.REFERENCE | alike)
    return sections


def write_workdir(
    workdir: str | Path, config: dict[str, Any], networks: dict[str, Converted]
) -> experiment.Experiment:
    """Makes a workdir with one checkpoint, at step 0; a missing network is freshly initialised.

    Raises:
      WorkdirError: the directory is there and not empty, or cannot be written.
      ConfigError: the networks cannot be built.
    """
    workdir = Path(workdir).expanduser()
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise WorkdirError(f"--out {workdir} is not empty: give a new directory")
    built = experiment.rebuild(config)
    state = jax.jit(built.functions.create_state)(jax.random.key(config["seed"]))
    state = _with_weights(state, networks)
    with own_workdir(workdir), Checkpoints(workdir / "checkpoints", keep_last=1) as checkpoints:
        check_space(workdir, state, CheckpointSettings(keep_last=1, keep_best=0), checkpoints)
        write_config(workdir, config)
        checkpoints.save(0, state, config, None)
        checkpoints.wait()
    return built


def _with_weights(state: GanState, networks: dict[str, Converted]) -> GanState:
    """`state` with the imported arrays, of exactly the names and shapes of ours."""
    for kind, network in networks.items():
        ours = getattr(state, kind)
        new = {"params": network.params, "batch_stats": network.batch_stats}
        shapes = [
            jax.tree.map(np.shape, tree)
            for tree in (new, {name: getattr(ours, name) for name in new})
        ]
        if shapes[0] != shapes[1]:
            raise AssertionError(f"the imported {kind} is not of our layout")
        new = {name: jax.tree.map(jax.numpy.asarray, tree) for name, tree in new.items()}
        state = state.replace(**{kind: ours.replace(**new)})
    return state


def describe_origin(paths: list[str | Path], networks: dict[str, Converted]) -> dict[str, str]:
    """ "name of the file, SHA-256" by kind of network, to be kept in the config."""
    found = {}
    for path, kind in zip(paths, networks, strict=True):
        path = Path(path).expanduser()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[kind] = f"{path.name}, sha256 {digest}"
    return found
