"""Networks of pytorch-CycleGAN-and-pix2pix as ours: their layers found by name, weights converted.

Known are its U-Nets (unet_128, unet_256 and any other depth) and its PatchGANs (basic, n_layers),
with batch norm, instance norm or none, at any width.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxcolor.errors import UserError
from jaxcolor.models import patchgan, unet
from jaxcolor.models.unet import MAXIMUM_WIDTH_FACTOR

_DEEPEST = 12
_SHALLOWEST = 5
_NORM_PARTS = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "variance"),
}
_WRAPPERS = ("module.", "_orig_mod.")  # of data parallelism and torch.compile


class Converted(NamedTuple):
    """A network as ours.

    Attributes:
      kind: "generator" or "discriminator".
      section: its section of a config.
      input_channels: of what it is given: a condition, or a condition and a picture.
      image_size: side in pixels, of a generator; a discriminator takes any: 0.
      params: as the module has them.
      batch_stats: the same.
    """

    kind: str
    section: dict[str, Any]
    input_channels: int
    image_size: int
    params: dict[str, dict[str, np.ndarray]]
    batch_stats: dict[str, dict[str, np.ndarray]]


class _Layer(NamedTuple):
    """A layer of ours, the name of theirs, and the channels it must have.

    Attributes:
      ours: its name.
      theirs: its name.
      kind: "down" or "logits" (convolution), "up" (transposed) or "norm".
      shape: of the weight: (out, in) of a convolution, (in, out) of a transposed one; or (width,).
      bias: whether ours has one.
    """

    ours: str
    theirs: str
    kind: str
    shape: tuple[int, ...]
    bias: bool = False


def convert(tensors: dict[str, np.ndarray]) -> Converted:
    """The network that a state_dict holds.

    Args:
      tensors: arrays by name.

    Raises:
      UserError: it is another network, a tensor is missing, too many, of another shape or not
        finite.
    """
    tensors = {_unwrapped(name): array for name, array in tensors.items()}
    tensors = {n: x for n, x in tensors.items() if not n.endswith(".num_batches_tracked")}
    if "model.model.0.weight" in tensors:
        return _convert_generator(tensors)
    if "model.0.weight" in tensors and _shape(tensors, "model.0.weight")[2:] == (4, 4):
        return _convert_discriminator(tensors)
    guess = (
        "; it looks like a ResNet generator" if "model.10.conv_block.1.weight" in tensors else ""
    )
    raise UserError(
        "this is none of the reference's networks that can be imported, a U-Net (unet_128, "
        f"unet_256) or a PatchGAN (basic){guess}; its tensors: {_some(list(tensors))}"
    )


def _unwrapped(name):
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _convert_generator(tensors):
    paths = list(_unet_levels(tensors))
    depth = len(paths)
    if not _SHALLOWEST <= depth <= _DEEPEST:
        raise UserError(
            f"this U-Net has {depth} levels: the reference's have {_SHALLOWEST} to {_DEEPEST}"
        )
    base, inputs = _kernel_shape(tensors, f"{paths[0]}0.weight")[:2]
    outputs = _kernel_shape(tensors, f"{paths[0]}3.weight")[1]
    plain_bias = f"{paths[0]}0.bias" in tensors
    norm, has_running = _norm_of(tensors, f"{paths[-1]}4", plain_bias)
    section = unet.REFERENCE | {
        "base_width": base,
        "output_channels": outputs,
        "norm": norm,
        # Three at 8 levels, two at 7: on decoder levels of the full width but the innermost.
        "dropout_levels": tuple(range(1, depth - 4)),
    }
    if plain_bias:
        section["plain_bias"] = True
    layers = list(_unet_layers(paths, base, inputs, outputs, norm, plain_bias))
    params, batch_stats = _take(tensors, layers, norm, has_running)
    return Converted("generator", section, inputs, 2**depth, params, batch_stats)


def _unet_levels(tensors) -> Iterator[str]:
    """The name of each level's block, outermost first; a block holds the next one."""
    path, place = "model.model.", "1.model."
    yield path
    while f"{path}{place}1.weight" in tensors:
        path, place = path + place, "3.model."
        yield path


def _unet_layers(paths, base, inputs, outputs, norm, plain_bias) -> Iterator[_Layer]:
    """All layers; places in a block count its activations."""
    last = len(paths) - 1
    widths = [base * min(2**level, MAXIMUM_WIDTH_FACTOR) for level in range(last + 1)]
    has_norm, idle = norm != "none", norm == "none"
    for level, path in enumerate(paths):
        # Places of: convolution, its norm, transposed convolution, its norm.
        down, down_norm, up, up_norm = (1, 2, 5, 6)
        if level in (0, last):
            down, up, up_norm = (0, 3, None) if level == 0 else (1, 3, 4)
            down_norm = None
        width, before = widths[level], widths[level - 1] if level else inputs
        bias = plain_bias if level in (0, last) else idle
        yield _Layer(f"down_{level}", f"{path}{down}", "down", (width, before), bias)
        if down_norm and has_norm:
            yield _Layer(f"down_norm_{level}", f"{path}{down_norm}", "norm", (width,))
        from_below = width if level == last else 2 * width
        after, place = before if level else outputs, last - level
        shape = (from_below, after)
        yield _Layer(f"up_{place}", f"{path}{up}", "up", shape, level == 0 or idle)
        if up_norm and has_norm:
            yield _Layer(f"up_norm_{place}", f"{path}{up_norm}", "norm", (after,))


