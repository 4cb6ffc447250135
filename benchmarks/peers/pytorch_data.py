"""The reference's loader in PyTorch: side-by-side files, PIL transforms, torch's DataLoader.

What the reference (Isola et al. 2017, aligned pairs) asks of torchvision, with the calls into PIL
and torch that torchvision makes for it: it does not install beside every torch. The affine warp and
the noise, which the reference has not, are done as torchvision does the former and as simply as
torch can do the latter. Batches are float32 in [-1, 1], as the reference's networks take them.
"""

import math
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

BLANK = (255, 255, 255)


class PairDataset(Dataset):
    """{"condition", "target"}: float32 [3, image_size, image_size] in [-1, 1], of every file."""

    def __init__(
        self,
        paths: Sequence[str],
        *,
        image_size: int = 256,
        load_size: int = 286,
        flip: bool = True,
        rotation: float = 0.0,
        shear: float = 0.0,
        zoom: float = 0.0,
        shift: float = 0.0,
        noise: float = 0.0,
    ):
        """Pairs with the target at the left; see jaxcolor's TrainingTransform for the ranges."""
        self._paths, self._size, self._load_size = list(paths), image_size, load_size
        self._flip, self._noise = flip, noise
        self._ranges = (rotation, shear, zoom, shift * image_size, shift * image_size)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._paths)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One pair, moved at random."""
        pair = Image.open(self._paths[index]).convert("RGB")
        width, height = pair.size
        half = width // 2
        target, condition = pair.crop((0, 0, half, height)), pair.crop((half, 0, width, height))
        corner = [random.randint(0, self._load_size - self._size) for _ in range(2)]
        mirrored = self._flip and random.random() > 0.5
        warp = self._draw_warp() if any(self._ranges) else None
        target = to_tensor(self._move(target, corner, mirrored, warp))
        condition = to_tensor(self._move(condition, corner, mirrored, warp))
        if self._noise:
            noise = self._noise * torch.randn(1, self._size, self._size)
            condition = condition.add_(noise).clamp_(-1, 1)
        return {"condition": condition, "target": target}

    def _draw_warp(self):
        drawn = [torch.empty(1).uniform_(-most, most).item() for most in self._ranges]
        return inverse_affine(self._size, *drawn)

    def _move(self, picture, corner, mirrored, warp):
        left, top = corner
        size = self._size
        picture = picture.resize((self._load_size, self._load_size), Image.Resampling.BICUBIC)
        picture = picture.crop((left, top, left + size, top + size))
        if mirrored:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if warp is None:
            return picture
        options = {"resample": Image.Resampling.BILINEAR, "fillcolor": BLANK}
        return picture.transform((size, size), Image.Transform.AFFINE, warp, **options)


def inverse_affine(
    size: int, rotation: float, shear: float, zoom: float, right: float, down: float
) -> list[float]:
    """The six numbers Pillow wants: where each pixel of the warped picture comes from.

    Args:
      size: side of the picture, which is warped about its centre.
      rotation: degrees, clockwise.
      shear: degrees; what is above the centre leans to the left.
      zoom: 0.1 makes everything 10 % larger.
      right: shift in pixels, taken to the nearest whole one, as torchvision does.
      down: the same, downwards.
    """
    cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    slant, scale, centre = math.tan(math.radians(shear)), 1.0 + zoom, size * 0.5
    a, b = (cos + sin * slant) / scale, (sin - cos * slant) / scale
    c, d = -sin / scale, cos / scale
    x, y = centre + round(right), centre + round(down)
    return [a, b, centre - a * x - b * y, c, d, centre - c * x - d * y]


def to_tensor(picture: Image.Image) -> torch.Tensor:
    """The picture as float32 [3, height, width] in [-1, 1]; torchvision's ToTensor, Normalize."""
    pixels = torch.from_numpy(np.array(picture, copy=True)).permute(2, 0, 1).contiguous()
    scaled = pixels.to(torch.float32).div(255)
    mean = deviation = torch.full((3, 1, 1), 0.5)
    return scaled.sub_(mean).div_(deviation)


class EndlessShuffle(Sampler):
    """Every index once an epoch, for ever: no epoch's end empties the queues of the workers."""

    def __init__(self, count: int):
        """Shuffles the numbers from 0 to `count`."""
        self._count = count

    def __iter__(self) -> Iterator[int]:
        """The indices."""
        while True:
            yield from torch.randperm(self._count).tolist()


def training_batches(
    dataset: Dataset, *, batch_size: int, num_workers: int
) -> Iterator[dict[str, torch.Tensor]]:
    """Endless iterator of shuffled batches, each [batch_size, 3, size, size].

    With PyTorch's own defaults: two batches ahead in every worker, none without workers.
    """
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=EndlessShuffle(len(dataset)),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        drop_last=True,
    )
    yield from iter(loader)  # a generator: its workers end when it is closed
