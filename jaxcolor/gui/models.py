"""The models that a page offers: found on disk, loaded when first chosen, a few kept in memory."""

import os
import threading
from collections import OrderedDict
from pathlib import Path

from jaxcolor.colorize import Colorizer
from jaxcolor.errors import WorkdirError
from jaxcolor.exported import is_exported

_DEPTH = 4  # folders below the runs directory
_KEPT = 3  # networks in memory


def find_models(model: Path | None, runs: Path | None) -> dict[str, Path]:
    """Workdirs and exports by the names to show, the given one first.

    Args:
      model: a workdir or export, which is not looked into here.
      runs: a directory with others in it, at most four folders down; named by their place there.

    Raises:
      WorkdirError: the directory is missing, or there is no model at all.
    """
    found = {} if model is None else {model.resolve().name or str(model): model}
    if runs is not None:
        if not runs.is_dir():
            raise WorkdirError(f"no directory {runs}: give --runs the directory of your runs")
        known = {path.resolve() for path in found.values()}
        for path in _models_below(runs):
            if path.resolve() not in known:
                name = runs.resolve().name if path == runs else path.relative_to(runs).as_posix()
                found[name if name not in found else str(path)] = path
                known.add(path.resolve())
    if not found:
        raise WorkdirError(f"no model in {runs}: train for an epoch first, or name a --model")
    return found


def _models_below(runs):
    for folder, names, _ in os.walk(runs, followlinks=True):  # the depth ends loops
        path = Path(folder)
        if _is_model(path):
            names.clear()
            yield path
        elif len(path.relative_to(runs).parts) >= _DEPTH:
            names.clear()
        else:
            names[:] = sorted(name for name in names if not name.startswith("."))


def _is_model(path):
    if is_exported(path):
        return True
    checkpoints = path / "checkpoints"
    return checkpoints.is_dir() and any(p.name.isdecimal() for p in checkpoints.iterdir())


class Models:
    """Networks by name; each is loaded once, and again when its training has gone on.

    Attributes:
      workdirs: where each lies.
    """

    def __init__(self, workdirs: dict[str, Path]):
        """Models that are yet to be loaded.

        Args:
          workdirs: by the names to show.
        """
        self.workdirs = workdirs
        self._loaded: OrderedDict[str, tuple[float, Colorizer]] = OrderedDict()
        self._lock = threading.Lock()

    def colorizer(self, name: str) -> Colorizer:
        """The best network of a model.

        Raises:
          UserError: there is no such model, or it cannot be loaded.
        """
        if name not in self.workdirs:
            raise WorkdirError(f"there is no model {name}: choose one of those on the page")
        with self._lock:
            changed = self._changed(name)
            stamp, colorizer = self._loaded.get(name, (None, None))
            if stamp is None or stamp != changed:
                colorizer = Colorizer.load(self.workdirs[name])
            self._loaded[name] = changed, colorizer
            self._loaded.move_to_end(name)
            while len(self._loaded) > _KEPT:
                self._loaded.popitem(last=False)
            return colorizer

    def _changed(self, name):
        """When a checkpoint last came or went."""
        directory = self.workdirs[name]
        try:
            return max(p.stat().st_mtime for p in (directory, directory / "checkpoints"))
        except OSError:
            return -1.0
