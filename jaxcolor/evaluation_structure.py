"""What a stored evaluation must look like, so that whoever reads it can rely on its parts."""

from typing import Any

from jaxcolor.plain_json import require

_SECTIONS = ("data", "protocol", "missing", "environment", "histograms")
_OF_A_NETWORK = {"checkpoint": ("which", "step", "epoch"), "model": ("parameters", "losses")}
_TEXTS = ("unit", "better", "protocol")
_HISTOGRAM = ("edges", "target", "prediction")


def check_structure(summary: dict[str, Any]) -> None:
    """Raises ValueError, naming the part, if it is not of the kind that an evaluation has there.

    Sections may be missing, as in those of older versions. Numbers become floats: those that JSON
    lacks are stored as text.

    Args:
      summary: plain values; changed in place.
    """
    for name in _SECTIONS:
        require(isinstance(summary.get(name, {}), dict), name)
    for name, keys in _OF_A_NETWORK.items():
        found = summary.get(name)
        require(found is None or (isinstance(found, dict) and set(keys) <= found.keys()), name)
    model = summary.get("model") or {"losses": {}, "parameters": 0}
    require(isinstance(model["losses"], dict), "model.losses")
    require(type(model["parameters"]) is int, "model.parameters")
    for name, reason in summary.get("missing", {}).items():
        require(isinstance(reason, str), f"missing.{name}")
    require(isinstance(summary["metrics"], dict), "metrics")
    for name, entry in summary["metrics"].items():
        _check_metric(f"metrics.{name}", entry)
    for name, found in summary.get("histograms", {}).items():
        _check_histogram(f"histograms.{name}", found)


def _check_metric(name: str, entry: Any) -> None:
    require(isinstance(entry, dict), name)
    require(all(isinstance(entry.get(key, ""), str) for key in _TEXTS), name)
    entry["value"] = float(entry["value"])
    if entry["interval"] is not None:
        low, high = entry["interval"]
        entry["interval"] = [float(low), float(high)]


def _check_histogram(name: str, found: Any) -> None:
    require(isinstance(found, dict) and set(_HISTOGRAM) <= found.keys(), name)
    for key in _HISTOGRAM:
        numbers = found[key]
        require(isinstance(numbers, list) and len(numbers) > 1, f"{name}.{key}")
        found[key] = [float(x) for x in numbers]
