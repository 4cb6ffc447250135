"""The JSON files of a folder, one a benchmark: written table by table, and read for the report."""

import contextlib
import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.environment import describe_run
from benchmarks.harness import RULE
from benchmarks.targets import Results
from jaxcolor.errors import UserError

# What a result of another version may raise where it is read.
UNFIT = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)


def record(benchmark: str, tables: Iterable[dict[str, Any]], options: Namespace) -> dict[str, Any]:
    """Describes the run, goes through the tables, and keeps all of it in a JSON file.

    An earlier file of that name stays as it is until the last table is there. A run that is cut
    short leaves its tables beside it, in a file that ends in ".unfinished", and says so.

    Args:
      benchmark: its name.
      tables: made, and printed, as they are asked for.
      options: of the command line: `out` (a folder), `quick`, and what to record.

    Raises:
      OSError: the folder cannot be written; before anything is measured.
    """
    result = {"benchmark": benchmark, "command": command(), "options": vars(options), "rule": RULE}
    result |= describe_run()
    result["tables"] = []
    path = result_path(benchmark, Path(options.out), quick=options.quick)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    _write(unfinished, result)
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    load = result["load_average"][0]
    print(f"{result['machine']}; load {load:.1f}; {versions}; commit {result['commit']}")
    try:
        for table in tables:
            result["tables"].append(table)
            _write(unfinished, result)
    except BaseException:
        _keep(unfinished, path, len(result["tables"]))
        raise
    unfinished.replace(path)
    print(f"\nwritten to {path}")
    return result


def command() -> str:
    """The command line of this process, as it would be typed."""
    return shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])


def _write(path, result):
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _keep(unfinished, path, count):
    """Says where the tables of a run cut short are; without any, leaves nothing."""
    if count:
        tables = f"{count} finished table{'' if count == 1 else 's'}"
        sys.stderr.write(f"{tables}: {unfinished} (to report them, name it {path.name})\n")
    else:
        unfinished.unlink(missing_ok=True)


def result_path(benchmark: str, folder: Path, *, quick: bool) -> Path:
    """Where the result of a benchmark lies in `folder`."""
    return folder / f"{benchmark}{_suffix(quick)}.json"


def _suffix(quick):
    return "_quick" if quick else ""


def read_results(folder: Path, benchmarks: Iterable[str], *, quick: bool) -> Results:
    """What lies in `folder` and below, by benchmark and platform; of two, the later file's name.

    Each has the "path" it was read from.

    Raises:
      UserError: a file is damaged, or there is none.
    """
    results = {}
    for name in benchmarks:
        for path in sorted(folder.rglob(f"{name}{_suffix(quick)}.json")):
            with readable(path):
                result = json.loads(path.read_text(encoding="utf-8"))
                if result["tables"]:
                    results[name, result["platform"]] = result | {"path": path}
    if not results:
        endings = [f"{name}{_suffix(not quick)}.json" for name in benchmarks]
        others = any(True for ending in endings for _ in folder.rglob(ending))
        raise UserError(f"{folder}: no results; {_advice(quick, others)}")
    return results


def _advice(quick: bool, others: bool) -> str:
    """What to do where there are no results, or `others`."""
    if others:
        return "those of --quick are there: report --quick" if not quick else "leave out --quick"
    return f"measure first: python -m benchmarks train_step{' --quick' * quick}"


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Where what the file at `path` holds is read.

    Raises:
      UserError: it is not what this version writes.
    """
    try:
        yield
    except UNFIT as error:
        raise UserError(
            f"{path}: damaged, or of another version ({type(error).__name__}: {error}); "
            "measure again or move the file away"
        ) from error
