"""The arguments of python -m jaxcolor evaluate: their parser, and which cannot work."""

import argparse
from pathlib import Path

from jaxcolor import evaluation_data
from jaxcolor.command import make_parser
from jaxcolor.configuration import likeness
from jaxcolor.data.buckets import is_bucket
from jaxcolor.data.pictures import BACKGROUNDS
from jaxcolor.data.transforms import FITS, METHODS
from jaxcolor.errors import ConfigError
from jaxcolor.metrics import BY_PICTURE, DISTANCES
from jaxcolor.training.steps import INFERENCE_STATISTICS

ALL = (*BY_PICTURE, *DISTANCES)
# VGG takes as long as all the others together, and Frechet needs thousands of pictures.
USUAL = tuple(name for name in ALL if name not in ("lpips_vgg", "frechet_distance"))
BATCH_SIZE = 8

DESCRIPTION = """\
Measures every picture of a split, or of a folder, and prints a table.

  evaluate WORKDIR                                a trained network on its validation pictures
  evaluate WORKDIR --path DIR                     the same on other pictures
  evaluate WORKDIR --predictions DIR              pictures made elsewhere, matched by name
  evaluate --predictions DIR --targets DIR        likewise, without any network

Writes summary.json, pictures.csv, best.png, worst.png and pictures/ into --out: by default into
WORKDIR/evaluation/SPLIT, which compare reads. Other pictures, predictions, checkpoints and ways to
predict have names of their own there, such as all_DIR, val_latest or val_dropout. Other settings
of the pictures are given as in the config: --data.fit=crop, in val_fit_crop."""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    words = make_parser("evaluate", DESCRIPTION, in_bucket=("workdir", "path"))
    add = words.add_argument
    add("workdir", nargs="?", metavar="WORKDIR", help="of a training")
    add("--checkpoint", metavar="best|latest|STEP", help="default: best")
    add("--split", choices=evaluation_data.SPLITS, help="default: val, or all of an undivided DIR")
    add("--path", metavar="DIR", help="other pictures, in any layout that training reads")
    add("--metrics", metavar="A,B", help=f"or all: {', '.join(ALL)}")
    add("--statistics", choices=INFERENCE_STATISTICS, help="of batch norm; default: the config's")
    add("--dropout", action=argparse.BooleanOptionalAction, help="default: the config's")
    add("--seed", type=int, default=0, help="of the dropout masks")
    add("--batch_size", type=int, default=BATCH_SIZE, help="changes the speed alone")
    add("--weights", metavar="DIR", help="weights of LPIPS and feature nets; docs/weights.md")
    add("--out", metavar="DIR", help="default: WORKDIR/evaluation/SPLIT, see above")
    add("--predictions", metavar="DIR", help="pictures made elsewhere, to measure instead")
    add("--suffix", default="", help="after a picture's name in those, as -fake in 12-fake.png")
    add("--targets", metavar="DIR", help="the truths of --predictions, without a WORKDIR")
    add("--targets_suffix", default="", help="after a picture's name in those")
    add("--image_size", type=int, default=0, help="with --targets; default: their own")
    add("--fit", choices=FITS, default="stretch", help="with --image_size")
    add("--resize", choices=tuple(METHODS), default="bicubic", help="with --image_size")
    add("--background", choices=BACKGROUNDS, default="white", help="with --targets")
    return words


def check(values: argparse.Namespace) -> None:
    """Raises ConfigError for arguments that cannot work, or have no effect."""
    if values.workdir is None and not (values.predictions and values.targets):
        raise ConfigError("give a WORKDIR, or --predictions DIR and --targets DIR; see --help")
    if values.workdir is not None and values.targets:
        raise ConfigError("--targets is for use without a WORKDIR: give --path")
    if values.targets and (values.path or values.split):
        raise ConfigError("--path and --split choose pictures of a WORKDIR: leave them out")
    if values.weights is not None and not Path(values.weights).expanduser().is_dir():
        raise ConfigError(f"--weights {values.weights} is no directory; see docs/weights.md")
    if values.workdir and is_bucket(values.workdir) and not values.out:
        raise ConfigError("a WORKDIR in a bucket needs --out: the local folder of the evaluation")
    _refuse_without_effect(values)
    if values.batch_size < 1:
        raise ConfigError(f"--batch_size {values.batch_size} must be at least 1")
    if not 0 <= values.seed < 2**32:
        raise ConfigError(f"--seed {values.seed} must be from 0 to 2**32 - 1")
    if values.image_size < 0:
        raise ConfigError(f"--image_size {values.image_size} must be positive")


def _refuse_without_effect(values: argparse.Namespace) -> None:
    """Raises ConfigError for an option that would change nothing."""
    if values.predictions is not None:
        for name in ("checkpoint", "statistics", "dropout"):
            if getattr(values, name) is not None:
                raise ConfigError(
                    f"--{name} is of a network, and --predictions are measured instead of it: "
                    "leave one of them out"
                )
    elif values.suffix or values.targets_suffix:
        name = "suffix" if values.suffix else "targets_suffix"
        raise ConfigError(f"--{name} is for use with --predictions")


def choose_metrics(words: str | None) -> list[str]:
    """The metrics that --metrics names, in the order of all."""
    asked = named(words)
    if words is not None and not asked:
        raise ConfigError(f"--metrics is empty: leave it out, or name some of {', '.join(ALL)}")
    for name in asked:
        if name != "all" and name not in ALL:
            raise ConfigError(f"--metrics: there is no metric {name!r}; {likeness(name, ALL)}")
    chosen = ALL if "all" in asked else asked or USUAL
    return [name for name in ALL if name in chosen]


def named(words: str | None) -> list[str]:
    """The words between the commas of --metrics."""
    return [word.strip() for word in (words or "").split(",") if word.strip()]
