"""The training step and the evaluation step of a conditional GAN: pure, per-device code.

Every function here sees one device's part of the batch. Over the axis `axis_name` gradients and
metrics are averaged, so that the result is that of the whole batch; None means a single device.
Pictures come as uint8, or as floats in [-1, 1], [batch, height, width, channels].
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxcolor import colorspace
from jaxcolor import metrics as picture_metrics
from jaxcolor.color_coding import (
    CODINGS,
    ColorCoding,
    lightness_of_condition,
    lightness_of_picture,
)
from jaxcolor.errors import ConfigError
from jaxcolor.training import gradients, updates
from jaxcolor.training.state import GanState, Networks, Optimizers

UPDATES = ("simultaneous", "sequential")
INFERENCE_STATISTICS = ("picture", "running")
# Folded into a picture's key for further updates; the generator folds in the numbers of its levels.
_AGAIN = 1 << 16


class LossWeights(NamedTuple):
    """generator: adversarial * cross-entropy + l1 * L1 + l2 * L2; discriminator: see below.

    Attributes:
      adversarial: of the generator's cross-entropy; 0 trains it without any discriminator.
      l1: of the mean absolute difference from the target, as the networks see it.
      l2: of the mean squared difference.
      discriminator: of real + fake. The paper sums them (1.0); the PyTorch reference halves (0.5).
      real_label: what the discriminator is to call true pictures; 0.9 for label smoothing.
    """

    adversarial: float = 1.0
    l1: float = 100.0
    l2: float = 0.0
    discriminator: float = 1.0
    real_label: float = 1.0

    def check(self) -> None:
        """Raises ConfigError if nothing could be learnt from these weights."""
        for name, weight in self._asdict().items():
            if weight < 0:
                raise ConfigError(f"losses.{name} {weight} must not be negative")
        if not (self.adversarial or self.l1 or self.l2):
            raise ConfigError("losses.adversarial, l1 and l2 are all 0: nothing would be learnt")
        if not 0 < self.real_label <= 1:
            raise ConfigError(f"losses.real_label {self.real_label} must be above 0 and up to 1")


def train_step(
    state: GanState,
    batch: dict[str, jax.Array],
    rng: jax.Array,
    *,
    networks: Networks,
    optimizers: Optimizers,
    losses: LossWeights,
    update: str,
    axis_name: str | None,
    learning_rates: Callable[[jax.Array], dict[str, jax.Array]] = lambda step: {},
    coding: ColorCoding = CODINGS["rgb"],
    generator_updates: int = 1,
    accumulate_steps: int = 1,
    gradient_dtype: str = "float32",
    shard_optimizer: bool = False,
) -> tuple[GanState, dict[str, jax.Array]]:
    """The state after one update of both networks, and the metrics of the state before it.

    One generator forward. "simultaneous" (the paper's) takes both gradients at the same parameters
    and shares one discriminator forward on the fake; "sequential" (the reference's) updates the
    discriminator first and judges the same fake again with the updated one. Without adversarial
    loss there is no discriminator, and its half is left out.

    Args:
      state: parameters, statistics, optimizer states and step.
      batch: "condition" and "target".
      rng: the root key of the run; step and picture are folded in, so nothing random is stored.
      networks: generator and discriminator.
      optimizers: one for each.
      losses: weights of the loss terms.
      update: "simultaneous" or "sequential".
      axis_name: device axis, or None.
      learning_rates: what to report as learning rates at a step.
      coding: of the pictures that the networks see, and the losses compare.
      generator_updates: of the generator on this batch, after the one of the discriminator. Each
        after the first has its own forward, with dropout of its own, and the metrics are those of
        the first. More than one needs "sequential".
      accumulate_steps: in how many parts the device's pictures are taken, one after the other, so
        that only one part's intermediate results need memory. The gradients are their means, and
        dropout's masks those of the whole. "sequential" then costs one more forward of the
        generator, and batch norm would see the parts only.
      gradient_dtype: see `updates.Exchange`.
      shard_optimizer: see there; the optimizer states are this device's part then.
    """
    see = functools.partial(_see, coding=coding)
    if accumulate_steps == 1:  # then once is enough
        batch, see = see(batch), lambda part: part
    keys = picture_keys(rng, state.step, len(batch["condition"]), axis_name)
    part = {"condition": batch["condition"], "target": batch["target"], "keys": keys}
    task = gradients.Task(networks, losses, update, axis_name, see)
    exchange = updates.Exchange(axis_name, gradient_dtype, shard_optimizer)
    finish = {
        name: functools.partial(
            updates.update_network, name, optimizer=optimizer, exchange=exchange
        )
        for name, optimizer in optimizers._asdict().items()
    }
    generator, discriminator, metrics = (
        _update_at_once(task, state, part, finish)
        if accumulate_steps == 1
        else _update_by_parts(task, state, part, finish, accumulate_steps)
    )
    for repetition in range(1, generator_updates):
        fold = functools.partial(jax.random.fold_in, data=_AGAIN + repetition)
        again = part | {"keys": jax.vmap(fold)(keys)}
        find = functools.partial(gradients.of_generator_anew, task, generator, discriminator)
        found = gradients.mean_over_parts(find, again, accumulate_steps)
        generator, _ = finish["generator"](generator, found)
    metrics = updates.average(metrics, exchange) | learning_rates(state.step)
    return GanState(state.step + 1, generator, discriminator), metrics


def _update_at_once(task, state, part, finish):
    """Both updated networks and the metrics; one forward of the generator serves both."""
    forward = gradients.generate(task, state.generator, part)
    discriminator, taught, metrics = state.discriminator, None, {}
    if task.losses.adversarial:
        verdict = gradients.judge(task, state.discriminator, part, forward[0])
        discriminator, metrics = finish["discriminator"](discriminator, verdict.found)
        taught = verdict.teach(discriminator)
    found = gradients.of_generator(task, forward, part, taught)
    generator, more = finish["generator"](state.generator, found)
    return generator, discriminator, metrics | more


def _update_by_parts(task, state, pictures, finish, count):
    """The same of one part of the pictures after the other."""
    average = functools.partial(gradients.mean_over_parts, pictures=pictures, count=count)
    discriminator, metrics = state.discriminator, {}
    if task.losses.adversarial and task.update == "simultaneous":
        found, of_generator = average(functools.partial(gradients.of_both_anew, task, state))
        discriminator, metrics = finish["discriminator"](discriminator, found)
    else:
        if task.losses.adversarial:
            found = average(functools.partial(gradients.of_discriminator_anew, task, state))
            discriminator, metrics = finish["discriminator"](discriminator, found)
        find = functools.partial(gradients.of_generator_anew, task, state.generator, discriminator)
        of_generator = average(find)
    generator, more = finish["generator"](state.generator, of_generator)
    return generator, discriminator, metrics | more


def _see(part: dict[str, jax.Array], coding: ColorCoding) -> dict[str, jax.Array]:
    """The same pictures as the networks see them."""
    condition = colorspace.to_signed(part["condition"])
    target = coding.encode(colorspace.to_signed(part["target"]))
    return part | {"condition": condition, "target": target}


def picture_keys(
    rng: jax.Array,
    step: jax.Array,
    count: int,
    axis_name: str | None,
    places: jax.Array | None = None,
) -> jax.Array:
    """[count] keys, one a picture of this device, from (rng, step, place).

    `places` [count] are the pictures' numbers in their data set, so that batches do not matter;
    without them it is the place in the whole batch, so that the devices that share it do not.
    """
    if places is None:
        places = (lax.axis_index(axis_name) * count if axis_name else 0) + jnp.arange(count)
    key = jax.random.fold_in(rng, step)
    return jax.vmap(lambda place: jax.random.fold_in(key, place))(places)


def predict(
    state: GanState,
    condition: jax.Array,
    rng: jax.Array,
    *,
    networks: Networks,
    statistics: str,
    dropout: bool,
    axis_name: str | None,
    places: jax.Array | None = None,
    coding: ColorCoding = CODINGS["rgb"],
    lightness: jax.Array | None = None,
) -> jax.Array:
    """Predicted pictures, RGB [batch, height, width, 3] in [-1, 1].

    Args:
      state: its generator is used.
      condition: uint8 or [-1, 1], [batch, height, width, channels].
      rng: key of the dropout masks; unused without dropout.
      networks: generator and discriminator.
      statistics: of batch norm: "picture" (each picture's own, so that none changes another's
        output) or "running". The other norms have only the former.
      dropout: draw dropout masks, as pix2pix does when it makes its published pictures.
      axis_name: device axis, or None.
      places: [batch] numbers of the pictures, see `picture_keys`.
      coding: of what the generator gives.
      lightness: L* in 0..100, [batch, height, width, 1], of the picture that the condition was made
        from, for a coding that keeps it; by default that of the condition, in 256 steps.
    """
    condition = colorspace.to_signed(condition)
    keys = picture_keys(rng, state.step, len(condition), axis_name, places) if dropout else None
    with jax.named_scope("generator"):  # as profiles of a training step name it
        coded, _ = networks.generator.apply(
            state.generator.params,
            state.generator.batch_stats,
            condition,
            statistics=statistics,
            dropout_keys=keys,
        )
    if coding.keeps_lightness and lightness is None:
        lightness = lightness_of_condition(condition)
    return coding.decode(coded, lightness)


def is_finite(state: GanState) -> jax.Array:
    """Whether every parameter, running average and optimizer number is; a boolean scalar."""
    leaves = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves]))


def evaluation_step(
    state: GanState,
    batch: dict[str, jax.Array],
    rng: jax.Array,
    *,
    networks: Networks,
    statistics: str,
    dropout: bool,
    axis_name: str | None,
    metrics: tuple[str, ...] = ("l1", "psnr"),
    perceptual: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] | None = None,
    coding: ColorCoding = CODINGS["rgb"],
) -> dict[str, jax.Array]:
    """Sums over the batch's real pictures of the quantities of `metrics`, and their "count".

    Args:
      state: its generator is used.
      batch: "condition", "target", "mask" [batch]: 1 for a picture, 0 for padding; and maybe
        "index" [batch], the pictures' numbers, of which dropout is drawn.
      rng: key of the dropout masks.
      networks: generator and discriminator.
      statistics: see `predict`.
      dropout: see `predict`.
      axis_name: device axis, or None.
      metrics: keys of `metrics.METRICS`.
      perceptual: further quantities by name: functions of predictions and targets, RGB in [-1, 1],
        to [batch].
      coding: see `predict`; the lightness that it keeps is that of the target, unrounded.
    """
    target, mask = colorspace.to_signed(batch["target"]), batch["mask"]
    lightness = lightness_of_picture(target) if coding.keeps_lightness else None
    options = {"networks": networks, "statistics": statistics, "dropout": dropout}
    options |= {"coding": coding, "lightness": lightness, "axis_name": axis_name}
    prediction = predict(state, batch["condition"], rng, places=batch.get("index"), **options)
    by_picture = picture_metrics.measure(prediction, target, metrics)
    by_picture |= {name: of(prediction, target) for name, of in (perceptual or {}).items()}
    by_picture |= {"count": jnp.ones_like(mask)}
    # where, not a product: padding may score an infinite PSNR, and 0 * inf is NaN.
    sums = {name: jnp.sum(jnp.where(mask > 0, x, 0)) for name, x in by_picture.items()}
    return lax.psum(sums, axis_name) if axis_name else sums
