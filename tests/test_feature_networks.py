"""EfficientNet-lite0 and Inception v3: plain references with random weights, and trained ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_networks import (
    NumpyOperations,
    RandomState,
    TorchOperations,
    efficientnet_lite0,
    inception_v3,
)
from safetensors.numpy import save_file

from jaxcolor.perceptual import efficientnet, inception, weights
from jaxcolor.perceptual.array_files import open_arrays
from jaxcolor.perceptual.distances import kernel_distance
from jaxcolor.perceptual.features import FEATURES

# Parameters as published, less the classifier.
TRUNKS = {"efficientnet_lite0": 3_371_008, "inception_v3": 21_785_568}


class Case:
    """A network with random weights as a file gave them, and its reference's last map."""

    def __init__(self, name, network, ours, reference, size, directory, extra=()):
        self.name, self.ours, self.reference = name, ours, reference
        self.input = np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
        self.state = RandomState(2)
        self.expected = self.run(NumpyOperations())
        self.trunk = sum(array.size for key, array in self.state.items() if "running" not in key)
        self.state |= dict(extra)
        save_file(dict(self.state), directory / f"{network}.safetensors")
        self.params = weights.find(network, directory)

    def run(self, operations):
        x = operations.array(self.input.transpose(0, 3, 1, 2))
        return self.reference(operations, self.state, x).transpose(0, 2, 3, 1)


