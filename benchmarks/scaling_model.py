"""Derives how training would scale to 8, 64 and 256 accelerators: the tables of docs/scaling.md.

python -m benchmarks.scaling_model
python -m benchmarks.scaling_model --measured "TPU v5e:16=600" --share 1:0.1 16:0.4
python -m benchmarks.scaling_model --write

Nothing is timed. Loaders and the step on a CPU are read from what `input_pipeline` and `train_step`
wrote; an accelerator's own step is its arithmetic at an assumed share of the published peak, or
what --measured says; links are the vendors' figures at an assumed share.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.accelerators import ACCELERATORS
from benchmarks.options import BAD_USAGE, FOLDER
from benchmarks.scaling_laws import Assumptions
from benchmarks.scaling_tables import Table, all_tables, read_measured
from jaxcolor.command import errors_as_lines

DOCUMENT = Path(__file__).parents[1] / "docs" / "scaling.md"
SHARES = {1: 0.05, 16: 0.3}
LINK_SHARE = 0.8
_MARKED = re.compile(r"(<!-- scaling_model: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables, or writes them into the document; returns the exit status.

    Args:
      arguments: words of the command line; the program's own by default.
    """
    chosen = _parse(arguments)
    assumptions = Assumptions(
        shares=dict(chosen.share) or SHARES,
        link_share=chosen.link_share,
        measured=dict(chosen.measured),
    )
    unknown = [f"{name}:{n}" for name, n in assumptions.measured if n not in assumptions.shares]
    if unknown:
        sys.stderr.write(f"error: --measured {unknown[0]}: name its pictures in --share as well\n")
        return BAD_USAGE
    with errors_as_lines(files=str(DOCUMENT)) as status:
        _show(chosen, assumptions)
    return status[0]


def _show(chosen: argparse.Namespace, assumptions: Assumptions) -> None:
    tables = all_tables(read_measured(Path(chosen.results)), assumptions)
    if chosen.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(fill(text, tables), encoding="utf-8")
        print(f"written to {DOCUMENT}")
        return
    for name, table in tables.items():
        print("\n".join([f"{name}:", "", *table.lines(), ""]))


def fill(document: str, tables: Mapping[str, Table]) -> str:
    """The document with every marked place holding its table.

    Raises:
      KeyError: a place is marked for a table that there is not.
    """
    return _MARKED.sub(
        lambda place: "\n".join([place[1], *tables[place[2]].lines(), "", place[3]]), document
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [row.name for row in ACCELERATORS]
    parser = argparse.ArgumentParser(
        "python -m benchmarks.scaling_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--share",
        type=_share,
        nargs="+",
        default=[],
        metavar="PICTURES:SHARE",
        help="of the peak that a step of so many pictures a device reaches (1:0.05 16:0.3)",
    )
    parser.add_argument(
        "--measured",
        type=_measured,
        action="append",
        default=[],
        metavar="NAME:PICTURES=RATE",
        help=f"pictures a second of one device by itself, instead; NAME is of {', '.join(names)}",
    )
    parser.add_argument(
        "--link_share",
        type=_part,
        default=LINK_SHARE,
        help=f"of the published rate of links and networks that is reached ({LINK_SHARE})",
    )
    parser.add_argument("--results", default=FOLDER, help=f"of the benchmarks ({FOLDER})")
    parser.add_argument("--write", action="store_true", help="into docs/scaling.md")
    return parser.parse_args(arguments)


def _part(word: str) -> float:
    """A share, above 0."""
    if not 0 < float(word) <= 1:
        raise argparse.ArgumentTypeError(f"{word} must be above 0 and at most 1")
    return float(word)


def _share(word: str) -> tuple[int, float]:
    pictures, _, share = word.partition(":")
    if not (pictures.isdigit() and int(pictures) > 0):
        raise argparse.ArgumentTypeError(f"{word!r} is not like 16:0.3")
    return int(pictures), _part(share)


def _measured(word: str) -> tuple[tuple[str, int], float]:
    found = re.fullmatch(r"(.+):(\d+)=([0-9.]+)", word)
    if not found or found[1] not in {row.name for row in ACCELERATORS} or not float(found[3]):
        raise argparse.ArgumentTypeError(f"{word!r} is not like 'TPU v5e:16=600'")
    return (found[1], int(found[2])), float(found[3])


if __name__ == "__main__":
    sys.exit(main())
