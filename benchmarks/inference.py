"""The generator alone, uint8 condition to picture, then whole photographs: jaxcolor and PyTorch."""

import functools
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from benchmarks import arithmetic, harness, limits, photographs
from benchmarks.harness import OURS, PYTORCH, Case, Contender
from benchmarks.pictures import draw_batch
from benchmarks.train_step import announce_peers, build_ours, pytorch_variants
from jaxcolor.training import steps

FULL = {
    "batch": [1, 8],
    "dtype": ["float32", "bfloat16"],
    "statistics": "picture",
    "image_size": 256,
    "base_width": 64,
    "photograph": [512, 768],
    "repetitions": 15,
    "skip": [],
    "emulated": "skip",
    "omp_wait_policy": "passive",
}
QUICK = {
    "batch": [1],
    "base_width": 32,
    "photograph": [192, 288],
    "repetitions": 7,
    "skip": ["compiled"],
}


def tables(options: Namespace) -> Iterator[dict[str, Any]]:
    """A table for every batch size, and one of photographs."""
    announce_peers(options)
    yield from harness.measure_cases(cases(options), options)
    print(f"\n{harness.RULE}")


def cases(options: Namespace) -> Iterator[Case]:
    """Who is measured in every table."""
    for batch_size in options.batch:
        title = (
            f"inference, {options.statistics} statistics, batch {batch_size}, "
            f"{options.image_size}x{options.image_size}, width {options.base_width}"
        )
        rows = contenders(options, batch_size) + limits.matrix_products(options.dtype)
        yield Case(title, {"images": batch_size}, rows)
    height, width = options.photograph
    title = (
        f"a grey photograph of {width}x{height} in colour, network at {options.image_size} pixels, "
        f"width {options.base_width}"
    )
    yield Case(title, {"images": 1, "photograph": [height, width]}, colourers(options))


def contenders(options: Namespace, batch_size: int) -> list[Contender]:
    """Ours in every dtype, and the PyTorch variants of these dtypes."""
    condition = draw_batch(options.image_size, batch_size)["condition"]
    flops = batch_size * arithmetic.inference_flops(options.image_size, options.base_width)
    rows = [
        Contender(OURS, dtype, functools.partial(prepare_ours, options, condition, dtype), flops)
        for dtype in options.dtype
    ]
    for variant, settings in pytorch_variants(options, "INFERENCE_VARIANTS").items():
        prepare = functools.partial(prepare_pytorch, options, condition, settings)
        rows.append(Contender(PYTORCH, variant, prepare, flops))
    return rows


def colourers(options: Namespace) -> list[Contender]:
    """Who colours whole photographs: ours in every dtype, and the PyTorch variants of these."""
    photograph = photographs.draw_photograph(*options.photograph)
    rows = []
    for dtype in options.dtype:
        prepare = functools.partial(photographs.prepare_ours, options, photograph, dtype)
        rows.append(Contender(OURS, dtype, prepare))
    for variant, settings in pytorch_variants(options, "INFERENCE_VARIANTS").items():
        prepare = functools.partial(photographs.prepare_pytorch, options, photograph, settings)
        rows.append(Contender(PYTORCH, variant, prepare))
    return rows


def prepare_ours(options: Namespace, condition: np.ndarray, dtype: str) -> Callable[[], None]:
    """One prediction by jaxcolor, without dropout."""
    return compile_ours(options, condition, dtype, options.statistics)[0]


def compile_ours(
    options: Namespace, condition: np.ndarray, dtype: str, statistics: str
) -> tuple[Callable[[], None], str]:
    """A function that predicts once, without dropout, and the compiled program as text."""
    networks, _, state = build_ours(options, dtype)
    given = {"statistics": statistics, "dropout": False, "axis_name": None}
    predict = functools.partial(steps.predict, networks=networks, **given)
    arguments = (state, jax.device_put(condition), jax.random.key(0))
    compiled = jax.jit(predict).lower(*arguments).compile()
    return lambda: jax.block_until_ready(compiled(*arguments)), compiled.as_text()


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
