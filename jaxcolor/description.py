"""What an experiment is, in print, before anything is trained: `--dry_run`."""

import jax
import numpy as np
from flax import linen as nn

from jaxcolor.experiment import Experiment
from jaxcolor.programs import compile_train_step

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
    flops = compiled.cost_analysis()["flops"] / (
        experiment.settings.train.batch_size / experiment.devices.device_count
    )
    memory = compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    total = held - memory.alias_size_in_bytes + memory.temp_size_in_bytes
    training, validation = experiment.sources
    return "\n".join(
        [
            *tables,
            f"pictures: {len(training)} to train on, {len(validation)} to validate on",
            f"training step: {flops / 1e9:.1f} GFLOP per image (XLA's count, 2 a multiply-add)",
            f"memory of a step: about {total / 1e6:.0f} MB on each of "
            f"{experiment.devices.device_count} devices ({jax.devices()[0].device_kind}): "
            f"{memory.argument_size_in_bytes / 1e6:.0f} MB of networks, optimizers and batch, "
            f"{memory.temp_size_in_bytes / 1e6:.0f} MB of intermediate results",
        ]
    )


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
