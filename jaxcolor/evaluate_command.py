"""python -m jaxcolor evaluate: every picture of a split measured, as a table and as files."""

import argparse
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxcolor import colorspace, evaluation_data, trained
from jaxcolor.color_coding import lightness_of_picture
from jaxcolor.command import errors_as_lines, set_up_jax
from jaxcolor.data.check_report import printable
from jaxcolor.errors import ConfigError, UserError
from jaxcolor.evaluation_arguments import check, choose_metrics, named, parser
from jaxcolor.evaluation_data import Pictures, Predictions
from jaxcolor.evaluation_place import make_directory
from jaxcolor.evaluation_results import (
    SCHEMA,
    Evaluation,
    bootstrap_interval,
    combine,
)
from jaxcolor.evaluation_sheets import write_pictures
from jaxcolor.evaluation_table import table
from jaxcolor.metrics import BY_PICTURE, DISTANCES, METRICS
from jaxcolor.perceptual_measurement import Perceptual
from jaxcolor.picture_measurement import Measurements, measure_pictures
from jaxcolor.settings import DataSettings
from jaxcolor.trained import Trained


def main(argv: Sequence[str]) -> int:
    """Runs the command on its words; returns the exit status."""
    values, rest = parser().parse_known_args(list(argv))
    with errors_as_lines(stopped="stopped: this was not evaluated", files="the result") as status:
        set_up_jax()
        check(values)
        changes = evaluation_data.parse_overrides(rest)
        found = evaluate(values, changes)
        missing = [name for name in named(values.metrics) if name in found.summary["missing"]]
        if missing:
            raise ConfigError(
                f"--metrics: {', '.join(missing)} could not be measured; the lines above say why"
            )
    return status[0]


def evaluate(values: argparse.Namespace, changes: dict[str, Any]) -> Evaluation:
    """Measures, prints and writes what the arguments ask for; returns it.

    Args:
      values: the arguments.
      changes: to the section `data` of the config.

    Raises:
      UserError: whatever the user can mend, in one line.
    """
    started = time.perf_counter()
    names = choose_metrics(values.metrics)
    perceptual = Perceptual(names, values.weights)
    trained_network = None
    if values.workdir is not None:
        trained_network = trained.load_trained(values.workdir, values.checkpoint or "best")
        for line in trained_network.warnings:
            print(printable(line), flush=True)
    network, found = _open(values, changes, trained_network)
    pictures = found.pictures if isinstance(found, Predictions) else found
    out = make_directory(values, pictures, changes, trained_network and trained_network.experiment)
    count = len(pictures.source)
    values.batch_size = max(min(values.batch_size, count), 1)
    bar = tqdm(total=count, desc="evaluating", unit="img", disable=None, dynamic_ncols=True)
    with bar:
        measured = measure_pictures(
            found.batches(values.batch_size),
            _predictor(network, found, values.seed),
            [name for name in names if name in METRICS],
            perceptual,
            bar.update,
        )
    labels = pictures.source.names
    named = np.array([labels[index] for index in measured.rows["index"]], str)
    rows = {"index": measured.rows["index"], "name": named} | measured.rows
    summary = _context(values, network, found, measured)
    summary |= {
        "metrics": _metrics(rows, names, perceptual),
        "missing": perceptual.missing,
        "histograms": measured.histograms,
        "environment": _environment(),
        "seconds": round(time.perf_counter() - started, 3),
    }
    result = Evaluation(summary, rows)
    write_pictures(out, measured, named.tolist())
    result.write(out)
    print(table(summary))
    print(f"{summary['seconds']:.1f} s; written to {printable(str(out))}", flush=True)
    return result


