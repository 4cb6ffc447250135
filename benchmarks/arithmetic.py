"""How much arithmetic a pix2pix step needs, counted from the layers; a multiply-add is two.

What the mathematics asks for, not what a program happens to do: no gradient towards a picture that
nobody updates, no work repeated. Norms, activations and Adam are left out: they are bound by
memory, not by arithmetic. Products with the zeros of the padding are counted. An algorithm that
needs fewer products (Winograd's) does the same work faster: its share of the matrix rate, by these
counts, may exceed 1.
"""

from typing import NamedTuple

CHANNELS = 3
TAPS = 16
MAXIMUM_WIDTH_FACTOR = 8


class Layer(NamedTuple):
    """One 4x4 convolution.

    Attributes:
      name: of its parameters in jaxcolor.
      kind: "down" (stride 2), "flat" (stride 1) or "up" (transposed, stride 2).
      side: of its input, in pixels.
      inputs: channels.
      outputs: channels.
    """

    name: str
    kind: str
    side: int
    inputs: int
    outputs: int

    @property
    def flops(self) -> int:
        """Of one picture's forward pass, and of either gradient."""
        sides = {"down": self.side // 2, "flat": self.side - 1, "up": self.side}
        return 2 * sides[self.kind] ** 2 * TAPS * self.inputs * self.outputs

    @property
    def parameters(self) -> int:
        """Of its kernel."""
        return TAPS * self.inputs * self.outputs


def generator_layers(image_size: int, base_width: int) -> list[Layer]:
    """The U-Net of the reference recipe, in the order of computation."""
    depth = image_size.bit_length() - 1
    widths = [base_width * min(2**level, MAXIMUM_WIDTH_FACTOR) for level in range(depth)]
    befores = [CHANNELS, *widths[:-1]]
    layers = [
        Layer(f"down_{level}", "down", image_size >> level, befores[level], widths[level])
        for level in range(depth)
    ]
    befores = [widths[-1], *(2 * width for width in widths[-2::-1])]
    afters = [*widths[-2::-1], CHANNELS]
    return layers + [
        Layer(f"up_{level}", "up", 1 << level, befores[level], afters[level])
        for level in range(depth)
    ]


def discriminator_layers(image_size: int, base_width: int) -> list[Layer]:
    """The 70x70 PatchGAN of the reference recipe, in the order of computation."""
    widths = [base_width * 2**level for level in range(4)]
    befores = [2 * CHANNELS, *widths[:-1]]
    layers = [
        Layer(f"layer_{level}", "down", image_size >> level, befores[level], widths[level])
        for level in range(3)
    ]
    side = image_size >> 3
    layers.append(Layer("layer_3", "flat", side, widths[2], widths[3]))
    return [*layers, Layer("logits", "flat", side - 1, widths[3], 1)]


def inference_flops(image_size: int, base_width: int) -> int:
    """Of one generated picture."""
    return sum(layer.flops for layer in generator_layers(image_size, base_width))


def step_flops(update: str, image_size: int, base_width: int) -> int:
    """Of one picture in one training step.

    The generator: forward and both gradients, but none towards the condition. The discriminator:
    forward and both gradients on the true and on the fake picture, none towards either; then the
    gradient towards the fake alone, and for "sequential" one more forward on it before.

    Args:
      update: "sequential" or "simultaneous".
      image_size: side in pixels.
      base_width: channels of the first layer of either network.
    """
    first, *rest = discriminator_layers(image_size, base_width)
    others = sum(layer.flops for layer in rest)
    judging = first.flops + others
    learning = 2 * (judging + first.flops + 2 * others)
    to_fake = first.flops // 2 + others  # half the first layer's input channels are the condition
    again = judging if update == "sequential" else 0
    condition = generator_layers(image_size, base_width)[0].flops
    generator = 3 * inference_flops(image_size, base_width) - condition
    return generator + learning + again + to_fake


def parameter_count(image_size: int, base_width: int) -> int:
    """Of the kernels of both networks: all but a thousandth of the parameters."""
    layers = generator_layers(image_size, base_width) + discriminator_layers(image_size, base_width)
    return sum(layer.parameters for layer in layers)
