"""A workdir with the checkpoints of a network that was never trained: made without compiling."""

import jax
from test_configuration import load_config

from jaxcolor import experiment
from jaxcolor.training.checkpoints import Checkpoints

SMALL = {
    "data.image_size": 16,
    "augment.load_size": 18,
    "generator.base_width": 4,
    "generator.dropout_levels": (1, 2),
    "discriminator.base_width": 4,
    "discriminator.strided_layers": 1,
    "train.batch_size": 8,
}


def small_experiment(path, **overrides):
    """The experiment of configs/pix2pix.py, small, on the pictures in `path`."""
    config = load_config("pix2pix")
    changes = SMALL | {"data.path": str(path)}
    changes |= {key.replace("__", "."): value for key, value in overrides.items()}
    for key, value in changes.items():
        section, name = key.split(".")
        config[section][name] = value
    return experiment.build(experiment.resolve(config)[0])


def make_workdir(workdir, path, scores=((3, {"l1": 0.5}), (6, {"l1": 0.4})), **overrides):
    """`workdir` with a checkpoint of (step, validation numbers) each; returns the experiment."""
    built = small_experiment(path, **overrides)
    create = jax.jit(built.functions.create_state)
    with Checkpoints(workdir / "checkpoints", keep_last=9) as checkpoints:
        for step, numbers in scores:
            state = create(jax.random.key(step))
            state = state.replace(step=state.step + step)
            checkpoints.save(step, state, built.config, numbers)
        checkpoints.wait()
    return built
