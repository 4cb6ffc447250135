"""The programs of a training: an experiment's functions, compiled for its devices and shapes."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcolor import collector
from jaxcolor.experiment import CHANNELS, Experiment
from jaxcolor.parallel import AXIS
from jaxcolor.training import sharding, steps
from jaxcolor.training.state import GanState


class Validation(NamedTuple):
    """What validation runs, compiled: see `Functions`.

    Attributes:
      evaluation_step: of one validation batch.
      predict: of one picture.
    """

    evaluation_step: jax.stages.Compiled
    predict: jax.stages.Compiled


@collector.held_back()
def compile_train_step(experiment: Experiment) -> jax.stages.Compiled:
    """The training step, which donates the state."""
    state, batch, rng = describe_inputs(experiment, experiment.settings.train.batch_size)
    specs = _specs(experiment, state)
    step = experiment.devices.wrap(
        experiment.functions.train_step,
        donate_state=True,
        state_specs=specs,
        out_specs=(specs, P()),
    )
    return step.lower(state, batch, rng).compile()


def compile_is_finite(experiment: Experiment) -> jax.stages.Compiled:
    """`steps.is_finite`, of a state."""
    return jax.jit(steps.is_finite).lower(describe_state(experiment)).compile()


@collector.held_back()
def compile_validation(experiment: Experiment) -> Validation:
    """What validation runs. It is not needed before the end of an epoch."""
    devices, functions = experiment.devices, experiment.functions
    state, batch, rng = describe_inputs(experiment, evaluation_batch_size(experiment))
    for name, kind in (("mask", np.float32), ("index", np.int32)):
        shape = batch["target"].shape[:1]
        batch[name] = jax.ShapeDtypeStruct(shape, kind, sharding=devices.sharded)
    one = jax.ShapeDtypeStruct(
        (1, *batch["condition"].shape[1:]), np.uint8, sharding=devices.replicated
    )
    with ThreadPoolExecutor(1) as thread:  # one is compiled while the other is traced
        specs = _specs(experiment, state)
        step = devices.wrap(functions.evaluation_step, state_specs=specs).lower(state, batch, rng)
        step = thread.submit(step.compile)
        predict = jax.jit(functions.predict).lower(state, one, rng).compile()
        return Validation(step.result(), predict)


def evaluation_batch_size(experiment: Experiment) -> int:
    """The batch size of validation, rounded up to a multiple of the devices: padding is masked."""
    count = experiment.devices.device_count
    return -(-experiment.settings.evaluation.batch_size // count) * count


def describe_state(experiment: Experiment) -> GanState:
    """A state's shapes, types and placement, with nothing computed."""
    state = jax.eval_shape(experiment.functions.create_state, jax.random.key(0))
    return jax.tree.map(
        lambda x, spec: jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=NamedSharding(experiment.devices.mesh, spec)
        ),
        state,
        _specs(experiment, state),
    )


def _specs(experiment: Experiment, state: GanState) -> GanState:
    """The PartitionSpec of every array of a state."""
    count = experiment.devices.device_count
    if experiment.settings.parallel.shard_optimizer and count > 1:
        return sharding.state_specs(state, AXIS, count)
    return jax.tree.map(lambda _: P(), state)


def describe_inputs(experiment: Experiment, batch_size: int):
    """Shapes, types and placement of a state, a batch and a root key."""
    size = experiment.settings.data.image_size
    batch = {
        name: jax.ShapeDtypeStruct(
            (batch_size, size, size, channels), np.uint8, sharding=experiment.devices.sharded
        )
        for name, channels in (("condition", experiment.condition_channels), ("target", CHANNELS))
    }
    rng = _replicated(experiment, jax.eval_shape(jax.random.key, 0))
    return describe_state(experiment), batch, rng


def _replicated(experiment: Experiment, tree):
    place = experiment.devices.replicated
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)
