"""python -m jaxcolor compare: runs on the same pictures, side by side in one HTML file."""

import contextlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jaxcolor.command import errors_as_lines, make_parser, set_up_jax
from jaxcolor.compare.page import MARK, render
from jaxcolor.compare.runs import Run, parse_runs, read_member, require_same_pictures
from jaxcolor.compare.scores import score_runs
from jaxcolor.compare.sheets import choose_rows
from jaxcolor.compare.stored import evaluate_if_stale
from jaxcolor.data.check_report import printable
from jaxcolor.errors import ConfigError, WorkdirError

LENGTH_OF_HEAD = 512

DESCRIPTION = """\
Compares trainings on the same pictures, in one HTML file that any browser shows without a network.

  compare WORKDIR WORKDIR ...
  compare GAN=runs/gan L1=runs/l1 --out report.html
  compare GAN=runs/gan_0,runs/gan_1 L1=runs/l1_0,runs/l1_1     runs that differ by their seed

A workdir without an evaluation of its best checkpoint is evaluated first, and so is one whose
evaluation lacks numbers that can be measured now."""


def main(argv: Sequence[str]) -> int:
    """Runs the command on its words; returns the exit status."""
    words = make_parser("compare", DESCRIPTION)
    words.add_argument("runs", nargs="+", metavar="RUN", help="[LABEL=]WORKDIR[,WORKDIR,...]")
    words.add_argument("--out", default="report.html", metavar="FILE", help="default: report.html")
    words.add_argument("--split", default="val", help="default: val")
    words.add_argument("--first", type=int, default=8, help="pictures shown from the first on")
    words.add_argument("--different", type=int, default=4, help="pictures shown that differ most")
    values = words.parse_args(list(argv))
    stopped = "stopped without a report; finished evaluations are kept"
    with errors_as_lines(stopped=stopped) as status:
        for name in ("first", "different"):
            if getattr(values, name) < 0:
                raise ConfigError(f"--{name} {getattr(values, name)} must be at least 0")
        set_up_jax()
        out = Path(values.out).expanduser()
        compare(
            values.runs, out, split=values.split, first=values.first, different=values.different
        )
        print(f"written to {printable(str(out))}")
    return status[0]


def compare(
    words: Sequence[str], out: Path, *, split: str = "val", first: int = 8, different: int = 4
) -> list[Run]:
    """Writes the report on some runs; returns them.

    Args:
      words: WORKDIR, LABEL=WORKDIR or LABEL=WORKDIR,WORKDIR,... each.
      out: the HTML file.
      split: the evaluation to compare.
      first: how many of the first pictures are shown, besides those that differ the most.
      different: how many of the latter.

    Raises:
      ComparisonError: the runs cannot be compared, saying what differs.
      UserError: a workdir has no evaluation, and none can be made.
    """
    _refuse_to_replace(out)
    runs, lacking = [], {}
    for label, workdirs in parse_runs(words).items():
        for workdir in workdirs:
            lacking |= dict.fromkeys(evaluate_if_stale(workdir, split))
        runs.append(Run(label, tuple(read_member(workdir, split) for workdir in workdirs)))
    if lacking:
        print(
            f"note: not measured of every run: {', '.join(lacking)}: their weights (see "
            "docs/weights.md) or the checkpoints are not here",
            flush=True,
        )
    require_same_pictures(runs)
    rows = choose_rows(runs, first=first, different=different)
    page = render(runs, score_runs(runs), *rows, version=_version())
    _write(out, page)
    return runs


def _refuse_to_replace(out: Path) -> None:
    """Raises WorkdirError for a file that is no report of ours."""
    try:
        if out.is_dir():
            raise WorkdirError(f"--out {out} is a directory: name a file, such as report.html")
        if out.exists():
            with out.open("rb") as file:
                if MARK.encode() not in file.read(LENGTH_OF_HEAD):
                    raise WorkdirError(
                        f"--out {out} is there and no report of compare: name another file, or "
                        "remove it"
                    )
    except OSError as error:
        raise WorkdirError(f"--out {out} cannot be written ({error.strerror})") from error


def _write(out: Path, page: str) -> None:
    """Writes the report whole or not at all."""
    temporary = out.with_name(out.name + ".tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Names of files may hold bytes that are no text.
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
        temporary.replace(out)
    except OSError as error:
        raise WorkdirError(f"--out {out} cannot be written ({error.strerror})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _version() -> str:
    try:
        return version("jaxcolor")
    except PackageNotFoundError:
        return "of a checkout"