CASES = {
    "efficientnet_lite0": ("efficientnet_lite0", efficientnet, efficientnet_lite0, 65, 0),
    "2015-12-05": ("inception_v3", inception, functools.partial(inception_v3, fid=True), 91, 1008),
    "torchvision": (
        "inception_v3",
        inception,
        functools.partial(inception_v3, fid=False),
        91,
        1000,
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    network, module, reference, size, classes = CASES[request.param]
    extra = {"fc.bias": np.zeros(classes, np.float32)} if classes else {}
    folder = tmp_path_factory.mktemp(network)
    made = Case(request.param, network, module.feature_map, reference, size, folder, extra)
    made.network = network
    return made


def test_the_last_map_is_the_reference_in_numpy(case):
    assert case.trunk == TRUNKS[case.network]
    found = jax.jit(case.ours)(case.input, case.params)
    scale = np.abs(case.expected).max()
    assert scale > 0.1
    np.testing.assert_allclose(found, case.expected, rtol=1e-3, atol=1e-4 * scale)
    # One picture never changes another.
    other = case.input * np.array([1, -1], np.float32)[:, None, None, None]
    changed = jax.jit(case.ours)(other, case.params)
    np.testing.assert_array_equal(changed[0], found[0])
    assert not np.array_equal(changed[1], found[1])


def test_the_last_map_is_the_reference_in_torch(case):
    torch = pytest.importorskip("torch")
    found = case.run(TorchOperations(torch))
    np.testing.assert_allclose(found, case.expected, rtol=1e-8, atol=1e-8)


def test_the_two_sets_of_inception_weights_pool_differently(case):
    if case.network != "inception_v3":
        assert FEATURES[case.network].distance_names(case.params) == (
            "kernel distance (efficientnet_lite0)",
            "Frechet distance (efficientnet_lite0)",
        )
        return
    assert inception.variant(case.params) == case.name
    names = FEATURES["inception_v3"].distance_names(case.params)
    assert (names == ("KID", "FID")) == (case.name == "2015-12-05")
    fid = case.name == "2015-12-05"
    x = case.input[:1].transpose(0, 3, 1, 2)
    one = inception_v3(NumpyOperations(), case.state, x, fid=not fid).transpose(0, 2, 3, 1)
    assert np.abs(one - case.expected[:1]).max() > 0.01 * np.abs(case.expected).max()


@pytest.mark.parametrize(
    ("name", "features"), [("efficientnet_lite0", 1280), ("inception_v3", 2048)]
)
def test_pictures_of_any_size_and_type_become_one_row_of_features(name, features):
    module = {"efficientnet_lite0": efficientnet, "inception_v3": inception}[name]
    shapes = module.kernels()
    params = {f"{layer}/kernel": shape for layer, shape in shapes.items()}
    params |= {f"{layer}/bias": shape[3:] for layer, shape in shapes.items()} | {"fc/bias": (1008,)}
    params = {key: jax.ShapeDtypeStruct(shape, jnp.float32) for key, shape in params.items()}
    for size, dtype in ((32, jnp.float32), (300, jnp.uint8)):
        images = jax.ShapeDtypeStruct((3, size, size, 3), dtype)
        found = jax.eval_shape(FEATURES[name].extract, images, params)
        assert found.shape == (3, features)
        assert found.dtype == jnp.float32
    assert FEATURES[name].features == features


def test_pictures_are_resized_and_scaled_as_the_protocol_says(monkeypatch):
    """What reaches each network, seen in place of its last map."""
    image = np.random.default_rng(0).integers(0, 256, (1, 448, 448, 3)).astype(np.uint8)
    monkeypatch.setattr(efficientnet, "feature_map", lambda x, params: x)
    monkeypatch.setattr(inception, "feature_map", lambda x, params: x)
    found = FEATURES["efficientnet_lite0"].extract(image[:, :224, :224], {})
    expected = (image[:, :224, :224].astype(np.float64) - 127) / 128
    np.testing.assert_allclose(found, expected.mean((1, 2)), atol=1e-5)
    # Halving with antialiasing: a triangle over four pixels on each axis keeps the mean.
    flat = np.full((1, 448, 448, 3), 200, np.uint8)
    np.testing.assert_allclose(
        FEATURES["efficientnet_lite0"].extract(flat, {}), 73 / 128, rtol=1e-5
    )
    np.testing.assert_allclose(
        FEATURES["inception_v3"].extract(flat, {}), 200 / 127.5 - 1, rtol=1e-5
    )


def test_resizing_up_is_what_torch_does():
    """The port of the 2015-12-05 weights resizes with torch's bilinear interpolation."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).uniform(-1, 1, (1, 20, 30, 3)).astype(np.float32)
    ours = jax.image.resize(x, (1, 47, 47, 3), "bilinear", antialias=True)
    theirs = torch.nn.functional.interpolate(
        torch.as_tensor(x.transpose(0, 3, 1, 2)),
        size=(47, 47),
        mode="bilinear",
        align_corners=False,
    )
    np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 2, 3, 1), atol=1e-5)


def test_gradients_of_the_features_are_finite(case):
    if case.name != "efficientnet_lite0":
        return  # made of the same parts
    loss = jax.jit(jax.grad(lambda x: jnp.sum(case.ours(x, case.params) ** 2)))
    gradient = loss(case.input[:1])
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


@pytest.fixture(scope="module")
def trained_efficientnet():
    try:
        return weights.find("efficientnet_lite0")
    except weights.MissingWeights as error:
        pytest.skip(str(error))


def test_trained_efficientnet_is_the_reference(trained_efficientnet):
    state = RandomState(0)
    with open_arrays(weights.locate("efficientnet_lite0")) as file:
        state |= {
            name: file.read(name) for name in file.names() if "_conv_stem.weight" in file.names()
        }
    if not state:
        pytest.skip("the reference needs a file with the names of EfficientNet-PyTorch")
    count = len(state)
    x = np.random.default_rng(1).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    expected = efficientnet_lite0(NumpyOperations(), state, x.transpose(0, 3, 1, 2))
    assert len(state) == count  # nothing was drawn
    found = efficientnet.feature_map(x, trained_efficientnet)
    np.testing.assert_allclose(found, expected.transpose(0, 2, 3, 1), rtol=1e-3, atol=1e-3)


def test_trained_efficientnet_tells_noise_from_pictures(trained_efficientnet):
    random = np.random.default_rng(0)
    ramps = np.linspace(-1, 1, 64)[None, :, None, None] * random.uniform(-1, 1, (24, 1, 1, 3))
    smooth = np.broadcast_to(ramps, (24, 64, 64, 3)).astype(np.float32)
    noise = random.uniform(-1, 1, (12, 64, 64, 3)).astype(np.float32)
    extract = jax.jit(FEATURES["efficientnet_lite0"].extract)
    smooth, noise = (np.asarray(extract(x, trained_efficientnet)) for x in (smooth, noise))
    same, _ = kernel_distance(smooth[:12], smooth[12:])
    far, _ = kernel_distance(smooth[:12], noise)
    assert far > 10 * abs(same)
