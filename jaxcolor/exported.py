"""A directory of exported weights: model.safetensors and config.json, which is all that one needs.

The config is the checkpoint's, without the paths of the machine that trained.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
import safetensors.numpy

from jaxcolor.errors import WorkdirError
from jaxcolor.plain_json import parse_json
from jaxcolor.training.state import NetworkState

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
SCHEMA = 1
_MOST_STEPS = 2**31  # a state counts them in an int32
_FORMAT = "jaxcolor generator"
_SHOWN = 300  # characters of what a reader says, which may quote the file
# The last two are of numpy, about types that it lacks.
_DAMAGE = (OSError, ValueError, safetensors.SafetensorError, TypeError, AttributeError)
_PATHS = (("data", "path"), ("data", "tfds_directory"))


class Exported(NamedTuple):
    """What such a directory says besides the weights.

    Attributes:
      config: as a checkpoint holds it.
      step: training steps behind the weights.
      scores: the validation numbers stored with the checkpoint.
    """

    config: dict[str, Any]
    step: int
    scores: dict[str, float]


def is_exported(directory: str | Path) -> bool:
    """Whether it holds exported weights, and not a training."""
    return Path(directory, WEIGHTS).is_file() and not Path(directory, "checkpoints").exists()


def without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """A config that tells nothing of the directories of the machine."""
    config = {
        name: dict(values) if isinstance(values, dict) else values
        for name, values in config.items()
    }
    for section, name in _PATHS:
        config[section][name] = ""
    return config | {"init_from": ""}


def write_exported(directory: Path, described: Exported, generator: NetworkState) -> None:
    """Writes both files into a directory that is there."""
    trees = {"params": generator.params, "batch_stats": generator.batch_stats}
    arrays = {
        "/".join(key.key for key in path): np.ascontiguousarray(jax.device_get(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(trees)
    }
    metadata = {"format": _FORMAT, "schema": str(SCHEMA), "step": str(described.step)}
    # Not save_file: it makes a file for its owner alone.
    (directory / WEIGHTS).write_bytes(safetensors.numpy.save(arrays, metadata))
    values = {"format": _FORMAT, "schema": SCHEMA, **described._asdict()}
    text = json.dumps(values, indent=2) + "\n"
    (directory / CONFIG).write_text(text, encoding="utf-8")


def read_description(directory: Path) -> Exported:
    """Everything but the weights.

    Raises:
      WorkdirError: config.json is missing, damaged or of another version.
    """
    path = directory / CONFIG
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkdirError(
            f"{path} belongs to {WEIGHTS} and cannot be read ({error.strerror})"
        ) from error
    except ValueError as error:
        raise WorkdirError(f"{path} is damaged: it is no JSON that an export writes") from error
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise WorkdirError(f"{path} was not written by an export of jaxcolor")
    if values.get("schema") != SCHEMA:
        raise WorkdirError(f"{path} is of version {values.get('schema')!r}, not {SCHEMA}")
    config, step, scores = (values.get(name) for name in Exported._fields)
    steps = type(step) is int and 0 <= step < _MOST_STEPS
    if not isinstance(config, dict) or not steps or not _are_numbers(scores):
        raise WorkdirError(
            f"{path} is damaged: config, step or scores is missing or of another kind"
        )
    return Exported(config, step, scores)


def _are_numbers(scores: Any) -> bool:
    return isinstance(scores, dict) and all(type(x) in (int, float) for x in scores.values())


def read_generator(directory: Path, like: NetworkState) -> NetworkState:
    """The weights, of exactly the names, shapes and types of `like`.

    Raises:
      WorkdirError: they are not, or the file is damaged.
    """
    path = directory / WEIGHTS
    trees = {"params": like.params, "batch_stats": like.batch_stats}
    leaves, structure = jax.tree_util.tree_flatten_with_path(trees)
    names = ["/".join(key.key for key in keys) for keys, _ in leaves]
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            if set(file.keys()) != set(names):
                raise ValueError("it has other arrays than its config")
            for name, (_, leaf) in zip(names, leaves, strict=True):
                shape = tuple(file.get_slice(name).get_shape())
                if shape != leaf.shape:
                    raise ValueError(f"{name} has the shape {shape} and not {leaf.shape}")
            arrays = [file.get_tensor(name) for name in names]
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:_SHOWN]
        raise WorkdirError(f"{path} cannot be read: {reason}") from error
    for name, array, (_, leaf) in zip(names, arrays, leaves, strict=True):
        if array.dtype != leaf.dtype:
            raise WorkdirError(f"{path}: {name} holds {array.dtype} and not {leaf.dtype}")
    found = jax.tree_util.tree_unflatten(structure, [jax.numpy.asarray(x) for x in arrays])
    return NetworkState(**found, opt_state=())


def finite(scores: dict[str, float]) -> dict[str, float]:
    """The scores that JSON can hold."""
    return {name: float(value) for name, value in scores.items() if math.isfinite(value)}
