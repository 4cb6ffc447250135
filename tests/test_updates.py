"""What many devices exchange in a step, what each holds, and batches that are taken in parts."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from small_workdir import small_experiment
from test_steps import WEIGHTS, tiny_batch, tiny_state

from jaxcolor import description, runner
from jaxcolor.errors import ConfigError
from jaxcolor.models.layers import Convolution, drop_out, leaky_relu
from jaxcolor.parallel import AXIS, DataParallel
from jaxcolor.starting_point import initial_state
from jaxcolor.training import optimizers as our_optimizers
from jaxcolor.training import sharding, steps, updates
from jaxcolor.training.checkpoints import Checkpoints
from jaxcolor.training.state import Networks, Optimizers, from_linen

ADAM = Optimizers(*[our_optimizers.adam(total_steps=9)[0] for _ in range(2)])
SGD = Optimizers(optax.sgd(1.0), optax.sgd(1.0))


class Painter(nn.Module):
    """A generator that compiles in a moment: two convolutions and dropout."""

    dtype: str
    rate: float

    @nn.compact
    def __call__(self, condition, *, dropout_keys=None, axis_name=None):
        options = {"size": 3, "stride": 1, "kernel_stddev": 0.3, "use_bias": True}
        x = Convolution(8, compute_dtype=self.dtype, **options)(condition)
        x = leaky_relu(x, 0.2)
        x = x if dropout_keys is None else drop_out(x, self.rate, dropout_keys)
        x = Convolution(3, compute_dtype=self.dtype, **options)(x)
        # As `unet` does: of bfloat16, 1 - tanh(x)**2 would have no digits left.
        return jnp.tanh(x.astype(jnp.promote_types(x.dtype, jnp.float32)))


class Critic(nn.Module):
    """A discriminator that does: two convolutions."""

    dtype: str

    @nn.compact
    def __call__(self, condition, picture, *, axis_name=None):
        options = {"stride": 2, "kernel_stddev": 0.3, "compute_dtype": self.dtype}
        x = jnp.concatenate([condition, picture], -1)
        return Convolution(1, **options)(leaky_relu(Convolution(16, **options)(x), 0.2))


def small_networks(dtype="float32", rate=0.5):
    return Networks(from_linen(Painter(dtype, rate)), from_linen(Critic(dtype)))


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def prepare(networks, *, devices, batch, both=ADAM, update="simultaneous", **options):
    """The wrapped step, and its arguments placed on so many devices."""
    parallel = DataParallel(jax.devices()[:devices])
    start = tiny_state(networks, both)
    specs = jax.tree.map(lambda _: P(), start)
    if options.get("shard_optimizer"):
        specs = sharding.state_specs(start, AXIS, devices)
    step = functools.partial(
        steps.train_step,
        networks=networks,
        optimizers=both,
        losses=options.pop("losses", WEIGHTS),
        update=update,
        axis_name=AXIS,
        **options,
    )
    wrapped = parallel.wrap(step, state_specs=specs, out_specs=(specs, P()))
    placed = jax.tree.map(lambda spec: NamedSharding(parallel.mesh, spec), specs)
    rng = parallel.replicate(jax.random.key(2))
    return wrapped, (jax.device_put(start, placed), parallel.shard(batch), rng)


def train(networks, *, count=1, **options):
    """State and metrics after `count` steps."""
    step, (state, batch, rng) = prepare(networks, **options)
    for _ in range(count):
        state, metrics = step(state, batch, rng)
    return state, jax.device_get(metrics)


def float32_batch(count):
    return {name: x.astype(jnp.float32) for name, x in tiny_batch(count).items()}


def assert_close(found, expected, **tolerance):
    jax.tree.map(functools.partial(np.testing.assert_allclose, **tolerance), found, expected)


def test_every_gradient_is_reduced_once_a_step():
    """XLA joins those of both networks in one all-reduce, since neither update awaits the other."""
    step, arguments = prepare(small_networks(), devices=4, batch=float32_batch(4))
    lowered = step.lower(*arguments)
    state = arguments[0]
    gradients = jax.tree.leaves((state.generator.params, state.discriminator.params))
    asked = lowered.as_text().count("stablehlo.all_reduce")
    assert asked == len(gradients) + len(lowered.out_info[1])
    compiled = lowered.compile().as_text()
    made = re.findall(r"= \((.*)\) all-reduce\(", compiled)
    assert sum(kinds.count("f32[") for kinds in made) == asked
    # The second is of metrics alone: gradient norms, which await the first.
    assert compiled.count(" all-reduce(") == len(made) == 2


def test_bfloat16_gradients_are_means_of_rounded_values():
    """Each device's gradient is off by up to 2^-8 of itself; the sum of four adds as much each."""
    networks, batch = small_networks(rate=0.0), float32_batch(4)
    options = {"both": SGD, "batch": batch}
    step, arguments = prepare(networks, devices=4, gradient_dtype="bfloat16", **options)
    text, start = step.lower(*arguments).as_text(), arguments[0]
    gradients = jax.tree.leaves((start.generator.params, start.discriminator.params))
    sent = re.findall(r"stablehlo\.all_reduce.*?-> tensor<(\S+)>", text, re.DOTALL)
    assert sum("bf16" in kind for kind in sent) == len(gradients)

    def change(state):
        return [
            np.asarray(before) - np.asarray(after)
            for name in ("generator", "discriminator")
            for before, after in zip(
                *(jax.tree.leaves(getattr(x, name).params) for x in (start, state)), strict=True
            )
        ]

    found = change(step(*arguments)[0])
    alone, (state, _, rng) = prepare(networks, devices=1, **options)
    parts = [
        change(alone(state, {name: x[i : i + 1] for name, x in batch.items()}, rng)[0])
        for i in range(4)
    ]
    for rounded, *own in zip(found, *parts, strict=True):
        size = np.mean(np.abs(own), 0)
        assert np.all(np.abs(rounded - np.mean(own, 0)) <= 4 * 2**-8 * size + 1e-6)
        values = [x.astype(jnp.bfloat16).astype(np.float32) for x in own]
        np.testing.assert_allclose(rounded, np.mean(values, 0), rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize(("devices", "update"), [(2, "sequential"), (8, "simultaneous")])
def test_a_sharded_optimizer_trains_as_a_whole_one(devices, update):
    networks = small_networks()
    options = {"devices": devices, "update": update, "batch": float32_batch(8), "count": 3}
    whole, expected = train(networks, **options)
    parts, found = train(networks, shard_optimizer=True, **options)
    jax.tree.map(np.testing.assert_array_equal, parts, whole)
    assert_close(found, expected, rtol=1e-6)
    moments = jax.tree.leaves(parts.generator.opt_state[0].mu)
    held = sum(x.addressable_shards[3 % devices].data.size for x in moments)
    assert held == (3 * 3 * 3 * 8 + 8 + 3 * 3 * 8 * 3) / devices + 3, "three biases are whole"


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("update", "losses", "generator_updates"),
    [
        ("simultaneous", WEIGHTS, 1),
        ("sequential", WEIGHTS, 2),
        ("simultaneous", steps.LossWeights(adversarial=0.0, l1=1.0, l2=2.0), 1),
    ],
)
def test_parts_of_a_batch_give_the_gradients_of_the_whole(update, losses, generator_updates):
    """On two devices, each with four parts and its part of Adam; dropout is on."""
    networks, both = small_networks("float64"), ADAM
    if not losses.adversarial:
        networks, both = Networks(networks.generator, None), Optimizers(ADAM.generator, None)
    options = {"update": update, "losses": losses, "generator_updates": generator_updates}
    options |= {"batch": tiny_batch(8), "both": both, "count": 2}
    expected = train(networks, devices=1, **options)
    found = train(networks, devices=2, accumulate_steps=4, shard_optimizer=True, **options)
    assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_parts_of_a_batch_in_bfloat16():
    """Within bfloat16's rounding of float32's gradients; without L1, whose signs it would flip."""
    options = {"devices": 1, "both": SGD, "batch": float32_batch(8)}
    options |= {"losses": steps.LossWeights(adversarial=1.0, l1=0.0, l2=10.0)}
    start = prepare(small_networks(), **options)[1][0]
    whole, _ = train(small_networks(), **options)
    parts, _ = train(small_networks("bfloat16"), accumulate_steps=4, **options)
    for name in ("generator", "discriminator"):
        before, expected, found = (getattr(x, name).params for x in (start, whole, parts))
        change, error = (
            updates.norm(jax.tree.map(jnp.subtract, x, expected)) for x in (before, found)
        )
        assert error < 2**-5 * change


