"""Builds an experiment from its config, and runs it: the only reader of the config.

Every section of the config holds the keyword arguments of one constructor.
"""

import contextlib
import functools
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcolor import configuration, parallel
from jaxcolor.data import demo, pipeline, sources, transforms
from jaxcolor.errors import ConfigError, WorkdirError
from jaxcolor.models.patchgan import PatchGAN
from jaxcolor.models.unet import UNet
from jaxcolor.settings import DemoSettings, Settings, read_settings
from jaxcolor.training import loop, optimizers, steps
from jaxcolor.training.checkpoints import Checkpoints, differing_keys
from jaxcolor.training.state import GanState, Networks, Optimizers, create_state, from_linen

CHANNELS = 3

# What may differ when a run is resumed: how training is run, not what it computes.
FREE_ON_RESUME = (
    "init_from",
    "data.path",
    "loader.",
    "checkpoint.",
    "evaluation.",
    "parallel.",
    "train.log_every",
    "train.lowering",
)


class Experiment(NamedTuple):
    """The parts of an experiment, checked against each other, with nothing computed yet.

    Attributes:
      config: the resolved config as plain values, with what was derived from the data.
      settings: its typed sections.
      devices: where it runs.
      generator: module.
      discriminator: module.
      functions: the pure functions, see `Functions`.
      plan: how long to train.
      sources: training and validation pictures.
      transforms: of training and of validation pictures.
    """

    config: dict[str, Any]
    settings: Settings
    devices: parallel.DataParallel
    generator: UNet
    discriminator: PatchGAN
    functions: "Functions"
    plan: loop.Plan
    sources: tuple[Any, Any]
    transforms: tuple[Any, Any]


class Functions(NamedTuple):
    """Pure functions with all that is static bound; per-device ones use the axis `data`.

    Attributes:
      create_state: key -> state.
      train_step: (state, batch, rng) -> (state, metrics), per device.
      evaluation_step: (state, batch, rng) -> sums, per device.
      predict: (state, condition, rng) -> pictures.
    """

    create_state: Callable
    train_step: Callable
    evaluation_step: Callable
    predict: Callable


def resolve(config: ConfigDict, overridden: Iterable[str] = ()) -> tuple[dict, dict]:
    """The config as it will be run, as plain values, and what `demo_settings` changed in it.

    Without data.path, the section `demo_settings` replaces what the command line did not set.

    Args:
      config: as its file and the command line made it.
      overridden: keys set on the command line, "section.key".

    Raises:
      ConfigError: `demo_settings` has a key that the config lacks, or there is nothing to train on.
    """
    values = config.to_dict()
    changes = values.pop("demo_settings", {})
    configuration.unknown_key("", ["data"], values)
    configuration.unknown_key("data", ["path"], values["data"])
    if values["data"]["path"]:
        values.pop("demo", None)
        return values, {}
    if "demo" not in values:
        raise ConfigError("data.path is empty and the config has no section demo: set data.path")
    return values, configuration.overlay(values, changes, overridden)


def build(values: dict[str, Any]) -> Experiment:
    """The experiment that a resolved config describes; draws the demo set if it is to be used.

    Raises:
      ConfigError: a key or value that cannot work.
      DataError: pictures that cannot be used.
    """
    values = dict(values)
    settings = read_settings(values)
    devices = parallel.DataParallel(**settings.parallel._asdict())
    devices.check_batch_size(settings.train.batch_size, "train.batch_size")
    devices.check_batch_size(settings.evaluation.batch_size, "evaluation.batch_size")
    generator, discriminator = _build_networks(values, settings)
    pair_transforms = _build_transforms(values, settings)
    training, validation = _open_sources(values, settings)
    values["derived"] = {"training_pictures": len(training)}
    plan = loop.Plan(
        epochs=settings.train.epochs,
        steps_per_epoch=pipeline.steps_per_epoch(training, settings.train.batch_size),
        batch_size=settings.train.batch_size,
        log_every=settings.train.log_every,
        checkpoint_every_epochs=settings.checkpoint.every_epochs,
        checkpoint_every_steps=settings.checkpoint.every_steps,
    )
    return Experiment(
        config=values,
        settings=settings,
        devices=devices,
        generator=generator,
        discriminator=discriminator,
        functions=_bind_functions(values, settings, generator, discriminator, plan),
        plan=plan,
        sources=(training, validation),
        transforms=pair_transforms,
    )


