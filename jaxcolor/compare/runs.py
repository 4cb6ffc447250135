"""The runs to compare: named on the command line, read from workdirs, held to the same pictures.

A run is one workdir, or several that differ by their seed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxcolor.compare.history import History, read_history
from jaxcolor.errors import UserError
from jaxcolor.evaluation_results import Evaluation
from jaxcolor.plain_json import parse_json

# What must agree, or the numbers are about different things. The condition may differ: the truth
# is the same whether the network sees luma or L*.
SAME_DATA = ("split", "count", "digest")
SAME_PROTOCOL = ("statistics", "dropout", "resize", "fit", "image_size")


class ComparisonError(UserError):
    """Runs that cannot be compared."""


class Member(NamedTuple):
    """One workdir of a run.

    Attributes:
      workdir: where it lies.
      directory: its evaluation's, with `pictures/`.
      evaluation: what was measured.
      history: its training.
      config: the resolved config; empty where the workdir has none.
    """

    workdir: Path
    directory: Path
    evaluation: Evaluation
    history: History
    config: dict[str, Any]


class Run(NamedTuple):
    """A label, and the workdirs whose numbers are averaged under it."""

    label: str
    members: tuple[Member, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Of the first member's evaluation."""
        return self.members[0].evaluation.summary


def parse_runs(words: Sequence[str]) -> dict[str, list[Path]]:
    """The workdirs of each label, in the order given.

    Args:
      words: WORKDIR, LABEL=WORKDIR or LABEL=WORKDIR,WORKDIR,... each; without a label, the name of
        the workdir. What exists as a whole is a path, whatever it is called.

    Raises:
      ComparisonError: fewer than two runs, an empty or repeated label or workdir.
    """
    runs: dict[str, list[Path]] = {}
    for word in words:
        label, equals, listed = word.partition("=")
        if Path(word).expanduser().exists() or not equals:
            label, listed = "", word
        whole = Path(listed).expanduser()
        paths = [whole] if whole.exists() else [Path(x).expanduser() for x in listed.split(",")]
        is_labelled = listed != word
        if (is_labelled and not label.strip()) or not all(x.name for x in paths):
            raise ComparisonError(f"run {word!r}: write WORKDIR, or LABEL=WORKDIR,WORKDIR,...")
        label = label or paths[0].resolve().name
        if label in runs:
            raise ComparisonError(f"two runs are called {label!r}: write LABEL={listed} for one")
        runs[label] = paths
    if len(runs) < 2:
        raise ComparisonError("name two runs or more: compare RUN RUN ...")
    every = [path.resolve() for paths in runs.values() for path in paths]
    twice = [path for path in every if every.count(path) > 1]
    if twice:
        raise ComparisonError(f"workdir {twice[0]} is named twice")
    return runs


def read_member(workdir: Path, split: str) -> Member:
    """A workdir with its evaluation on `split`, which must be there."""
    directory = workdir / "evaluation" / split
    try:
        config = parse_json((workdir / "config.json").read_bytes())
    except (OSError, ValueError):
        config = {}
    return Member(
        workdir=workdir,
        directory=directory,
        evaluation=Evaluation.read(directory),
        history=read_history(workdir),
        config=config if isinstance(config, dict) else {},
    )


def require_same_pictures(runs: Sequence[Run]) -> None:
    """Raises ComparisonError, naming what differs, unless all judge the same pictures alike."""
    first = runs[0].members[0]
    for member in (member for run in runs for member in run.members):
        ours, theirs = first.evaluation.summary, member.evaluation.summary
        for section, keys in (("data", SAME_DATA), ("protocol", SAME_PROTOCOL)):
            for key in keys:
                values = ours.get(section, {}).get(key), theirs.get(section, {}).get(key)
                if values[0] != values[1]:
                    raise ComparisonError(
                        f"{first.workdir} and {member.workdir} were evaluated differently: "
                        f"{section} {key} {values[0]!r} and {values[1]!r}; evaluate both on the "
                        "same pictures in the same way"
                    )
