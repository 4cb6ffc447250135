"""What a training left behind, for the page: its sample sheets and its curves."""

from html import escape
from pathlib import Path

from jaxcolor.compare.history import read_history
from jaxcolor.compare.plots import curves

SHEETS = 12


def sample_sheets(workdir: Path) -> list[tuple[Path, str]]:
    """(file, caption) of up to SHEETS sample sheets, the newest first, evenly over the training.

    Args:
      workdir: of a training; one without samples has none.
    """
    files = sorted((workdir / "samples").glob("epoch_*.png"), reverse=True)
    count = min(SHEETS, len(files))
    last = len(files) - 1
    chosen = [files[round(place * last / max(1, count - 1))] for place in range(count)]
    return [(path, f"epoch {path.stem.removeprefix('epoch_').lstrip('0')}") for path in chosen]


def curves_html(name: str, workdir: Path) -> str:
    """The curves of a training as HTML with SVG, or a line that says that there are none."""
    drawn = curves({name: [read_history(workdir)]})
    if not drawn:
        return f"<p>{escape(name)} holds weights only: no metrics.jsonl of a training.</p>"
    return f'<div class="curves">{drawn}</div>'