def _build_networks(values: dict, settings: Settings) -> tuple[UNet, PatchGAN]:
    shared = {
        "compute_dtype": settings.train.compute_dtype,
        "lowering": settings.train.lowering,
    }
    size = settings.data.image_size
    arguments = functools.partial(
        configuration.arguments, supplied=("image_size", "compute_dtype", "lowering")
    )
    generator = UNet(image_size=size, **shared, **arguments("generator", values["generator"], UNet))
    discriminator = PatchGAN(
        **shared, **arguments("discriminator", values["discriminator"], PatchGAN)
    )
    generator.check()
    discriminator.check(size)
    if generator.output_channels != CHANNELS:
        raise ConfigError(f"generator.output_channels must be {CHANNELS}: the pictures are RGB")
    return generator, discriminator


def _build_transforms(values: dict, settings: Settings):
    picture = {"image_size": settings.data.image_size, "resize": settings.data.resize}
    augment = configuration.arguments(
        "augment", values["augment"], transforms.TrainingTransform, supplied=picture
    )
    training = transforms.TrainingTransform(**picture, **augment)
    return training, transforms.ValidationTransform(**picture)


def _open_sources(values: dict, settings: Settings):
    """Training and validation source, of the user's pictures or of the demo set."""
    data = settings.data
    path = data.path
    if not path:
        chosen = DemoSettings(**configuration.arguments("demo", values["demo"], DemoSettings))
        path = demo.demo_directory(size=data.image_size, **chosen._asdict())
    return sources.open_pairs(path, target_side=data.target_side, mixed_sizes=data.mixed_sizes)


def _bind_functions(values, settings, generator, discriminator, plan) -> Functions:
    networks = Networks(from_linen(generator), from_linen(discriminator))
    pairs = {
        name: optimizers.adam(
            **configuration.arguments(
                name, values[name], optimizers.adam, supplied=("total_steps",)
            ),
            total_steps=plan.total_steps,
        )
        for name in ("generator_optimizer", "discriminator_optimizer")
    }
    both = Optimizers(*(optimizer for optimizer, _ in pairs.values()))
    losses = configuration.arguments("losses", values["losses"], steps.LossWeights)
    shape = (1, settings.data.image_size, settings.data.image_size, CHANNELS)
    inference = {
        "networks": networks,
        "statistics": settings.evaluation.statistics,
        "dropout": settings.evaluation.dropout,
    }
    return Functions(
        create_state=functools.partial(
            create_state,
            networks=networks,
            optimizers=both,
            condition_shape=shape,
            target_shape=shape,
        ),
        train_step=functools.partial(
            steps.train_step,
            networks=networks,
            optimizers=both,
            losses=steps.LossWeights(**losses),
            update=settings.train.update,
            axis_name=parallel.AXIS,
            learning_rates=lambda step: {
                f"{name.removesuffix('_optimizer')}/learning_rate": rate(step)
                for name, (_, rate) in pairs.items()
            },
        ),
        evaluation_step=functools.partial(
            steps.evaluation_step, axis_name=parallel.AXIS, **inference
        ),
        predict=functools.partial(steps.predict, axis_name=None, **inference),
    )


def compile_train_step(experiment: Experiment) -> jax.stages.Compiled:
    """The training step, compiled for the experiment's devices and shapes."""
    state, batch, rng = _describe_inputs(experiment, experiment.settings.train.batch_size)
    step = experiment.devices.wrap(experiment.functions.train_step, donate_state=True)
    return step.lower(state, batch, rng).compile()


