"""Where an evaluation goes: its directory, and what it must not be written over."""

import argparse
from pathlib import Path

from jaxcolor.errors import ConfigError, WorkdirError
from jaxcolor.evaluation_data import Pictures
from jaxcolor.evaluation_results import is_evaluation


def make_directory(values: argparse.Namespace, pictures: Pictures) -> Path:
    """The directory of the result, made; an earlier evaluation may be in it.

    Args:
      values: the command's arguments.
      pictures: what is to be measured.

    Raises:
      ConfigError: what is there would be spoilt.
      WorkdirError: it cannot be made.
    """
    name = pictures.split
    if values.predictions is not None:
        name = "_".join(filter(None, (name, Path(values.predictions).resolve().name)))
        name += values.suffix
    out = Path(values.out or Path(values.workdir or ".", "evaluation", name)).expanduser()
    if values.out or not values.workdir:  # below a workdir it is ours
        read = (pictures.settings.path, values.predictions)
        _refuse_to_spoil(out, [Path(folder).expanduser() for folder in read if folder])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkdirError(f"--out {out} cannot be made ({error.strerror})") from error
    return out


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