@pytest.mark.parametrize("update", steps.UPDATES)
def test_parts_need_a_part_of_the_memory(update):
    """And of the work XLA counts one part, as `description` takes it to."""
    networks, needed, counted = small_networks(), {}, {}
    for pictures, parts in ((32, 1), (32, 8), (4, 1)):
        options = {"batch": float32_batch(pictures), "update": update, "accumulate_steps": parts}
        step, arguments = prepare(networks, devices=1, **options)
        compiled = step.lower(*arguments).compile()
        needed[pictures, parts] = compiled.memory_analysis().temp_size_in_bytes
        counted[pictures, parts] = compiled.cost_analysis()["flops"]
    assert needed[32, 8] < needed[32, 1] / 5, needed
    further = {"simultaneous": 0.0, "sequential": 0.15}[update]  # the second forward
    assert counted[32, 8] == pytest.approx(counted[4, 1] * (1 + further), rel=0.05)


def place_randomly(state):
    """The state with other numbers for zeros, placed as it was."""
    keys = iter(jax.random.split(jax.random.key(7), len(jax.tree.leaves(state))))

    def draw(leaf):
        drawn = jax.random.uniform(next(keys), leaf.shape).astype(leaf.dtype)
        return jax.device_put(leaf + drawn, leaf.sharding)

    return jax.tree.map(draw, state)


