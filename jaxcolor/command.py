"""The training command behind run.py: flags to experiment, errors to one line and a status."""

import argparse
import contextlib
import functools
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import absl.logging
import jax
from absl import flags
from ml_collections import ConfigDict

from jaxcolor import description, experiment, hosts, runner
from jaxcolor.data import checks
from jaxcolor.data.buckets import has_bucket
from jaxcolor.data.check_report import printable
from jaxcolor.errors import DataError, UserError, is_out_of_memory
from jaxcolor.training.stopping import INTERRUPTED, Interrupted

BAD_USAGE = 2
FEW = 8


def parse_flags(argv: list[str], values: flags.FlagValues) -> list[str]:
    """What `values` leaves of `argv`; a mistake in it is one line and exit status 2."""
    path = _config_path(argv)
    try:
        if path is not None and not Path(path).is_file():
            raise flags.Error("no such file")
        rest = values(argv)
        if values["config"].value is None:
            raise flags.Error("--config is required, for example --config configs/pix2pix.py")
        if not isinstance(values["config"].value, ConfigDict):
            values["config"].value.to_dict()  # raises what the config's own code raised
        if rest[1:]:
            raise flags.Error(f"unknown argument {rest[1]!r}: write --flag=value")
        return rest
    except SystemExit:
        raise
    except Exception as error:  # a config file is a program: anything may come out of it
        where = f"--config {path}: " if path is not None else ""
        reason = _reason(error)
        sys.stderr.write(f"error: {where}{_unknown_key(argv, reason) or reason}\n")
        raise SystemExit(BAD_USAGE) from None


class _Parser(argparse.ArgumentParser):
    """Takes --a-b for --a_b, and URLs of buckets in some arguments only.

    In others they would be folders of the disk.
    """

    in_bucket: tuple[str, ...] = ()

    def parse_known_args(self, args=None, namespace=None):
        words = sys.argv[1:] if args is None else args
        known = {option.replace("_", "-"): option for option in self._option_string_actions}
        values, rest = super().parse_known_args([_spelt(word, known) for word in words], namespace)
        for name, value in vars(values).items():
            for word in value if isinstance(value, list) else [value]:
                if name not in self.in_bucket and has_bucket(word):
                    self.error(f"{word} is in a bucket: give {name} on the disk; docs/buckets.md")
        return values, rest

    def error(self, message):
        sys.stderr.write(f"error: {message}\n")
        raise SystemExit(BAD_USAGE)


def _spelt(word, known):
    """An option as the parser knows it, whether it came with hyphens or with underscores."""
    name, equals, value = word.partition("=")
    if not name.startswith("--"):
        return word
    return known.get(name.replace("_", "-"), name) + equals + value


