"""Trained weights from files: where they are looked for, every naming, and damaged files."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from reference_networks import (
    NumpyOperations,
    RandomState,
    alexnet,
    efficientnet_lite0,
    inception_v3,
    lpips,
    vgg16,
)
from safetensors.numpy import load_file, save_file

from jaxcolor.errors import UserError
from jaxcolor.perceptual import weights

DOCS = (Path(__file__).parents[1] / "docs" / "weights.md").read_text()


def lpips_state(network, size):
    state = RandomState(0)
    image = np.zeros((1, 3, size, size))
    lpips(NumpyOperations(), state, network, image, image)
    return dict(state)


@pytest.fixture(scope="module")
def alex_state():
    """Names of torchvision's features and of the heads."""
    return lpips_state(alexnet, 31)


@pytest.fixture(scope="module")
def efficientnet_state():
    state = RandomState(0)
    efficientnet_lite0(NumpyOperations(), state, np.zeros((1, 3, 32, 32)))
    return dict(state)


@pytest.fixture
def alex_file(alex_state, tmp_path):
    path = tmp_path / "lpips_alex.npz"
    np.savez(path, **alex_state)
    return path


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_where_weights_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JAXCOLOR_WEIGHTS", raising=False)
    assert weights.weights_directory() == tmp_path / ".cache" / "jaxcolor" / "weights"
    monkeypatch.setenv("JAXCOLOR_WEIGHTS", "~/mine")
    assert weights.weights_directory() == tmp_path / "mine"
    assert weights.weights_directory(tmp_path / "given") == tmp_path / "given"
    with pytest.raises(weights.MissingWeights) as caught:
        weights.find("lpips_alex")
    for part in (str(tmp_path / "mine"), "lpips_alex.safetensors", "lpips_alex.npz", "JAXCOLOR"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="'lpips_squeeze' is none of lpips_alex, lpips_vgg"):
        weights.find("lpips_squeeze")


def test_every_naming_and_file_type_of_lpips_gives_the_same(alex_state, alex_file, tmp_path):
    expected = weights.find("lpips_alex", tmp_path)
    alex_file.unlink()
    assert expected["Conv_1/kernel"].shape == (5, 5, 64, 192)
    assert expected["Conv_1/kernel"][1, 2, 3, 4] == alex_state["features.3.weight"][4, 3, 1, 2]
    slices = {"0": 1, "3": 2, "6": 3, "8": 4, "10": 5}
    package = {
        re.sub(r"features\.(\d+)", lambda m: f"net.slice{slices[m[1]]}.{m[1]}", name): array
        for name, array in alex_state.items()
    }
    package |= {"scaling_layer.shift": np.zeros((1, 3, 1, 1)), "num": np.array(3)}
    for name, arrays in {
        "lpips_alex.safetensors": {**alex_state, "classifier.1.weight": np.zeros((7, 7))},
        "lpips_alexnet.safetensors": package,
        "lpips_alexnet_fp32.safetensors": expected,
    }.items():
        save_file(arrays, tmp_path / name)
        assert_same(weights.find("lpips_alex", tmp_path), expected)
        (tmp_path / name).unlink()


def test_timms_names_of_efficientnet_give_the_same(efficientnet_state, tmp_path):
    """There blocks count within their stages, and the norms of a block from 1."""
    stages = [(i, j) for i, count in enumerate((1, 2, 2, 3, 3, 4, 1)) for j in range(count)]
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    others = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    timm = {}
    for name, array in efficientnet_state.items():
        parts = name.split(".")
        if parts[0] == "_blocks":
            place = stages[int(parts[1])]
            part = (first if place == (0, 0) else others)[parts[2]]
            timm[f"blocks.{place[0]}.{place[1]}.{part}.{parts[3]}"] = array
        else:
            timm[f"{outside[parts[0]]}.{parts[1]}"] = array
    assert len(timm) == len(efficientnet_state)
    save_file(timm, tmp_path / "tf_efficientnet_lite0.safetensors")
    found = weights.find("efficientnet_lite0", tmp_path)
    np.savez(tmp_path / "efficientnet_lite0.npz", **efficientnet_state)
    assert_same(found, weights.find("efficientnet_lite0", tmp_path))


