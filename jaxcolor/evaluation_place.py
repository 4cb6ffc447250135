"""Where an evaluation goes: its directory, and what it must not be written over."""

import argparse
import re
from pathlib import Path
from typing import Any

from jaxcolor.errors import ConfigError, WorkdirError
from jaxcolor.evaluation_data import Pictures
from jaxcolor.evaluation_results import is_evaluation
from jaxcolor.experiment import Experiment


def make_directory(
    values: argparse.Namespace,
    pictures: Pictures,
    changes: dict[str, Any],
    built: Experiment | None,
) -> Path:
    """The directory of the result, made; an earlier evaluation of the same may be in it.

    Args:
      values: the command's arguments.
      pictures: what is to be measured.
      changes: to the section `data` of the config.
      built: the network's experiment as it was trained, or None without a network.

    Raises:
      ConfigError: what is there would be spoilt.
      WorkdirError: it cannot be made.
    """
    parts = [pictures.split, *(_others(values, changes, built) if built else ())]
    if values.predictions is not None:
        parts.append(Path(values.predictions).resolve().name + values.suffix)
    name = "_".join(filter(None, parts))
    out = Path(values.out or Path(values.workdir or ".", "evaluation", name)).expanduser()
    if values.out or not values.workdir:  # below a workdir it is ours
        read = (pictures.settings.path, values.predictions)
        _refuse_to_spoil(out, [Path(folder).expanduser() for folder in read if folder])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkdirError(f"--out {out} cannot be made ({error.strerror})") from error
    return out


def _others(values: argparse.Namespace, changes: dict[str, Any], built: Experiment) -> list[str]:
    """What is not as in the run's own evaluation, in words that can name a directory."""
    data, mode, parts = built.config["data"], built.settings.evaluation, []
    if values.path is not None and _place(values.path) != _place(data["path"]):
        parts.append(_place(values.path).name)
    if values.checkpoint not in (None, "best"):
        step = values.checkpoint
        parts.append(f"step_{step}" if step.isdecimal() else step)
    if values.statistics not in (None, mode.statistics):
        parts.append(values.statistics)
    dropout = mode.dropout if values.dropout is None else values.dropout
    if dropout != mode.dropout:
        parts.append("dropout" if dropout else "no_dropout")
    if dropout and values.seed:
        parts.append(f"seed_{values.seed}")
    parts += [f"{key}_{x}" for key, x in changes.items() if x != data.get(key)]
    return [re.sub(r"[^\w.-]+", "_", part).strip("_") for part in parts]


def _place(path: str) -> Path:
    return Path(path).expanduser().resolve()


def _refuse_to_spoil(out: Path, read: list[Path]) -> None:
    """Raises ConfigError for a folder below those that are read, or with a user's own files."""
    for folder in read:
        if out.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(
                f"--out {out} is in {folder}, whose pictures are measured: name a folder elsewhere"
            )
    if out.is_dir() and any(out.iterdir()) and not is_evaluation(out):
        raise ConfigError(
            f"--out {out} holds other files and no evaluation: name a new or an empty folder"
        )