def make_parser(
    name: str, description: str, in_bucket: tuple[str, ...] = ()
) -> argparse.ArgumentParser:
    """A parser of `python -m jaxcolor NAME` that answers a mistake with one line and status 2.

    Args:
      name: of the command.
      description: for --help.
      in_bucket: arguments that may be URLs of buckets; in others these are mistakes.
    """
    parser = _Parser(
        f"python -m jaxcolor {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.in_bucket = in_bucket
    return parser


def _reason(error: Exception) -> str:
    """What an error says, in one line, without the wrappers and tracebacks inside."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    own = isinstance(error, (flags.Error, OSError))
    message = str(error) if own else ": ".join(map(str, error.args))
    line = " ".join(message.split("Traceback (most recent call last)")[0].split())
    return line or type(error).__name__


def _unknown_key(argv: list[str], reason: str) -> str:
    """A line about the flag whose key the config lacks, if that is the reason, or ""."""
    for word in argv:
        key = word.lstrip("-").partition("=")[0]
        ends = {f"Unknown command line flag '{key}'", *(f"'{name}'" for name in key.split("."))}
        if key.startswith("config.") and reason in ends:
            return f"config key {key.removeprefix('config.')} is unknown; --dry_run lists them all"
    return ""


def _config_path(argv: list[str]) -> str | None:
    """The file that --config names, before anything is parsed; without a ":argument"."""
    for index, word in enumerate(argv):
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and name == "config":
            value = value if equals else "".join(argv[index + 1 : index + 2])
            return value.split(":")[0]
    return None


def train(
    config: ConfigDict,
    overridden: Iterable[str],
    workdir: str | Path,
    *,
    dry_run: bool,
    address: hosts.Address,
) -> int:
    """Trains, or describes, what `config` says; returns the exit status, see `run_together`.

    Args:
      config: as its file and the command line made it.
      overridden: keys set on the command line, "section.key".
      workdir: where the results go.
      dry_run: print the resolved config, parameters, cost and memory, and do nothing else.
      address: where the hosts meet that train together.
    """
    set_up_jax()
    return run_together(
        functools.partial(_train, config, overridden, workdir, dry_run=dry_run),
        address,
        stopped="stopped at once; the same command goes on from the last checkpoint",
        batch_size="--config.train.batch_size or --config.evaluation.batch_size",
    )


def _train(config, overridden, workdir, *, dry_run) -> None:
    resolved, changes = experiment.resolve(config, overridden)
    if changes:
        listed = ", ".join(f"{key}={value}" for key, value in changes.items())
        print(f"no data.path: training on the demo set, drawn once, with {listed}", flush=True)
    built = experiment.build(resolved)
    if dry_run:
        print(json.dumps(built.config, indent=2))
        print(description.describe(built))
        return
    device = jax.devices()[0].device_kind
    _check_pictures(built)
    print(
        f"{len(built.sources[0])} pictures to train on, {len(built.sources[1])} to "
        f"validate on; {built.devices.device_count} x {device}; results in {workdir}",
        flush=True,
    )
    runner.run(built, workdir)


def run_together(act: Callable[[], None], address: hosts.Address, **lines: str) -> int:
    """Calls `act` among the hosts that are at `address`, if any; returns the exit status.

    Among many hosts it ends the process with it instead, if there was an error.

    Args:
      act: what all of them do.
      address: where they meet.
      lines: for `errors_as_lines`.
    """
    try:
        with errors_as_lines(**lines) as status, hosts.together(address):
            act()
    except BaseException:
        if hosts.count() == 1:
            raise
        traceback.print_exc()
        status = [1]
    hosts.leave(status[0])
    return status[0]


def _check_pictures(built: experiment.Experiment) -> None:
    """Prints what the files' headers tell; raises DataError if a run could not but stop of it."""
    splits, most = built.data.splits, built.settings.data.max_bad_fraction
    found = checks.quick_check(splits.sources, splits.notes())
    print("\n".join(found.lines()), flush=True)
    for finding in found.findings:
        bad, count = len(finding.items), found.examined.get(finding.split, 0)
        if finding.kind == "unreadable" and bad > most * count and finding.split != "test":
            raise DataError(
                f"{bad} of {count} pictures of {finding.split} cannot be read, more than "
                f"data.max_bad_fraction {most:g} allows: remove or mend them, or raise it; the "
                f"first: {finding.items[0][1]}"
            )
    validating = len(splits.sources["val"])
    if validating < FEW:
        print(
            f"note: only {validating} of the pictures validate, which tells little: put more into "
            "a folder val, or raise data.validation_fraction",
            flush=True,
        )


def set_up_jax() -> None:
    """Keeps compiled programs between runs, and the libraries' own chatter out of sight."""
    root = os.environ.get("JAXCOLOR_CACHE") or Path("~/.cache/jaxcolor").expanduser()
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(Path(root) / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    absl.logging.set_verbosity(absl.logging.FATAL)  # errors are raised besides
    logging.getLogger("jax").setLevel(logging.ERROR)
    sys.unraisablehook = _print_unless_late  # for good: the threads outlive the run


@contextlib.contextmanager
def errors_as_lines(
    *, stopped: str = "stopped", batch_size: str = "--batch_size", files: str = ""
) -> Iterator[list[int]]:
    """Prints a user's error as one line; the list holds the exit status afterwards.

    Args:
      stopped: what is said after Ctrl-C: what became of the work.
      batch_size: what to lower where the memory does not suffice.
      files: what an OSError that names no file is about; without, an OSError is a bug.
    """
    status = [0]
    try:
        yield status
    except UserError as error:
        sys.stderr.write(f"error: {printable(str(error))}\n")
        status[0] = 1
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status[0] = 1
    except OSError as error:
        if not files:
            raise
        line = f"{error.filename or files}: {error.strerror or error}"
        sys.stderr.write(f"error: {printable(line)}\n")
        status[0] = 1
    except Interrupted as wish:
        sys.stderr.write(f"{wish}\n")
        status[0] = wish.status
    except KeyboardInterrupt:
        sys.stderr.write(f"{stopped}\n")
        status[0] = INTERRUPTED
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        first = str(error).splitlines()[0][:160] if str(error) else "out of memory"
        sys.stderr.write(f"error: the memory does not suffice: lower {batch_size} ({first})\n")
        status[0] = 1


def _print_unless_late(unraisable: Any) -> None:
    """Prints an error in a library's thread, unless it only follows one that was raised here.

    When reading or writing a checkpoint fails, Orbax closes its event loop; TensorStore's other
    threads still report to it, and the arrays that were being read beside it have errors of their
    own. Each would print a traceback beside the error's one line.
    """
    error = unraisable.exc_value
    late = isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
    if not late and not str(error).startswith("Encountered error while reading array"):
        sys.__unraisablehook__(unraisable)
