"""The model card of exported weights: what they colour, what they were trained on, how well."""

import json
from pathlib import Path
from typing import Any

from jaxcolor import exported
from jaxcolor.plain_json import parse_json
from jaxcolor.trained import Trained

UNKNOWN_LICENSE = "unknown"
_USE = "`jaxcolor colorize` and `jaxcolor evaluate` take this directory as they take a workdir."
_WORDS = {
    "given": "pictures that the data gives (drawings, label maps)",
    "luma": "grey photographs (luma)",
    "lab_l": "grey photographs (L of L*a*b*)",
    "lines": "line drawings made of pictures",
}


def model_card(trained: Trained, *, license_name: str, checks: dict[str, float]) -> str:
    """The card, in Markdown with the header that model hubs read.

    Args:
      trained: what is exported.
      license_name: of the weights, as whoever exports them says; UNKNOWN_LICENSE if nobody did.
      checks: the largest difference from the original by file.
    """
    config, derived = trained.config, trained.config["derived"]
    size, channels = trained.image_size, trained.condition_channels
    lines = [
        *_header(license_name),
        "# Colours pictures",
        "",
        f"A generator of {trained.parameters:,} parameters, exported by jaxcolor. It colours "
        f"{_WORDS.get(trained.condition, trained.condition)}: {channels} channels in, RGB out, at "
        f"{size}x{size} pixels.",
        "",
        "## Data",
        "",
        *_data(config, derived),
        "",
        "## Recipe",
        "",
        *_recipe(trained),
        *(["- all of it: `config.json`"] if exported.WEIGHTS in checks else []),
        "",
        "## Metrics",
        "",
        *_metrics(trained),
        "",
        "## Licence",
        "",
        _licence(license_name),
        "",
        "## Files",
        "",
        "Compared with the original on random inputs when they were written:",
        "",
        *(f"- `{name}`: largest difference {value:.1e} of 2" for name, value in checks.items()),
        "",
        *([_USE, ""] if exported.WEIGHTS in checks else []),
    ]
    return "\n".join(lines)


def _header(license_name):
    return [
        "---",
        f"license: {json.dumps(license_name)}",
        "library_name: jaxcolor",
        "pipeline_tag: image-to-image",
        "tags: [colorization, pix2pix, jax]",
        "---",
        "",
    ]


def _data(config, derived):
    data = config["data"]
    lines = []
    if derived["training_pictures"]:
        which = "of the demo set, which the library draws" if "demo" in config else "of its owner"
        lines.append(f"- {derived['training_pictures']} training pictures {which}")
        lines.append(f"- digest of their names: `{derived['training_names']}`")
    for kind, origin in derived.get("imported", {}).items():
        lines.append(f"- {kind} imported from {_inline(origin)}")
    fit = f"resized by {data['resize']}, fit {data['fit']}"
    return [*lines, f"- condition: {derived['condition']}; {fit} to {data['image_size']} pixels"]


def _recipe(trained):
    config = trained.config
    generator = f"- generator: {', '.join(f'{k} {v}' for k, v in config['generator'].items())}"
    if trained.is_untrained:
        return ["- untrained: its weights are random", generator]
    if not trained.step:
        return ["- as imported, without any training here", generator]
    losses = ", ".join(f"{name} {weight:g}" for name, weight in config["losses"].items())
    train, optimizer = config["train"], config["generator_optimizer"]
    return [
        f"- {trained.step} steps of batch {train['batch_size']} (epoch {trained.epoch}), "
        f"{train['update_order']} updates, {train['compute_dtype']}",
        f"- loss weights: {losses}",
        f"- Adam, learning rate {optimizer['learning_rate']:g}",
        generator,
    ]


def _metrics(trained):
    """Tables of the evaluations of this checkpoint, or what validation gave."""
    found = []
    for path in sorted(trained.workdir.glob("evaluation/*/summary.json")):
        found += _evaluation(path, trained.step)
    if found:
        return found
    if trained.scores:
        rows = [f"| {name} | {value:.4f} |" for name, value in trained.scores.items()]
        return ["In the validation of its training:", "", "| metric | value |", "|---|---|", *rows]
    return ["Not measured: `jaxcolor evaluate` does."]


def _evaluation(path: Path, step: int) -> list[str]:
    """The table of an evaluation; nothing if it is of another checkpoint or no evaluation."""
    try:
        summary = parse_json(path.read_bytes())
        if summary["checkpoint"]["step"] != step:
            return []
        data, rows = summary["data"], []
        for name, entry in summary["metrics"].items():
            ends = entry["interval"]
            interval = "" if ends is None else f"{ends[0]:.4f} .. {ends[1]:.4f}"
            rows.append(f"| {name} | {entry['value']:.4f} | {interval} | {entry['unit']} |")
        name = path.parent.name  # tells of other pictures and ways to predict
        other = "" if name == data["split"] else f" ({_inline(name)})"
        head = f"{data['count']} pictures of the split {data['split']}{other}:"
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []
    table = ["| metric | value | 95 % interval | unit |", "|---|---|---|---|", *rows]
    return [head, "", *table, ""]


def _licence(name):
    if name == UNKNOWN_LICENSE:
        return (
            "Unknown: whoever exported these weights did not say. It depends on the pictures that "
            "they were trained on, and on the weights that training started from."
        )
    return f"{_inline(name)}, says whoever exported these weights."


def _inline(value: Any) -> str:
    """Text that stays within its line."""
    return " ".join(str(value).split())
