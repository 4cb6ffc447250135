"""Which charts the report has: histograms of chroma and hue against the truth, training curves."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxcolor.compare.charts import Line, line_chart, line_style
from jaxcolor.compare.history import History
from jaxcolor.compare.runs import Run

# The others come after these, folded away.
VALIDATION = ("l1", "psnr", "ssim", "chroma_ratio")
TRAINING = ("generator/l1", "generator/l2", "generator/adversarial", "discriminator/loss")


def histograms(runs: Sequence[Run]) -> str:
    """Chroma and hue of every run's predictions, and of the true pictures in grey."""
    charts = []
    kinds = {
        "chroma": ("Chroma: share of the pixels, square root", "chroma C*ab", False),
        "hue": ("Hue: chroma in each hue, a pixel", "hue in degrees, as in L*a*b*", True),
    }
    for kind, (title, x_label, hue_bar) in kinds.items():
        found = runs[0].summary.get("histograms", {}).get(kind)
        if not found:
            continue
        edges = np.asarray(found["edges"], float)
        root = kind == "chroma"  # most pixels are nearly grey: their bins would hide all others
        lines = [Line("truth", _points(edges, [found["target"]], root), "truth", filled=True)]
        for place, run in enumerate(runs):
            parts = [
                member.evaluation.summary["histograms"][kind]["prediction"]
                for member in run.members
                if kind in member.evaluation.summary.get("histograms", {})
            ]
            style, dash = line_style(place)
            if parts:
                lines.append(Line(run.label, _points(edges, parts, root), style, dash))
        if any(line.points for line in lines):
            chart = line_chart(title, lines, x_label=x_label, hue_bar=hue_bar, zero=True)
            charts.append(chart)
    if not charts:
        return ""
    note = "<p class=soft>Grey area: the true pictures. Runs of several seeds: their mean.</p>"
    return f'<div class="charts">{"".join(charts)}</div>{note}'


def _points(edges: np.ndarray, parts: Sequence[Sequence[float]], root: bool):
    """The mean histogram at the middles of its bins; past the last that holds anything, none."""
    middles = (edges[1:] + edges[:-1]) / 2
    if any(len(part) != len(middles) for part in parts):
        return []
    heights = np.mean([np.asarray(part, float) for part in parts], axis=0)
    if not np.isfinite(heights).all():
        return []
    heights = np.sqrt(heights) if root else heights
    return list(zip(middles.tolist(), heights.tolist(), strict=True))


def curves(histories: Mapping[str, Sequence[History]]) -> str:
    """Validation metrics and training losses over epochs, a line a seed.

    Args:
      histories: of each run's seeds, by the run's label.
    """
    parts = []
    for heading, kind, foremost in (
        ("Validation, by epoch", "validation", VALIDATION),
        ("Losses, means of the steps between", "training", TRAINING),
    ):
        names = dict.fromkeys(
            name for seeds in histories.values() for seed in seeds for name in getattr(seed, kind)
        )
        first = [name for name in foremost if name in names]
        rest = [name for name in names if name not in first]
        if first or rest:
            parts.append(f"<h3>{heading}</h3>")
            parts.append(_grid(histories, kind, first))
        if rest:
            parts.append(
                f"<details><summary>{len(rest)} more</summary>{_grid(histories, kind, rest)}"
                "</details>"
            )
    return "".join(parts)


def _grid(histories: Mapping[str, Sequence[History]], kind: str, names: Sequence[str]) -> str:
    charts = []
    for name in names:
        lines = []
        for place, (run, seeds) in enumerate(histories.items()):
            style, dash = line_style(place)
            for number, seed in enumerate(seeds, 1):
                points = getattr(seed, kind).get(name)
                label = run + f", seed {number} of {len(seeds)}" * (len(seeds) > 1)
                if points:
                    lines.append(Line(label, points, style, dash))
        charts.append(line_chart(name, lines, x_label="epochs"))
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""
