"""The report as one HTML page: nothing is fetched or runs, all that comes from files is escaped."""

from collections.abc import Sequence
from html import escape
from typing import Any

from jaxcolor.compare import plots, tables
from jaxcolor.compare.charts import line_style
from jaxcolor.compare.runs import Run
from jaxcolor.compare.scores import MetricScores
from jaxcolor.compare.sheets import Row
from jaxcolor.compare.style import STYLE

# A browser holds the page to it: not even text that slipped through could load or run anything.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# By which a report is known, at its head.
MARK = '<meta name="generator" content="jaxcolor compare">'


def render(
    runs: Sequence[Run],
    scores: Sequence[MetricScores],
    first: Sequence[Row],
    different: Sequence[Row],
    *,
    version: str,
) -> str:
    """The whole page.

    Args:
      runs: what is compared.
      scores: their numbers.
      first: rows of the sheet of the first pictures.
      different: rows of the sheet of pictures in which they differ the most.
      version: of this library.
    """
    histories = {run.label: [member.history for member in run.members] for run in runs}
    title = "Comparison of " + _listed([run.label for run in runs])
    sections = [
        ("Numbers", tables.numbers(runs, scores)),
        ("Pictures", _pictures(runs, first, different)),
        ("Colours against the truth", plots.histograms(runs)),
        ("Training", plots.curves(histories)),
        ("Time and size", tables.facts(runs)),
        ("What differs in the configs", tables.config_differences(runs)),
        ("How each number is measured", tables.protocols(runs, scores)),
    ]
    body = "".join(f"<section><h2>{name}</h2>{html}</section>" for name, html in sections if html)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{MARK}'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>{escape(title)}</h1>{_subject(runs)}</header>{legend(runs)}{body}"
        f"<footer><p class=soft>Made by jaxcolor {escape(version)}. {_environment(runs)}</p>"
        "</footer></body></html>\n"
    )


def legend(runs: Sequence[Run]) -> str:
    """The runs' colours."""
    items = [
        f'<li class="{line_style(place)[0]}"><span class="swatch" style="border-top-style:'
        f'{"solid" if not line_style(place)[1] else "dashed"}"></span>{escape(run.label)}</li>'
        for place, run in enumerate(runs)
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _subject(runs: Sequence[Run]) -> str:
    """What was compared, on which pictures, and how."""
    summary = runs[0].summary
    data, protocol = (summary.get(name, {}) for name in ("data", "protocol"))
    conditions = {str(run.summary.get("data", {}).get("condition")) for run in runs}
    size = protocol.get("image_size")
    size = " x ".join(map(str, size)) if isinstance(size, list) else f"{size} x {size}"
    statistics = {"picture": "each picture's own", "running": "running averages"}
    shown = {
        "Pictures": f"{data.get('count')} of split {data.get('split')}, "
        f"{data.get('path') or 'demo set'} ({data.get('source')}), digest {data.get('digest')}",
        "Condition": ", ".join(sorted(conditions)),
        "Size": f"{size} pixels, fit {protocol.get('fit')}, resize {protocol.get('resize')}",
        "Inference": f"statistics of batch norm: "
        f"{statistics.get(protocol.get('statistics'), protocol.get('statistics'))}; dropout "
        f"{'on' if protocol.get('dropout') else 'off'}",
        "Intervals": "95 %, bootstrap over pictures, the same draws for every run",
    }
    pairs = (f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in shown.items())
    return f"<dl>{''.join(pairs)}</dl>"


def _pictures(runs: Sequence[Run], first: Sequence[Row], different: Sequence[Row]) -> str:
    if not first:
        return ""
    several = any(len(run.members) > 1 for run in runs)
    note = "<p class=soft>Of a run with several seeds, the first is shown.</p>" if several else ""
    parts = [note, f"<h3>The first {len(first)}</h3>", _sheet(runs, first)]
    if different:
        parts.append(
            f"<h3>The {len(different)} in which the runs differ the most</h3><p class=soft>Of the "
            "other pictures kept by the evaluation, by the largest mean difference between two "
            "predictions.</p>"
        )
        parts.append(_sheet(runs, different))
    return "".join(parts)


def _sheet(runs: Sequence[Run], rows: Sequence[Row]) -> str:
    size = runs[0].summary.get("protocol", {}).get("image_size")
    kind = "sheet small" if isinstance(size, int) and size < 128 else "sheet"
    labels = ["Condition", "Truth", *(run.label for run in runs)]
    head = "".join(f"<th>{escape(label)}</th>" for label in labels)
    lines = []
    for row in rows:
        cells = [
            f'<td><img src="{uri}" alt="{escape(f"{label}, picture {row.index}")}"></td>'
            if uri
            else "<td class=soft>not kept</td>"
            for label, uri in zip(labels, row.images, strict=True)
        ]
        name = escape(row.name)
        lines.append(f"<tr><th>{row.index}<br>{name}</th>{''.join(cells)}</tr>")
    return (
        f'<div class="wide" tabindex="0"><table class="{kind}">'
        f"<thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _environment(runs: Sequence[Run]) -> str:
    """The versions and devices of the evaluations."""
    found: dict[str, list[Any]] = {}
    for run in runs:
        for member in run.members:
            for name, value in member.evaluation.summary.get("environment", {}).items():
                if str(value) not in found.setdefault(name, []):
                    found[name].append(str(value))
    listed = "; ".join(f"{name} {', '.join(values)}" for name, values in found.items())
    return escape(f"Evaluated with {listed}." if listed else "")
