"""python -m benchmarks.gan_vs_unet: the experiment of docs/gan_vs_unet.md, from its pictures on.

Trains the GAN, L1 and L2 alone with the same budget and three seeds, on photographs (grey to
colour), on drawings (line art to colour) and on the two-colour test; evaluates every run; compares
them; draws the figure. Prints every command before it runs it. What is done already is left as it
is, so that a stopped experiment goes on.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import two_colours

CONFIGS = {"GAN": "pix2pix", "L1": "unet_l1", "L2": "unet_l2"}
SIZES = {"data.image_size": 64, "augment.load_size": 72}
PHOTOS = {"data.condition": "luma", "data.fit": "crop", "augment.fill": "reflect"}
# Without warps, which blend pixels: that would tell the two colours apart.
STILL = {f"augment.{name}": 0.0 for name in ("rotation", "shear", "zoom", "shift")}
TWO = {"data.condition": "lab_l", "augment.load_size": 64} | STILL
# By set: settings, and epochs so that all train for as many steps.
SETS = {"photos": (PHOTOS, 12), "two": (TWO, 18), "drawings": ({}, 6)}
TITLES = {"photos": "photographs", "two": "two colours", "drawings": "drawings"}
# Pictures of an evaluation that the sheets show, by their numbers.
SHEETS = {"photos": (2, 3, 6, 13, 18, 22), "two": (0, 1, 2, 3), "drawings": (0, 4, 8, 12, 16, 20)}
TRAINING = {
    "generator.base_width": 16,
    "train.batch_size": 4,
    "generator_optimizer.learning_rate": 1e-3,
    "generator_optimizer.schedule": "constant_then_linear",
    "checkpoint.every_epochs": 100,  # only at the end: all have the same budget
}
DISCRIMINATOR = {
    "discriminator.base_width": 16,
    "discriminator_optimizer.schedule": "constant_then_linear",
}
METRICS = (
    "l1,l2,psnr,ssim,lab_mae,accuracy_2,accuracy_5,ab_auc,ab_auc_grey,colourfulness,"
    "colourfulness_target,colourfulness_difference,chroma_ratio,sepia_index,sepia_index_target,"
    "lab_histogram_intersection,lpips_alex,kernel_distance"
)
SHOWN = {
    "chroma_ratio": ("chroma ratio (truth: 1)", None),
    "sepia_index": ("sepia index", "sepia_index_target"),
    "colourfulness": ("colourfulness", "colourfulness_target"),
    "lpips_alex": ("LPIPS (AlexNet), lower is better", None),
    "l1": ("L1, lower is better", None),
}


def flags(settings: dict) -> list[str]:
    """Settings as words of a command line."""
    return [f"--config.{key}={value}" for key, value in settings.items()]


def run(*words: str) -> None:
    """Prints a command and runs it."""
    line = [sys.executable, *map(str, words)]
    print(f"$ python {shlex.join(line[1:])}", flush=True)
    subprocess.run(line, check=True)


def prepare(name: str, pictures: Path, cache: Path) -> None:
    """The pictures of a set at the experiment's size, decoded once."""
    settings = SIZES | SETS[name][0] | {"data.path": pictures}
    words = ["-m", "jaxcolor", "prepare", "--config", "configs/pix2pix.py", "--out", cache]
    run(*words, *flags(settings))


def train(name: str, config: str, seed: int, data: Path, workdir: Path) -> None:
    """One run to its end."""
    settings, epochs = SETS[name]
    settings = SIZES | settings | TRAINING | {"data.path": data, "seed": seed}
    settings |= {"train.epochs": epochs} | (DISCRIMINATOR if config == "pix2pix" else {})
    words = ["run.py", "--config", f"configs/{config}.py", "--workdir", workdir]
    run(*words, *flags(settings))


def evaluate(workdir: Path) -> None:
    """Measures a run on its validation pictures, unless that is done."""
    if not (workdir / "evaluation" / "val" / "summary.json").exists():
        run("-m", "jaxcolor", "evaluate", workdir, "--metrics", METRICS)


def experiment(options: argparse.Namespace) -> None:
    """All of it."""
    root = options.runs
    data = {name: root / f"{name}_cache" for name in ("photos", "drawings")} | {
        "two": root / "two_colours"
    }
    prepare("photos", options.photos, data["photos"])
    prepare("drawings", options.drawings, data["drawings"])
    two_colours.write(data["two"], train=400, validation=100, size=64)
    for name in SETS:
        for seed in range(1 if name == "two" else options.seeds):
            for config in CONFIGS.values():
                workdir = root / name / f"{config}_{seed}"
                train(name, config, seed, data[name], workdir)
                evaluate(workdir)
        compared = [
            f"{label}={','.join(map(str, sorted((root / name).glob(f'{config}_*'))))}"
            for label, config in CONFIGS.items()
        ]
        run("-m", "jaxcolor", "compare", *compared, "--out", root / f"{name}.html")


