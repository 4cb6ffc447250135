"""The reference's pix2pix networks in PyTorch: U-Net of unet_256's layout, and 70x70 PatchGAN.

Layers carry the names that `jaxcolor.models` gives them, so that weights are copied by name.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

MAXIMUM_WIDTH_FACTOR = 8
LEAKY_SLOPE = 0.2


def _convolution(before: int, after: int, stride: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(before, after, 4, stride, 1, bias=bias)


def _normalize(norm: nn.BatchNorm2d, x: torch.Tensor, statistics: str) -> torch.Tensor:
    """Batch norm; with each picture's own statistics if "picture", else as `norm.training` says."""
    if statistics == "picture":
        return functional.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=norm.eps)
    return norm(x)


class UNet(nn.Module):
    """unet_256's layout at any power of two: 54,413,955 parameters at 256 pixels and width 64."""

    def __init__(
        self,
        image_size: int = 256,
        base_width: int = 64,
        channels: int = 3,
        dropout_levels: tuple[int, ...] = (1, 2, 3),
        dropout_rate: float = 0.5,
    ):
        """Layers for pictures of `image_size`; dropout on decoder levels, innermost first."""
        super().__init__()
        self.depth = image_size.bit_length() - 1
        self.dropout_levels, self.dropout_rate = dropout_levels, dropout_rate
        widths = [base_width * min(2**i, MAXIMUM_WIDTH_FACTOR) for i in range(self.depth)]
        last = self.depth - 1
        self.layers = nn.ModuleDict()
        for level, (before, after) in enumerate(zip([channels, *widths], widths, strict=False)):
            self.layers[f"down_{level}"] = _convolution(before, after, 2, bias=False)
            if 0 < level < last:
                self.layers[f"down_norm_{level}"] = nn.BatchNorm2d(after)
        inputs = [widths[-1], *(2 * width for width in reversed(widths[:-1]))]
        for level, (before, after) in enumerate(
            zip(inputs, [*widths[-2::-1], channels], strict=True)
        ):
            self.layers[f"up_{level}"] = nn.ConvTranspose2d(
                before, after, 4, 2, 1, bias=level == last
            )
            if level < last:
                self.layers[f"up_norm_{level}"] = nn.BatchNorm2d(after)

    def forward(self, condition: torch.Tensor, statistics: str = "batch") -> torch.Tensor:
        """Pictures in [-1, 1] of conditions in [-1, 1], both [batch, channels, size, size]."""
        x, skips = condition, []
        for level in range(self.depth):
            if level > 0:
                # In place, as in the reference: the ReLU below undoes it on the skip.
                x = functional.leaky_relu(x, LEAKY_SLOPE, inplace=True)
            x = self.layers[f"down_{level}"](x)
            if 0 < level < self.depth - 1:
                x = _normalize(self.layers[f"down_norm_{level}"], x, statistics)
            skips.append(x)
        x = functional.relu(skips.pop(), inplace=True)
        for level in range(self.depth - 1):
            x = self.layers[f"up_{level}"](x)
            x = _normalize(self.layers[f"up_norm_{level}"], x, statistics)
            if level in self.dropout_levels:
                x = functional.dropout(x, self.dropout_rate, self.training)
            x = functional.relu(torch.cat([skips.pop(), x], 1), inplace=True)
        return torch.tanh(self.layers[f"up_{self.depth - 1}"](x))


class PatchGAN(nn.Module):
    """The 70x70 discriminator: 2,768,705 parameters at width 64."""

    def __init__(self, base_width: int = 64, strided_layers: int = 3, channels: int = 6):
        """Layers of stride 2, one of stride 1, and one of stride 1 to the logits."""
        super().__init__()
        self.count = strided_layers + 1
        widths = [base_width * min(2**i, MAXIMUM_WIDTH_FACTOR) for i in range(self.count)]
        self.layers = nn.ModuleDict()
        for i, (before, after) in enumerate(zip([channels, *widths], widths, strict=False)):
            stride = 2 if i < strided_layers else 1
            self.layers[f"layer_{i}"] = _convolution(before, after, stride, bias=i == 0)
            if i > 0:
                self.layers[f"norm_{i}"] = nn.BatchNorm2d(after)
        self.layers["logits"] = _convolution(widths[-1], 1, 1, bias=True)

    def forward(self, condition: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        """Logits [batch, 1, height', width'] of two [batch, channels, height, width]."""
        x = torch.cat([condition, picture], 1)
        for i in range(self.count):
            x = self.layers[f"layer_{i}"](x)
            x = self.layers[f"norm_{i}"](x) if i > 0 else x
            x = functional.leaky_relu(x, LEAKY_SLOPE, inplace=True)
        return self.layers["logits"](x)


def initialize(network: nn.Module) -> None:
    """N(0, 0.02) kernels, N(1, 0.02) norm scales, zero biases."""
    for layer in network.layers.values():
        mean = 1.0 if isinstance(layer, nn.BatchNorm2d) else 0.0
        nn.init.normal_(layer.weight, mean, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@torch.no_grad()
def copy_layers(network: nn.Module, params: dict, batch_stats: dict) -> None:
    """Gives `network` the weights and running statistics of a jaxcolor network."""
    if set(params) != set(network.layers):
        raise ValueError(f"layers differ: {sorted(set(params) ^ set(network.layers))}")
    for name, layer in network.layers.items():
        values = dict(params[name])
        if isinstance(layer, nn.BatchNorm2d):
            values["weight"] = values.pop("scale")
            values["running_mean"] = batch_stats[name]["mean"]
            values["running_var"] = batch_stats[name]["variance"]
        elif isinstance(layer, nn.ConvTranspose2d):
            # [rows, columns, in, out], applied unturned there, turned by 180 degrees here.
            kernel = np.asarray(values.pop("kernel"))[::-1, ::-1]
            values["weight"] = kernel.transpose(2, 3, 0, 1)
        else:
            values["weight"] = np.asarray(values.pop("kernel")).transpose(3, 2, 0, 1)
        for key, value in values.items():
            getattr(layer, key).copy_(torch.from_numpy(np.array(value, np.float32)))


def round_kernels(network: nn.Module) -> None:
    """Keeps the convolutions of `network` in bfloat16; norms stay in float32."""
    for layer in network.layers.values():
        if not isinstance(layer, nn.BatchNorm2d):
            layer.to(torch.bfloat16)
