"""python -m jaxcolor export: a trained generator for others, each file checked as it is written."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxcolor import exported, exported_programs
from jaxcolor.command import errors_as_lines, make_parser, set_up_jax
from jaxcolor.data.check_report import printable
from jaxcolor.errors import ConfigError, UserError, WorkdirError
from jaxcolor.model_card import UNKNOWN_LICENSE, model_card
from jaxcolor.trained import Trained, load_trained
from jaxcolor.training.steps import INFERENCE_STATISTICS

FORMATS = ("safetensors", "stablehlo", "onnx")
CARD = "README.md"
FILES = (exported.WEIGHTS, exported.CONFIG, exported_programs.STABLEHLO, exported_programs.ONNX)
BATCHES = (1, 3)  # of the check: every program is made for any
# Of pictures in [-1, 1], by compute_dtype; float32 differs in the order of its sums alone.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}

DESCRIPTION = """\
Writes the generator of a workdir for others to use, with a model card (README.md).

  export WORKDIR --out DIR                                    safetensors and config.json
  export WORKDIR --out DIR --format safetensors,stablehlo,onnx

Each file is read back and compared with the original on random inputs."""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    words = make_parser("export", DESCRIPTION, in_bucket=("workdir",))
    add = words.add_argument
    add("workdir", metavar="WORKDIR", help="of a training, or another export")
    add("--out", required=True, metavar="DIR", help="where the files go")
    add("--format", default="safetensors", metavar="A,B", help=f"of {', '.join(FORMATS)}")
    add("--checkpoint", default="best", metavar="best|latest|STEP", help="default: best")
    add("--statistics", choices=INFERENCE_STATISTICS, help="of batch norm; default: the config's")
    add("--license", default=UNKNOWN_LICENSE, metavar="NAME", help="of the weights, for the card")
    add("--overwrite", action="store_true", help="replace an export in DIR")
    return words


def main(argv: Sequence[str]) -> int:
    """Runs the command on its words; returns the exit status."""
    values = parser().parse_args(list(argv))
    with errors_as_lines(files=values.out) as status:
        set_up_jax()
        export(values)
    return status[0]


def export(values: argparse.Namespace) -> dict[str, float]:
    """Writes, checks and prints what the arguments ask for; the largest difference by file.

    Raises:
      UserError: whatever the user can mend, in one line.
    """
    formats = _choose_formats(values.format)
    if not values.out:
        raise ConfigError("--out is empty: write . for this directory")
    out = Path(values.out).expanduser()
    _check_out(out, values.overwrite)
    if "onnx" in formats:
        exported_programs.check_onnx()  # before the others are made in vain
    trained = load_trained(values.workdir, values.checkpoint)
    for line in trained.warnings:
        print(printable(line), flush=True)
    mode = trained.experiment.settings.evaluation
    trained = trained.with_inference(values.statistics or mode.statistics, mode.dropout)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as temporary:
        made = Path(temporary)
        checks = {}
        for name in formats:
            checks |= _write(name, made, trained)
        card = model_card(trained, license_name=values.license, checks=checks)
        (made / CARD).write_text(card, encoding="utf-8")
        _move(made, out)
    print(f"written to {printable(str(out))}", flush=True)
    return checks


def _choose_formats(words: str) -> list[str]:
    asked = [word.strip() for word in words.split(",") if word.strip()]
    for name in asked or [""]:
        if name not in FORMATS:
            raise ConfigError(f"--format {name!r} is none of {', '.join(FORMATS)}")
    return [name for name in FORMATS if name in asked]


def _check_out(out: Path, overwrite: bool) -> None:
    """Raises WorkdirError if something would be lost."""
    if out.exists() and not out.is_dir():
        raise WorkdirError(f"--out {out} is a file: give a directory")
    if (out / "checkpoints").exists():
        raise WorkdirError(f"--out {out} is the workdir of a training: give another directory")
    there = [name for name in (*FILES, CARD) if (out / name).exists()]
    if there and not overwrite:
        raise WorkdirError(f"--out {out} holds {', '.join(there)}: --overwrite replaces them")


def _write(name: str, made: Path, trained: Trained) -> dict[str, float]:
    """Writes one format; the largest difference by the name of its file."""
    if name == "safetensors":
        config = exported.without_paths(trained.config)
        scores = exported.finite(trained.scores)
        described = exported.Exported(config, trained.step, scores)
        exported.write_exported(made, described, trained.state.generator)
        again = _without_dropout(load_trained(made))
        path, program = exported.WEIGHTS, lambda x: np.asarray(again.predict(x))
    elif name == "stablehlo":
        path = exported_programs.STABLEHLO
        exported_programs.write_stablehlo(made / path, trained)
        program = exported_programs.read_stablehlo(made / path)
    else:
        path = exported_programs.ONNX
        exported_programs.write_onnx(made / path, trained)
        program = exported_programs.read_onnx(made / path)
    difference = _largest_difference(trained, program)
    megabytes = (made / path).stat().st_size / 1e6
    counts = " and ".join(map(str, BATCHES))
    print(
        f"{path}: {megabytes:.1f} MB; largest difference from the original {difference:.1e}, of "
        f"pictures in [-1, 1], batches of {counts}",
        flush=True,
    )
    tolerance = TOLERANCE[trained.experiment.settings.train.compute_dtype]
    if not difference <= tolerance:
        raise UserError(
            f"{path} differs from the original by {difference:.1e}, more than {tolerance:g}; "
            "nothing was written: leave this format out, and report it please"
        )
    return {path: difference}


def _without_dropout(trained: Trained) -> Trained:
    return trained.with_inference(trained.experiment.settings.evaluation.statistics, False)


def _largest_difference(trained: Trained, program: exported_programs.Program) -> float:
    """Between two networks' pictures of random conditions, in each batch size of BATCHES."""
    original, rng = _without_dropout(trained), np.random.default_rng(0)
    shape = (trained.image_size, trained.image_size, trained.condition_channels)
    found = []
    for count in BATCHES:
        condition = rng.uniform(-1, 1, (count, *shape)).astype(np.float32)
        expected, actual = np.asarray(original.predict(condition)), program(condition)
        if actual.shape != expected.shape:
            raise UserError(f"the export gives pictures of shape {actual.shape}")
        found.append(np.abs(actual - expected).max())
    return float(np.max(found))


def _move(made: Path, out: Path) -> None:
    """Puts the files in place, and takes an earlier export's others away."""
    written = {path.name for path in made.iterdir()}
    for name in set(FILES) - written:
        (out / name).unlink(missing_ok=True)
    for name in written:
        (made / name).replace(out / name)
