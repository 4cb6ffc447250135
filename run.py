"""Trains the experiment of a config: python run.py --config configs/pix2pix.py."""

from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from jaxcolor import command

config_flags.DEFINE_config_file("config", help_string="Config of the experiment.")
flags.DEFINE_string("workdir", None, "Where all results go. Default: runs/<config name>.")
flags.DEFINE_bool("dry_run", False, "Print config, parameters, cost and memory, and exit.")


def main(_: list[str]) -> int:
    """Trains or describes; returns the exit status."""
    values = flags.FLAGS
    overridden = config_flags.get_override_values(values["config"])
    name = Path(config_flags.get_config_filename(values["config"])).stem
    workdir = values.workdir or Path("runs") / name
    return command.train(values.config, overridden, workdir, dry_run=values.dry_run)


if __name__ == "__main__":
    app.run(main, flags_parser=lambda argv: command.parse_flags(argv, flags.FLAGS))
