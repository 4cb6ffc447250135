"""Training by L1 or L2 alone, with several generator updates, and in other colour spaces."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_steps import (
    SHAPE,
    directional_difference,
    product,
    random_direction,
    tiny_batch,
    tiny_networks,
    tiny_state,
)

from jaxcolor import colorspace, losses
from jaxcolor.color_coding import CODINGS
from jaxcolor.errors import ConfigError
from jaxcolor.training import adversary, optimizers, steps
from jaxcolor.training.state import (
    GanState,
    Network,
    Networks,
    NetworkState,
    Optimizers,
    create_state,
)

L2_ALONE = steps.LossWeights(adversarial=0.0, l1=0.0, l2=3.0)
SGD = optax.sgd(1.0)


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def step_with(networks, both, weights, **options):
    options = {"update": "sequential", "axis_name": None} | options
    return jax.jit(
        functools.partial(
            steps.train_step, networks=networks, optimizers=both, losses=weights, **options
        )
    )


@pytest.mark.usefixtures("float64")
def test_l2_gradients_are_those_of_the_loss_and_nothing_is_judged():
    networks = Networks(tiny_networks().generator, None)
    both = Optimizers(SGD, None)
    before, batch, rng = tiny_state(networks, both), tiny_batch(2), jax.random.key(1)
    assert not jax.tree.leaves(before.discriminator)
    after, metrics = step_with(networks, both, L2_ALONE)(before, batch, rng)
    assert set(metrics) == {f"generator/{x}" for x in ("l1", "l2", "loss", "gradient_norm")}
    keys = steps.picture_keys(rng, before.step, 2, None)

    @jax.jit
    def loss(params, given):
        state, batch, keys = given
        fake, _ = networks.generator.apply(
            params, state.generator.batch_stats, batch["condition"], dropout_keys=keys
        )
        return 3 * jnp.mean((fake - batch["target"]) ** 2)

    given, params = (before, batch, keys), before.generator.params
    change = jax.tree.map(jnp.subtract, params, after.generator.params)
    assert float(metrics["generator/loss"]) == pytest.approx(float(loss(params, given)), rel=1e-9)
    for seed in range(3):
        direction = random_direction(params, seed)
        measured = directional_difference(loss, params, given, direction)
        assert product(change, direction) == pytest.approx(measured, rel=2e-5, abs=1e-7)


def train_one_colour(weights, targets, coding, *, rate, count=300):
    """The coded colour that a generator of nothing but one colour ends with, from grey."""

    def apply(params, batch_stats, condition, **options):
        return jnp.broadcast_to(params, (*condition.shape[:3], coding.channels)), batch_stats

    generator = Network(lambda key, condition: (jnp.zeros(coding.channels), {}), apply)
    networks, both = Networks(generator, None), Optimizers(optax.sgd(rate), None)
    state = create_state(
        jax.random.key(0),
        networks=networks,
        optimizers=both,
        condition_shape=(1, 1, 1, 1),
        target_shape=(1, 1, 1, coding.channels),
    )
    batch = {"condition": jnp.zeros((len(targets), 1, 1, 1)), "target": targets}
    step = step_with(networks, both, weights, coding=coding)
    for _ in range(count):
        state, _ = step(state, batch, jax.random.key(1))
    return state.generator.params


def colours(*ab, lightness=60.0):
    """RGB pictures of one pixel with these a*b* at one lightness."""
    lab = jnp.array([[[[lightness, *pair]]] for pair in ab])
    return colorspace.lab_to_rgb(lab)


def test_of_two_equally_likely_colours_l2_makes_grey():
    """One grey, a*b* of (16, 12) or (-16, -12), whose chroma is 20: the mean has none."""
    found = train_one_colour(L2_ALONE, colours((16, 12), (-16, -12)), CODINGS["ab"], rate=0.1)
    assert float(jnp.abs(found * 110).max()) < 0.1


def test_l2_ends_at_the_mean_and_l1_at_the_likelier_colour():
    targets = colours((16, 12), (16, 12), (16, 12), (-16, -12))
    found = 110 * train_one_colour(L2_ALONE, targets, CODINGS["ab"], rate=0.1)
    np.testing.assert_allclose(found, [8, 6], atol=0.1)
    l1_alone = steps.LossWeights(adversarial=0.0, l1=1.0)
    found = 110 * train_one_colour(l1_alone, targets, CODINGS["ab"], rate=0.01)
    np.testing.assert_allclose(found, [16, 12], atol=0.6)


@pytest.mark.usefixtures("float64")
def test_a_second_generator_update_has_a_forward_of_its_own_and_the_same_judge():
    networks, both = tiny_networks(dropout_levels=()), Optimizers(SGD, SGD)
    weights = steps.LossWeights(adversarial=0.7, l1=10.0, l2=2.0, real_label=0.9)
    before, batch, rng = tiny_state(networks, both), tiny_batch(2), jax.random.key(1)
    once, metrics = step_with(networks, both, weights)(before, batch, rng)
    twice, same = step_with(networks, both, weights, generator_updates=2)(before, batch, rng)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9), same, metrics)
    assert int(twice.step) == 1
    for name in ("params", "batch_stats", "opt_state"):
        found, expected = (getattr(state.discriminator, name) for state in (twice, once))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9), found, expected)

    def loss(params, state, batch):
        fake, stats = networks.generator.apply(
            params, state.generator.batch_stats, batch["condition"]
        )
        judge = state.discriminator
        logits, _ = networks.discriminator.apply(
            judge.params, before.discriminator.batch_stats, batch["condition"], fake
        )
        difference = fake - batch["target"]
        terms = 10 * jnp.mean(jnp.abs(difference)) + 2 * jnp.mean(difference**2)
        return 0.7 * jnp.mean(jnp.log1p(jnp.exp(-logits))) + terms, stats

    gradient, stats = jax.jit(jax.grad(loss, has_aux=True))(once.generator.params, once, batch)
    expected = jax.tree.map(jnp.subtract, once.generator.params, gradient)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-12)
    jax.tree.map(close, twice.generator.params, expected)
    jax.tree.map(close, twice.generator.batch_stats, stats)


def test_every_generator_update_draws_dropout_keys_of_its_own():
    """A generator whose running statistics gather the keys that it was given."""

    def apply(params, stats, condition, *, dropout_keys, axis_name):
        data = jax.random.key_data(dropout_keys).ravel()
        return params * condition, {"keys": jnp.concatenate([stats["keys"], data])}

    def judge(params, stats, condition, picture, *, axis_name):
        return params * picture, stats

    networks = Networks(Network(None, apply), Network(None, judge))
    both = Optimizers(SGD, SGD)
    one, opt_state = jnp.ones(()), SGD.init(jnp.ones(()))
    stats = {"keys": jnp.zeros(0, jnp.uint32)}
    start = (NetworkState(one, stats, opt_state), NetworkState(one, {}, opt_state))
    state = GanState(jnp.zeros((), jnp.int32), *start)
    step = step_with(networks, both, steps.LossWeights(), generator_updates=3)
    after, _ = step(state, tiny_batch(2), jax.random.key(1))
    keys = np.asarray(after.generator.batch_stats["keys"]).reshape(3 * 2, -1)
    assert len(np.unique(keys, axis=0)) == 6


def test_label_smoothing_is_one_sided_and_has_its_floor():
    best = jnp.full((2, 3), np.log(9.0))
    entropy = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
    assert float(losses.sigmoid_cross_entropy(best, real=0.9)) == pytest.approx(entropy, rel=1e-6)
    assert entropy == pytest.approx(0.3251, abs=5e-5)
    # A discriminator that is one number, its logit for every picture.
    judge = adversary.Judge(lambda logit, stats, *_, axis_name: (logit, stats), None, None)
    state = NetworkState(jnp.array(0.3), {}, SGD.init(jnp.array(0.3)))
    for label in (1.0, 0.9):
        weights = steps.LossWeights(real_label=label)
        found, teach = adversary.judge_sequentially(judge, state, None, 0.0, weights)
        updated = state.replace(params=state.params - found.gradients)
        passed, metrics = teach(updated)[1], found.metrics
        probability = 1 / (1 + np.exp(-0.3))
        real = -label * np.log(probability) - (1 - label) * np.log(1 - probability)
        assert float(metrics["discriminator/real"]) == pytest.approx(real, rel=1e-5)
        assert float(metrics["discriminator/fake"]) == pytest.approx(-np.log(1 - probability))
        logit = 0.3 + (label - probability) - probability
        expected = np.log1p(np.exp(-logit))  # the generator's label stays 1
        assert float(passed) == pytest.approx(expected, rel=1e-5)


def test_exponential_rate_falls_tenfold_to_its_floor_by_steps_and_not_by_updates():
    _, rate = optimizers.adam(3e-4, schedule="exponential", decay_steps=10_000, total_steps=1)
    assert [float(rate(n)) for n in (0, 10_000, 20_000)] == pytest.approx([3e-4, 3e-5, 3e-6])
    assert float(rate(100_000)) == pytest.approx(1e-6)
    options = {"schedule": "exponential", "decay_steps": 2, "total_steps": 1, "b1": 0.0}
    adam, _ = optimizers.adam(1.0, **options, updates_per_step=2)
    state, changes = adam.init(jnp.zeros(1)), []
    for _ in range(6):
        update, state = adam.update(jnp.ones(1), state)
        changes.append(-float(update[0]))
    expected = np.repeat([1, 10**-0.5, 0.1], 2)  # without first moment, the rate itself
    np.testing.assert_allclose(changes, expected, rtol=1e-4)


def test_adam_without_first_moment_is_that_of_optax():
    ours, _ = optimizers.adam(0.1, b1=0.0, total_steps=1)
    theirs = optax.adam(0.1, b1=0.0)
    states = [adam.init(jnp.zeros(4)) for adam in (ours, theirs)]
    for seed in range(4):
        gradient = jax.random.normal(jax.random.key(seed), (4,))
        found, states[0] = ours.update(gradient, states[0])
        expected, states[1] = theirs.update(gradient, states[1])
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"adversarial": 0.0, "l1": 0.0}, "nothing would be learnt"),
        ({"l2": -1.0}, "losses.l2 -1.0 must not be negative"),
        ({"real_label": 1.1}, "losses.real_label 1.1"),
    ],
)
def test_weights_that_cannot_work_are_refused(weights, message):
    with pytest.raises(ConfigError, match=message):
        steps.LossWeights(**weights).check()


def test_losses_compare_what_the_networks_see_and_validation_compares_rgb():
    """A generator that gives the right a*b*: no loss, and the target back to the last digits."""
    coding = CODINGS["ab"]
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    target = colorspace.to_signed(jnp.asarray(pictures))
    answer = coding.encode(target)
    generator = Network(None, lambda params, stats, condition, **options: (params, stats))
    networks, both = Networks(generator, None), Optimizers(optax.sgd(0.0), None)
    state = create_state(
        jax.random.key(0),
        networks=Networks(Network(lambda key, condition: (answer, {}), None), None),
        optimizers=both,
        condition_shape=SHAPE,
        target_shape=SHAPE,
    )
    grey = np.zeros((2, 8, 8, 1), np.uint8)  # whose lightness validation must not use
    batch = {"condition": grey, "target": pictures}
    weights = steps.LossWeights(adversarial=0.0)
    _, metrics = step_with(networks, both, weights, coding=coding)(state, batch, jax.random.key(0))
    assert float(metrics["generator/l1"]) == pytest.approx(0, abs=1e-6)
    options = {"networks": networks, "statistics": "picture", "dropout": False, "coding": coding}
    batch["mask"] = jnp.ones(2)
    rng = jax.random.key(0)
    sums = steps.evaluation_step(state, batch, rng, axis_name=None, **options)
    assert float(sums["l1"]) / 2 < 1e-3
    black = steps.predict(state, grey, rng, axis_name=None, **options)
    np.testing.assert_allclose(black, -1, atol=5e-3)
    given = {"lightness": colorspace.rgb_to_lab(target)[..., :1]}
    back = steps.predict(state, grey, rng, axis_name=None, **options, **given)
    np.testing.assert_allclose(back, target, atol=2e-3)
