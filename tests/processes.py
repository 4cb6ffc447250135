"""Runs of the command in processes of their own: how they end, their checkpoints and logs."""

import json
import time

import jax
import numpy as np

EPOCH_STEPS = 12  # 24 pictures in batches of 2


def finish(process, status=0):
    """Standard output and error of a run that must end with `status`."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == status, f"status {process.returncode}:\n{output}\n{errors}"
    assert "Traceback" not in errors, errors
    return output, errors


def stored_state(workdir, step=None):
    """The newest (or given) checkpoint's arrays by path, as they lie on disk."""
    import orbax.checkpoint as ocp

    steps = [int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()]
    path = workdir / "checkpoints" / str(max(steps) if step is None else step) / "state"
    with ocp.PyTreeCheckpointer() as checkpointer:
        stored = checkpointer.metadata(path).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), stored)
        tree = checkpointer.restore(path, restore_args=as_numpy)
    return {jax.tree_util.keystr(key): np.asarray(x) for key, x in jax.tree.leaves_with_path(tree)}


def logged_rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def wait_for_step(workdir, step, process):
    """Returns when a complete checkpoint of at least `step` is there."""
    directory = workdir / "checkpoints"
    for _ in range(60_000):
        names = [path.name for path in directory.iterdir()] if directory.exists() else []
        if any(name.isdigit() and int(name) >= step for name in names):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    raise AssertionError(f"no checkpoint of step {step}")
