"""A trained network, loaded from a workdir or an export: neither its data nor devices needed.

Of a checkpoint the generator alone is read: Adam's moments are two thirds of a state.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcolor import collector, experiment, exported, mirror
from jaxcolor.color_coding import CODINGS
from jaxcolor.errors import ConfigError, WorkdirError
from jaxcolor.experiment import Experiment
from jaxcolor.training.checkpoints import Checkpoints
from jaxcolor.training.state import GanState, NetworkState, parameter_count

WHICH = ("best", "latest")
_SHOWN = 300  # characters of an error that a config led to


class Trained(NamedTuple):
    """A generator and all that says how to use it.

    Attributes:
      workdir: where it comes from.
      which: "best", "latest" or a step, as was asked for.
      experiment: rebuilt from the checkpoint's config, without pictures.
      state: of step and generator; there are no optimizer states and no discriminator in it.
      scores: the validation numbers stored with the checkpoint, maybe none.
    """

    workdir: Path
    which: str
    experiment: Experiment
    state: GanState
    scores: dict[str, float]

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config, with what was derived from the training data."""
        return self.experiment.config

    @property
    def image_size(self) -> int:
        """Side in pixels of what the network takes and gives."""
        return self.experiment.settings.data.image_size

    @property
    def condition(self) -> str:
        """What it colours: "given" by the data, or a kind of `conditions.KINDS`."""
        return self.config["derived"]["condition"]

    @property
    def condition_channels(self) -> int:
        """Channels of a condition."""
        return self.experiment.condition_channels

    @property
    def keeps_lightness(self) -> bool:
        """Whether it adds colour to the lightness of a picture, which stays exactly as it is."""
        return CODINGS[self.experiment.settings.train.color_space].keeps_lightness

    @property
    def step(self) -> int:
        """Training steps behind it."""
        return int(jax.device_get(self.state.step))

    @property
    def epoch(self) -> int:
        """The epoch in which its last step was; 0 before any training."""
        plan = self.experiment.plan
        return plan.epoch_of(self.step - 1) if self.step and plan.pictures else 0

    @property
    def is_untrained(self) -> bool:
        """Whether its weights are random: neither trained, nor imported, nor taken from a run."""
        imported = self.config["derived"].get("imported", {})
        return not (self.step or "generator" in imported or self.config.get("init_from"))

    @property
    def warnings(self) -> list[str]:
        """What anybody should know who uses it, a line each."""
        if not self.is_untrained:
            return []
        return [
            f"warning: the generator of {self.workdir} is untrained, so that it gives noise: train "
            "it, or import one"
        ]

    @property
    def parameters(self) -> int:
        """Parameters of the generator."""
        return parameter_count(self.state.generator.params)

    def with_inference(self, statistics: str, dropout: bool) -> "Trained":
        """The same network with another inference mode: see `steps.predict`.

        Raises:
          ConfigError: no such statistics.
        """
        chosen = {"statistics": statistics, "dropout": dropout}
        values = self.config | {"evaluation": self.config.get("evaluation", {}) | chosen}
        return self._replace(experiment=experiment.rebuild(values))

    def predict(
        self,
        condition: np.ndarray | jax.Array,
        places: np.ndarray | None = None,
        *,
        seed: int = 0,
        lightness: jax.Array | None = None,
    ) -> jax.Array:
        """Pictures in colour, RGB [batch, height, width, 3] in [-1, 1].

        One picture does not change another's, whatever the batch.

        Args:
          condition: uint8, or float in [-1, 1], [batch, height, width, channels].
          places: [batch] whole numbers, of which dropout draws its masks; 0, 1, ... by default.
          seed: of the dropout masks, where the inference mode has them.
          lightness: see `steps.predict`; only where the network `keeps_lightness`.

        Raises:
          ConfigError: the condition is not of the network's shape.
        """
        shape = (self.image_size, self.image_size, self.condition_channels)
        if condition.ndim != 4 or condition.shape[1:] != shape:
            raise ConfigError(
                f"a condition must have the shape [batch, {', '.join(map(str, shape))}], not "
                f"{list(condition.shape)}"
            )
        places = jnp.arange(len(condition)) if places is None else jnp.asarray(places)
        function = _jitted(self.experiment.functions.predict)
        options = {"places": places} | ({} if lightness is None else {"lightness": lightness})
        return function(self.state, condition, jax.random.key(seed), **options)


