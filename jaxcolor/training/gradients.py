"""The gradients of both networks on some pictures, and their mean over parts of a batch.

A part holds "condition", "target" and "keys" of its pictures, see `steps.picture_keys`.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxcolor import losses as loss_functions
from jaxcolor.training import adversary
from jaxcolor.training.state import GanState, Networks, NetworkState
from jaxcolor.training.updates import Found

Part = dict[str, jax.Array]
_JUDGES = {
    "simultaneous": adversary.judge_simultaneously,
    "sequential": adversary.judge_sequentially,
}


class Task(NamedTuple):
    """What is learnt, all of it static.

    Attributes:
      networks: generator and discriminator.
      losses: weights of the loss terms, see `steps.LossWeights`.
      update: "simultaneous" or "sequential".
      axis_name: device axis, for batch norm, or None.
      see: a part -> the same with its pictures as the networks see them.
    """

    networks: Networks
    losses: Any
    update: str
    axis_name: str | None
    see: Callable[[Part], Part]


def generate(task: Task, state: NetworkState, part: Part):
    """The fake, its pullback to the parameters, and the new running statistics."""

    @jax.named_scope("generator")
    def forward(params):
        options = {"axis_name": task.axis_name, "dropout_keys": part["keys"]}
        return task.networks.generator.apply(
            params, state.batch_stats, part["condition"], **options
        )

    return jax.vjp(forward, state.params, has_aux=True)


def judge(task: Task, state: NetworkState, part: Part, fake: jax.Array) -> adversary.Verdict:
    """What the discriminator makes of the true pictures of a part and of these fakes."""
    return _JUDGES[task.update](_judge(task, part), state, part["target"], fake, task.losses)


def of_generator(task: Task, forward, part: Part, taught) -> Found:
    """Gradients of the generator.

    Args:
      task: what is learnt.
      forward: what `generate` gave.
      part: what it gave it of.
      taught: cotangent of the adversarial loss, and the loss; None without.
    """
    fake, pullback, batch_stats = forward
    terms, metrics = [], {}
    if taught is not None:
        cotangent, metrics["generator/adversarial"] = taught
        terms.append((task.losses.adversarial, "adversarial", cotangent))
    for name in ("l1", "l2"):
        weight, function = getattr(task.losses, name), getattr(loss_functions, name)
        if weight:
            loss, gradient = jax.value_and_grad(function)(fake, part["target"])
            metrics[f"generator/{name}"] = loss
            terms.append((weight, name, gradient))
        elif name == "l1":  # reported in any case, so that runs compare
            metrics["generator/l1"] = function(fake, part["target"])
    gradients = pullback(_sum(weight * x for weight, _, x in terms))[0]
    loss = _sum(weight * metrics[f"generator/{name}"] for weight, name, _ in terms)
    return Found(gradients, batch_stats, metrics | {"generator/loss": loss})


def of_generator_anew(
    task: Task, generator: NetworkState, discriminator: NetworkState, part: Part
) -> Found:
    """Gradients of the generator by a forward of its own, which this discriminator judges."""
    part = task.see(part)
    forward = generate(task, generator, part)
    if not task.losses.adversarial:
        return of_generator(task, forward, part, None)
    taught = adversary.judge_fake(_judge(task, part), discriminator, forward[0])
    return of_generator(task, forward, part, taught)


def of_discriminator_anew(task: Task, state: GanState, part: Part) -> Found:
    """Gradients of the discriminator, on fakes of which the generator is told nothing."""
    part = task.see(part)
    fake = generate(task, state.generator, part)[0]
    return judge(task, state.discriminator, part, fake).found


def of_both_anew(task: Task, state: GanState, part: Part) -> tuple[Found, Found]:
    """Gradients of discriminator and generator at the same parameters."""
    part = task.see(part)
    forward = generate(task, state.generator, part)
    verdict = judge(task, state.discriminator, part, forward[0])
    taught = verdict.teach(state.discriminator)
    return verdict.found, of_generator(task, forward, part, taught)


def mean_over_parts(find: Callable[[Part], Any], pictures: Part, count: int) -> Any:
    """The mean of what `find` gives of `count` equal parts of `pictures`, one after the other.

    Only one part's intermediate results are in memory at a time. For means over pictures, and so
    for gradients of such, it is what `find` gives of all of them at once, but for rounding; not so
    for what batch norm makes of a batch.
    """
    if count == 1:
        return find(pictures)
    find = jax.jit(find)  # so that it is traced once
    parts = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), pictures)
    first = jax.tree.map(lambda x: x[0], parts)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(find, first))

    def add(total, part):
        return jax.tree.map(jnp.add, total, find(part)), None

    total, _ = lax.scan(add, nothing, parts)
    return jax.tree.map(lambda x: x / count, total)


def _judge(task: Task, part: Part) -> adversary.Judge:
    apply = task.networks.discriminator.apply
    return adversary.Judge(apply, part["condition"], task.axis_name)


def _sum(terms):
    return functools.reduce(operator.add, terms)
