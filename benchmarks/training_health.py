"""python -m benchmarks.training_health: the curves of docs/training_health.md, from real trainings.

Trains three times on the demo set at 64 pixels, once as it should go and twice with a mistake in
the settings, and draws what metrics.jsonl then holds. Minutes on two CPU cores.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxcolor.training.health import WON

ROOT = Path(__file__).parents[1]
COMMON = {
    "data.image_size": 64,
    "augment.load_size": 72,
    "discriminator.strided_layers": 2,
    "train.epochs": 16,
    "train.batch_size": 4,
    "train.log_every": 10,
}
RUNS: dict[str, dict[str, Any]] = {
    "healthy": {},
    "discriminator has won": {
        "losses.l1": 0,
        "discriminator_optimizer.learning_rate": 1e-3,
        "generator_optimizer.learning_rate": 2e-5,
    },
    "learning rate too high": {"generator_optimizer.learning_rate": 0.3},
}
COLOURS = ("#1b7f4d", "#c4471c", "#5b52b5")
CURVES = (
    ("train", "discriminator/loss", "discriminator loss"),
    ("train", "generator/adversarial", "generator's adversarial loss"),
    ("train", "discriminator/accuracy_fake", "discriminator right about fakes"),
    ("train", "generator/gradient_norm", "generator's gradient norm"),
    ("validation", "l1", "validation L1"),
    ("validation", "chroma_ratio", "validation chroma ratio"),
)
LOGARITHMIC = ("discriminator/loss", "generator/adversarial", "generator/gradient_norm")


def main() -> int:
    """Trains what was not trained yet, prints the warnings and draws; returns the exit status."""
    words = argparse.ArgumentParser("python -m benchmarks.training_health", description=__doc__)
    words.add_argument("--workdir", default="runs/training_health")
    words.add_argument("--out", default="docs/training_health.png")
    chosen = words.parse_args()
    rows = {}
    for name, changes in RUNS.items():
        workdir = Path(chosen.workdir) / name.replace(" ", "_")
        _train(workdir, COMMON | changes)
        lines = (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows[name] = [json.loads(line) for line in lines]
    plot(rows, Path(chosen.out))
    return 0


def _train(workdir: Path, settings: dict[str, Any]) -> None:
    """Runs run.py, which does nothing where it is done."""
    command = [sys.executable, str(ROOT / "run.py"), f"--config={ROOT / 'configs' / 'pix2pix.py'}"]
    command += [f"--workdir={workdir}"]
    command += [f"--config.{key}={value}" for key, value in settings.items()]
    print(f"\n== {workdir}", flush=True)
    subprocess.run(command, check=True, cwd=ROOT)


def plot(rows: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """A PNG with axes a curve and a line a run.

    Args:
      rows: of metrics.jsonl, by run.
      path: the PNG.
    """
    figure = Figure(figsize=(11, 6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (kind, name, title) in zip(figure.subplots(2, 3).flat, CURVES, strict=True):
        for colour, (run, table) in zip(COLOURS, rows.items(), strict=True):
            points = [(row["step"], row[name]) for row in table if row["kind"] == kind]
            points = [(step, value) for step, value in points if not isinstance(value, str)]
            axes.plot(*zip(*points, strict=True), color=colour, label=run, linewidth=1.2)
        if name in LOGARITHMIC:
            axes.set_yscale("log")
        if name == "discriminator/loss":
            axes.axhline(WON, color="#888888", linestyle=":", linewidth=1)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
