"""Training's command line: of run.py, and of python -m jaxcolor train, which is the same."""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from jaxcolor import collector
from jaxcolor.huge_pages import restart_with_huge_pages

SECONDS_TO_LEAVE = 5  # once stopped; from then on nothing is lost


def main(words: Sequence[str]) -> None:
    """Trains as the words of the command line say, and exits with a status.

    On Linux the program may start itself anew first, so call it before anything costly is imported.

    Args:
      words: the program's name, and its flags.
    """
    restart_with_huge_pages()
    define_flags(flags.FLAGS)
    try:
        app.run(_train, argv=list(words), flags_parser=_parse)
    except KeyboardInterrupt:  # before training began, such as in the seconds of importing
        sys.exit(130)


def define_flags(values: flags.FlagValues) -> None:
    """Defines in `values` what the command line takes."""
    text, number = (
        functools.partial(define, default=None, flag_values=values)
        for define in (flags.DEFINE_string, flags.DEFINE_integer)
    )
    config_flags.DEFINE_config_file(
        "config", help_string="Config of the experiment.", flag_values=values
    )
    text("workdir", help="Where all results go. Default: runs/<config name>.")
    text("coordinator", help="ADDRESS:PORT of host 0, the same on all hosts.")
    number("num_processes", help="How many hosts train together.")
    number("process_id", help="Which of them this is, from 0.")
    flags.DEFINE_bool(
        "dry_run",
        False,
        "Print config, parameters, cost and memory, and exit.",
        flag_values=values,
    )


def _parse(words: list[str]) -> list[str]:
    """Parses the flags; a mistake in them is one line."""
    if {"--help", "-h"} & set(words[1:]):
        found = flags.FLAGS.module_help(__name__)
        print(f"{words[0]} --config FILE [--config.section.key=value ...]\n{found}")
        raise SystemExit(0)
    with collector.held_back():
        from jaxcolor import command

    return command.parse_flags(words, flags.FLAGS)


def _train(_: list[str]) -> int:
    """Trains or describes; returns the exit status."""
    from jaxcolor import command, hosts
    from jaxcolor.training import stopping

    values = flags.FLAGS
    address = hosts.Address(values.coordinator, values.num_processes, values.process_id)
    overridden = config_flags.get_override_values(values["config"])
    name = Path(config_flags.get_config_filename(values["config"])).stem
    workdir = values.workdir or Path("runs") / name
    options = {"dry_run": values.dry_run, "address": address}
    with stopping.ended_by_sigterm():
        status = command.train(values.config, overridden, workdir, **options)
    if status in (stopping.INTERRUPTED, stopping.PREEMPTED):
        stopping.leave_within(SECONDS_TO_LEAVE, status)
    return status
