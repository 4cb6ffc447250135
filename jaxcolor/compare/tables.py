"""The tables of the report: numbers with intervals, facts of each run, configs, protocols."""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from jaxcolor.compare.charts import line_style
from jaxcolor.compare.runs import Run
from jaxcolor.compare.scores import MetricScores, Score
from jaxcolor.training.checkpoints import flatten

ARROWS = {"lower": "↓", "higher": "↑", "near 0": "→ 0", "near 1": "→ 1", "near truth": "→ truth"}
SIGNIFICANT = 4
NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
FOOTNOTE = (
    "<p class=soft>Bold: the best value; arrows say which way is better. Below each value: its "
    "interval, and how far it is behind the best, by the same pictures. <b>≈</b> means that this "
    "distance may be nothing: where it stands, or where intervals overlap and no distance is "
    "given, there is no clear winner. Intervals tell how much the choice of pictures matters, not "
    "what another training would give{seeds}. With many metrics, one in twenty such distances is "
    "off by chance.</p>"
)


def numbers(runs: Sequence[Run], scores: Sequence[MetricScores]) -> str:
    """The table of metrics by runs, the best in bold."""
    rows = []
    for metric in scores:
        digits = _digits([score.value for score in metric.scores])
        arrow = ARROWS.get(metric.better, "")
        unit = f", {metric.unit}" if metric.unit else ""
        about = (f"{metric.better} is better" if metric.better else "describes") + unit
        head = f"{escape(metric.name)} {arrow}<small>{escape(about)}</small>"
        cells = "".join(_cell(score, digits) for score in metric.scores)
        rows.append(f'<tr><th title="{escape(metric.protocol)}">{head}</th>{cells}</tr>')
    several = any(len(run.members) > 1 for run in runs)
    seeds = ": that is the spread over seeds, ± one standard deviation" if several else ""
    return _table(runs, rows, "numbers") + FOOTNOTE.format(seeds=seeds)


def _cell(score: Score, digits: int) -> str:
    if math.isnan(score.value):
        return f'<td class=soft title="{escape(score.reason)}">{NONE}</td>'
    value = _number(score.value, digits)
    mark = " <span title='cannot be told from the best'>≈</span>" if score.is_close else ""
    lines = [f"<b>{value}</b>" if score.is_best else f"{value}{mark}"]
    if score.interval is not None:
        lines.append(f"<small>[{_range(score.interval, digits)}]</small>")
    if len(score.seeds) > 1:
        every = ", ".join(_number(x, digits) for x in score.seeds)
        spread = _number(score.spread, digits)
        count = len(score.seeds)
        lines.append(f'<small title="{every}">± {spread} over {count} seeds</small>')
    if score.behind and math.isfinite(score.behind):
        ends = score.behind_interval  # small differences of large numbers: one digit more
        within = f" [{_range(ends, digits + 1)}]" if ends else ""
        lines.append(f"<small>behind by {_number(score.behind, digits + 1)}{within}</small>")
    return f"<td{' class=best' if score.is_best else ''}>{''.join(lines)}</td>"


def _digits(values: Sequence[float]) -> int:
    """Decimals that give the largest value SIGNIFICANT digits."""
    largest = max((abs(x) for x in values if math.isfinite(x)), default=0.0)
    whole = math.floor(math.log10(largest)) + 1 if largest > 0 else 1
    return min(max(SIGNIFICANT - max(whole, 0), 0), 6) + (2 if whole < -1 else 0)


def _number(value: float, digits: int) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    return f"{value:.{digits}f}".replace("-", MINUS)


def _range(ends: tuple[float, float], digits: int) -> str:
    return f"{_number(ends[0], digits)}, {_number(ends[1], digits)}"


