"""Made-up workdirs with evaluations, for the tests of the report."""

import csv
import json

import numpy as np
from PIL import Image

from jaxcolor.color_histograms import CHROMA_EDGES, HUE_EDGES
from jaxcolor.evaluation_results import Evaluation, bootstrap_interval, combine
from jaxcolor.metrics import BY_PICTURE
from jaxcolor.training.reporting import EpochTiming

METRICS = ("l1", "psnr", "chroma_ratio", "sepia_index")
COUNT = 30


def make_workdir(path, *, error=0.2, chroma=20.0, seed=0, name="scene", **data):
    """A workdir of a training of three epochs whose network errs by `error` on average.

    The difficulty of a picture is the same in all of them: differences are paired.
    """
    random = np.random.default_rng(7)
    hardness = random.uniform(0.5, 1.5, COUNT)
    noise = np.random.default_rng(seed).normal(0, 0.01, COUNT)
    rows = {
        "index": np.arange(COUNT),
        "name": np.array([f"{name}_{index}.png" for index in range(COUNT)]),
        "l1": error * hardness + noise,
        "psnr": 20 - 10 * np.log10(error * hardness) + noise,
        "chroma": chroma * hardness,
        "chroma_target": 25 * hardness,
        "sepia_chroma": 0.4 * chroma * hardness,
    }
    _write_pictures(path / "evaluation" / "val" / "pictures", error, seed)
    summary = _summary(rows, path, chroma)
    summary["data"] |= data
    Evaluation(summary, rows).write(path / "evaluation" / "val")
    _write_training(path, error, seed)
    return path


def _summary(rows, path, chroma):
    metrics = {
        metric: {
            "value": value,
            "interval": list(bootstrap_interval(rows, metric, draws=50)),
            "unit": BY_PICTURE[metric].unit,
            "better": BY_PICTURE[metric].better,
            "protocol": BY_PICTURE[metric].protocol,
        }
        for metric, value in combine(rows, METRICS).items()
    }
    histograms = {}
    for kind, edges, scale in (("chroma", CHROMA_EDGES, 20), ("hue", HUE_EDGES, 90)):
        middles = (edges[1:] + edges[:-1]) / 2
        truth, made = (np.exp(-middles / (scale * share)) for share in (1, chroma / 25))
        parts = {"target": truth / truth.sum(), "prediction": made / made.sum()}
        histograms[kind] = {name: part.tolist() for name, part in parts.items()}
        histograms[kind]["edges"] = edges.tolist()
    return {
        "schema": 1,
        "workdir": str(path),
        "checkpoint": {"which": "best", "step": 300, "epoch": 3},
        "model": {"image_size": 24, "parameters": 12345, "losses": {"l1": 100.0}},
        "data": {
            "path": "/pictures",
            "source": "pictures",
            "condition": "luma",
            "split": "val",
            "count": COUNT,
            "digest": "0123abcd",
        },
        "protocol": {
            "statistics": "picture",
            "dropout": False,
            "resize": "bicubic",
            "fit": "crop",
            "image_size": 24,
            "batch_size": 8,
        },
        "metrics": metrics,
        "missing": {"lpips_alex": "no weights"},
        "histograms": histograms,
        "environment": {"jax": "0.0", "device": "cpu", "python": "3"},
        "seconds": 1.0,
    }


def _write_pictures(folder, error, seed):
    folder.mkdir(parents=True)
    random = np.random.default_rng(3)
    for index in range(6):
        ramp = np.linspace(0, 1, 24)[None, :, None] * np.linspace(1, 0.4, 24)[:, None, None]
        truth = ramp * random.uniform(90, 255, 3)
        grey = np.broadcast_to(truth.mean(-1, keepdims=True), truth.shape)
        share = min(error * (1 + index / 2), 1)  # the later, the greyer
        made = truth * (1 - share) + grey * share
        for kind, picture in (("condition", grey), ("target", truth), ("prediction", made)):
            picture = picture[..., :1].repeat(3, -1) if kind == "condition" else picture
            Image.fromarray(picture.astype(np.uint8)).save(folder / f"{index:04d}_{kind}.png")


def _write_training(path, error, seed):
    random = np.random.default_rng(seed)
    rows, timing = [], []
    for epoch in (1, 2, 3):
        for step in range(100 * epoch - 90, 100 * epoch + 1, 10):
            decay = error * (1 + 3 * np.exp(-step / 60)) + random.normal(0, 0.01)
            losses = {"generator/l1": decay, "discriminator/loss": 0.7 + random.normal(0, 0.05)}
            rows.append({"step": step, "epoch": epoch, "kind": "train"} | losses)
        scores = {"l1": error * (1 + 1 / epoch), "psnr": 18 + epoch - 5 * error}
        rows.append({"step": 100 * epoch, "epoch": epoch, "kind": "validation"} | scores)
        values = dict.fromkeys(EpochTiming._fields, 0) | {"epoch": epoch, "steps": 100}
        timing.append(values | {"seconds": 60 + 10 * error, "images_per_second": 12.5})
    lines = [json.dumps(row) for row in rows]
    (path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 3', encoding="utf-8")
    with (path / "timing.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, EpochTiming._fields)
        writer.writeheader()
        writer.writerows(timing)
    (path / "config.json").write_text(json.dumps({"seed": seed, "losses": {"l1": 100 * error}}))