def _open(
    values: argparse.Namespace, changes: dict[str, Any], network: Trained | None
) -> tuple[Trained | None, Pictures | Predictions]:
    """The network, if one is to predict, and the pictures."""
    if values.path is not None:
        changes = changes | {"path": values.path}
    if network is None:
        if changes:
            raise ConfigError("--data is for use with a WORKDIR: see --help for --targets")
        data = DataSettings(
            path=values.targets,
            image_size=values.image_size,
            fit=values.fit,
            resize=values.resize,
            background=values.background,
        )
        pictures = evaluation_data.open_targets(values.targets, data, tqdm.write)
    else:
        mode = network.experiment.settings.evaluation
        dropout = mode.dropout if values.dropout is None else values.dropout
        network = network.with_inference(values.statistics or mode.statistics, dropout)
        built = network.experiment
        pictures = evaluation_data.open_pictures(built, values.split, changes, tqdm.write)
    if values.predictions is None:
        return network, pictures
    suffixes = {"suffix": values.suffix, "target_suffix": values.targets_suffix}
    matched = evaluation_data.match_predictions(pictures, values.predictions, **suffixes)
    if matched.without:
        count = len(matched.source) + len(matched.without)
        print(
            f"{len(matched.without)} of {count} pictures have no prediction and are left out, such "
            f"as {printable(matched.without[0])}"
        )
    return None, matched


def _predictor(network: Trained | None, found: Pictures | Predictions, seed: int):
    """What makes the predictions of a batch."""
    if isinstance(found, Predictions):
        return lambda batch: colorspace.to_signed(jax.numpy.asarray(batch["prediction"]))

    def predict(batch):
        options = {}
        if network.keeps_lightness:  # as validation has it: unrounded, of the picture itself
            target = colorspace.to_signed(jax.numpy.asarray(batch["target"]))
            options["lightness"] = lightness_of_picture(target)
        return network.predict(batch["condition"], batch["index"], seed=seed, **options)

    return predict


def _metrics(rows, names, perceptual: Perceptual) -> dict[str, dict[str, Any]]:
    """Entries of the summary for all metrics that could be measured."""
    names = [name for name in names if name not in perceptual.missing]
    by_picture = [name for name in names if name in BY_PICTURE]
    found = {}
    for name, value in combine(rows, by_picture).items():
        metric = BY_PICTURE[name]
        found[name] = {
            "value": value,
            "interval": list(bootstrap_interval(rows, name)),
            "unit": metric.unit,
            "better": metric.better,
            "protocol": metric.protocol,
        }
    try:
        return found | perceptual.distances()
    except UserError as error:
        perceptual.missing |= {name: str(error) for name in names if name in DISTANCES}
        return found


def _context(
    values: argparse.Namespace,
    network: Trained | None,
    found: Pictures | Predictions,
    measured: Measurements,
) -> dict[str, Any]:
    """Everything that says what the numbers are of."""
    pictures = found.pictures if isinstance(found, Predictions) else found
    data = pictures.settings
    size = list(measured.first[0].target.shape[:2]) if measured.first else [0, 0]
    protocol = {
        "statistics": network and network.experiment.settings.evaluation.statistics,
        "dropout": network and network.experiment.settings.evaluation.dropout,
        "seed": values.seed,
        "resize": data.resize if data.image_size else "none",
        "fit": data.fit if data.image_size else "none",
        "image_size": data.image_size or size,
        "batch_size": values.batch_size,
        "predictions": "float, not rounded to 8 bits" if network else "files, read with 8 bits",
    }
    if isinstance(found, Predictions):
        resized = f"resized to the truth by {data.resize}" if found.resized else "as they are"
        protocol["predictions"] += f", {resized}"
    derived = network.config["derived"] if network else {}
    return {
        "schema": SCHEMA,
        "workdir": str(Path(values.workdir).absolute()) if values.workdir else None,
        "predictions": str(Path(values.predictions).absolute()) if values.predictions else None,
        "checkpoint": network
        and {"which": network.which, "step": network.step, "epoch": network.epoch},
        "model": network
        and {
            "image_size": network.image_size,
            "parameters": network.parameters,
            "losses": network.config["losses"],
            "color_space": network.experiment.settings.train.color_space,
        },
        "data": {
            "path": data.path,
            "source": data.source,
            "condition": pictures.condition,
            "split": pictures.split,
            "count": len(measured.rows["index"]),
            "without_prediction": list(getattr(found, "without", ())),
            "digest": measured.digest,
            "trained_on": derived.get("training_names"),
        },
        "protocol": protocol,
    }


def _environment() -> dict[str, str]:
    return {
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
    }