@functools.lru_cache(maxsize=8)
def _jitted(function):
    """`function` compiled once, however often it is called."""
    return jax.jit(function)


@collector.held_back()
def load_trained(workdir: str | Path, checkpoint: str = "best") -> Trained:
    """The network of a workdir; its training data may be gone, and the devices be others.

    Args:
      workdir: of a training, finished or not; it may go on meanwhile. Or a directory that an export
        wrote.
      checkpoint: "best" by the validation metric of its config, or else the latest; "latest"; or
        a step that was kept.

    Raises:
      WorkdirError: there is no such workdir or checkpoint, or it is damaged.
      ConfigError: it was made by another version, with settings that this one does not know.
    """
    workdir = mirror.as_it_is(workdir)
    directory = workdir / "checkpoints"
    if not workdir.is_dir():
        raise WorkdirError(f"no directory {workdir}: give the workdir of a training")
    if exported.is_exported(workdir):
        return _load_exported(workdir, checkpoint)
    if not directory.is_dir():
        raise WorkdirError(f"{workdir} is no workdir of a training: it has no folder checkpoints")
    with Checkpoints(directory, read_only=True) as checkpoints:
        step = _choose(checkpoints, checkpoint, workdir)
        with checkpoints.checking(step):
            values = checkpoints.config(step)
            built, like = _rebuild(values, f"checkpoint {step} of {workdir}")
            placed = functools.partial(_placed, built.devices.replicated)
            like = jax.tree.map(placed, like.generator)
            weights = checkpoints.restore_weights(step, {"generator": like})["generator"]
            scores = checkpoints.metrics(step)
    generator = NetworkState(**weights, opt_state=())
    nothing = NetworkState({}, {}, {})
    state = GanState(jnp.asarray(step, jnp.int32), generator, discriminator=nothing)
    return Trained(workdir, checkpoint, built, state, scores)


def _placed(sharding, x):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _load_exported(directory: Path, checkpoint: str) -> Trained:
    """The network that was exported; there is one checkpoint, whichever is asked for."""
    described = exported.read_description(directory)
    if checkpoint not in (*WHICH, str(described.step)):
        raise WorkdirError(
            f"{directory} has no checkpoint {checkpoint!r}: step {described.step} was exported"
        )
    built, like = _rebuild(described.config, f"{directory}")
    generator = exported.read_generator(directory, like.generator)
    step = jnp.asarray(described.step, like.step.dtype)
    state = GanState(step, generator, NetworkState({}, {}, {}))
    return Trained(directory, checkpoint, built, state, described.scores)


def _rebuild(values: dict[str, Any], where: str) -> tuple[Experiment, GanState]:
    """The experiment of a stored config, and a state's shapes and types.

    Errors say where the config is.
    """
    try:
        built = experiment.rebuild(values)
        return built, jax.eval_shape(
            built.functions.create_state, jax.eval_shape(jax.random.key, 0)
        )
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except Exception as error:  # JSON, but no config: modules meet it with errors of any kind
        reason = " ".join(str(error).split())[:_SHOWN]
        raise WorkdirError(f"{where} is damaged: its config cannot be used ({reason})") from error


def _choose(checkpoints: Checkpoints, checkpoint: str, workdir: Path) -> int:
    """The step that `checkpoint` names."""
    steps = checkpoints.steps()
    if not steps:
        raise WorkdirError(f"{workdir} has no checkpoint yet: train for an epoch first")
    if checkpoint in WHICH:
        best = checkpoints.best() if checkpoint == "best" else None
        return steps[-1] if best is None else best
    if checkpoint.isdecimal() and int(checkpoint) in steps:
        return int(checkpoint)
    raise WorkdirError(
        f"{workdir} has no checkpoint {checkpoint!r}: choose best, latest or one of "
        f"{', '.join(map(str, steps))}"
    )