def summaries(root: Path, name: str, config: str) -> list[dict]:
    """What `evaluate` wrote of all seeds."""
    paths = sorted((root / name).glob(f"{config}_*/evaluation/val/summary.json"))
    return [json.loads(path.read_text()) for path in paths]


def table(root: Path, name: str) -> str:
    """Markdown: mean over the seeds of every metric, with the lowest and highest seed."""
    found = {label: summaries(root, name, config) for label, config in CONFIGS.items()}
    found = {label: rows for label, rows in found.items() if rows}
    lines = [f"| metric | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    for metric in METRICS.split(","):
        cells = []
        for rows in found.values():
            values = [row["metrics"][metric]["value"] for row in rows if metric in row["metrics"]]
            spread = f" ({min(values):.3f}..{max(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}" if values else "")
        lines.append(f"| {metric} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_numbers(root: Path, path: Path) -> None:
    """A figure: every seed's value with its interval, a row a set, a column a metric."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name in SETS if summaries(root, name, "pix2pix")]
    figure = Figure(figsize=(14, 2.6 * len(names)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(names), len(SHOWN), squeeze=False)
    for row, name in zip(axes, names, strict=True):
        for axis, (metric, (title, truth)) in zip(row, SHOWN.items(), strict=True):
            for place, config in enumerate(CONFIGS.values()):
                for seed, summary in enumerate(summaries(root, name, config)):
                    if metric in summary["metrics"]:
                        entry = summary["metrics"][metric]
                        low, high = entry["interval"]
                        value = entry["value"]
                        x = place + 0.15 * (seed - 1)
                        bounds = [[value - low], [high - value]]
                        axis.errorbar(x, value, bounds, fmt="o", color=f"C{place}", capsize=2)
                    if truth in summary["metrics"]:
                        axis.axhline(summary["metrics"][truth]["value"], color="grey", ls=":")
            if metric == "chroma_ratio":
                axis.axhline(1, color="grey", ls=":")
            axis.set_xticks(range(len(CONFIGS)), CONFIGS)
            axis.set_xlim(-0.5, len(CONFIGS) - 0.5)
            axis.set_title(f"{TITLES[name]}: {title}", fontsize=9)
            axis.set_ylim(bottom=0)
    figure.savefig(path, metadata={"Software": None})


def draw_pictures(folders: list[Path], indices: tuple[int, ...], path: Path) -> None:
    """A sheet with a row a picture: condition, truth, and what every run made of it.

    Args:
      folders: of an evaluation of each run, on the same pictures.
      indices: which pictures.
      path: the PNG.
    """
    from PIL import Image

    rows = []
    for index in indices:
        first = folders[0] / "pictures"
        files = [first / f"{index:04d}_condition.png", first / f"{index:04d}_target.png"]
        files += [folder / "pictures" / f"{index:04d}_prediction.png" for folder in folders]
        nearest = Image.Resampling.NEAREST
        row = [Image.open(file).convert("RGB").resize((128, 128), nearest) for file in files]
        rows.append(np.concatenate([np.asarray(picture) for picture in row], axis=1))
    Image.fromarray(np.concatenate(rows, axis=0)).save(path)


def show(workdir: Path, photos: Path | None) -> Path:
    """The folder of a run's evaluation to show: of other photographs, or of its validation."""
    folder = workdir / "evaluation" / ("shown" if photos else "val")
    if photos and not folder.exists():
        words = ["-m", "jaxcolor", "evaluate", workdir, "--path", photos, "--out", folder]
        run(*words, "--metrics", "l1")
    return folder


def main() -> None:
    """Runs the experiment, or draws what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="colour photographs, with folders train, val")
    parser.add_argument("--drawings", type=Path, help="side-by-side pictures, colour left")
    parser.add_argument("--show", type=Path, help="photographs to show; the validation's if none")
    parser.add_argument("--runs", type=Path, default=Path("runs/gan_vs_unet"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="only draw, into this folder")
    options = parser.parse_args()
    if not options.draw and not (options.photos and options.drawings):
        parser.error("--photos and --drawings are needed, or --draw")
    if not options.draw:
        experiment(options)
    out = options.draw or options.runs
    draw_numbers(options.runs, out / "gan_vs_unet.png")
    for name in SETS:
        folders = [
            show(options.runs / name / f"{config}_0", options.show if name == "photos" else None)
            for config in CONFIGS.values()
        ]
        draw_pictures(folders, SHEETS[name], out / f"gan_vs_unet_{name}.png")
        print(f"\n{name}\n\n{table(options.runs, name)}")


if __name__ == "__main__":
    main()
