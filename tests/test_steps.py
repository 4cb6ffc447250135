"""The training step: gradients by finite differences, losses by hand, device counts, backends."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcolor import losses
from jaxcolor.models.patchgan import PatchGAN
from jaxcolor.models.unet import UNet
from jaxcolor.parallel import AXIS, DataParallel
from jaxcolor.training import steps
from jaxcolor.training.state import Networks, Optimizers, create_state, from_linen

SIZE = 16
SHAPE = (1, SIZE, SIZE, 3)
WEIGHTS = steps.LossWeights(adversarial=0.7, l1=10.0, discriminator=0.5)


@pytest.fixture
def float64():
    """Double precision, in which finite differences and equality are sharp."""
    with jax.enable_x64(True):
        yield


def tiny_networks(norm="batch", dtype="float64", dropout_levels=(1,)):
    generator = UNet(
        image_size=SIZE,
        base_width=3,
        norm=norm,
        dropout_levels=dropout_levels,
        compute_dtype=dtype,
    )
    discriminator = PatchGAN(base_width=3, strided_layers=2, norm=norm, compute_dtype=dtype)
    return Networks(from_linen(generator), from_linen(discriminator))


def tiny_state(networks, optimizers):
    create = functools.partial(
        create_state,
        networks=networks,
        optimizers=optimizers,
        condition_shape=SHAPE,
        target_shape=SHAPE,
    )
    return jax.jit(create)(jax.random.key(5))


def tiny_batch(count):
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, count, SIZE, SIZE, 3))
    return {"condition": jnp.asarray(pictures[0]), "target": jnp.asarray(pictures[1])}


def directional_difference(loss, params, given, direction, epsilon=1e-6):
    """(loss(params + epsilon direction) - loss(params - epsilon direction)) / 2 epsilon."""
    ahead = jax.tree.map(lambda p, d: p + epsilon * d, params, direction)
    behind = jax.tree.map(lambda p, d: p - epsilon * d, params, direction)
    return float(loss(ahead, given) - loss(behind, given)) / (2 * epsilon)


def random_direction(params, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)), params)


def product(first, second):
    return sum(
        float(jnp.vdot(a, b)) for a, b in zip(*map(jax.tree.leaves, (first, second)), strict=True)
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("update", steps.UPDATES)
def test_gradients_are_those_of_the_losses(update):
    """With plain gradient descent of rate 1 the change of the parameters is the gradient."""
    networks = tiny_networks()
    optimizers = Optimizers(optax.sgd(1.0), optax.sgd(1.0))
    before, batch, rng = tiny_state(networks, optimizers), tiny_batch(2), jax.random.key(1)
    step = functools.partial(
        steps.train_step,
        networks=networks,
        optimizers=optimizers,
        losses=WEIGHTS,
        update=update,
        axis_name=None,
    )
    after, metrics = jax.jit(step)(before, batch, rng)
    # Passed as an argument: what a jitted function closes over, XLA folds for minutes.
    given = {
        "batch": batch,
        "keys": steps.picture_keys(rng, before.step, 2, None),
        "before": before,
        "judging": before if update == "simultaneous" else after,
    }

    def generate(params, given):
        stats, condition = given["before"].generator.batch_stats, given["batch"]["condition"]
        return networks.generator.apply(params, stats, condition, dropout_keys=given["keys"])[0]

    def judge(params, given, picture):
        stats, condition = given["before"].discriminator.batch_stats, given["batch"]["condition"]
        return networks.discriminator.apply(params, stats, condition, picture)[0]

    def generator_loss(params, given):
        fake = generate(params, given)
        logits = judge(given["judging"].discriminator.params, given, fake)
        adversarial = jnp.mean(jnp.log1p(jnp.exp(-logits)))
        return 0.7 * adversarial + 10 * jnp.mean(jnp.abs(fake - given["batch"]["target"]))

    def discriminator_loss(params, given):
        real = jnp.mean(jnp.log1p(jnp.exp(-judge(params, given, given["batch"]["target"]))))
        fake = judge(params, given, generate(given["before"].generator.params, given))
        return 0.5 * (real + jnp.mean(jnp.log1p(jnp.exp(fake))))

    cases = {"generator": jax.jit(generator_loss), "discriminator": jax.jit(discriminator_loss)}
    for name, loss in cases.items():
        params = getattr(before, name).params
        change = jax.tree.map(jnp.subtract, params, getattr(after, name).params)
        value = float(loss(params, given))
        assert float(metrics[f"{name}/loss"]) == pytest.approx(value, rel=1e-9)
        norm = np.sqrt(product(change, change))
        assert float(metrics[f"{name}/gradient_norm"]) == pytest.approx(norm, rel=1e-9)
        for seed in range(3):
            direction = random_direction(params, seed)
            measured = directional_difference(loss, params, given, direction)
            assert product(change, direction) == pytest.approx(measured, rel=2e-5, abs=1e-7)


def test_losses_by_hand():
    logits = jnp.array([[0.0, 2.0], [-1.0, 0.5]])
    real = np.mean([np.log(2), np.log1p(np.exp(-2)), np.log1p(np.exp(1)), np.log1p(np.exp(-0.5))])
    fake = np.mean([np.log(2), np.log1p(np.exp(2)), np.log1p(np.exp(-1)), np.log1p(np.exp(0.5))])
    assert float(losses.sigmoid_cross_entropy(logits, real=True)) == pytest.approx(real, rel=1e-6)
    assert float(losses.sigmoid_cross_entropy(logits, real=False)) == pytest.approx(fake, rel=1e-6)
    large = jnp.array([1000.0, -1000.0])
    assert float(losses.sigmoid_cross_entropy(large, real=True)) == pytest.approx(500)
    assert float(losses.l1(jnp.array([1.0, -1.0]), jnp.array([0.5, 1.0]))) == pytest.approx(1.25)


ADAM = Optimizers(optax.adam(2e-4, b1=0.5), optax.adam(2e-4, b1=0.5))


def run_steps(networks, start, batch, *, count, devices, backend, update="simultaneous"):
    """State and metrics after `count` steps of Adam on `devices` devices."""
    parallel = DataParallel(jax.devices()[:devices], backend=backend)
    step = functools.partial(
        steps.train_step,
        networks=networks,
        optimizers=ADAM,
        losses=steps.LossWeights(),
        update=update,
        axis_name=AXIS,
    )
    wrapped = parallel.wrap(step, donate_state=True)
    state, rng = parallel.replicate((start, jax.random.key(2)))
    for _ in range(count):
        state, metrics = wrapped(state, parallel.shard(batch), rng)
    return jax.device_get((state, metrics))


@pytest.mark.usefixtures("float64")
def test_same_numbers_on_1_2_and_8_devices_under_both_backends():
    """Parameters, statistics, moments and metrics to 1e-9 in float64; batch norm and dropout on."""
    networks, batch = tiny_networks("batch"), tiny_batch(8)
    start = jax.device_get(tiny_state(networks, ADAM))
    run = functools.partial(run_steps, networks, start, batch, count=3)
    expected = run(devices=1, backend="shard_map")
    for devices, backend in [(2, "shard_map"), (8, "shard_map"), (1, "pmap"), (8, "pmap")]:
        found = run(devices=devices, backend=backend)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-9), found, expected
        )


def test_same_losses_on_8_devices_in_float32():
    """To 1e-3 after four steps; Adam turns rounding of tiny gradients into whole updates."""
    networks = tiny_networks(dtype="float32")
    batch = {name: x.astype(jnp.float32) for name, x in tiny_batch(8).items()}
    start = jax.device_get(tiny_state(networks, ADAM))
    for update in steps.UPDATES:
        run = functools.partial(run_steps, networks, start, batch, count=4, update=update)
        _, expected = run(devices=1, backend="shard_map")
        _, found = run(devices=8, backend="shard_map")
        for name, value in expected.items():
            if "accuracy" not in name:
                assert float(found[name]) == pytest.approx(float(value), rel=1e-3), name


def test_a_new_step_draws_new_dropout_and_the_same_step_the_same():
    networks = tiny_networks(dtype="float32")
    optimizers = Optimizers(optax.sgd(0.0), optax.sgd(0.0))
    state = tiny_state(networks, optimizers)
    step = jax.jit(
        functools.partial(
            steps.train_step,
            networks=networks,
            optimizers=optimizers,
            losses=WEIGHTS,
            update="simultaneous",
            axis_name=None,
        )
    )
    batch, rng = tiny_batch(2), jax.random.key(1)
    first, metrics = step(state, batch, rng)
    _, again = step(state, batch, rng)
    _, second = step(first, batch, rng)
    assert float(metrics["generator/l1"]) == float(again["generator/l1"])
    assert float(metrics["generator/l1"]) != float(second["generator/l1"])
    assert int(first.step) == 1


def test_uint8_and_float_pictures_are_the_same_pictures():
    networks = tiny_networks(dtype="float32")
    optimizers = Optimizers(optax.sgd(1e-3), optax.sgd(1e-3))
    state = tiny_state(networks, optimizers)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 2, SIZE, SIZE, 3), dtype=np.uint8)
    as_bytes = {"condition": pictures[0], "target": pictures[1]}
    as_floats = {name: (x / 127.5 - 1).astype(np.float32) for name, x in as_bytes.items()}
    step = functools.partial(
        steps.train_step,
        networks=networks,
        optimizers=optimizers,
        losses=WEIGHTS,
        update="sequential",
        axis_name=None,
    )
    found = [jax.jit(step)(state, batch, jax.random.key(0))[1] for batch in (as_bytes, as_floats)]
    assert float(found[0]["generator/loss"]) == pytest.approx(float(found[1]["generator/loss"]))


@pytest.mark.parametrize("devices", [1, 4])
def test_evaluation_ignores_padding(devices):
    networks = tiny_networks(norm="instance", dtype="float32")
    optimizers = Optimizers(optax.sgd(0.0), optax.sgd(0.0))
    parallel = DataParallel(jax.devices()[:devices])
    state = tiny_state(networks, optimizers)
    options = {"networks": networks, "statistics": "picture", "dropout": False}
    rng = jax.random.key(0)
    batch = tiny_batch(4) | {"mask": jnp.array([1.0, 1.0, 1.0, 0.0])}
    # A padded picture that is predicted perfectly has an infinite PSNR, which must not leak.
    predict = jax.jit(functools.partial(steps.predict, axis_name=None, **options))
    perfect = predict(state, batch["condition"], rng)
    batch["target"] = batch["target"].at[3].set(perfect[3])
    step = functools.partial(steps.evaluation_step, axis_name=AXIS, **options)
    sums = parallel.wrap(step)(
        parallel.replicate(state), parallel.shard(batch), parallel.replicate(rng)
    )
    error = np.asarray(perfect - batch["target"])[:3]
    assert float(sums["count"]) == 3
    assert float(sums["l1"]) == pytest.approx(np.abs(error).mean((1, 2, 3)).sum(), rel=1e-4)
    psnr = 10 * np.log10(4 / np.square(error).mean((1, 2, 3)))
    assert float(sums["psnr"]) == pytest.approx(psnr.sum(), rel=1e-4)