def _convert_discriminator(tensors):
    count = 1
    while f"model.{3 * count - 1}.weight" in tensors:
        count += 1
    strided = count - 2  # all but the last two have stride 2
    base, inputs = _kernel_shape(tensors, "model.0.weight")[:2]
    if strided < 1 or _kernel_shape(tensors, f"model.{3 * count - 4}.weight")[0] != 1:
        raise UserError("this is no PatchGAN: its last convolution does not give one channel")
    norm, has_running = _norm_of(tensors, "model.3", "model.2.bias" in tensors)
    section = patchgan.REFERENCE | {"base_width": base, "strided_layers": strided, "norm": norm}
    widths = [base * min(2**layer, MAXIMUM_WIDTH_FACTOR) for layer in range(strided + 1)]
    layers = [_Layer("layer_0", "model.0", "down", (base, inputs), True)]
    for layer in range(1, strided + 1):
        shape = (widths[layer], widths[layer - 1])
        theirs = f"model.{3 * layer - 1}"
        layers.append(_Layer(f"layer_{layer}", theirs, "down", shape, norm == "none"))
        if norm != "none":
            layers.append(_Layer(f"norm_{layer}", f"model.{3 * layer}", "norm", (widths[layer],)))
    last = f"model.{3 * strided + 2}"
    layers.append(_Layer("logits", last, "logits", (1, widths[-1]), True))
    params, batch_stats = _take(tensors, layers, norm, has_running)
    return Converted("discriminator", section, inputs, 0, params, batch_stats)


def _norm_of(tensors, place, has_idle_bias) -> tuple[str, bool]:
    """Which norm stands at `place`, and whether it was saved with running statistics.

    The reference's instance norm has no parameters; there the convolutions have biases.
    """
    affine, has_running = f"{place}.weight" in tensors, f"{place}.running_mean" in tensors
    if affine:
        return ("batch" if has_running else "instance"), has_running
    return ("instance" if has_idle_bias or has_running else "none"), has_running


def _take(tensors, layers, norm, has_running):
    """Parameters and running statistics of all layers; every tensor must be used."""
    left, params, batch_stats = dict(tensors), {}, {}
    for layer in layers:
        if layer.kind == "norm":
            trees = _take_norm(left, layer, norm, has_running)
            params[layer.ours] = trees["params"]
            if norm == "batch":
                batch_stats[layer.ours] = trees["batch_stats"]
        else:
            params[layer.ours] = _take_convolution(left, layer)
    if left:
        raise UserError(f"this network has more than the reference's: {_some(list(left))}")
    return params, batch_stats


def _take_convolution(left, layer):
    weight = _pop(left, f"{layer.theirs}.weight", (*layer.shape, 4, 4))
    if layer.kind == "up":
        # Ours, [rows, columns, in, out], is applied unturned; theirs turned by 180 degrees.
        kernel, width = weight.transpose(2, 3, 0, 1)[::-1, ::-1], layer.shape[1]
    else:
        kernel, width = weight.transpose(2, 3, 1, 0), layer.shape[0]
    found = {"kernel": np.ascontiguousarray(kernel)}
    name = f"{layer.theirs}.bias"
    bias = _pop(left, name, (width,)) if name in left else None
    if layer.bias:
        # Without a norm the reference has none; where a norm follows, its mean takes it off again.
        found["bias"] = np.zeros(width, np.float32) if bias is None else bias
    return found


def _take_norm(left, layer, norm, has_running):
    width = layer.shape
    trees = {"params": {}, "batch_stats": {}}
    affine = norm == "batch" or f"{layer.theirs}.weight" in left
    for theirs, (tree, ours) in _NORM_PARTS.items():
        if affine if tree == "params" else has_running:
            trees[tree][ours] = _pop(left, f"{layer.theirs}.{theirs}", width)
    if not affine:
        trees["params"] = {"scale": np.ones(width, np.float32), "bias": np.zeros(width, np.float32)}
    return trees


def _pop(left, name, shape):
    """The array of that name in float32, taken out of `left`."""
    if name not in left:
        raise UserError(f"{name} is missing")
    found = _shape(left, name)
    if found != shape:
        raise UserError(f"{name} has the shape {found} instead of {shape}")
    stored = left.pop(name)
    array = stored.astype(np.float32)
    if np.issubdtype(stored.dtype, np.integer) or stored.dtype == np.bool_:
        raise UserError(f"{name} holds {stored.dtype}, not floats")
    if not np.isfinite(array).all():
        raise UserError(f"{name} holds NaN or infinite values")
    return array


def _shape(tensors, name):
    """The shape of a tensor that must be there."""
    if name not in tensors:
        raise UserError(f"{name} is missing")
    return tensors[name].shape


def _kernel_shape(tensors, name):
    """The shape of a convolution's weight, checked before it is taken apart."""
    shape = _shape(tensors, name)
    if len(shape) != 4 or 0 in shape:
        raise UserError(f"{name} has the shape {shape}, which is no convolution's")
    return shape


def _some(names):
    """The first three names, each cut short, and how many more there are."""
    shown = ", ".join(repr(name[:80]) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
