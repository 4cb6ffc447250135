"""The evaluations that workdirs hold: which are to be made anew before they are compared."""

from pathlib import Path
from typing import Any

from jaxcolor import evaluate_command
from jaxcolor.data.check_report import printable
from jaxcolor.errors import DataError, WorkdirError
from jaxcolor.evaluation_arguments import ALL, USUAL, parser
from jaxcolor.evaluation_results import SUMMARY, Evaluation
from jaxcolor.perceptual_measurement import PUBLISHED, is_measurable, lacks_weights_only
from jaxcolor.training.checkpoints import Checkpoints


def evaluate_if_stale(workdir: Path, split: str) -> list[str]:
    """Evaluates a workdir's best checkpoint, unless its evaluation has all that can be measured.

    Args:
      workdir: of a training; its checkpoints may be gone, the numbers kept.
      split: the evaluation.

    Returns:
      The usual metrics that its evaluation lacks all the same.

    Raises:
      UserError: it has no evaluation, and none can be made.
    """
    if not workdir.is_dir():
        raise WorkdirError(f"{workdir} is no directory: name the workdir of a training")
    directory = workdir / "evaluation" / split
    try:
        summary = Evaluation.read(directory).summary
        done = (summary["checkpoint"] or {})["step"]
    except (DataError, KeyError):  # the latter of an evaluation without a network
        summary, done = {}, None
    if not (workdir / "checkpoints").is_dir():
        if not (directory / SUMMARY).exists():
            raise WorkdirError(
                f"{workdir} has neither checkpoints nor an evaluation of {split}: train there first"
            )
        return lacking(summary)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        best = checkpoints.best()
    is_stale = done is None or (best is not None and done != best)
    if is_stale or any(map(is_measurable, lacking(summary))):
        print(f"evaluating {printable(str(workdir))} on {split}", flush=True)
        names = [name for name in ALL if name in USUAL or _holds(summary, name)]
        words = [str(workdir), "--split", split, "--metrics", ",".join(names)]
        values = parser().parse_args(words)
        summary = evaluate_command.evaluate(values, {}).summary
    return lacking(summary)


def lacking(summary: dict[str, Any]) -> list[str]:
    """The usual metrics that a summary lacks, but for those that its pictures do not allow."""
    missing = summary.get("missing", {})
    return [
        name
        for name in USUAL
        if not _holds(summary, name) and lacks_weights_only(missing.get(name, "no weights"))
    ]


def _holds(summary: dict[str, Any], name: str) -> bool:
    metrics = summary.get("metrics", {})
    return name in metrics or PUBLISHED.get(name) in metrics
