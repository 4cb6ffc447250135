"""A grey photograph in colour at its own size, from array to array, by jaxcolor and by PyTorch.

Both see it at the network's size and join the chroma to the photograph's own lightness. Ours does
what the command and the GUI do, through `Colorizer`: the lightness stays to the last bit and no
colour is clipped. The peer converts by OpenCV and clips, as is usual; its network takes the grey
three times, of which the first layer alone, a hundredth of the work, has more to do.
"""

import functools
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import cv2
import jax
import numpy as np

from benchmarks import reference
from jaxcolor import experiment
from jaxcolor.colorize import Colorizer
from jaxcolor.trained import Trained
from jaxcolor.training.state import NetworkState


def draw_photograph(height: int, width: int) -> np.ndarray:
    """A grey picture, uint8 [height, width, 1], of smooth shapes in all greys."""
    coarse = np.random.default_rng(0).uniform(0, 255, (6, 9)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.convertScaleAbs(np.clip(smooth, 0, 255))[..., None]


def prepare_ours(options: Namespace, photograph: np.ndarray, dtype: str) -> Callable[[], None]:
    """One photograph coloured by `Colorizer`, with a fresh network of the reference recipe."""
    colorizer = Colorizer(fresh_network(options, dtype), batch_size=1)
    return lambda: colorizer.colorize(photograph)


def fresh_network(options: Namespace, dtype: str) -> Trained:
    """An untrained generator of the reference recipe that colours grey photographs."""
    changes = reference.overrides(options, dtype, 1, 1)
    changes |= {"data.condition": "luma", "data.fit": "crop"}
    values = reference.resolve(changes | {"evaluation.statistics": options.statistics})
    values["derived"] = {"training_pictures": 1, "condition": "luma", "condition_channels": 1}
    built = experiment.rebuild(values)
    state = jax.jit(built.functions.create_state)(jax.random.key(0))
    state = state.replace(
        generator=state.generator.replace(opt_state=()), discriminator=NetworkState({}, {}, {})
    )
    return Trained(Path(), "latest", built, state, {})


def prepare_pytorch(
    options: Namespace, photograph: np.ndarray, settings: dict
) -> Callable[[], None]:
    """The same photograph coloured by a PyTorch variant and OpenCV."""
    from benchmarks.peers.pytorch_pix2pix import Pix2Pix

    sizes = {"image_size": options.image_size, "base_width": options.base_width}
    peer = Pix2Pix(**sizes, **settings)
    generate = functools.partial(_generate, peer, options)
    return lambda: colorize_by_opencv(photograph, generate, options.image_size)


def _generate(peer, options, condition):
    pictures = peer.generate(peer.place(condition), options.statistics)
    peer.wait()
    return pictures.permute(0, 2, 3, 1).cpu().numpy()


def colorize_by_opencv(
    photograph: np.ndarray, generate: Callable[[np.ndarray], np.ndarray], size: int
) -> np.ndarray:
    """A grey photograph in colour, uint8 [height, width, 3].

    Args:
      photograph: uint8 [height, width, 1].
      generate: from conditions, uint8 [1, size, size, 3], to pictures, float32 in [-1, 1].
      size: of the network.
    """
    height, width = photograph.shape[:2]
    scale = size / max(height, width)
    rows, columns = round(height * scale), round(width * scale)
    small = cv2.resize(photograph, (columns, rows), interpolation=cv2.INTER_AREA)
    ends = (0, size - rows, 0, size - columns)
    padded = cv2.copyMakeBorder(small, *ends, cv2.BORDER_REFLECT_101)
    picture = generate(cv2.cvtColor(padded, cv2.COLOR_GRAY2RGB)[None])[0]
    chroma = cv2.cvtColor((picture + 1) / 2, cv2.COLOR_RGB2LAB)[:rows, :columns, 1:]
    chroma = cv2.resize(chroma, (width, height), interpolation=cv2.INTER_CUBIC)
    own = cv2.cvtColor(photograph, cv2.COLOR_GRAY2RGB).astype(np.float32) / 255
    lightness = cv2.cvtColor(own, cv2.COLOR_RGB2LAB)[..., :1]
    coloured = cv2.cvtColor(np.concatenate([lightness, chroma], axis=2), cv2.COLOR_LAB2RGB)
    return cv2.convertScaleAbs(coloured, alpha=255)
