"""Where a run starts: at its newest checkpoint, at another run's weights, or afresh."""

from pathlib import Path

import jax

from jaxcolor import collector, mirror
from jaxcolor.errors import ConfigError
from jaxcolor.experiment import Experiment
from jaxcolor.programs import describe_state
from jaxcolor.training.checkpoints import MISSING, Checkpoints, differing_keys
from jaxcolor.training.state import GanState

# What may differ when a run is resumed: how training is run, not what it computes.
FREE_ON_RESUME = (
    "init_from",
    "data.path",
    "data.source",
    "data.tfds_directory",
    "data.max_bad_fraction",
    "loader.",
    "checkpoint.",
    "evaluation.",
    "parallel.backend",
    "parallel.shard_optimizer",
    "train.log_every",
    "train.early_stopping_epochs",
    "train.on_nan",
    "train.max_rollbacks",
    "train.watchdog_seconds",
    "train.lowering",
    "train.accumulate_steps",
)

# Keys that a config may lack, as those of older checkpoints do, and what they stand for.
NEW_KEYS = {
    "losses.l2": 0.0,
    "losses.real_label": 1.0,
    "train.color_space": "rgb",
    "train.generator_updates": 1,
    "parallel.gradient_dtype": "float32",
    "generator.architecture": "unet",
    "generator.plain_bias": False,
}

# What decides the names, shapes and meaning of the parameters.
SHAPING_KEYS = (
    "data.image_size",
    "train.color_space",
    "generator.architecture",
    "generator.width_factors",
    "derived.condition_channels",
    "generator.base_width",
    "generator.norm",
    "generator.normalize_bottleneck",
    "generator.plain_bias",
    "generator.output_channels",
    "discriminator.base_width",
    "discriminator.strided_layers",
    "discriminator.first_bias",
    "discriminator.norm",
    "discriminator.bias_before_norm",
)


def initial_state(experiment: Experiment, workdir: Path, checkpoints: Checkpoints) -> GanState:
    """The newest checkpoint's state, or a fresh one, or one with another run's weights."""
    latest = checkpoints.latest()
    if latest is not None:
        _check_same_experiment(experiment, checkpoints.config(latest), workdir)
        print(f"resuming {workdir} at step {latest} of {experiment.plan.total_steps}")
        return checkpoints.restore(latest, like=describe_state(experiment))
    # Jitted, the forward passes that only tell the shapes are never computed.
    placed = jax.tree.map(lambda x: x.sharding, describe_state(experiment))
    create = jax.jit(experiment.functions.create_state, out_shardings=placed)
    with collector.held_back():
        state = create(jax.random.fold_in(jax.random.key(experiment.config["seed"]), 0))
    return _take_weights(experiment, state) if experiment.config["init_from"] else state


def _check_same_experiment(experiment: Experiment, stored: dict, workdir: Path) -> None:
    """Raises ConfigError if the config would not go on with the stored run."""
    free = FREE_ON_RESUME
    schedules = [
        experiment.config[name].get("schedule", "constant")
        for name in ("generator_optimizer", "discriminator_optimizer")
        if name in experiment.config
    ]
    if "constant_then_linear" not in schedules:
        free = (*free, "train.epochs")
    changed = {
        key: values
        for key, values in _changes(experiment.config, stored).items()
        if not key.startswith(free)
    }
    if any(key.startswith("derived.") for key in changed):
        raise ConfigError(
            f"workdir {workdir} was trained on other pictures: use a new --workdir, or, to go on "
            "with its weights on these, a new one with --config.init_from"
        )
    if changed:
        listed = "; ".join(f"{key} is {a!r}, was {b!r}" for key, (a, b) in changed.items())
        raise ConfigError(
            f"workdir {workdir} was trained with another config: {listed}. "
            "Set these back, or start over in a new --workdir"
        )


def _take_weights(experiment: Experiment, state: GanState) -> GanState:
    """`state` with the parameters and norm statistics of the run `init_from`; best, else last.

    Of a run with other losses, which has no discriminator or needs none, the generator is taken.
    """
    origin = mirror.as_it_is(experiment.config["init_from"])
    directory = origin / "checkpoints"
    if not directory.is_dir():
        raise ConfigError(f"init_from {origin} is no workdir: it has no directory checkpoints")
    with Checkpoints(directory, read_only=True) as theirs:
        step = theirs.best() if theirs.best() is not None else theirs.latest()
        if step is None:
            raise ConfigError(f"init_from {origin} has no checkpoint yet")
        theirs.check(step)
        stored = theirs.config(step)
        both = all("discriminator" in config for config in (experiment.config, stored))
        names = ("generator", "discriminator") if both else ("generator",)
        changed = {
            key: values
            for key, values in _changes(experiment.config, stored).items()
            if key in SHAPING_KEYS and not (key.startswith("discriminator.") and not both)
        }
        if changed:
            listed = "; ".join(f"{key} is {a!r}, there {b!r}" for key, (a, b) in changed.items())
            raise ConfigError(f"init_from {origin} has other networks: {listed}")
        weights = theirs.restore_weights(step, {name: getattr(state, name) for name in names})
    kept = "" if both or experiment.discriminator is None else "; the discriminator starts afresh"
    of = "" if both else "the generator of "
    print(f"starting from the weights of {of}{origin}, step {step}{kept}")
    taken = {name: getattr(state, name).replace(**x) for name, x in weights.items()}
    return state.replace(**taken)


def _changes(ours: dict, stored: dict) -> dict[str, tuple]:
    """`differing_keys`, where a config without a newer key has the value that it stands for."""
    filled = {
        key: tuple(NEW_KEYS.get(key, MISSING) if value == MISSING else value for value in values)
        for key, values in differing_keys(ours, stored).items()
    }
    return {key: values for key, values in filled.items() if values[0] != values[1]}