def facts(runs: Sequence[Run]) -> str:
    """The table of time, size, losses and checkpoint of each run; means over its seeds."""
    described: dict[str, Callable[[Run], str]] = {
        "training, all epochs": lambda run: _mean(run, lambda x: x.seconds, _duration),
        "epoch, median": lambda run: _mean(run, _median("seconds"), _duration),
        "epochs": lambda run: _mean(run, lambda x: len(x.timing.get("epoch", ())), _short),
        "images/s, median": lambda run: _mean(run, _median("images_per_second"), _short),
        "waiting for data, median": lambda run: _mean(
            run, _median("data_wait_share"), lambda x: f"{x:.1%}"
        ),
        "compilation": lambda run: _mean(run, _sum("compile_seconds"), _duration),
        "validation, all epochs": lambda run: _mean(run, _sum("validation_seconds"), _duration),
        "generator parameters": lambda run: _each(run, ("model", "parameters"), "{:,}"),
        "losses": lambda run: _each(run, ("model", "losses"), _losses),
        "checkpoint": lambda run: _each(
            run, ("checkpoint",), "{0[which]}: step {0[step]}, epoch {0[epoch]}"
        ),
        "workdir": lambda run: "<br>".join(escape(str(x.workdir)) for x in run.members),
    }
    rows = []
    for name, describe in described.items():
        cells = [describe(run) for run in runs]
        if any(cells):
            cells = "".join(f"<td>{cell or NONE}</td>" for cell in cells)
            rows.append(f"<tr><th>{name}</th>{cells}</tr>")
    return _table(runs, rows, "facts") + (
        "<p class=soft>Training leaves out compilation, validation and checkpoints. Seconds are "
        "comparable only between runs on the same, equally busy machine.</p>"
    )


def _median(name: str) -> Callable:
    return lambda history: statistics.median(history.timing.get(name) or [math.nan])


def _sum(name: str) -> Callable:
    return lambda history: sum(history.timing.get(name) or [math.nan])


def _mean(run: Run, value: Callable, text: Callable) -> str:
    """Of the members whose history is there."""
    found = [float(value(member.history)) for member in run.members if member.history.timing]
    return text(statistics.fmean(found)) if found and all(map(math.isfinite, found)) else ""


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _short(value: float) -> str:
    return f"{value:.4g}"


def _each(run: Run, path: Sequence[str], text: str | Callable) -> str:
    """What the members' summaries say at a path; once if all say the same."""
    found = []
    for member in run.members:
        value: Any = member.evaluation.summary
        for key in path:
            value = (value or {}).get(key)
        if value is not None:
            line = text(value) if callable(text) else text.format(value)
            found += [line] * (line not in found)
    return "<br>".join(map(escape, found))


def _losses(weights: dict[str, Any]) -> str:
    return ", ".join(f"{name} {weight}" for name, weight in weights.items())


def config_differences(runs: Sequence[Run]) -> str:
    """The table of config keys in which runs differ; "" if there are none."""
    flat = [[_in_words(flatten(member.config)) for member in run.members] for run in runs]
    keys = sorted({key for run in flat for member in run for key in member})
    rows = []
    for key in keys:
        values = [_values(key, members) for members in flat]
        if len(set(values)) > 1 and not key.startswith("derived."):
            cells = "".join(f"<td>{escape(value) or NONE}</td>" for value in values)
            rows.append(f"<tr><th>{escape(key)}</th>{cells}</tr>")
    return _table(runs, rows, "facts") if rows else ""


def _in_words(config: dict[str, Any]) -> dict[str, str]:
    return {key: x if isinstance(x, str) else json.dumps(x) for key, x in config.items()}


def _values(key: str, members: Sequence[dict[str, str]]) -> str:
    return ", ".join(dict.fromkeys(member[key] for member in members if key in member))


def protocols(runs: Sequence[Run], scores: Sequence[MetricScores]) -> str:
    """What exactly is measured, and what is missing and why."""
    lines = {metric.name: metric.protocol for metric in scores}
    for member in (member for run in runs for member in run.members):
        for name, reason in member.evaluation.summary.get("missing", {}).items():
            where = f"; not measured in {member.workdir}: {reason}"
            lines[name] = lines.get(name, "").removesuffix(where) + where
    listed = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text.removeprefix('; '))}</dd>"
        for name, text in lines.items()
    )
    return f"<dl>{listed}</dl>"


def _table(runs: Sequence[Run], rows: Sequence[str], kind: str) -> str:
    head = "".join(
        f'<th class="{line_style(place)[0]}"><span class="swatch"></span>{escape(run.label)}</th>'
        for place, run in enumerate(runs)
    )
    return (
        f'<div class="wide" tabindex="0"><table class="{kind}">'
        f"<thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
