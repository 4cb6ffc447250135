"""The config's sections as typed settings, checked: names, types, ranges."""

import typing
from typing import Any, NamedTuple

from jaxcolor import configuration
from jaxcolor.color_coding import CODINGS
from jaxcolor.data.conditions import LINE_STRENGTH, LINE_THICKNESS
from jaxcolor.errors import ConfigError
from jaxcolor.metrics import BY_PICTURE, DISTANCES, truth_of
from jaxcolor.models.conv_lowering import LOWERINGS
from jaxcolor.training import steps, updates
from jaxcolor.training.rollbacks import POLICIES

COMPUTE_DTYPES = ("float32", "bfloat16")
LARGEST_SIZE = 2**14  # pixels; a U-Net has a level for each power of two


class DataSettings(NamedTuple):
    """Section `data`: which pictures, how they make pairs, and their size for the networks.

    Attributes:
      path: a directory, or the name of a TFDS data set; "" for the demo set.
      source: what is there; see `layouts.open_splits`, like all up to `tfds_directory`.
      condition: given, or what to make of the target.
      target_side: the half of side-by-side pictures that is the target.
      target_folder: of two folders.
      condition_folder: of two folders.
      background: under transparent pixels.
      validation_fraction: where no folder says which pictures validate.
      tfds_directory: where TFDS keeps its data sets.
      line_strength: range of the contrast of lines drawn from pictures, see `conditions`.
      line_thickness: range of their width in pixels of a picture of 256.
      drop_greyscale: whether pictures without colour are left out.
      max_bad_fraction: share of the pictures that may be unreadable before the run stops.
      image_size: side in pixels of what the networks see.
      resize: a key of `transforms.METHODS`.
      fit: "stretch" makes pictures square, "crop" takes square parts of them.
    """

    path: str
    source: str = "auto"
    condition: str = "auto"
    target_side: str = "left"
    target_folder: str = "B"
    condition_folder: str = "A"
    background: str = "white"
    validation_fraction: float = 0.05
    tfds_directory: str = ""
    line_strength: tuple[float, ...] = LINE_STRENGTH
    line_thickness: tuple[float, ...] = LINE_THICKNESS
    drop_greyscale: bool = False
    max_bad_fraction: float = 0.01
    image_size: int = 256
    resize: str = "bicubic"
    fit: str = "stretch"


class DemoSettings(NamedTuple):
    """Section `demo`: how many pictures are drawn when there are none, and from which seed."""

    train: int
    validation: int
    seed: int = 0


class LoaderSettings(NamedTuple):
    """Section `loader`: threads, worker processes and batches prefetched by grain."""

    num_threads: int = 2
    num_workers: int = 0
    prefetch: int = 4


class TrainSettings(NamedTuple):
    """Section `train`.

    Attributes:
      epochs: passes over the pictures.
      batch_size: over all devices.
      accumulate_steps: in how many parts each device takes its pictures, see `steps.train_step`.
      update_order: see `steps.train_step`, like the next.
      generator_updates: of the generator, after each of the discriminator.
      color_space: of what the generator gives and the discriminator sees, a key of
        `color_coding.CODINGS`.
      compute_dtype: of the convolutions' operands.
      lowering: of the convolutions, see `conv_lowering`.
      log_every: steps between rows of metrics.jsonl.
      early_stopping_epochs: without a gain in `checkpoint.best_by` before it stops; 0 for none.
      on_nan: what follows a number that is not finite, see `rollbacks`.
      max_rollbacks: to the last good checkpoint, where that is "rollback".
      watchdog_seconds: after which a step or a wait that is not over is reported; 0 for never.
    """

    epochs: int
    batch_size: int
    accumulate_steps: int = 1
    update_order: str = "simultaneous"
    generator_updates: int = 1
    color_space: str = "rgb"
    compute_dtype: str = "float32"
    lowering: str = "auto"
    log_every: int = 50
    early_stopping_epochs: int = 0
    on_nan: str = "stop"
    max_rollbacks: int = 3
    watchdog_seconds: float = 600.0


class CheckpointSettings(NamedTuple):
    """Section `checkpoint`: intervals, and how many of the newest and the best are kept.

    `best_by`, one of the metrics computed in validation, says which are the best.
    """

    every_epochs: int = 1
    every_steps: int = 0
    keep_last: int = 2
    keep_best: int = 1
    best_by: str = "l1"


class EvaluationSettings(NamedTuple):
    """Section `evaluation`: batch norm's statistics, dropout, sample sheet's rows, and metrics."""

    batch_size: int = 8
    statistics: str = "picture"
    dropout: bool = False
    samples: int = 4
    metrics: tuple[str, ...] = ("ssim", "chroma_ratio", "colourfulness_difference")

    @property
    def computed(self) -> tuple[str, ...]:
        """The metrics of each validation: L1 and PSNR, which the epoch's line shows, and others.

        Those that judge by the true pictures have these beside them.
        """
        truths = filter(None, map(truth_of, self.metrics))
        return tuple(dict.fromkeys(("l1", "psnr", *self.metrics, *truths)))


class ParallelSettings(NamedTuple):
    """Section `parallel`: see `parallel.DataParallel` and `updates.Exchange`."""

    backend: str = "shard_map"
    gradient_dtype: str = "float32"
    shard_optimizer: bool = False


