"""run.py, where the batch that follows SPOILED steps makes the generator's weights NaN."""

import sys

import jax
import jax.numpy as jnp

from jaxcolor import train_command
from jaxcolor.training import steps

SPOILED = 3
_train_step = steps.train_step


def train_step(state, batch, rng, **options):
    """The step itself, but for that batch."""
    after, metrics = _train_step(state, batch, rng, **options)
    spoilt = jax.tree.map(
        lambda x: jnp.where(state.step == SPOILED, jnp.nan, x), after.generator.params
    )
    return after.replace(generator=after.generator.replace(params=spoilt)), metrics


if __name__ == "__main__":
    steps.train_step = train_step
    train_command.main(sys.argv)
