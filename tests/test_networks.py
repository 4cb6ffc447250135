"""The networks: exact sizes of the presets, receptive field, norms and dropout by formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcolor.errors import ConfigError
from jaxcolor.models import patchgan, unet
from jaxcolor.models.layers import Norm, drop_out
from jaxcolor.models.patchgan import PatchGAN
from jaxcolor.models.unet import UNet
from jaxcolor.training.state import parameter_count

PICTURE = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)


def shapes_of(module, *inputs):
    """Variables of the module as shapes, without computing anything."""
    return jax.eval_shape(module.init, jax.random.key(0), *inputs)


def initialise(module, *inputs):
    """Variables of the module; jitted, since eager convolutions compile one by one."""
    return jax.jit(module.init)(jax.random.key(0), *inputs)


def run(module, variables, *inputs, **options):
    """Output of the module, jitted."""
    call = jax.jit(lambda variables, inputs: module.apply(variables, *inputs, **options))
    return call(variables, inputs)


def counts_by_layer(variables):
    return {
        name: parameter_count(layer) + parameter_count(variables.get("batch_stats", {}).get(name))
        for name, layer in variables["params"].items()
    }


class TestPaperDiscriminator:
    """Table 1 of the paper, with the counts its own shapes have."""

    def test_parameters_are_those_of_table_1(self):
        variables = shapes_of(PatchGAN(**patchgan.PAPER), PICTURE, PICTURE)
        layers = counts_by_layer(variables)
        assert layers["layer_0"] == 6_144
        assert layers["layer_1"] + layers["norm_1"] == 131_584
        assert layers["layer_2"] + layers["norm_2"] == 525_312
        assert layers["layer_3"] == 2_097_152
        assert layers["norm_3"] == 2_048
        assert layers["logits"] == 8_193
        assert parameter_count(variables["params"]) == 2_768_641
        assert parameter_count(variables["batch_stats"]) == 1_792

    def test_shapes_are_those_of_table_1(self):
        module = PatchGAN(**patchgan.PAPER)

        def maps(first, second):
            variables = module.init(jax.random.key(0), first, second)
            return module.apply(variables, first, second, capture_intermediates=True, mutable=True)

        _, updates = jax.eval_shape(maps, PICTURE, PICTURE)
        found = {
            name: x["__call__"][0].shape[1:]
            for name, x in updates["intermediates"].items()
            if name != "__call__"
        }
        assert found["layer_0"] == (128, 128, 64)
        assert found["layer_1"] == (64, 64, 128)
        assert found["layer_2"] == (32, 32, 256)
        assert found["layer_3"] == (31, 31, 512)
        assert found["logits"] == (30, 30, 1)


def test_reference_discriminator_has_its_published_size():
    variables = shapes_of(PatchGAN(**patchgan.REFERENCE), PICTURE, PICTURE)
    assert parameter_count(variables["params"]) == 2_768_705


def test_paper_generator_has_the_size_of_the_tutorial():
    variables = shapes_of(UNet(**unet.PAPER), PICTURE)
    assert parameter_count(variables["params"]) == 54_414_979
    assert parameter_count(variables["batch_stats"]) == 10_880
    layers = counts_by_layer(variables)
    assert layers["down_0"] == 3_072
    assert layers["down_7"] + layers["down_norm_7"] == 4_196_352
    assert layers["up_1"] + layers["up_norm_1"] == 8_390_656
    assert layers["up_7"] == 6_147


def test_reference_generator_has_its_published_size():
    variables = shapes_of(UNet(**unet.REFERENCE), PICTURE)
    assert parameter_count(variables["params"]) == 54_413_955
    assert "down_norm_7" not in variables["params"]


def test_reference_unet_128_has_its_published_size():
    picture = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
    module = UNet(image_size=128, **{**unet.REFERENCE, "dropout_levels": (1, 2)})
    assert parameter_count(shapes_of(module, picture)["params"]) == 41_828_995


@pytest.mark.parametrize("preset", ["PAPER", "REFERENCE"])
def test_initial_values_have_the_stated_spread(preset):
    options = {**getattr(unet, preset), "base_width": 16}
    params = initialise(UNet(image_size=64, **options), jnp.zeros((1, 64, 64, 3)))["params"]
    assert abs(float(jnp.std(params["up_1"]["kernel"])) - 0.02) < 2e-4
    assert abs(float(jnp.mean(params["up_1"]["kernel"]))) < 2e-4
    scales = np.concatenate([p["scale"] for name, p in params.items() if "norm" in name])
    assert abs(scales.mean() - 1) < 0.005
    assert abs(scales.std() - options["norm_scale_stddev"]) < 0.004
    assert not params["up_5"]["bias"].any()


@pytest.mark.parametrize(("size", "levels"), [(256, 8), (128, 7), (64, 6), (8, 3)])
def test_depth_follows_the_image_size(size, levels):
    picture = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    params = shapes_of(UNet(image_size=size, base_width=2, dropout_levels=()), picture)["params"]
    assert sum(name.startswith("down_") and "norm" not in name for name in params) == levels


@pytest.mark.parametrize("size", [0, 4, 100, 255, 300, -256])
def test_a_size_that_is_no_power_of_two_is_refused(size):
    with pytest.raises(ConfigError, match=f"image_size {size} must be a power of two"):
        UNet(image_size=size).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "layer"}, "generator.norm 'layer'"),
        ({"image_size": 16}, r"dropout_levels \(1, 2, 3\) must lie in 0..2"),
        ({"normalize_bottleneck": True}, "a constant"),
        ({"dropout_rate": 1.0}, "dropout_rate 1.0"),
        ({"base_width": 0}, "at least 1"),
        ({"skip_activation": "gelu"}, "skip_activation 'gelu'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        UNet(**options).check()


def test_a_picture_too_small_for_the_discriminator_is_refused():
    PatchGAN(strided_layers=3).check(32)
    with pytest.raises(ConfigError, match="needs at least 24 pixels"):
        PatchGAN(strided_layers=3).check(16)


def test_a_logit_sees_70_by_70_pixels():
    """Gradient support of one logit in the middle of a net without norms.

    In the native lowering: Winograd's sums leave the rounding of what cancels.
    """
    module = PatchGAN(base_width=2, norm="none", lowering="native")
    picture = jax.random.normal(jax.random.key(1), (1, 256, 256, 3))
    variables = initialise(module, picture, picture)

    @jax.jit
    def gradient_of_one(variables, x):
        return jax.grad(lambda y: module.apply(variables, x, y)[0, 15, 14, 0])(x)

    gradient = gradient_of_one(variables, picture)
    rows, columns = np.nonzero(np.abs(gradient[0]).sum(-1))
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (70, 70)
    assert len(rows) == 70 * 70


def test_normalised_bottleneck_is_constant_at_batch_1_only():
    """Batch norm over a 1x1 map of one picture leaves nothing of it: 15 % of the net is idle."""
    module = UNet(image_size=16, **{**unet.PAPER, "base_width": 4, "dropout_levels": ()})
    pictures = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    variables = initialise(module, pictures)

    def bottleneck(x):
        _, updates = run(module, variables, x, capture_intermediates=True, mutable=True)
        return np.asarray(updates["intermediates"]["down_norm_3"]["__call__"][0])

    np.testing.assert_array_equal(bottleneck(pictures[:1]), 0)
    assert np.abs(bottleneck(pictures)).min() > 0


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_one_picture_never_changes_another(norm):
    module = UNet(image_size=32, base_width=4, norm=norm)
    pictures = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))
    variables = initialise(module, pictures)
    together = run(module, variables, pictures, statistics="picture")
    alone = [run(module, variables, x[None], statistics="picture")[0] for x in pictures]
    np.testing.assert_allclose(together, np.stack(alone), atol=2e-6)


def test_output_is_float32_in_range_and_parameters_stay_float32_in_bfloat16():
    module = UNet(image_size=32, base_width=4, compute_dtype="bfloat16")
    picture = 3 * jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    variables = initialise(module, picture)
    output = run(module, variables, picture)
    assert output.dtype == jnp.float32
    assert float(jnp.abs(output).max()) <= 1
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    exact = run(UNet(image_size=32, base_width=4), variables, picture)
    difference = float(jnp.abs(output - exact).max())
    assert 0 < difference < 0.05


class TestNorm:
    """Against the formula, in NumPy."""

    x = np.asarray(jax.random.normal(jax.random.key(3), (4, 6, 5, 3)) * 3 + 2)

    def variables(self, kind):
        params = {"scale": jnp.array([0.5, 1.0, 2.0]), "bias": jnp.array([0.1, -0.2, 0.3])}
        stats = {"mean": jnp.array([1.0, 2.0, 3.0]), "variance": jnp.array([4.0, 1.0, 0.25])}
        return {"params": params} | ({"batch_stats": stats} if kind == "batch" else {})

    def expected(self, mean, variance, epsilon=1e-5):
        scale, bias = np.array([0.5, 1.0, 2.0]), np.array([0.1, -0.2, 0.3])
        return (self.x - mean) / np.sqrt(variance + epsilon) * scale + bias

    def test_instance(self):
        y = Norm("instance").apply(self.variables("instance"), self.x)
        mean = self.x.mean((1, 2), keepdims=True)
        expected = self.expected(mean, self.x.var((1, 2), keepdims=True))
        np.testing.assert_allclose(y, expected, atol=1e-5)

    def test_batch(self):
        module = Norm("batch", epsilon=1e-3, momentum=0.9)
        y, updates = module.apply(self.variables("batch"), self.x, mutable=["batch_stats"])
        mean, variance = self.x.mean((0, 1, 2)), self.x.var((0, 1, 2))
        np.testing.assert_allclose(y, self.expected(mean, variance, 1e-3), atol=1e-5)
        stats = updates["batch_stats"]
        np.testing.assert_allclose(stats["mean"], 0.9 * np.array([1, 2, 3]) + 0.1 * mean, rtol=1e-5)
        expected = 0.9 * np.array([4, 1, 0.25]) + 0.1 * variance
        np.testing.assert_allclose(stats["variance"], expected, rtol=1e-5)

    def test_unbiased_running_variance(self):
        module = Norm("batch", unbiased_running_variance=True)
        _, updates = module.apply(self.variables("batch"), self.x, mutable=["batch_stats"])
        variance = self.x.reshape(-1, 3).var(0, ddof=1)
        expected = 0.9 * np.array([4, 1, 0.25]) + 0.1 * variance
        np.testing.assert_allclose(updates["batch_stats"]["variance"], expected, rtol=1e-5)

    def test_running(self):
        y = Norm("batch").apply(self.variables("batch"), self.x, statistics="running")
        expected = self.expected(np.array([1, 2, 3]), np.array([4, 1, 0.25]))
        np.testing.assert_allclose(y, expected, atol=1e-5)

    def test_batch_norm_of_one_picture_is_instance_norm(self):
        one = self.x[:1]
        batch = Norm("batch").apply(self.variables("batch"), one, mutable=["batch_stats"])[0]
        instance = Norm("instance").apply(self.variables("instance"), one)
        np.testing.assert_allclose(batch, instance, atol=1e-6)

    def test_unknown_statistics_are_refused(self):
        with pytest.raises(ConfigError, match="'ours'"):
            Norm("batch").apply(self.variables("batch"), self.x, statistics="ours")


def test_dropout_keeps_the_mean_and_belongs_to_the_picture():
    x = jnp.ones((3, 32, 32, 8))
    keys = jax.random.split(jax.random.key(0), 3)
    y = drop_out(x, 0.25, keys)
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert abs(float(y.mean()) - 1) < 0.02
    np.testing.assert_array_equal(drop_out(x[1:2], 0.25, keys[1:2])[0], y[1])
    assert bool((y[0] != y[1]).any())


def test_dropout_acts_at_its_levels_only_and_without_keys_not_at_all():
    picture = jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    keys = jax.random.split(jax.random.key(0), 1)
    with_levels = UNet(image_size=32, base_width=4, dropout_levels=(2,))
    variables = initialise(with_levels, picture)
    plain = run(with_levels, variables, picture)
    dropped = run(with_levels, variables, picture, dropout_keys=keys)
    assert float(jnp.abs(plain - dropped).max()) > 1e-4
    without = UNet(image_size=32, base_width=4, dropout_levels=())
    np.testing.assert_array_equal(plain, run(without, variables, picture, dropout_keys=keys))
