"""How long a step takes on many devices, from one device's step and the rates of the links.

Only what bounds a step is counted: its arithmetic, Adam's traffic to memory, the bytes of the
all-reduce. Latencies, some tens of microseconds, are left out.
"""

from typing import NamedTuple

from benchmarks.accelerators import Accelerator
from benchmarks.arithmetic import parameter_count, step_flops

UPDATE, IMAGE_SIZE, BASE_WIDTH = "sequential", 256, 64
FLOPS = step_flops(UPDATE, IMAGE_SIZE, BASE_WIDTH)  # of one picture
PARAMETERS = parameter_count(IMAGE_SIZE, BASE_WIDTH)
FLOAT32, BFLOAT16 = 4, 2
# Adam reads parameter, gradient and both moments, and writes parameter and both moments.
ADAM_BYTES = 7 * FLOAT32 * PARAMETERS


class Assumptions(NamedTuple):
    """What was not measured here.

    Attributes:
      shares: of the peak that a step's arithmetic reaches, by pictures a device.
      link_share: of the published rate that an all-reduce reaches.
      measured: pictures a second of one device, by (accelerator's name, pictures a device); it
        takes the place of what would be derived.
    """

    shares: dict[int, float]
    link_share: float
    measured: dict[tuple[str, int], float]


class Step(NamedTuple):
    """Seconds of a step on several devices.

    Attributes:
      alone: of one device by itself.
      reduction: of averaging the gradients.
      optimizer: the part of `alone` that a sharded optimizer divides.
      devices: how many.
      batch: pictures each.
    """

    alone: float
    reduction: float
    optimizer: float
    devices: int
    batch: int

    @property
    def seconds(self) -> float:
        """One after the other: what a step takes that reduces all gradients at its end."""
        return self.alone + self.reduction

    @property
    def overlapped(self) -> float:
        """If all of the reduction hid behind the arithmetic: no schedule does better."""
        return max(self.alone, self.reduction)

    @property
    def sharded(self) -> float:
        """One after the other, each device updating its part of the parameters (ZeRO-1)."""
        return self.seconds - self.optimizer * (1 - 1 / self.devices)

    def efficiency(self, seconds: float) -> float:
        """Pictures a second in steps of `seconds`, by those of as many devices by themselves."""
        return self.alone / seconds

    def pictures_per_second(self, seconds: float) -> float:
        """Of all devices together, in steps of `seconds`."""
        return self.devices * self.batch / seconds


def alone_seconds(accelerator: Accelerator, batch: int, assumptions: Assumptions) -> float:
    """A step on one device: what was measured, or arithmetic and then Adam."""
    rate = assumptions.measured.get((accelerator.name, batch))
    if rate is not None:
        return batch / rate
    arithmetic = batch * FLOPS / (assumptions.shares[batch] * accelerator.peak)
    return arithmetic + adam_seconds(accelerator)


def adam_seconds(accelerator: Accelerator) -> float:
    """Adam over all parameters, bound by memory."""
    return ADAM_BYTES / accelerator.memory_rate


def ring_bytes(devices: int, size: float) -> float:
    """What each device sends in an all-reduce of `size` bytes by rings (Patarasuk and Yuan 2009).

    A reduce-scatter and an all-gather: each sends (devices - 1) / devices of it.
    """
    return 2 * (devices - 1) / devices * size


def sharded_bytes(devices: int, gradient_bytes: int) -> float:
    """What each device sends when optimizer states are sharded (ZeRO-1).

    Gradients of `gradient_bytes` a parameter are reduced and scattered, then the new parameters,
    which stay float32, are gathered.
    """
    return (devices - 1) / devices * (gradient_bytes + FLOAT32) * PARAMETERS


def reduction_seconds(
    accelerator: Accelerator, devices: int, size: float, assumptions: Assumptions
) -> float:
    """An all-reduce of `size` bytes: by the links of each island, its parts between islands.

    Within an island each device is left with its share of the sum; shares of one kind are reduced
    by the network; then they are gathered.

    Raises:
      ValueError: it needs a network of which nothing is known.
    """
    inside = min(devices, accelerator.island)
    outside = -(-devices // inside)
    link = accelerator.link if devices >= accelerator.closed_from else accelerator.link / 2
    seconds = ring_bytes(inside, size) / link if inside > 1 else 0.0
    if outside > 1:
        if accelerator.network is None:
            raise ValueError(f"no rate is known beyond {accelerator.island} {accelerator.name}")
        seconds += ring_bytes(outside, size / inside) / accelerator.network
    return seconds / assumptions.link_share


def step(
    accelerator: Accelerator,
    devices: int,
    batch: int,
    gradient_bytes: int,
    assumptions: Assumptions,
) -> Step:
    """A step of `batch` pictures on each of `devices`, its gradients reduced in float32 or less."""
    size = gradient_bytes * PARAMETERS
    return Step(
        alone=alone_seconds(accelerator, batch, assumptions),
        reduction=reduction_seconds(accelerator, devices, size, assumptions),
        optimizer=adam_seconds(accelerator),
        devices=devices,
        batch=batch,
    )


def smallest_batch(
    accelerator: Accelerator,
    devices: int,
    gradient_bytes: int,
    wanted: float,
    assumptions: Assumptions,
) -> int:
    """The pictures a device from which a step that overlaps nothing has the efficiency `wanted`.

    At the largest of the assumed shares: a slower step needs fewer.
    """
    size = gradient_bytes * PARAMETERS
    reduction = reduction_seconds(accelerator, devices, size, assumptions)
    needed = wanted / (1 - wanted) * reduction - adam_seconds(accelerator)
    each = FLOPS / (max(assumptions.shares.values()) * accelerator.peak)
    return max(1, -int(-needed // each))
