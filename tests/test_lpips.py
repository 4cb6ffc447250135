"""LPIPS: plain references, with random weights always and with trained ones where they are."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from reference_networks import (
    NumpyOperations,
    RandomState,
    TorchOperations,
    alexnet,
    lpips,
    vgg16,
)
from safetensors.numpy import save_file

from jaxcolor.errors import UserError
from jaxcolor.perceptual import weights
from jaxcolor.perceptual.lpips import lpips_by_picture

NETWORKS = {"alex": (alexnet, 35), "vgg": (vgg16, 16)}
# Convolutions of AlexNet and VGG16 as torchvision counts their parameters, and the heads'.
PARAMETERS = {"alex": 2_469_696 + 1_152, "vgg": 14_714_688 + 1_472}


def pictures(size, count=2, seed=0):
    """Two batches in [-1, 1], the second the first with noise."""
    random = np.random.default_rng(seed)
    first = random.uniform(-1, 1, (count, size, size, 3))
    second = np.clip(first + 0.3 * random.standard_normal(first.shape), -1, 1)
    return first.astype(np.float32), second.astype(np.float32)


def channels_first(images):
    return images.transpose(0, 3, 1, 2)


@pytest.fixture(scope="module", params=["alex", pytest.param("vgg", marks=pytest.mark.slow)])
def case(request, tmp_path_factory):
    """A network's name, the size of picture, its random state, our parameters, the reference."""
    net = request.param
    network, size = NETWORKS[net]
    state, directory = RandomState(0), tmp_path_factory.mktemp(net)
    first, second = (channels_first(images) for images in pictures(size))
    expected = lpips(NumpyOperations(), state, network, first, second)
    save_file(dict(state), directory / f"lpips_{net}.safetensors")
    return net, size, state, weights.find(f"lpips_{net}", directory), expected


def test_lpips_is_the_reference_in_numpy_whatever_else_is_in_the_batch(case):
    net, size, _, params, expected = case
    assert sum(array.size for array in params.values()) == PARAMETERS[net]
    measure = jax.jit(lpips_by_picture, static_argnames="net")
    first, second = pictures(size)
    value = measure(first, second, params, net=net)
    assert value.shape == (2,)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    np.testing.assert_allclose(measure(second, first, params, net=net), value, rtol=1e-6)
    np.testing.assert_array_equal(measure(first, first, params, net=net), [0, 0])
    other = np.stack([first[0], -second[1]])
    assert measure(other, second, params, net=net)[0] == value[0]
    assert measure(other, second, params, net=net)[1] != value[1]


def test_lpips_is_the_reference_in_torch(case):
    torch = pytest.importorskip("torch")
    net, size, state, _, expected = case
    batches = (channels_first(images) for images in pictures(size))
    value = lpips(TorchOperations(torch), state, NETWORKS[net][0], *batches)
    np.testing.assert_allclose(value, expected, rtol=1e-9)


def test_gradients_are_right_and_finite_where_features_vanish(case):
    net, size, _, params, _ = case
    if net == "vgg":
        params = params | {"Conv_12/bias": params["Conv_12/bias"] - 1e3}  # a map of zeros
    first, second = pictures(size)

    @jax.jit
    def value_and_gradient(images):
        return jax.value_and_grad(lambda x: lpips_by_picture(x, second, params, net=net).sum())(
            images
        )

    value, gradient = value_and_gradient(first)
    assert np.isfinite(gradient).all()
    direction = np.asarray(gradient) / np.linalg.norm(gradient)
    step = 3e-2
    ahead, behind = (value_and_gradient(first + sign * step * direction)[0] for sign in (1, -1))
    assert (ahead - behind) / (2 * step) == pytest.approx(np.linalg.norm(gradient), rel=0.03)
    assert np.isfinite(value_and_gradient(second)[1]).all()
    assert value > 0


def test_uint8_pictures_mean_the_same(case):
    net, size, _, params, _ = case
    images = np.random.default_rng(0).integers(0, 256, (2, 1, size, size, 3), np.uint8)
    measure = jax.jit(lpips_by_picture, static_argnames="net")
    value = measure(*images, params, net=net)
    signed = np.float32(images) / 127.5 - 1
    np.testing.assert_allclose(measure(*signed, params, net=net), value, rtol=1e-5)


@pytest.mark.parametrize(("net", "size"), [("alex", 30), ("vgg", 15)])
def test_pictures_too_small_or_of_other_shapes_are_refused(net, size):
    images = np.zeros((1, size, 64, 3), np.float32)
    with pytest.raises(UserError, match=f"needs pictures of {size + 1} pixels or more"):
        lpips_by_picture(images, images, {}, net=net)
    with pytest.raises(ValueError, match="not two batches"):
        lpips_by_picture(images, images[..., :1], {}, net=net)