def test_the_conversion_in_the_docs_works(alex_state, tmp_path, monkeypatch):
    """Downloads of the shapes of the real ones become files that are found and complete."""
    torch = pytest.importorskip("torch")
    inception = RandomState(0)
    inception_v3(NumpyOperations(), inception, np.zeros((1, 3, 75, 75)), fid=True)
    common = {**inception, "Conv2d_1a_3x3.bn.num_batches_tracked": np.array(7)}
    vgg_state = lpips_state(vgg16, 16)
    downloads = {"inception_v3_google-0cc3c7bd.pth": common | {"fc.bias": np.zeros(1000)}}
    downloads["pt_inception-2015-12-05-6726825d.pth"] = common | {"fc.bias": np.zeros(1008)}
    for state, files in (
        (alex_state, ("alexnet-owt-7be5be79.pth", "alex.pth")),
        (vgg_state, ("vgg16-397923af.pth", "vgg.pth")),
    ):
        for file, start in zip(files, ("features.", "lin"), strict=True):
            downloads[file] = {name: x for name, x in state.items() if name.startswith(start)}
    for file, state in downloads.items():
        torch.save({name: torch.as_tensor(x) for name, x in state.items()}, tmp_path / file)
    (block,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/weights.md", "exec"), {})
    assert weights.find("lpips_vgg", tmp_path)["Conv_12/kernel"].shape == (3, 3, 512, 512)
    assert len(weights.find("lpips_alex", tmp_path)) == 15
    found = weights.find("inception_v3", tmp_path)
    assert found["fc/bias"].shape == (1008,)
    assert len(found) == 2 * 94 + 1
    for file in load_file(tmp_path / "lpips_alex.safetensors"):
        assert file in DOCS or file.split(".")[0] in ("features", "lin1", "lin2", "lin3", "lin4")


def test_batch_norms_are_folded(efficientnet_state, tmp_path):
    save_file(efficientnet_state, tmp_path / "efficientnet_lite0.safetensors")
    found = weights.find("efficientnet_lite0", tmp_path)
    scale, offset, mean, variance = (
        efficientnet_state[f"_bn0.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale /= np.sqrt(variance + 1e-3)
    kernel = efficientnet_state["_conv_stem.weight"].transpose(2, 3, 1, 0) * scale
    np.testing.assert_allclose(found["stem/kernel"], kernel, rtol=1e-6)
    np.testing.assert_allclose(found["stem/bias"], offset - mean * scale, rtol=1e-6, atol=1e-7)


def refused(name, directory):
    with pytest.raises(UserError) as caught:
        weights.find(name, directory)
    message = str(caught.value)
    assert str(directory) in message
    assert "\n" not in message
    return message


def test_missing_and_misshapen_arrays_are_named(alex_state, alex_file, tmp_path):
    some = {name: array for name, array in alex_state.items() if "lin" not in name}
    np.savez(alex_file, **some)
    message = refused("lpips_alex", tmp_path)
    assert (
        "lacks lin0.model.1.weight, lin1.model.1.weight, lin2.model.1.weight and 2 more" in message
    )
    np.savez(alex_file, **alex_state | {"features.3.bias": np.zeros(191)})
    assert "features.3.bias (191,) instead of (192,)" in refused("lpips_alex", tmp_path)
    np.savez(alex_file, something=np.zeros(3))
    assert "holds something, none of the names of Flax" in refused("lpips_alex", tmp_path)
    np.savez(alex_file)
    assert "holds nothing" in refused("lpips_alex", tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value, alex_state, alex_file, tmp_path):
    bias = np.full(192, value, np.float32)
    np.savez(alex_file, **alex_state | {"features.3.bias": bias})
    assert "NaN or infinite values, which give Conv_1/bias" in refused("lpips_alex", tmp_path)


def test_arrays_that_are_not_floats_or_are_pickled_are_refused(alex_state, alex_file, tmp_path):
    np.savez(alex_file, **alex_state | {"features.3.bias": np.zeros(192, np.int64)})
    assert "features.3.bias holds int64, not floats" in refused("lpips_alex", tmp_path)
    objects = np.array([print] * 192, object)
    np.savez(alex_file, **alex_state | {"features.3.bias": objects})
    assert "holds object, not floats" in refused("lpips_alex", tmp_path)
    alex_file.unlink()
    integers = alex_state | {"features.3.bias": np.zeros(192, np.int32)}
    save_file(integers, tmp_path / "lpips_alex.safetensors")
    assert "features.3.bias holds I32, not floats" in refused("lpips_alex", tmp_path)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("damage", ["half", "empty", "text", "flipped"])
def test_damaged_files_are_one_clear_line(suffix, damage, alex_state, tmp_path):
    path = tmp_path / f"lpips_alex{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, **alex_state)
    else:
        save_file(alex_state, path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[5] ^= 0xFF  # of a zip the version of the first member, of safetensors the header's size
    flipped[len(whole) // 2] ^= 0xFF
    contents = {"half": whole[: len(whole) // 2], "empty": b"", "text": b"version https://git-lfs"}
    path.write_bytes(contents.get(damage, bytes(flipped)))
    assert f"cannot be read as {suffix}" in refused("lpips_alex", tmp_path)


def test_a_header_that_lies_about_its_size_costs_no_memory(alex_state, alex_file, tmp_path):
    """An array said to hold 2^50 values is refused by its header; short data by its end."""

    def replace(shape):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        others = {name: array for name, array in alex_state.items() if name != "features.3.bias"}
        np.savez(alex_file, **others)
        with zipfile.ZipFile(alex_file, "a") as archive:
            archive.writestr("features.3.bias.npy", header.getvalue() + b"\0" * 16)

    replace((2**50,))
    assert "(1125899906842624,) instead of (192,)" in refused("lpips_alex", tmp_path)
    replace((192,))
    assert "cannot be read as .npz" in refused("lpips_alex", tmp_path)


def test_half_precision_of_both_kinds_is_read(alex_state, tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rounded = {name: x.astype(ml_dtypes.bfloat16) for name, x in alex_state.items()}
    save_file(rounded, tmp_path / "lpips_alex.safetensors")
    found = weights.find("lpips_alex", tmp_path)
    kernel = alex_state["features.0.weight"].astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(found["Conv_0/kernel"], kernel.transpose(2, 3, 1, 0))
