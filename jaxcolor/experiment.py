"""Builds an experiment from its config: the only reader of the config.

Every section of the config holds the keyword arguments of one constructor.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jaxcolor import configuration, parallel
from jaxcolor.color_coding import CODINGS
from jaxcolor.data import pipeline
from jaxcolor.dataset import DataSet, open_data, without_pictures
from jaxcolor.errors import ConfigError
from jaxcolor.metrics import METRICS
from jaxcolor.models.nazeri import NazeriGenerator
from jaxcolor.models.patchgan import PatchGAN
from jaxcolor.models.unet import UNet
from jaxcolor.perceptual_measurement import bind_lpips
from jaxcolor.settings import DISCRIMINATOR_SECTIONS, Settings, read_settings
from jaxcolor.training import optimizers, steps
from jaxcolor.training.plan import Plan
from jaxcolor.training.state import Networks, Optimizers, create_state, from_linen

CHANNELS = 3
# By generator.architecture; the section's other keys are the constructor's.
GENERATORS = {"unet": UNet, "nazeri": NazeriGenerator}


class Experiment(NamedTuple):
    """The parts of an experiment, checked against each other, with nothing computed yet.

    Attributes:
      config: the resolved config as plain values, with what was derived from the data.
      settings: its typed sections.
      devices: where it runs.
      generator: module.
      discriminator: module, or None where the losses need none.
      functions: the pure functions, see `Functions`.
      plan: how long to train.
      data: the pictures and their transforms.
    """

    config: dict[str, Any]
    settings: Settings
    devices: parallel.DataParallel
    generator: UNet | NazeriGenerator
    discriminator: PatchGAN | None
    functions: "Functions"
    plan: Plan
    data: DataSet

    @property
    def sources(self) -> tuple[Any, Any]:
        """Training and validation pictures."""
        return self.data.splits.sources["train"], self.data.splits.sources["val"]

    @property
    def condition_channels(self) -> int:
        """Channels of a condition."""
        return self.data.condition_channels


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
    for name, section in values.items():
        if name not in ("seed", "init_from") and not isinstance(section, dict):
            raise ConfigError(f"config section {name} must have keys; it is {section!r}")
    changes = values.pop("demo_settings", {})
    configuration.unknown_key("", ["data"], values)
    configuration.unknown_key("data", ["path"], values["data"])
    if values["data"]["path"]:
        values.pop("demo", None)
        return values, {}
    if "demo" not in values:
        raise ConfigError("data.path is empty and the config has no section demo: set data.path")
    done = configuration.overlay(values, changes, overridden)
    if "train.batch_size" in done:  # the demo is to run at once on any number of devices
        count = jax.device_count()
        done["train.batch_size"] = -(-done["train.batch_size"] // count) * count
        values["train"]["batch_size"] = done["train.batch_size"]
    return values, done


def build(values: dict[str, Any]) -> Experiment:
    """The experiment that a resolved config describes; draws the demo set if it is to be used.

    Raises:
      ConfigError: a key or value that cannot work.
      DataError: pictures that cannot be used.
    """
    values = dict(values)
    settings = read_settings(values)
    losses = _read_losses(values, settings)
    if not losses.adversarial:
        values = {name: x for name, x in values.items() if name not in DISCRIMINATOR_SECTIONS}
    devices = parallel.DataParallel(backend=settings.parallel.backend)
    parts = settings.train.accumulate_steps
    devices.check_batch_size(settings.train.batch_size, "train.batch_size", parts)
    perceptual = bind_lpips(settings.evaluation.computed, settings.data.image_size)
    generator, discriminator = _build_networks(values, settings)
    _check_accumulation(parts, {"generator": generator, "discriminator": discriminator})
    data = open_data(values, settings)
    _check_condition(settings, data)
    training = data.splits.sources["train"]
    pipeline.check_batch_size(training, settings.train.batch_size)
    values["derived"] = data.derived()
    plan = _plan(settings, len(training))
    return Experiment(
        config=values,
        settings=settings,
        devices=devices,
        generator=generator,
        discriminator=discriminator,
        functions=_bind_functions(
            values, settings, (generator, discriminator), plan, data, perceptual
        ),
        plan=plan,
        data=data,
    )


def rebuild(values: dict[str, Any]) -> Experiment:
    """The experiment of a checkpoint's config, on one device and without its pictures.

    Its functions predict and create states of the checkpoint's shapes; it cannot train.

    Args:
      values: the config as a checkpoint holds it, with what was derived from the data.

    Raises:
      ConfigError: a key or value that cannot work, such as those of another version.
    """
    derived = values.get("derived", {})
    settings = read_settings({name: x for name, x in values.items() if name != "derived"})
    if not {"training_pictures", "condition", "condition_channels"} <= derived.keys():
        raise ConfigError("the config is no checkpoint's: it does not say what was derived")
    generator, discriminator = modules = _build_networks(values, settings)
    data = without_pictures(settings, derived)
    plan = _plan(settings, derived["training_pictures"])
    return Experiment(
        config=values,
        settings=settings,
        devices=parallel.DataParallel(jax.devices()[:1]),
        generator=generator,
        discriminator=discriminator,
        functions=_bind_functions(values, settings, modules, plan, data),
        plan=plan,
        data=data,
    )


def _plan(settings: Settings, pictures: int) -> Plan:
    return Plan(
        epochs=settings.train.epochs,
        pictures=pictures,
        batch_size=settings.train.batch_size,
        log_every=settings.train.log_every,
        checkpoint_every_epochs=settings.checkpoint.every_epochs,
        checkpoint_every_steps=settings.checkpoint.every_steps,
        metrics=settings.evaluation.computed,
        best_by=settings.checkpoint.best_by,
        early_stopping_epochs=settings.train.early_stopping_epochs,
        on_nan=settings.train.on_nan,
        max_rollbacks=settings.train.max_rollbacks,
        watchdog_seconds=settings.train.watchdog_seconds,
    )


def _read_losses(values: dict, settings: Settings) -> steps.LossWeights:
    arguments = configuration.arguments("losses", values["losses"], steps.LossWeights)
    losses = steps.LossWeights(**arguments)
    losses.check()
    repeated = settings.train.generator_updates
    if repeated > 1 and not (losses.adversarial and settings.train.update_order == "sequential"):
        raise ConfigError(
            f"train.generator_updates {repeated} needs losses.adversarial above 0 and "
            "train.update_order=sequential: they follow an update of the discriminator"
        )
    return losses


def _check_condition(settings: Settings, data: DataSet) -> None:
    """Raises ConfigError if the lightness that the colour space keeps is not in the condition."""
    space, condition = settings.train.color_space, data.splits.condition
    if CODINGS[space].keeps_lightness and condition != "lab_l":
        raise ConfigError(
            f"train.color_space {space!r} keeps the lightness of the condition: set "
            f"data.condition=lab_l (it is {condition!r})"
        )


def _check_accumulation(parts: int, modules: dict[str, Any]) -> None:
    """Raises ConfigError if a network would see that its batch comes in parts."""
    for name, module in modules.items():
        # NazeriGenerator has no other norm.
        if parts > 1 and module is not None and getattr(module, "norm", "batch") == "batch":
            raise ConfigError(
                f"train.accumulate_steps {parts} needs {name}.norm=instance or none: batch norm "
                "would take its statistics of each part, not of the batch"
            )


def _build_networks(
    values: dict, settings: Settings
) -> tuple[UNet | NazeriGenerator, PatchGAN | None]:
    shared = {
        "compute_dtype": settings.train.compute_dtype,
        "lowering": settings.train.lowering,
    }
    size = settings.data.image_size
    arguments = functools.partial(
        configuration.arguments, supplied=("image_size", "compute_dtype", "lowering")
    )
    section = dict(values["generator"])
    architecture = section.pop("architecture", "unet")
    if architecture not in GENERATORS:
        raise ConfigError(
            f"generator.architecture {architecture!r} is none of {', '.join(GENERATORS)}"
        )
    build_generator = GENERATORS[architecture]
    generator = build_generator(
        image_size=size, **shared, **arguments("generator", section, build_generator)
    )
    generator.check()
    space = settings.train.color_space
    channels = CODINGS[space].channels
    if generator.output_channels != channels:
        raise ConfigError(
            f"generator.output_channels {generator.output_channels} must be {channels}: "
            f"train.color_space is {space!r}"
        )
    if "discriminator" not in values:
        return generator, None
    discriminator = PatchGAN(
        **shared, **arguments("discriminator", values["discriminator"], PatchGAN)
    )
    discriminator.check(size)
    return generator, discriminator


def _bind_functions(values, settings, modules, plan, data, perceptual=None) -> Functions:
    networks = Networks(*(module and from_linen(module) for module in modules))
    pairs = _optimizers(values, settings, plan)
    both = Optimizers(
        pairs["generator_optimizer"][0], pairs.get("discriminator_optimizer", (None,))[0]
    )
    size, coding = settings.data.image_size, CODINGS[settings.train.color_space]
    inference = {
        "networks": networks,
        "coding": coding,
        "statistics": settings.evaluation.statistics,
        "dropout": settings.evaluation.dropout,
    }
    return Functions(
        create_state=functools.partial(
            create_state,
            networks=networks,
            optimizers=both,
            condition_shape=(1, size, size, data.condition_channels),
            target_shape=(1, size, size, coding.channels),
        ),
        train_step=functools.partial(
            steps.train_step,
            networks=networks,
            optimizers=both,
            losses=_read_losses(values, settings),
            update=settings.train.update_order,
            coding=coding,
            generator_updates=settings.train.generator_updates,
            accumulate_steps=settings.train.accumulate_steps,
            gradient_dtype=settings.parallel.gradient_dtype,
            shard_optimizer=settings.parallel.shard_optimizer,
            axis_name=parallel.AXIS,
            learning_rates=lambda step: {
                f"{name.removesuffix('_optimizer')}/learning_rate": rate(step)
                for name, (_, rate) in pairs.items()
            },
        ),
        evaluation_step=functools.partial(
            steps.evaluation_step,
            axis_name=parallel.AXIS,
            metrics=tuple(name for name in settings.evaluation.computed if name in METRICS),
            perceptual=perceptual,
            **inference,
        ),
        predict=functools.partial(steps.predict, axis_name=None, **inference),
    )


def _optimizers(values: dict, settings: Settings, plan: Plan) -> dict[str, tuple]:
    """Optimizer and learning rate by step, by section, of the networks that there are."""
    fixed = {
        name: {"total_steps": plan.total_steps, "updates_per_step": updates}
        for name, updates in (
            ("generator_optimizer", settings.train.generator_updates),
            ("discriminator_optimizer", 1),
        )
        if name in values
    }
    return {
        name: optimizers.adam(
            **configuration.arguments(name, values[name], optimizers.adam, supplied=more), **more
        )
        for name, more in fixed.items()
    }