# With trained weights, named by JAXCOLOR_WEIGHTS, and pictures, named by JAXCOLOR_DATA.


@pytest.fixture
def trained(case_name):
    try:
        return case_name, weights.find(f"lpips_{case_name}")
    except weights.MissingWeights as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("case_name", NETWORKS)
def test_trained_lpips_is_the_reference(trained):
    net, params = trained
    places = {"alex": (0, 3, 6, 8, 10), "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}
    state = RandomState(0)
    for index, place in enumerate(places[net]):
        kernel = params[f"Conv_{index}/kernel"].transpose(3, 2, 0, 1)
        state |= {f"features.{place}.weight": kernel}
        state |= {f"features.{place}.bias": params[f"Conv_{index}/bias"]}
    for index in range(5):
        head = params[f"NetLinLayer_{index}/kernel"].transpose(3, 2, 0, 1)
        state[f"lin{index}.model.1.weight"] = head
    count, (first, second) = len(state), pictures(64)
    torch = pytest.importorskip("torch")
    batches = channels_first(first), channels_first(second)
    expected = lpips(TorchOperations(torch), state, NETWORKS[net][0], *batches)
    assert len(state) == count  # nothing was drawn
    value = lpips_by_picture(first, second, params, net=net)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


@pytest.fixture
def data():
    if "JAXCOLOR_DATA" not in os.environ:
        pytest.skip("JAXCOLOR_DATA names no folder with kodak24, facades and openmoji_256")
    return Path(os.environ["JAXCOLOR_DATA"])


def read(path, crop=None):
    """A picture of 256x256, or its `crop`, in [-1, 1]."""
    return np.asarray(Image.open(path).convert("RGB").crop(crop), np.float32) / 127.5 - 1


def read_square(path):
    """The middle of a picture, resized to 256x256 by Lanczos' filter."""
    image = Image.open(path).convert("RGB")
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    image = image.crop((left, top, left + side, top + side))
    image = image.resize((256, 256), Image.Resampling.LANCZOS)
    return np.asarray(image, np.float32) / 127.5 - 1


def grey(image):
    """The picture with its own L* and no chroma: the sRGB grey of the same luminance."""
    x = (image + 1) / 2
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    y = linear @ np.float32([0.2126, 0.7152, 0.0722])
    encoded = np.where(y <= 0.0031308, 12.92 * y, 1.055 * y ** (1 / 2.4) - 0.055)
    return np.repeat(2 * encoded[..., None] - 1, 3, 2).astype(np.float32)


def mean_lpips(pairs, params):
    measure = jax.jit(lpips_by_picture, static_argnames="net")
    values = [measure(a[None], b[None], params, net="alex")[0] for a, b in pairs]
    return np.mean(values)


LEFT, RIGHT = (0, 0, 256, 256), (256, 0, 512, 256)


@pytest.mark.slow
@pytest.mark.parametrize("case_name", ["alex"])
def test_published_outputs_on_facades(trained, data):
    """Two published pix2pix implementations' outputs for four pictures: 0.457 and 0.482."""
    folder, found = data / "facades" / "reference_outputs", {}
    for name, suffix in (("tensorflow", "png"), ("torch", "jpg")):
        pairs = [
            (read(folder / f"{i}-{name}.{suffix}"), read(folder / f"{i}-targets.png"))
            for i in (1, 5, 51, 95)
        ]
        found[name] = mean_lpips(pairs, trained[1])
    assert found["tensorflow"] == pytest.approx(0.457, abs=0.001)
    assert found["torch"] == pytest.approx(0.482, abs=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("case_name", ["alex"])
def test_simple_predictions_measured_before(trained, data):
    """The grey picture on kodak24: 0.248; line art on openmoji: 0.143; mean photo: 0.885."""
    squares = [read_square(path) for path in sorted((data / "kodak24").glob("*.png"))]
    kodak = mean_lpips([(grey(image), image) for image in squares], trained[1])
    assert kodak == pytest.approx(0.248, abs=0.001)
    line_art = [
        (read(path, RIGHT), read(path, LEFT))
        for path in sorted((data / "openmoji_256" / "val").iterdir())
    ]
    assert mean_lpips(line_art, trained[1]) == pytest.approx(0.143, abs=0.003)
    photos = [read(path, LEFT) for path in sorted((data / "facades" / "train").iterdir())]
    mean = np.mean(photos, 0)
    facades = [(mean, read(path, LEFT)) for path in (data / "facades" / "val").iterdir()]
    assert mean_lpips(facades, trained[1]) == pytest.approx(0.885, abs=0.002)