def on_devices(pictures, count, *, shard, **options):
    built = small_experiment(pictures, parallel__shard_optimizer=shard, **options)
    return built._replace(devices=DataParallel(jax.devices()[:count]))


def test_checkpoints_do_not_know_who_held_what(pictures, tmp_path, capsys):
    """Whole or sharded, on 8, 2 or 1 devices: what one saved, another resumes."""
    saved = {}
    for shard in (True, False):
        built = on_devices(pictures, 8, shard=shard)
        with Checkpoints(tmp_path / str(shard) / "checkpoints") as checkpoints:
            state = place_randomly(initial_state(built, tmp_path, checkpoints))
            checkpoints.save(3, state, built.config, None)
            saved[shard] = jax.device_get(state)
    for shard in (True, False):
        with Checkpoints(tmp_path / str(shard) / "checkpoints", read_only=True) as checkpoints:
            for count, wanted in [(8, False), (1, True)] if shard else [(2, True)]:
                resumed = on_devices(pictures, count, shard=wanted)
                state = initial_state(resumed, tmp_path, checkpoints)
                jax.tree.map(np.testing.assert_array_equal, state, saved[shard])
                placed = [x.sharding for x in jax.tree.leaves(state.generator.opt_state)]
                assert all(x.is_fully_replicated for x in placed) == (count == 1 or not wanted)
                assert placed[0].num_devices == count
            rounding = on_devices(pictures, 8, shard=shard, parallel__gradient_dtype="bfloat16")
            with pytest.raises(ConfigError, match="gradient_dtype is 'bfloat16', was 'float32'"):
                initial_state(rounding, tmp_path, checkpoints)


def test_dry_run_says_what_a_device_holds(pictures):
    """Of all options at once."""
    options = {"generator__base_width": 8, "train__accumulate_steps": 2, "train__batch_size": 16}
    options |= {"parallel__shard_optimizer": True, "parallel__gradient_dtype": "bfloat16"}
    built = small_experiment(pictures, **options)
    text = description.describe(built)
    found = {
        name: tuple(map(float, numbers))
        for name, *numbers in re.findall(r"^  (\S.*?)  +([\d.]+) +([\d.]+)$", text, re.M)
    }
    state = jax.eval_shape(built.functions.create_state, jax.random.key(0))
    size = sum(x.size for x in jax.tree.leaves(state.generator.params)) * 4 / 1e6
    assert found["generator: parameters"] == pytest.approx((size, size), abs=0.06)
    assert found["generator: optimizer state"] == pytest.approx((2 * size, size / 4), abs=0.06)
    assert "discriminator: optimizer state" in found
    step = built.functions.train_step.keywords
    assert step["accumulate_steps"] == 2
    assert step["gradient_dtype"] == "bfloat16"
    assert step["shard_optimizer"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train__accumulate_steps": 2},
            "train.batch_size 8 must be a positive multiple of the 8 devices times "
            "train.accumulate_steps 2",
        ),
        (
            {"train__accumulate_steps": 2, "train__batch_size": 16, "generator__norm": "batch"},
            r"accumulate_steps 2 needs generator\.norm=instance or none: batch norm would take",
        ),
        ({"train__accumulate_steps": 0}, "train.accumulate_steps 0 must be at least 1"),
        ({"parallel__gradient_dtype": "int8"}, "gradient_dtype 'int8' is none of float32, bfl"),
        (
            {"parallel__shard_optimizer": True, "parallel__backend": "pmap"},
            "parallel.shard_optimizer needs parallel.backend=shard_map",
        ),
    ],
)
def test_what_cannot_be_is_one_line(pictures, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        small_experiment(pictures, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_run_may_change_who_holds_what(pictures, tmp_path, capsys):
    """An epoch with all held in parts and one with all whole end as two epochs of the latter."""
    options = {"train__batch_size": 8, "evaluation__batch_size": 8}
    for name, shards in (("whole", (False,)), ("changed", (True, False))):
        for epochs, shard in zip((1, 2)[-len(shards) :], shards, strict=True):
            changes = options | {"train__epochs": epochs, "parallel__shard_optimizer": shard}
            state = runner.run(small_experiment(pictures, **changes), tmp_path / name)
        if name == "whole":
            expected = jax.device_get(state)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), expected)