class Settings(NamedTuple):
    """The sections above; the others hold the arguments of constructors elsewhere."""

    data: DataSettings
    train: TrainSettings
    checkpoint: CheckpointSettings
    evaluation: EvaluationSettings
    loader: LoaderSettings
    parallel: ParallelSettings


OTHER_SECTIONS = (
    "seed",
    "init_from",
    "demo",
    "augment",
    "generator",
    "discriminator",
    "losses",
    "generator_optimizer",
    "discriminator_optimizer",
)
DISCRIMINATOR_SECTIONS = ("discriminator", "discriminator_optimizer")
OPTIONAL_SECTIONS = ("demo", "checkpoint", "evaluation", "loader", "parallel")


def read_settings(values: dict[str, Any]) -> Settings:
    """The settings in a resolved config.

    Raises:
      ConfigError: a section or key that is unknown or missing, a wrong type, a value out of range.
    """
    kinds = typing.get_type_hints(Settings)
    known = (*kinds, *OTHER_SECTIONS)
    configuration.unknown_key("", values, known)
    optional = OPTIONAL_SECTIONS
    if not values.get("losses", {}).get("adversarial", 1.0):
        optional = (*optional, *DISCRIMINATOR_SECTIONS)
    for name in known:
        if name not in values and name not in optional:
            raise ConfigError(f"config section {name} is missing")
    seed, origin = values["seed"], values["init_from"]
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise ConfigError(f"config key seed {seed!r} must be a whole number from 0 to 2**32 - 1")
    if not isinstance(origin, str):
        raise ConfigError(f"config key init_from {origin!r} must be the path of a workdir, or ''")
    settings = Settings(
        **{
            name: kind(**configuration.arguments(name, values.get(name, {}), kind))
            for name, kind in kinds.items()
        }
    )
    _check_choices(settings)
    _check_minima(settings)
    _check_metrics(settings)
    return settings


def _check_choices(settings: Settings) -> None:
    choices = {
        "train.update_order": steps.UPDATES,
        "train.color_space": tuple(CODINGS),
        "train.compute_dtype": COMPUTE_DTYPES,
        "train.lowering": LOWERINGS,
        "train.on_nan": POLICIES,
        "parallel.gradient_dtype": updates.GRADIENT_DTYPES,
        "evaluation.statistics": steps.INFERENCE_STATISTICS,
    }
    for key, allowed in choices.items():
        value = _value(settings, key)
        if value not in allowed:
            raise ConfigError(f"{key} {value!r} is none of {', '.join(allowed)}")
    if settings.parallel.shard_optimizer and settings.parallel.backend != "shard_map":
        raise ConfigError("parallel.shard_optimizer needs parallel.backend=shard_map")


def _check_metrics(settings: Settings) -> None:
    computed, best_by = settings.evaluation.computed, settings.checkpoint.best_by
    for name in computed:
        if name in DISTANCES:
            raise ConfigError(
                f"evaluation.metrics: {name} is of many pictures at once: only python -m jaxcolor "
                "evaluate computes it"
            )
        if name not in BY_PICTURE:
            hint = configuration.likeness(name, BY_PICTURE)
            raise ConfigError(f"evaluation.metrics: there is no metric {name!r}; {hint}")
    if best_by not in computed:
        hint = (
            "add it there" if best_by in BY_PICTURE else configuration.likeness(best_by, computed)
        )
        raise ConfigError(
            f"checkpoint.best_by {best_by!r} is not among the metrics of evaluation.metrics; {hint}"
        )
    if not BY_PICTURE[best_by].better:
        raise ConfigError(
            f"checkpoint.best_by {best_by!r} describes pictures and is neither good nor bad: take "
            "another metric"
        )
    if settings.train.early_stopping_epochs and not settings.checkpoint.keep_best:
        raise ConfigError(
            "train.early_stopping_epochs needs checkpoint.keep_best of at least 1: the newest "
            "checkpoint will not be the best"
        )


def _check_minima(settings: Settings) -> None:
    minima = {
        "train.epochs": 1,
        "train.batch_size": 1,
        "train.accumulate_steps": 1,
        "train.generator_updates": 1,
        "train.log_every": 1,
        "train.max_rollbacks": 0,
        "train.watchdog_seconds": 0,
        "evaluation.samples": 1,
        "checkpoint.every_epochs": 1,
        "checkpoint.every_steps": 0,
        "checkpoint.keep_last": 1,
        "checkpoint.keep_best": 0,
        "loader.num_threads": 0,
        "loader.num_workers": 0,
        "loader.prefetch": 1,
        "train.early_stopping_epochs": 0,
    }
    if not 0 <= settings.data.max_bad_fraction <= 1:
        raise ConfigError(
            f"data.max_bad_fraction {settings.data.max_bad_fraction} must be from 0 to 1"
        )
    if settings.data.image_size > LARGEST_SIZE:
        raise ConfigError(
            f"data.image_size {settings.data.image_size} must be at most {LARGEST_SIZE}"
        )
    for key, minimum in minima.items():
        if _value(settings, key) < minimum:
            raise ConfigError(f"{key} {_value(settings, key)} must be at least {minimum}")


def _value(settings: Settings, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(settings, section), name)
