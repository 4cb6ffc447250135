"""An evaluation in print: its numbers in a table, and below it what they are of."""

from typing import Any

from jaxcolor.data.check_report import printable


def table(summary: dict[str, Any]) -> str:
    """The numbers of a summary in aligned columns, and below them what they are of."""
    head = ("metric", "value", "95 % interval", "unit", "better")
    rows = [head]
    for name, entry in summary["metrics"].items():
        ends = entry["interval"]
        interval = "" if ends is None else f"{ends[0]:.4f} .. {ends[1]:.4f}"
        cells = (f"{entry['value']:.4f}", interval, entry["unit"], entry["better"])
        rows.append((name, *cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if place in (1, 2) else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", *_protocol_lines(summary), *_missing_lines(summary)])


def _protocol_lines(summary):
    protocol, data, checkpoint = summary["protocol"], summary["data"], summary["checkpoint"]
    of = summary["workdir"] or ""
    if checkpoint:
        of += f", {checkpoint['which']} checkpoint: step {checkpoint['step']}, "
        of += f"epoch {checkpoint['epoch']}"
    if summary["predictions"]:
        of = summary["predictions"]
    where = data["path"] or "the demo set"
    without = len(data.get("without_prediction", ()))
    left_out = f" ({without} more without a prediction)" if without else ""
    lines = [
        f"of: {printable(of)}",
        f"pictures: n = {data['count']}{left_out}, {data['split'] or 'all'} of "
        f"{printable(where)}; "
        f"size {protocol['image_size']}, fit {protocol['fit']}, resize {protocol['resize']}",
    ]
    if checkpoint:
        dropout = f"on, seed {protocol['seed']}" if protocol["dropout"] else "off"
        statistics = {"picture": "each picture's own", "running": "running"}
        lines.append(
            f"inference: statistics of batch norm {statistics[protocol['statistics']]}, "
            f"dropout {dropout}"
        )
    lines.append(f"predictions: {protocol['predictions']}; intervals: over pictures")
    lines += [f"  {name}: {entry['protocol']}" for name, entry in summary["metrics"].items()]
    return lines


def _missing_lines(summary):
    return [f"not measured: {name}: {printable(why)}" for name, why in summary["missing"].items()]
