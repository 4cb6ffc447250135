"""What an experiment is, in print, before anything is trained: `--dry_run`."""

import math
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxcolor.experiment import Experiment
from jaxcolor.programs import compile_train_step, describe_inputs

TABLE_WIDTH = 110


def describe(experiment: Experiment) -> str:
    """The networks' parameter tables, GFLOP per image and estimated memory of the training step.

    Compiles the step: the numbers are XLA's own, for this machine's devices.
    """
    size = experiment.settings.data.image_size
    condition = np.zeros((1, size, size, experiment.condition_channels), np.float32)
    tables = [_parameter_table(experiment.generator, condition)]
    if experiment.discriminator is not None:
        picture = np.zeros((1, size, size, experiment.generator.output_channels), np.float32)
        tables.append(_parameter_table(experiment.discriminator, condition, picture))
    compiled = compile_train_step(experiment)
    train, devices = experiment.settings.train, experiment.devices
    # XLA counts a loop's body once, so what it counts is one part of a device's pictures.
    pictures = train.batch_size / devices.device_count / train.accumulate_steps
    flops = compiled.cost_analysis()["flops"] / pictures
    training, validation = experiment.sources
    return "\n".join(
        [
            *tables,
            f"pictures: {len(training)} to train on, {len(validation)} to validate on",
            f"training step: {flops / 1e9:.1f} GFLOP per image (XLA's count, 2 a multiply-add)",
            *_memory_table(experiment, compiled.memory_analysis()),
        ]
    )


def _memory_table(experiment: Experiment, memory) -> list[str]:
    """Lines: what of the networks, optimizers and pictures a device holds, and what a step needs.

    Args:
      experiment: what is trained.
      memory: XLA's analysis of the compiled step, per device.
    """
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    total = held - memory.alias_size_in_bytes + memory.temp_size_in_bytes
    lines = [
        f"memory of a step: about {total / 1e6:.0f} MB on each of "
        f"{experiment.devices.device_count} devices ({jax.devices()[0].device_kind})",
        f"{'MB':<34}{'in all':>10}{'a device':>10}",
    ]
    state, batch, _ = describe_inputs(experiment, experiment.settings.train.batch_size)
    for name in ("generator", "discriminator"):
        network = getattr(state, name)
        for kind, tree in (
            ("parameters", network.params),
            ("norm statistics", network.batch_stats),
            ("optimizer state", network.opt_state),
        ):
            if jax.tree.leaves(tree):
                lines.append(_memory_row(f"{name}: {kind}", tree))
    temporary = f"{memory.temp_size_in_bytes / 1e6:>10.1f}"
    return [
        *lines,
        _memory_row("pictures of a batch", batch),
        f"  {'intermediate results, gradients':<32}{'':>10}{temporary}",
    ]


def _memory_row(name: str, tree: Any) -> str:
    """`name` and the megabytes of the arrays described: whole, and what one device has of them."""
    whole, own = 0, 0
    for leaf in jax.tree.leaves(tree):
        whole += math.prod(leaf.shape) * leaf.dtype.itemsize
        own += math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    return f"  {name:<32}{whole / 1e6:>10.1f}{own / 1e6:>10.1f}"


def _parameter_table(module: nn.Module, *inputs: np.ndarray) -> str:
    """Name, output shape and parameters of every layer of `module`, with their sum."""
    table = nn.tabulate(
        module,
        jax.random.key(0),
        depth=1,
        show_repeated=False,
        console_kwargs={"width": TABLE_WIDTH, "force_terminal": False},
        column_kwargs={"overflow": "fold"},
    )
    return table(*inputs)
