"""Adam and its learning rate, a pure function of the step: nothing to restore but the count."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxcolor.errors import ConfigError

SCHEDULES = ("constant", "constant_then_linear", "exponential")


def learning_rate_schedule(
    learning_rate: float,
    *,
    schedule: str,
    total_steps: int,
    decay_fraction: float,
    decay_steps: int = 10_000,
    floor: float = 1e-6,
) -> Callable[[jax.Array], jax.Array]:
    """The learning rate as a function of the number of steps done.

    "constant_then_linear" keeps the rate, then falls linearly over the last `decay_fraction` of
    the steps. It reaches zero just after the last step, not during the last epoch, whose work
    would be lost (as happens in some versions of the PyTorch reference).

    "exponential" is learning_rate * 0.1 ** (step / decay_steps), but at least `floor`: what Nazeri,
    Ng and Ebrahimi (2018) train with.

    Args:
      learning_rate: the rate at first.
      schedule: one of SCHEDULES.
      total_steps: steps of the whole training.
      decay_fraction: share of them in which the rate falls, in (0, 1].
      decay_steps: steps in which an exponential rate falls to a tenth.
      floor: the least that it falls to.

    Raises:
      ConfigError: a name or number out of range.
    """
    if schedule not in SCHEDULES:
        raise ConfigError(f"optimizer schedule {schedule!r} is none of {SCHEDULES}")
    if not learning_rate >= 0:
        raise ConfigError(f"optimizer learning_rate {learning_rate} must not be negative")
    if not 0 < decay_fraction <= 1:
        raise ConfigError(f"optimizer decay_fraction {decay_fraction} must be in (0, 1]")
    if decay_steps < 1 or floor < 0:
        raise ConfigError(
            f"optimizer decay_steps {decay_steps} must be at least 1, and floor {floor} not "
            "negative"
        )
    if schedule == "constant":
        return lambda step: jnp.full((), learning_rate, jnp.float32)
    if schedule == "exponential":
        return lambda step: jnp.maximum(learning_rate * 0.1 ** (step / decay_steps), floor)
    falling = decay_fraction * total_steps
    return lambda step: learning_rate * jnp.clip((total_steps - step) / falling, 0.0, 1.0)


def adam(
    learning_rate: float = 2e-4,
    b1: float = 0.5,
    b2: float = 0.999,
    epsilon: float = 1e-8,
    schedule: str = "constant",
    decay_fraction: float = 0.5,
    decay_steps: int = 10_000,
    floor: float = 1e-6,
    *,
    total_steps: int,
    updates_per_step: int = 1,
) -> tuple[optax.GradientTransformation, Callable[[jax.Array], jax.Array]]:
    """Adam (Kingma and Ba 2015) and its learning rate by step; pix2pix's numbers by default.

    Args:
      learning_rate: see `learning_rate_schedule`, like the schedule and its numbers.
      b1: weight of the old first moment.
      b2: weight of the old second moment.
      epsilon: added to the root of the second moment.
      schedule: see `learning_rate_schedule`.
      decay_fraction: see there.
      decay_steps: see there.
      floor: see there.
      total_steps: see there.
      updates_per_step: how often Adam is called in a training step: the rate is a function of the
        steps, not of the updates.

    Raises:
      ConfigError: a name or number out of range.
    """
    if not (0 <= b1 < 1 and 0 <= b2 < 1 and epsilon > 0):
        raise ConfigError(
            f"optimizer needs b1, b2 in [0, 1) and epsilon > 0: {b1}, {b2}, {epsilon}"
        )
    rate = learning_rate_schedule(
        learning_rate,
        schedule=schedule,
        total_steps=total_steps,
        decay_fraction=decay_fraction,
        decay_steps=decay_steps,
        floor=floor,
    )
    scale = _scale_by_adam(b1=b1, b2=b2, epsilon=epsilon)
    if updates_per_step == 1:
        return optax.chain(scale, optax.scale_by_learning_rate(rate)), rate
    by_update = optax.scale_by_learning_rate(lambda update: rate(update // updates_per_step))
    return optax.chain(scale, by_update), rate


def _scale_by_adam(*, b1: float, b2: float, epsilon: float) -> optax.GradientTransformation:
    """`optax.scale_by_adam`, its state too, in three passes over the parameters.

    XLA:CPU makes one loop of each line below. Of b1 m + (1 - b1) g, as in optax, it would compute
    mu again in the last loop, copy the old one for that, and take three times as long.
    """
    reference = optax.scale_by_adam(b1=b1, b2=b2, eps=epsilon)

    def update(gradients, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        mu = jax.tree.map(lambda m, g: m + (1 - b1) * (g - m), state.mu, gradients)
        nu = jax.tree.map(lambda v, g: v + (1 - b2) * (g * g - v), state.nu, gradients)
        scale, root = 1 / (1 - b1**count), lax.rsqrt(1 - b2**count)
        updates = jax.tree.map(lambda m, v: scale * m / (jnp.sqrt(v) * root + epsilon), mu, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(reference.init, update)
