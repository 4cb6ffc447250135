"""The generator alone, uint8 condition to picture: jaxcolor and PyTorch."""

import functools
from argparse import Namespace
from collections.abc import Callable, Iterator

import jax
import numpy as np

from benchmarks.harness import OURS, PYTORCH, Case, Contender
from benchmarks.train_step import build_ours, draw_batch, pytorch_variants
from jaxcolor.training import steps

BATCHES = (1, 8)


def cases(options: Namespace) -> Iterator[Case]:
    """A table for every batch size."""
    for batch_size in options.batch:
        title = (
            f"inference, {options.statistics} statistics, batch {batch_size}, "
            f"{options.image_size}x{options.image_size}, width {options.base_width}"
        )
        yield Case(title, batch_size, contenders(options, batch_size))


def contenders(options: Namespace, batch_size: int) -> list[Contender]:
    """Ours in every dtype, and the PyTorch variants of these dtypes."""
    condition = draw_batch(options.image_size, batch_size)["condition"]
    rows = [
        Contender(OURS, dtype, functools.partial(prepare_ours, options, condition, dtype))
        for dtype in options.dtype
    ]
    for variant, settings in pytorch_variants(options, "INFERENCE_VARIANTS").items():
        prepare = functools.partial(prepare_pytorch, options, condition, settings)
        rows.append(Contender(PYTORCH, variant, prepare))
    return rows


def prepare_ours(options: Namespace, condition: np.ndarray, dtype: str) -> Callable[[], None]:
    """One prediction by jaxcolor, without dropout."""
    networks, _, state = build_ours(options, dtype)
    given = {"statistics": options.statistics, "dropout": False, "axis_name": None}
    predict = functools.partial(steps.predict, networks=networks, **given)
    arguments = (state, jax.device_put(condition), jax.random.key(0))
    compiled = jax.jit(predict).lower(*arguments).compile()
    return lambda: jax.block_until_ready(compiled(*arguments))


def prepare_pytorch(
    options: Namespace, condition: np.ndarray, settings: dict
) -> Callable[[], None]:
    """One prediction by a PyTorch variant, without dropout."""
    from benchmarks.peers.pytorch_pix2pix import Pix2Pix

    sizes = {"image_size": options.image_size, "base_width": options.base_width}
    peer = Pix2Pix(**sizes, **settings)
    placed = peer.place(condition)

    def run():
        peer.generate(placed, options.statistics)
        peer.wait()

    return run
