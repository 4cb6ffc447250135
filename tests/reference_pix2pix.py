"""PyTorch's pix2pix with the module names of pytorch-CycleGAN-and-pix2pix, small: our own code.

A block of the U-Net holds the next one, so that a name tells the place: model.model.1.model.3...
"""

import torch
from torch import nn


def make_norm(norm):
    """norm: "batch", "instance" (without parameters) or "none"."""
    kinds = {
        "batch": nn.BatchNorm2d,
        "instance": nn.InstanceNorm2d,
        "none": lambda _: nn.Identity(),
    }
    return kinds[norm]


class Block(nn.Module):
    """One level; `inner` is None at the innermost, and `outputs` given at the outermost."""

    def __init__(self, inputs, width, inner, norm, *, outputs=None, dropout=False):
        super().__init__()
        self.outermost = outputs is not None
        bias = norm == "instance"
        normalize = make_norm(norm)
        down = nn.Conv2d(inputs, width, 4, 2, 1, bias=bias)
        activate, rise = nn.LeakyReLU(0.2, True), nn.ReLU(True)
        joined = width if inner is None else 2 * width
        after = outputs if self.outermost else inputs
        up = nn.ConvTranspose2d(joined, after, 4, 2, 1, bias=bias or self.outermost)
        if self.outermost:
            layers = [down, inner, rise, up, nn.Tanh()]
        elif inner is None:
            layers = [activate, down, rise, up, normalize(after)]
        else:
            layers = [activate, down, normalize(width), inner, rise, up, normalize(after)]
            layers += [nn.Dropout(0.5)] if dropout else []
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class UnetGenerator(nn.Module):
    def __init__(self, depth, width=4, norm="batch", inputs=3, outputs=3):
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(depth)]
        block = None
        for level in range(depth - 1, 0, -1):
            drops = 4 <= level < depth - 1
            block = Block(widths[level - 1], widths[level], block, norm, dropout=drops)
        self.model = Block(inputs, width, block, norm, outputs=outputs)

    def forward(self, x):
        return self.model(x)


class NLayerDiscriminator(nn.Module):
    def __init__(self, inputs=6, width=4, layers=3, norm="batch"):
        super().__init__()
        bias, normalize = norm == "instance", make_norm(norm)
        found = [nn.Conv2d(inputs, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        before = width
        for layer in range(1, layers + 1):
            after = width * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            found.append(nn.Conv2d(before, after, 4, stride, 1, bias=bias))
            found += [normalize(after), nn.LeakyReLU(0.2, True)]
            before = after
        self.model = nn.Sequential(*found, nn.Conv2d(before, 1, 4, 1, 1))

    def forward(self, x):
        return self.model(x)


@torch.no_grad()
def disturb(network, seed=0):
    """Weights, biases and running statistics of a trained network's order; in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, array in network.state_dict().items():
        if name.endswith("running_var"):
            array.uniform_(0.5, 2, generator=generator)
        elif array.ndim == 4:
            # Of unit gain, so that the innermost levels count.
            array.normal_(0, (2 / (array[0].numel() if "0.w" in name else 16 * 8)) ** 0.5)
        elif array.dtype.is_floating_point:
            array.add_(torch.empty(array.shape).uniform_(-0.3, 0.3, generator=generator))
    return network.eval()


def with_own_statistics(network):
    """The network with batch norm's statistics of each batch, and without dropout."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    return network
