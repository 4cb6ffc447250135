"""What follows when a number is not finite: the end, or another try without the batch at fault."""

from collections.abc import Set

from jaxcolor.errors import TrainingError
from jaxcolor.training.metric_rows import NotFinite
from jaxcolor.training.plan import Parts, Plan
from jaxcolor.training.progress import Progress
from jaxcolor.training.state import GanState

POLICIES = ("stop", "rollback")


def batches_at_fault(step: int, first: int, skipped: Set[int]) -> set[int]:
    """The batches to leave out, by the number of steps before them, so that `step` may be finite.

    That is the batch of that step. Where it or the one before was left out already, the trouble may
    well be older than both, and the last one that was trained on goes with it.

    Args:
      step: in which a number was not finite, the first being 1.
      first: the step of the checkpoint to go on from.
      skipped: batches left out so far.
    """
    batch = step - 1
    if not {batch, batch - 1} & skipped:
        return {batch}
    older = batch - 1
    while older in skipped:
        older -= 1
    return {batch} if older < first else {batch, older}


def go_back(
    error: NotFinite, progress: Progress, like: GanState, *, plan: Plan, parts: Parts
) -> tuple[GanState, Progress]:
    """The last good checkpoint's state and progress, to go on from without the batch at fault.

    Args:
      error: what is not finite.
      progress: before it.
      like: a state's shapes, types and shardings.
      plan: whether to go back, and how often at most.
      parts: have the checkpoints.

    Raises:
      TrainingError: the plan does not allow it, or there is no such checkpoint.
      WorkdirError: the checkpoint is damaged.
    """
    parts.checkpoints.wait()
    good = parts.checkpoints.latest()
    hint = _reason_to_stop(good, progress, plan, parts)
    if hint:
        saved = f"the last good checkpoint is step {good}" if good is not None else "none was saved"
        raise TrainingError(f"{error}; {saved} in {parts.checkpoints.directory}. {hint}")
    parts.checkpoints.check(good)
    batches = batches_at_fault(error.step, good, {*progress.skipped})
    left_out = {"skipped": progress.skipped, "rollbacks": progress.rollbacks}
    progress = plan.progress_at(good, parts.checkpoints)._replace(**left_out).without(batches)
    print(
        f"warning: {error}; back to checkpoint {good}, to go on without the batch of step "
        f"{' and '.join(str(batch + 1) for batch in sorted(batches))} (rollback "
        f"{progress.rollbacks} of at most {plan.max_rollbacks})",
        flush=True,
    )
    return parts.checkpoints.restore(good, like), progress


def _reason_to_stop(good: int | None, progress: Progress, plan: Plan, parts: Parts) -> str:
    """What the user may do since there is no going back, or "" where there is."""
    sections = ("generator_optimizer", "discriminator_optimizer")
    rates = " and ".join(f"{name}.learning_rate" for name in sections if name in parts.config)
    anew = f"tart over in a new --workdir with a lower {rates}"
    if plan.on_nan == "stop":
        return f"S{anew}, or go on without the batch by --config.train.on_nan=rollback"
    if good is None:
        return f"S{anew}, or save sooner by --config.checkpoint.every_steps"
    if progress.rollbacks >= plan.max_rollbacks:
        return f"After {progress.rollbacks} rollbacks (train.max_rollbacks), s{anew}"
    return ""
