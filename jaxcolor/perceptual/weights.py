"""Trained weights from local files: found, checked and brought into the form the networks take.

`docs/weights.md` says where the files come from and how to convert them.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcolor.errors import UserError
from jaxcolor.perceptual import layouts
from jaxcolor.perceptual.array_files import SUFFIXES, ArrayFile, open_arrays
from jaxcolor.perceptual.layouts import Layout, Source

VARIABLE = "JAXCOLOR_WEIGHTS"


class Network(NamedTuple):
    """What a network's file may be called, without its suffix, and how its arrays are named."""

    stems: tuple[str, ...]
    layouts: Callable[[], tuple[Layout, ...]]


NETWORKS = {
    "lpips_alex": Network(
        ("lpips_alex", "lpips_alexnet", "lpips_alexnet_fp32"),
        lambda: layouts.lpips_layouts("alex"),
    ),
    "lpips_vgg": Network(
        ("lpips_vgg", "lpips_vgg16", "lpips_vgg16_fp16"), lambda: layouts.lpips_layouts("vgg")
    ),
    "efficientnet_lite0": Network(
        ("efficientnet_lite0", "tf_efficientnet_lite0", "efficientnet_lite0_fp16"),
        layouts.efficientnet_layouts,
    ),
    "inception_v3": Network(("inception_v3", "pt_inception-2015-12-05"), layouts.inception_layouts),
}


class MissingWeights(UserError):
    """No file holds the weights of a network; the message says what was looked for and where."""


def weights_directory(directory: str | os.PathLike | None = None) -> Path:
    """`directory`, or else $JAXCOLOR_WEIGHTS, or else ~/.cache/jaxcolor/weights."""
    chosen = directory or os.environ.get(VARIABLE) or Path("~", ".cache", "jaxcolor", "weights")
    return Path(chosen).expanduser()


def locate(name: str, directory: str | os.PathLike | None = None) -> Path:
    """The file that holds the weights of network `name`: the first there of those it may be.

    Raises:
      MissingWeights: there is none.
      ValueError: no network is called so.
    """
    if name not in NETWORKS:
        raise ValueError(f"{name!r} is none of {', '.join(NETWORKS)}")
    folder = weights_directory(directory)
    files = [stem + suffix for stem in NETWORKS[name].stems for suffix in SUFFIXES]
    for file in files:
        if (folder / file).is_file():
            return folder / file
    raise MissingWeights(
        f"no weights of {name} in {folder}: looked for {', '.join(files)}; docs/weights.md says "
        f"where to get them; {VARIABLE} names another folder"
    )


def find(name: str, directory: str | os.PathLike | None = None) -> dict[str, np.ndarray]:
    """The weights of network `name`: float32 arrays "<layer>/kernel", "<layer>/bias" by name.

    Batch norms are folded into the convolutions before them. Half precision becomes float32.

    Args:
      name: "lpips_alex", "lpips_vgg", "efficientnet_lite0" or "inception_v3".
      directory: where the file lies, as `weights_directory` completes it.

    Raises:
      MissingWeights: there is no such file.
      UserError: the file is damaged, of another kind, or lacks arrays or has some of other shapes;
        the message names them.
      ValueError: no network is called so.
    """
    path = locate(name, directory)
    with open_arrays(path) as file:
        layout = _choose(NETWORKS[name].layouts(), file.names(), path, name)
        _check(layout, file, path)
        params = {}
        for layer, source in layout.layers.items():
            params |= _read_layer(layer, source, file)
        for target, (vector, _) in layout.vectors.items():
            params[target] = file.read(vector).astype(np.float32)
    broken = [target for target, array in params.items() if not np.isfinite(array).all()]
    if broken:
        raise UserError(f"{path} holds NaN or infinite values, which give {_some(broken)}")
    return params


def _choose(candidates, names, path, name):
    """The layout most of whose arrays are in the file."""
    shares = [np.mean([array in names for array in _expected(layout)]) for layout in candidates]
    best = int(np.argmax(shares))
    if shares[best] == 0:
        origins = ", ".join(layout.origin for layout in candidates)
        found = _some(sorted(names)) or "nothing"
        raise UserError(
            f"{path} is no file of {name}: it holds {found}, none of the names of {origins}"
        )
    return candidates[best]


def _expected(layout: Layout) -> dict[str, list[tuple[int, ...]]]:
    """The shapes each array of the file may have."""
    arrays = {}
    for source in layout.layers.values():
        rows, columns, ins, outs = source.shape
        arrays[source.weight] = [(outs, ins, rows, columns) if source.torch else source.shape]
        if source.bias:
            arrays[source.bias] = [(outs,)]
        if source.norm:
            arrays |= {array: [(outs,)] for array in _norm_arrays(source.norm)}
    for vector, lengths in layout.vectors.values():
        arrays[vector] = [(length,) for length in lengths]
    return arrays


def _norm_arrays(norm):
    return [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]


def _check(layout, file, path):
    expected = _expected(layout)
    names = file.names()
    missing = [array for array in expected if array not in names]
    if missing:
        raise UserError(f"{path} lacks {_some(missing)} of the {len(expected)} arrays it needs")
    wrong = [
        f"{array} {file.shape(array)} instead of {' or '.join(map(str, shapes))}"
        for array, shapes in expected.items()
        if file.shape(array) not in shapes
    ]
    if wrong:
        raise UserError(f"{path} holds arrays of other shapes: {_some(wrong)}")


def _read_layer(layer: str, source: Source, file: ArrayFile) -> dict[str, np.ndarray]:
    kernel = file.read(source.weight).astype(np.float64)
    if source.torch:
        kernel = kernel.transpose(2, 3, 1, 0)
    arrays = {}
    if source.bias:
        arrays["bias"] = file.read(source.bias)
    if source.norm:
        scale, offset, mean, variance = (
            file.read(array).astype(np.float64) for array in _norm_arrays(source.norm)
        )
        scale = scale / np.sqrt(np.maximum(variance, 0) + source.epsilon)
        kernel, arrays["bias"] = kernel * scale, offset - mean * scale
    arrays["kernel"] = np.ascontiguousarray(kernel)
    return {f"{layer}/{part}": array.astype(np.float32) for part, array in arrays.items()}


def _some(items):
    """The first three of `items`, each cut short, and how many more there are."""
    shown = ", ".join(item[:120] for item in items[:3])
    return shown if len(items) <= 3 else f"{shown} and {len(items) - 3} more"