def _compile_evaluation(experiment: Experiment) -> tuple[Callable, Callable]:
    """The evaluation step and the prediction of a single picture, compiled."""
    devices, functions = experiment.devices, experiment.functions
    state, batch, rng = _describe_inputs(experiment, experiment.settings.evaluation.batch_size)
    mask = jax.ShapeDtypeStruct(batch["target"].shape[:1], np.float32, sharding=devices.sharded)
    evaluation_step = devices.wrap(functions.evaluation_step)
    picture = batch["condition"]
    one = jax.ShapeDtypeStruct((1, *picture.shape[1:]), np.uint8, sharding=devices.replicated)
    return (
        evaluation_step.lower(state, {**batch, "mask": mask}, rng).compile(),
        jax.jit(functions.predict).lower(state, one, rng).compile(),
    )


def _describe_inputs(experiment: Experiment, batch_size: int):
    """Shapes, types and shardings of a state, a batch and a root key."""
    size, devices = experiment.settings.data.image_size, experiment.devices

    def replicated(tree):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=devices.replicated), tree
        )

    rng = jax.eval_shape(jax.random.key, 0)
    state = jax.eval_shape(experiment.functions.create_state, rng)
    picture = jax.ShapeDtypeStruct(
        (batch_size, size, size, CHANNELS), np.uint8, sharding=devices.sharded
    )
    return replicated(state), {"condition": picture, "target": picture}, replicated(rng)


def run(experiment: Experiment, workdir: str | Path) -> GanState:
    """Trains in `workdir`, going on where an earlier run of the same experiment stopped there.

    Raises:
      UserError: whatever the user can mend, in one line.
    """
    workdir = Path(workdir).absolute()
    with _own_workdir(workdir):
        settings = experiment.settings.checkpoint
        kept = {"keep_last": settings.keep_last, "keep_best": settings.keep_best}
        try:
            with Checkpoints(workdir / "checkpoints", **kept) as checkpoints:
                return _run(experiment, workdir, checkpoints)
        except OSError as error:
            raise WorkdirError(f"workdir {workdir}: {error.strerror or error}") from error


def _run(experiment: Experiment, workdir: Path, checkpoints: Checkpoints) -> GanState:
    state = _initial_state(experiment, workdir, checkpoints)
    plan, devices = experiment.plan, experiment.devices
    step = int(jax.device_get(state.step))
    if step >= plan.total_steps:
        print(f"{workdir} is trained: {plan.epochs} epochs, {step} steps. Use a new --workdir")
        return state
    _check_space(workdir, state, experiment.settings.checkpoint, checkpoints)
    _write_config(workdir, experiment.config)
    started = time.perf_counter()
    train_step = compile_train_step(experiment)
    evaluation_step, predict = _compile_evaluation(experiment)
    parts = loop.Parts(
        parallel=devices,
        train_step=train_step,
        compile_seconds=time.perf_counter() - started,
        evaluation_step=evaluation_step,
        predict=predict,
        open_batches=functools.partial(_open_batches, experiment),
        validation_batches=pipeline.validation_batches(
            experiment.sources[1],
            experiment.transforms[1],
            batch_size=experiment.settings.evaluation.batch_size,
        ),
        samples=_samples(experiment),
        checkpoints=checkpoints,
        config=experiment.config,
        workdir=workdir,
    )
    rng = jax.random.fold_in(jax.random.key(experiment.config["seed"]), 1)
    return loop.train(state, devices.replicate(rng), plan=plan, parts=parts)


def _open_batches(experiment: Experiment, step: int):
    return pipeline.training_batches(
        experiment.sources[0],
        experiment.transforms[0],
        batch_size=experiment.settings.train.batch_size,
        seed=experiment.config["seed"],
        start_step=step,
        **experiment.settings.loader._asdict(),
    )


def _samples(experiment: Experiment) -> dict[str, np.ndarray]:
    """The first validation pairs, as the network sees them."""
    source, transform = experiment.sources[1], experiment.transforms[1]
    count = min(experiment.settings.evaluation.samples, len(source))
    pairs = [transform(source[index]) for index in range(count)]
    return {name: np.stack([pair[name] for pair in pairs]) for name in ("condition", "target")}


