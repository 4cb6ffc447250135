"""Trains the experiment of a config: python run.py --config configs/pix2pix.py."""

import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from jaxcolor.huge_pages import restart_with_huge_pages

config_flags.DEFINE_config_file("config", help_string="Config of the experiment.")
flags.DEFINE_string("workdir", None, "Where all results go. Default: runs/<config name>.")
flags.DEFINE_bool("dry_run", False, "Print config, parameters, cost and memory, and exit.")


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; a mistake in them is one line."""
    from jaxcolor import command

    return command.parse_flags(argv, flags.FLAGS)


def main(_: list[str]) -> int:
    """Trains or describes; returns the exit status."""
    from jaxcolor import command

    values = flags.FLAGS
    overridden = config_flags.get_override_values(values["config"])
    name = Path(config_flags.get_config_filename(values["config"])).stem
    workdir = values.workdir or Path("runs") / name
    return command.train(values.config, overridden, workdir, dry_run=values.dry_run)


if __name__ == "__main__":
    restart_with_huge_pages()
    try:
        app.run(main, flags_parser=parse)
    except KeyboardInterrupt:  # before training began, such as in the seconds of importing
        sys.exit(130)
