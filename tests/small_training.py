"""The training loop with a network of one array, whose step compiles in no time."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from jaxcolor.parallel import DataParallel
from jaxcolor.training import loop, steps
from jaxcolor.training.checkpoints import Checkpoints
from jaxcolor.training.plan import Parts, Plan
from jaxcolor.training.state import GanState, NetworkState

PICTURES, BATCH_SIZE = 8, 2
EPOCH_STEPS = PICTURES // BATCH_SIZE
DEVICES = DataParallel(jax.devices()[:1])


def draw_batch(step, count=BATCH_SIZE):
    """The batch of a step: a function of it alone."""
    pixels = np.random.default_rng(step).integers(0, 256, (2, count, 4, 4, 3), np.uint8)
    return {"condition": pixels[0], "target": pixels[1]}


def fresh_state():
    """The state before the first step."""
    generator = NetworkState({"weights": jnp.arange(5.0)}, {}, {"moments": jnp.zeros(5)})
    state = GanState(jnp.zeros((), jnp.int32), generator, NetworkState({}, {}, {}))
    return DEVICES.replicate(state)


@functools.partial(jax.jit, donate_argnums=0)
def train_step(state, batch, rng):
    """Every step leaves its trace in the weights, whose order matters."""
    loss = batch["target"].mean() / 255 + 0.01 * jax.random.uniform(
        jax.random.fold_in(rng, state.step)
    )
    moments = 0.9 * state.generator.opt_state["moments"] + loss
    weights = state.generator.params["weights"] * 0.95 + 0.1 * moments
    generator = NetworkState({"weights": weights}, {}, {"moments": moments})
    return state.replace(step=state.step + 1, generator=generator), {"generator/l1": loss}


@jax.jit
def evaluation_step(state, batch, rng):
    """Sums over a batch, from which L1 and PSNR are made."""
    l1 = jnp.abs(state.generator.params["weights"]).mean()
    return {"l1": l1 * batch["mask"].sum(), "psnr": l1, "count": batch["mask"].sum()}


@jax.jit
def predict(state, condition, rng):
    """A picture of the weights' mean."""
    return jnp.full(condition.shape, jnp.tanh(state.generator.params["weights"].mean()))


def training_batches(step):
    """Those from a step on."""
    while True:
        yield draw_batch(step)
        step += 1


def validation_batches():
    """Two full batches."""
    index = np.arange(BATCH_SIZE, dtype=np.int32)
    more = {"mask": np.ones(BATCH_SIZE, np.float32), "index": index}
    return [draw_batch(10**6 + number) | more for number in range(2)]


def train(workdir, *, keep_last=2, **options):
    """Trains in `workdir`, going on where it stopped; the state. See `train_with`."""
    kept = {"keep_last": keep_last, "best_by": "l1"}
    with Checkpoints(workdir / "checkpoints", **kept) as checkpoints:
        return train_with(checkpoints, workdir, **options)


def train_with(checkpoints, workdir, *, epochs=3, every_steps=0, log_every=1, **replaced):
    """The state after a training that goes on where it stopped.

    Args:
      checkpoints: open.
      workdir: of the reports.
      epochs: of `EPOCH_STEPS` steps.
      every_steps: steps between checkpoints.
      log_every: steps between rows.
      replaced: fields of `Plan` and `Parts` to be others.
    """
    plan = Plan(epochs, PICTURES, BATCH_SIZE, log_every, 1, every_steps)
    plan = plan._replace(**{name: replaced.pop(name) for name in {*replaced} & {*Plan._fields}})
    programs = SimpleNamespace(evaluation_step=evaluation_step, predict=predict)
    parts = Parts(
        parallel=DEVICES,
        train_step=train_step,
        is_finite=jax.jit(steps.is_finite),
        compile_validation=lambda: programs,
        compile_seconds=0.0,
        open_batches=training_batches,
        count_bad=lambda: 0,
        advise=lambda share: "",
        validation_batches=validation_batches(),
        samples=draw_batch(10**7),
        checkpoints=checkpoints,
        config={"generator_optimizer": {"learning_rate": 1.0}},
        workdir=workdir,
    )._replace(**replaced)
    latest, state = checkpoints.latest(), fresh_state()
    if latest is not None:
        state = checkpoints.restore(latest, like=state)
    return loop.train(state, DEVICES.replicate(jax.random.key(0)), plan=plan, parts=parts)


def assert_same(ours, theirs):
    """That two states are the same to the bit."""
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
