"""What the discriminator makes of true pictures and fakes: its gradients, and its verdict.

Pictures are as the networks see them: see `color_coding`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcolor import losses as loss_functions
from jaxcolor.training.state import NetworkState
from jaxcolor.training.updates import Found


class Judge(NamedTuple):
    """The discriminator, given the condition and how it is called."""

    apply: Callable
    condition: jax.Array
    axis_name: str | None

    @jax.named_scope("discriminator")
    def __call__(self, params, batch_stats, picture):
        """Logits and new running statistics. Real and fake are judged apart: together they would
        share batch statistics.
        """
        return self.apply(params, batch_stats, self.condition, picture, axis_name=self.axis_name)


class Verdict(NamedTuple):
    """What the discriminator made of true pictures and fakes.

    Attributes:
      found: its own gradients, statistics and metrics.
      teach: discriminator, which may be the updated one -> what `judge_fake` gives.
    """

    found: Found
    teach: Callable[[NetworkState], tuple[jax.Array, jax.Array]]


def judge_simultaneously(judge: Judge, state: NetworkState, target, fake, losses) -> Verdict:
    """The verdict of one forward on the fake, shared with the generator, which awaits no update."""
    real = _judge_real(judge, state, target, losses)
    logits, pullback, stats = jax.vjp(
        lambda params, picture: judge(params, real[1], picture), state.params, fake, has_aux=True
    )
    fake_loss, as_fake = _loss_and_cotangent(logits, real=False)
    adversarial, as_real = _loss_and_cotangent(logits, real=True)
    fake_half = (pullback(losses.discriminator * as_fake)[0], logits, fake_loss, stats)
    return _join(real, fake_half, losses, lambda _: (pullback(as_real)[1], adversarial))


def judge_sequentially(judge: Judge, state: NetworkState, target, fake, losses) -> Verdict:
    """The same with the fake judged again, for the generator, by the updated discriminator."""
    real = _judge_real(judge, state, target, losses)
    logits, pullback, stats = jax.vjp(
        lambda params: judge(params, real[1], fake), state.params, has_aux=True
    )
    fake_loss, as_fake = _loss_and_cotangent(logits, real=False)
    fake_half = (pullback(losses.discriminator * as_fake)[0], logits, fake_loss, stats)
    return _join(real, fake_half, losses, lambda updated: judge_fake(judge, updated, fake))


def judge_fake(judge: Judge, state: NetworkState, fake) -> tuple[jax.Array, jax.Array]:
    """Cotangent of a fake that is to pass for real, and the loss it belongs to.

    The label is 1 whatever that of true pictures is: label smoothing is one-sided.
    """
    logits, pullback, _ = jax.vjp(
        lambda picture: judge(state.params, state.batch_stats, picture), fake, has_aux=True
    )
    adversarial, as_real = _loss_and_cotangent(logits, real=True)
    return pullback(as_real)[0], adversarial


def _loss_and_cotangent(logits: jax.Array, *, real: float) -> tuple[jax.Array, jax.Array]:
    return jax.value_and_grad(loss_functions.sigmoid_cross_entropy)(logits, real=real)


def _judge_real(judge, state: NetworkState, target, losses):
    """Parameter gradients, statistics and metrics of the discriminator on the true pictures."""
    logits, pullback, stats = jax.vjp(
        lambda params: judge(params, state.batch_stats, target), state.params, has_aux=True
    )
    loss, cotangent = _loss_and_cotangent(logits, real=losses.real_label)
    metrics = {
        "discriminator/real": loss,
        "discriminator/accuracy_real": jnp.mean(logits > 0),
    }
    return pullback(losses.discriminator * cotangent)[0], stats, metrics


def _join(real, fake, losses, teach) -> Verdict:
    """The verdict of both halves."""
    (real_gradients, _, real_metrics), (fake_gradients, fake_logits, fake_loss, stats) = real, fake
    gradients = jax.tree.map(jnp.add, real_gradients, fake_gradients)
    metrics = real_metrics | {
        "discriminator/fake": fake_loss,
        "discriminator/loss": losses.discriminator
        * (real_metrics["discriminator/real"] + fake_loss),
        "discriminator/accuracy_fake": jnp.mean(fake_logits <= 0),
    }
    return Verdict(Found(gradients, stats, metrics), teach)
