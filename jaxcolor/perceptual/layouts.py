"""What the arrays of each network are called in the files people have, and what they become.

A network here takes a flat dict of float32 arrays: "<layer>/kernel" [rows, columns, in, out] and
"<layer>/bias" [out], batch norms folded in. Files hold them so already, or as the state dict of a
torch implementation. A layout is one such naming: what to read for every layer.
"""

from typing import NamedTuple

from jaxcolor.perceptual import efficientnet, inception
from jaxcolor.perceptual.array_files import Shape
from jaxcolor.perceptual.lpips import BACKBONES


class Source(NamedTuple):
    """Where one layer lies in a file."""

    shape: Shape  # of the kernel: [rows, columns, in, out]
    weight: str
    bias: str | None = None
    norm: str | None = None  # "<norm>.weight", ".bias", ".running_mean", ".running_var"
    epsilon: float = 0.0  # of the norm
    torch: bool = True  # stored [out, in, rows, columns]


class Layout(NamedTuple):
    """One naming of the arrays of one network."""

    origin: str
    layers: dict[str, Source]
    vectors: dict[str, tuple[str, tuple[int, ...]]]  # name: its name there, lengths allowed


# Places of the convolutions in torchvision's `features`, and the slices lpips cuts those into.
_TORCHVISION = {
    "alex": (0, 3, 6, 8, 10),
    "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
}
_SLICES = {
    "alex": (1, 2, 3, 4, 5),
    "vgg": (1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5),
}


def lpips_layouts(net: str) -> tuple[Layout, ...]:
    """Flax names; torchvision's `features` beside the heads; a whole `lpips.LPIPS`."""
    backbone = BACKBONES[net]
    heads = [backbone.kernels[index][3] for index in backbone.compared]

    def layout(origin, convolution, head, torch):
        layers = {}
        for index, shape in enumerate(backbone.kernels):
            weight, bias = convolution(index)
            layers[f"Conv_{index}"] = Source(shape, weight, bias, torch=torch)
        for index, channels in enumerate(heads):
            layers[f"NetLinLayer_{index}"] = Source(
                (1, 1, channels, 1), head.format(index), torch=torch
            )
        return Layout(origin, layers, {})

    def flax(index):
        return f"Conv_{index}/kernel", f"Conv_{index}/bias"

    def torchvision(index):
        stem = f"features.{_TORCHVISION[net][index]}"
        return f"{stem}.weight", f"{stem}.bias"

    def package(index):
        stem = f"net.slice{_SLICES[net][index]}.{_TORCHVISION[net][index]}"
        return f"{stem}.weight", f"{stem}.bias"

    head = "lin{}.model.1.weight"
    return (
        layout("Flax", flax, "NetLinLayer_{}/kernel", torch=False),
        layout("torchvision and LPIPS heads", torchvision, head, torch=True),
        layout("lpips.LPIPS", package, head, torch=True),
    )


def efficientnet_layouts() -> tuple[Layout, ...]:
    """The names of EfficientNet-PyTorch and of timm's tf_efficientnet_lite0."""
    by_place = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    timm = {"stem": ("conv_stem", "bn1"), "head": ("conv_head", "bn2")}
    for index, (stage, place, _, _, expansion, _, _) in enumerate(efficientnet.blocks()):
        parts = ("expand", "depthwise", "project") if expansion > 1 else ("depthwise", "project")
        there = ("conv_pw", "conv_dw", "conv_pwl") if expansion > 1 else ("conv_dw", "conv_pw")
        for number, (part, name) in enumerate(zip(parts, there, strict=True), 1):
            norm = {"expand": 0, "depthwise": 1, "project": 2}[part]
            stem = f"_blocks.{index}."
            by_place[f"block_{index}/{part}"] = (f"{stem}_{part}_conv", f"{stem}_bn{norm}")
            stem = f"blocks.{stage}.{place}."
            timm[f"block_{index}/{part}"] = (f"{stem}{name}", f"{stem}bn{number}")
    shapes = efficientnet.kernels()
    return tuple(
        Layout(origin, _normed(shapes, names, efficientnet.NORM_EPSILON), {})
        for origin, names in (("EfficientNet-PyTorch", by_place), ("timm", timm))
    )


def inception_layouts() -> tuple[Layout, ...]:
    """Torchvision's names, which the port of the weights of 2015-12-05 has too."""
    shapes = inception.kernels()
    names = {layer: (f"{layer}.conv", f"{layer}.bn") for layer in shapes}
    vectors = {"fc/bias": ("fc.bias", tuple(inception.CLASSES))}
    return (Layout("torch", _normed(shapes, names, inception.NORM_EPSILON), vectors),)


def _normed(shapes, names, epsilon):
    return {
        layer: Source(shape, f"{names[layer][0]}.weight", None, names[layer][1], epsilon)
        for layer, shape in shapes.items()
    }
