"""The networks of Nazeri et al.: exact sizes, TensorFlow's padding, and what is not copied."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from test_networks import initialise, run, shapes_of

from jaxcolor.errors import ConfigError
from jaxcolor.models import conv_lowering, nazeri, patchgan
from jaxcolor.models.layers import FAN_IN, Convolution
from jaxcolor.models.nazeri import NazeriGenerator
from jaxcolor.models.patchgan import PatchGAN
from jaxcolor.training.state import parameter_count

CIFAR = (32, nazeri.CIFAR10, 16_654_851, 16_659_715)
PLACES = (256, nazeri.PLACES365, 42_023_811, 42_033_027)


def grey(size):
    return jax.ShapeDtypeStruct((1, size, size, 1), jnp.float32)


@pytest.mark.parametrize(("size", "preset", "trainable", "everything"), [CIFAR, PLACES])
def test_generators_have_their_published_sizes(size, preset, trainable, everything):
    """Change these numbers only with the architecture: they are those of the authors' code."""
    module = NazeriGenerator(image_size=size, **preset)
    module.check()
    variables = shapes_of(module, grey(size))
    assert parameter_count(variables["params"]) == trainable
    assert parameter_count(variables) == everything
    pictures = jax.eval_shape(module.apply, variables, grey(size))
    assert pictures.shape == (1, size, size, 3)


@pytest.mark.parametrize(("size", "logits"), [(32, 4), (256, 32)])
def test_discriminator_has_its_published_size_and_map(size, logits):
    module = PatchGAN(**patchgan.NAZERI)
    module.check(size)
    picture = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = shapes_of(module, grey(size), picture)
    assert parameter_count(variables) == 2_769_345
    assert parameter_count(variables["batch_stats"]) == 1_792
    found = jax.eval_shape(module.apply, variables, grey(size), picture)
    assert found.shape == (1, logits, logits, 1)


def test_encoder_goes_down_to_2_by_2():
    module = NazeriGenerator(**nazeri.CIFAR10 | {"base_width": 2})

    def maps(condition):
        variables = module.init(jax.random.key(0), condition)
        return module.apply(variables, condition, capture_intermediates=True, mutable=True)[1]

    found = jax.eval_shape(maps, grey(32))["intermediates"]
    sides = [found[f"down_{level}"]["__call__"][0].shape[1] for level in range(5)]
    assert sides == [32, 16, 8, 4, 2]
    assert [found[f"up_{level}"]["__call__"][0].shape[1] for level in range(4)] == [4, 8, 16, 32]


@pytest.mark.parametrize("lowering", conv_lowering.LOWERINGS)
@pytest.mark.parametrize(("size", "stride"), [(4, 1), (4, 2), (3, 2), (1, 1)])
@pytest.mark.parametrize("shape", [(7, 10)])
def test_same_padding_is_that_of_lax(lowering, size, stride, shape):
    """Values and both gradients; at 4x4 and stride 1 one more row of zeros at the end."""
    x = jax.random.normal(jax.random.key(0), (2, *shape, 3))
    module = Convolution(20, stride=stride, size=size, padding="same", lowering=lowering)
    params = module.init(jax.random.key(1), x)

    def ours(params, x):
        return module.apply(params, x)

    def theirs(params, x):
        kernel, strides = params["params"]["kernel"], (stride, stride)
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=numbers)

    (found, pull), (expected, pull_expected) = (jax.vjp(f, params, x) for f in (ours, theirs))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-6)
    cotangent = jax.random.normal(jax.random.key(2), found.shape)
    close = functools.partial(np.testing.assert_allclose, atol=2e-5)
    jax.tree.map(close, pull(cotangent), pull_expected(cotangent))


def test_kernels_spread_by_their_inputs():
    module = Convolution(64, stride=1, kernel_stddev=FAN_IN)
    kernel = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 16)))["params"]["kernel"]
    assert float(kernel.std()) == pytest.approx((16 * 16) ** -0.5, rel=0.02)


def test_dropout_acts_and_running_averages_move():
    """Neither does in the authors' code: the faults that are not copied."""
    options = nazeri.CIFAR10 | {"base_width": 2, "width_factors": (1, 2, 2)}
    module = NazeriGenerator(image_size=8, **options)
    picture = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    variables = initialise(module, picture)
    keys = jax.random.split(jax.random.key(0), 2)
    plain = run(module, variables, picture)
    dropped = run(module, variables, picture, dropout_keys=keys)
    assert float(jnp.abs(plain - dropped).max()) > 1e-3
    _, updates = run(module, variables, picture, mutable=["batch_stats"])
    for before, after in zip(
        *map(jax.tree.leaves, (variables["batch_stats"], updates["batch_stats"])), strict=True
    ):
        assert bool((before != after).any())
    together = run(module, variables, picture, statistics="running")
    alone = run(module, variables, picture[:1], statistics="running")
    np.testing.assert_allclose(together[:1], alone, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 40}, "image_size 40 must be a multiple of 16"),
        ({"width_factors": (1,)}, "two or more"),
        ({"dropout_levels": (4,)}, r"dropout_levels \(4,\) must lie in 0..3"),
        ({"dropout_rate": 1.0}, "dropout_rate 1.0"),
        ({"base_width": 0}, "at least 1"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        NazeriGenerator(**options).check()


@pytest.mark.parametrize("options", [{"padding": "valid"}, {"kernel_init": "he"}])
def test_unknown_options_of_the_discriminator_are_refused(options):
    with pytest.raises(ConfigError, match="is none of"):
        PatchGAN(**options).check(64)
