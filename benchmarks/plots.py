"""The pictures of RESULTS.md, drawn by Matplotlib without a display."""

import itertools
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.harness import LIMIT, NAIVE, OURS, PYTORCH, quartiles
from benchmarks.loaders import CACHE

MARKERS = "osD^vP*X"
COLORS = {OURS: "#1f77b4", NAIVE: "#7f7f7f", PYTORCH: "#d95f02"}


def family_of(name: str) -> str:
    """OURS, NAIVE, PYTORCH or LIMIT, of a contender's name."""
    return next(family for family in (OURS, NAIVE, PYTORCH, LIMIT) if name.startswith(family))


def plot_throughput(tables: list[dict[str, Any]], path: Path) -> None:
    """Images a second against batch size, a line a contender, axes an update order."""
    updates = sorted({table.get("update", "") for table in tables})
    figure, all_axes = _figure(len(updates))
    for axes, update in zip(all_axes, updates, strict=True):
        points: dict[str, list[tuple[int, float]]] = {}
        for table in (table for table in tables if table.get("update", "") == update):
            for name, seconds in table["samples"].items():
                if family_of(name) != LIMIT:
                    rate = table["images"] / quartiles(seconds)[1]
                    points.setdefault(name, []).append((table["images"], rate))
        for name, marker in zip(points, itertools.cycle(MARKERS), strict=False):
            line = "-" if "float32" in name else "--"
            options = {"color": COLORS[family_of(name)], "alpha": 0.8, "label": name}
            axes.plot(*zip(*sorted(points[name]), strict=True), f"{line}{marker}", **options)
        axes.set(xlabel="batch size", ylabel="images/s", title=update, ylim=(0, None))
        axes.set_xscale("log", base=2)
        batches = sorted({table["images"] for table in tables})
        axes.set_xticks(batches, list(map(str, batches)))
    _add_legend(figure, all_axes[0])
    figure.savefig(path)


def plot_fractions(tables: list[dict[str, Any]], path: Path) -> None:
    """The share of the matrix rate of its dtype that each contender reaches, axes a table."""
    figure, all_axes = _figure(len(tables))
    for axes, table in zip(all_axes, tables, strict=True):
        shares = sorted(table["fractions_of_limit"].items(), key=lambda item: item[1])
        _bars(axes, dict(shares))
        axes.set(xlabel="share of the matrix rate", xlim=(0, max(1.0, *dict(shares).values())))
        axes.set_title(table["title"], fontsize=7)
    figure.savefig(path)


def plot_memory(tables: list[dict[str, Any]], path: Path) -> None:
    """Peak while training in MB, or of the process where that is not known, axes a table."""
    figure, all_axes = _figure(len(tables))
    for axes, table in zip(all_axes, tables, strict=True):
        peaks = {
            name: (row["training"] or row["process"]) / 1e6
            for name, row in table["samples"].items()
        }
        _bars(axes, dict(sorted(peaks.items(), key=lambda item: -item[1])))
        axes.set(xlabel="MB")
        axes.set_title(table["title"], fontsize=7)
    figure.savefig(path)


def plot_phases(tables: list[dict[str, Any]], path: Path) -> None:
    """A bar a table, of the milliseconds of every phase."""
    figure, (axes,) = _figure(1)
    labels = [
        f"{table['what']}\n{table['dtype']}\nbatch {table['images']}".replace(" ", "\n", 1)
        for table in tables
    ]
    below = [0.0] * len(tables)
    for phase in tables[0]["phases"]:
        heights = [1e3 * table["phases"][phase] for table in tables]
        axes.bar(range(len(tables)), heights, bottom=below, label=phase)
        below = [base + height for base, height in zip(below, heights, strict=True)]
    axes.set_xticks(range(len(tables)), labels)
    axes.tick_params("x", labelsize=6)
    axes.set(ylabel="ms", title="time by phase, summed over threads")
    _add_legend(figure, axes)
    figure.savefig(path)


def plot_loaders(tables: list[dict[str, Any]], path: Path) -> None:
    """Pairs a second against threads or PyTorch's workers, a line a kind of loader, axes a table.

    One core is a line from side to side; what comes from the cache is dashed.
    """
    figure, all_axes = _figure(max(1, len(tables)))
    for axes, table in zip(all_axes, tables, strict=False):
        points: dict[str, list[tuple[int, float]]] = {}
        for name, seconds in table["samples"].items():
            loader, rate = table["contenders"][name], table["images"] / quartiles(seconds)[1]
            kind = f"{loader['family']} {loader['origin']}"
            if loader["cores"]:
                line = "-." if loader["origin"] == CACHE else ":"
                axes.axhline(rate, linestyle=line, color=COLORS[loader["family"]], label=name)
            elif loader["family"] == OURS:
                kind += f", {loader['workers']} workers"
                points.setdefault(kind, []).append((loader["threads"], rate))
            else:
                points.setdefault(kind, []).append((loader["workers"], rate))
        for kind, marker in zip(points, itertools.cycle(MARKERS), strict=False):
            options = {"color": COLORS[family_of(kind)], "alpha": 0.8, "label": kind}
            line = "--" if CACHE in kind else "-"
            axes.plot(*zip(*sorted(points[kind]), strict=True), f"{line}{marker}", **options)
        axes.set_xticks(sorted({count for line in points.values() for count, _ in line}))
        axes.set(xlabel="threads; of PyTorch, workers", ylabel="pairs/s", ylim=(0, None))
        axes.set_title(table["title"], fontsize=7)
    _add_legend(figure, all_axes[0])
    figure.savefig(path)


def _add_legend(figure, axes) -> None:
    """Names of what `axes` show, at the right of everything."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", fontsize=6)


def _bars(axes, values: dict[str, float]) -> None:
    axes.barh(list(values), list(values.values()), color=[COLORS[family_of(n)] for n in values])
    axes.tick_params(axis="y", labelsize=6)


def _figure(columns: int):
    """A figure and its axes side by side."""
    figure = Figure(figsize=(5.2 * columns, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False)[0]
