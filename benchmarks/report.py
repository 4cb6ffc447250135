"""RESULTS.md and its plots, from the JSON files of a folder."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks import plots, records, targets
from benchmarks.harness import LIMIT, Ratio, quartiles, spread, state
from benchmarks.loaders import describe_memory
from benchmarks.memory import describe_program

PLATFORMS = {"cpu": "on a CPU", "gpu": "on a GPU", "tpu": "on a TPU"}


def write_report(folder: Path, *, quick: bool) -> Path:
    """Writes RESULTS.md beside `folder` and the plots into it; returns the former's path.

    Args:
      folder: where the JSON files lie, in subfolders as well (for other machines).
      quick: report the quick runs, as RESULTS_quick.md.

    Raises:
      UserError: there is no result, or one that cannot be read. RESULTS.md stays as it was.
    """
    folder, suffix = folder.resolve(), "_quick" if quick else ""
    results = records.read_results(folder, SECTIONS, quick=quick)
    path = folder.parent / f"RESULTS{suffix}.md"
    sections = []
    for name, (title, write) in SECTIONS.items():
        sections += ["", f"## {title}", ""]
        found = [platform for platform in PLATFORMS if (name, platform) in results]
        for platform in found:
            result = results[name, platform]
            picture = folder / f"{name}_{platform}{suffix}.png"
            with records.readable(result["path"]):
                list(targets.rows({(name, platform): result}))
                sections += [*describe(result), "", *write(result, picture)]
        if not found:
            sections.append("Not measured.")
    lines = [
        "# Results",
        "",
        f"Made by `{records.command()}` from what the command above each table wrote.",
        "A ratio is of medians; where the spread or other programs leave it open, none is stated.",
        "",
        "## Targets",
        "",
        *markdown_table(targets.Row._fields, targets.rows(results)),
    ]
    path.write_text("\n".join([*lines, *sections]) + "\n", encoding="utf-8")
    print(f"written to {path}")
    return path


def describe(result: dict[str, Any]) -> list[str]:
    """What made a result, where and when."""
    versions = [f"{name} {version}" for name, version in result["versions"].items() if version]
    waiting = result["environment"].get("OMP_WAIT_POLICY")
    return [
        f"`{result['command']}`",
        "",
        f"{result['machine']}; {', '.join(versions)}; OMP_WAIT_POLICY {waiting}; "
        f"commit {result['commit']}; {result['started']}.",
    ]


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """Lines of a table."""
    head = list(head)
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def picture_line(path: Path, text: str) -> list[str]:
    """A picture in `path`, shown from the report beside its folder."""
    return ["", f"![{text}]({quote(path.parent.name)}/{quote(path.name)})"]


def write_contenders(result: dict[str, Any], picture: Path) -> list[str]:
    """A table for every case, then images/s against batch, then the distance to the limit."""
    lines = []
    for table in result["tables"]:
        lines += [f"### {table['title']}", "", *contender_table(table), ""]
        for dtype, rate in table["matrix_rates"].items():
            lines.append(f"- limit: matrix products in {dtype} at {rate / 1e9:.0f} GFLOP/s")
        lines += [f"- {state(Ratio(**ratio))}" for ratio in table["ratios"]]
        lines += [f"- {name} could not run: {why}" for name, why in table["failures"].items()]
        lines += [f"- {others_line(table)}", ""]
    steps = [table for table in result["tables"] if table["matrix_rates"]]
    plots.plot_throughput(steps, picture)
    limit = picture.with_stem(f"{picture.stem}_limit")
    plots.plot_fractions(steps, limit)
    lines += picture_line(picture, "images/s against batch size")
    return lines + picture_line(limit, "share of the measured matrix rate")


def contender_table(table: dict[str, Any]) -> Iterator[str]:
    """The contenders, fastest first."""
    rows = []
    for name, seconds in sorted(table["samples"].items(), key=lambda item: quartiles(item[1])[1]):
        if plots.family_of(name) == LIMIT:
            continue
        share = table["fractions_of_limit"].get(name)
        share = "" if share is None else f"{share:.2f}"
        rate = table["images"] / quartiles(seconds)[1]
        rows.append((name, spread(seconds, scale=1e3), f"{rate:.2f}", share, len(seconds)))
    head = ("contender", "ms, median (quartiles)", "images/s", "share of limit", "samples")
    return markdown_table(head, rows)


def others_line(table: dict[str, Any]) -> str:
    """How busy the machine was."""
    others = table.get("others")
    return f"cores used by others: {'unknown' if others is None else f'{others:.2f}'}"


def write_memory(result: dict[str, Any], picture: Path) -> list[str]:
    """A table for every case, then bars."""
    lines = []
    for table in result["tables"]:
        peaks = sorted(table["samples"].items(), key=lambda item: item[1]["training"] or 0)
        rows = [
            (name, _megabytes(row["training"]), _megabytes(row["process"]), describe_program(row))
            for name, row in peaks
        ]
        program = "of the former, XLA's program of a step"
        head = ("contender", "MB while training", "MB, whole process", program)
        lines += [f"### {table['title']}", "", *markdown_table(head, rows), ""]
        lines += [f"- {name} could not run: {why}" for name, why in table["failures"].items()]
    plots.plot_memory(result["tables"], picture)
    return lines + picture_line(picture, "peak memory")


def _megabytes(value: int | None) -> str:
    return "not known" if value is None else f"{value / 1e6:.0f}"


def write_profile(result: dict[str, Any], picture: Path) -> list[str]:
    """Milliseconds by phase and by kind, and the limits, a column a case; then bars."""
    tables = result["tables"]
    cases = (f"{table['what']}, {table['dtype']}, batch {table['images']}" for table in tables)
    head = ["ms", *cases]
    rows = [["whole, untraced", *(f"{1e3 * table['step_seconds']:.1f}" for table in tables)]]
    for group in ("phases", "kinds"):
        for name in tables[0][group]:
            label = f"{group.removesuffix('s')}: {name}"
            rows.append([label, *(_with_share(table[group], name) for table in tables)])
    for name in ("arithmetic_seconds", "optimizer_seconds"):
        label = f"limit: {name.removesuffix('_seconds')}"
        rows.append([label, *(f"{1e3 * table['limits'][name]:.1f}" for table in tables)])
    plots.plot_phases(tables, picture)
    return [*markdown_table(head, rows), *picture_line(picture, "time by phase")]


def _with_share(parts: dict[str, float], name: str) -> str:
    whole = sum(parts.values()) or 1.0
    return f"{1e3 * parts[name]:.1f} ({parts[name] / whole:.0%})"


def write_samples(result: dict[str, Any], picture: Path) -> list[str]:
    """Median and quartiles of every row of every table, in ms, and the ratios."""
    lines = []
    for table in result["tables"]:
        rows = [(name, spread(seconds, scale=1e3)) for name, seconds in table["samples"].items()]
        lines += [f"### {table['title']}", ""]
        lines += [*markdown_table(("", "ms, median (quartiles)"), rows), ""]
        lines += [f"- {state(Ratio(**ratio))}" for ratio in table.get("ratios", ())]
        lines += [f"- each {name}: {share:.2%}" for name, share in table.get("shares", {}).items()]
        if "waiting" in table:
            lines.append(f"- waiting for data: {spread(table['waiting'], scale=100, digits=2)} %")
        lines += [f"- {others_line(table)}", ""]
    return lines


def write_loaders(result: dict[str, Any], picture: Path) -> list[str]:
    """Milliseconds a batch, pairs a second and memory of every loader; then of the stages."""
    lines = []
    for table in result["tables"]:
        rows = []
        if "contenders" not in table:
            for name, seconds in table["samples"].items():
                rows.append((name, spread(seconds, scale=1e3, digits=2)))
            head = ("stage", "ms a pair, median (quartiles)")
            lines += [f"### {table['title']}", "", *markdown_table(head, rows), ""]
            lines += [f"- {others_line(table)}", ""]
            continue
        by_time = sorted(table["samples"].items(), key=lambda item: quartiles(item[1])[1])
        for name, seconds in by_time:
            rate = f"{table['images'] / quartiles(seconds)[1]:.0f}"
            memory = describe_memory(table["memory"][name])
            rows.append((name, spread(seconds, scale=1e3), rate, memory, len(seconds)))
        memory = "least memory in each half of the turns"
        head = ("loader", "ms a batch, median (quartiles)", "pairs/s", memory, "turns")
        lines += [f"### {table['title']}", "", *markdown_table(head, rows), ""]
        lines += [f"- {state(Ratio(**ratio))}" for ratio in table["ratios"]]
        lines += [f"- {name} could not run: {why}" for name, why in table["failures"].items()]
        lines += [f"- {others_line(table)}", ""]
    plots.plot_loaders([table for table in result["tables"] if "contenders" in table], picture)
    return [*lines, *picture_line(picture, "pairs a second by workers and threads")]


def write_startup(result: dict[str, Any], picture: Path) -> list[str]:
    """Seconds of every part of the first start and of later ones."""
    lines = []
    for table in result["tables"]:
        rows = [
            (name, f"{table['first'][name]:.2f}", spread(seconds, digits=2))
            for name, seconds in table["samples"].items()
        ]
        head = ("part", "first start, s", "second start, s, median (quartiles)")
        lines += [f"### {table['title']}", "", *markdown_table(head, rows), ""]
        lines += [f"- {others_line(table)}", ""]
    return lines


def write_scaling(result: dict[str, Any], picture: Path) -> list[str]:
    """Differences of the results and times, a line a number of devices."""
    lines = []
    for table in result["tables"]:
        rows = []
        for name, seconds in table["samples"].items():
            count = str(table["devices"][name])
            losses, parameters = table["loss_differences"], table["parameter_differences"]
            differences = (f"{losses[count]:.1e}", f"{parameters[count]:.1e}")
            relative = f"{table['relative'][name]:.2f}"
            held = table.get("state_bytes", {}).get(count)  # older results lack it
            held = "" if held is None else f"{held / 1e6:.1f}"
            rows.append((count, *differences, held, spread(seconds, scale=1e3), relative))
        head = ("devices", "loss, relative", "parameter", "state, MB each")
        head += ("ms, median (quartiles)", "of the first")
        lines += [f"### {table['title']}", "", *markdown_table(head, rows), ""]
        lines += [f"- {others_line(table)}", ""]
    return lines


def write_lowering(result: dict[str, Any], picture: Path) -> list[str]:
    """Milliseconds of every layer in every lowering."""
    lines = []
    for table in result["tables"]:
        head = ["layer", *(f"{name} ms" for name in table["medians"])]
        rows = [
            [layer, *(f"{1e3 * quartiles(values)[1]:.1f}" for values in seconds.values())]
            for layer, seconds in table["samples"].items()
        ]
        rows.append(["all, once", *(f"{1e3 * value:.1f}" for value in table["medians"].values())])
        lines += [f"### {table['title']}", "", *markdown_table(head, rows), ""]
    return lines


Writer = Callable[[dict[str, Any], Path], list[str]]
SECTIONS: dict[str, tuple[str, Writer]] = {
    "train_step": ("Training step", write_contenders),
    "inference": ("Inference", write_contenders),
    "memory": ("Memory", write_memory),
    "profile": ("Where the time goes", write_profile),
    "end_to_end": ("A whole epoch", write_samples),
    "input_pipeline": ("Input pipeline", write_loaders),
    "checkpoint": ("Checkpoints", write_samples),
    "startup": ("Start", write_startup),
    "preemption": ("Preemption", write_samples),
    "scaling": ("Many devices", write_scaling),
    "conv_lowering": ("Convolutions", write_lowering),
}