def _initial_state(experiment: Experiment, workdir: Path, checkpoints: Checkpoints) -> GanState:
    """The newest checkpoint's state, or a fresh one, or one with another run's weights."""
    devices = experiment.devices
    # Jitted, the forward passes that only tell the shapes are never computed.
    create = jax.jit(experiment.functions.create_state, out_shardings=devices.replicated)
    state = create(jax.random.fold_in(jax.random.key(experiment.config["seed"]), 0))
    latest = checkpoints.latest()
    if latest is not None:
        _check_same_experiment(experiment, checkpoints.config(latest), workdir)
        print(f"resuming {workdir} at step {latest} of {experiment.plan.total_steps}")
        return checkpoints.restore(latest, like=state)
    if experiment.config["init_from"]:
        return _take_weights(experiment, state)
    return state


def _check_same_experiment(experiment: Experiment, stored: dict, workdir: Path) -> None:
    """Raises ConfigError if the config would not go on with the stored run."""
    free = FREE_ON_RESUME
    schedules = [
        experiment.config[name].get("schedule", "constant")
        for name in ("generator_optimizer", "discriminator_optimizer")
    ]
    if set(schedules) == {"constant"}:
        free = (*free, "train.epochs")
    changed = {
        key: values
        for key, values in differing_keys(experiment.config, stored).items()
        if not key.startswith(free)
    }
    if changed:
        listed = "; ".join(f"{key} is {a!r}, was {b!r}" for key, (a, b) in changed.items())
        raise ConfigError(
            f"workdir {workdir} was trained with another config: {listed}. "
            "Set these back, or start over in a new --workdir"
        )


def _take_weights(experiment: Experiment, state: GanState) -> GanState:
    """`state` with the parameters and norm statistics of the run `init_from`; best, else last."""
    origin = Path(experiment.config["init_from"])
    directory = origin / "checkpoints"
    if not directory.is_dir():
        raise ConfigError(f"init_from {origin} is no workdir: it has no directory checkpoints")
    with Checkpoints(directory, read_only=True) as theirs:
        step = theirs.best() if theirs.best() is not None else theirs.latest()
        if step is None:
            raise ConfigError(f"init_from {origin} has no checkpoint yet")
        changed = {
            key: values
            for key, values in differing_keys(experiment.config, theirs.config(step)).items()
            if key.startswith(("generator.", "discriminator.", "data.image_size"))
        }
        if changed:
            listed = "; ".join(f"{key} is {a!r}, there {b!r}" for key, (a, b) in changed.items())
            raise ConfigError(f"init_from {origin} has other networks: {listed}")
        weights = theirs.restore(step, like=state)
    print(f"starting from the weights of {origin}, step {step}")

    def with_weights(ours, other):
        return ours.replace(params=other.params, batch_stats=other.batch_stats)

    return state.replace(
        generator=with_weights(state.generator, weights.generator),
        discriminator=with_weights(state.discriminator, weights.discriminator),
    )


def _check_space(workdir: Path, state: GanState, kept, checkpoints: Checkpoints) -> None:
    """Raises WorkdirError if the checkpoints to come cannot fit on the disk."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    # One more than is kept: the old one goes when the new one is complete.
    missing = kept.keep_last + kept.keep_best + 1 - len(checkpoints.steps())
    free = shutil.disk_usage(workdir).free
    if size * missing > free:
        raise WorkdirError(
            f"workdir {workdir}: {missing} checkpoints of {size / 1e6:.1f} MB do not fit into the "
            f"{free / 1e6:.1f} MB free: free some, or lower checkpoint.keep_last and keep_best"
        )


def _write_config(workdir: Path, config: dict) -> None:
    temporary = workdir / "config.json.tmp"
    temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    temporary.replace(workdir / "config.json")


@contextlib.contextmanager
def _own_workdir(workdir: Path) -> Iterator[None]:
    """Makes the workdir, and keeps other runs out of it until done or killed."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(workdir / ".lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise WorkdirError(
            f"workdir {workdir} is in use by another run: wait for it, or use another --workdir"
        ) from None
    except OSError as error:
        raise WorkdirError(
            f"workdir {workdir} cannot be written ({error.strerror}): use another --workdir"
        ) from error
    try:
        yield
    finally:
        lock.release()
