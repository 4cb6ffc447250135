"""Every convolution of both networks in each lowering, with both gradients.

Medians of interleaved repetitions, so that a busy machine slows all alike; compiling is excluded.
One multiply-add counts as two operations, of the sums as they are written: a lowering that needs
fewer shows a higher rate. The last lowering's rate, and how many times as fast it is as "native".
"""

import functools
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.arithmetic import Layer, discriminator_layers, generator_layers
from benchmarks.harness import quartiles
from jaxcolor.models import conv_lowering
from jaxcolor.models.conv_lowering import convolve, transposed_convolve

FULL = {
    "batch": [1],
    "dtype": ["float32"],
    "image_size": 256,
    "base_width": 64,
    "repetitions": 9,
}
QUICK = {"base_width": 16, "repetitions": 5}
LOWERINGS = [name for name in conv_lowering.LOWERINGS if name != "auto"]
OPERATIONS = {
    "down": functools.partial(convolve, stride=2, padding=1),
    "flat": functools.partial(convolve, stride=1, padding=1),
    "up": transposed_convolve,
}


def tables(options: Namespace) -> Iterator[dict[str, Any]]:
    """A table for every dtype and batch size, of one line a layer."""
    for dtype in options.dtype:
        for batch_size in options.batch:
            yield time_layers(options, dtype, batch_size)


def time_layers(options: Namespace, dtype: str, batch_size: int) -> dict[str, Any]:
    """Times and prints all layers of the generator, then of the discriminator."""
    sizes = {"image_size": options.image_size, "base_width": options.base_width}
    title = f"y, dx and dkernel: batch {batch_size}, {dtype}, width {options.base_width}"
    print(f"\n{title}")
    names = "".join(f"{name + ' ms':>12}" for name in LOWERINGS)
    print(f"{'layer':<11}{'shape':<20}{names}{'GFLOP/s':>9}{'ratio':>7}")
    totals, samples = dict.fromkeys(LOWERINGS, 0.0), {}
    for layer in generator_layers(**sizes) + discriminator_layers(**sizes):
        seconds = time_layer(layer, batch_size, dtype, options.repetitions)
        medians = {name: quartiles(values)[1] for name, values in seconds.items()}
        totals = {name: totals[name] + medians[name] for name in LOWERINGS}
        samples[layer.name] = seconds
        shape = f"{layer.side}x{layer.side} {layer.inputs}->{layer.outputs}"
        rate = 3 * batch_size * layer.flops / medians[LOWERINGS[-1]] / 1e9
        print_row(layer.name, shape, medians, f"{rate:.0f}")
    print_row("all, once", "", totals, "")
    facts = {"images": batch_size, "dtype": dtype, "medians": totals}
    return {"title": title, **facts, "samples": samples}


def print_row(name: str, shape: str, seconds: dict[str, float], rate: str) -> None:
    """One line of the table."""
    numbers = "".join(f"{seconds[lowering] * 1e3:>12.1f}" for lowering in LOWERINGS)
    ratio = seconds["native"] / seconds[LOWERINGS[-1]]
    print(f"{name:<11}{shape:<20}{numbers}{rate:>9}{ratio:>7.1f}", flush=True)


def time_layer(
    layer: Layer, batch_size: int, dtype: str, repetitions: int
) -> dict[str, list[float]]:
    """Seconds of every sample by lowering."""
    generator = np.random.default_rng(0)
    shape = (batch_size, layer.side, layer.side, layer.inputs)
    x = jnp.asarray(generator.standard_normal(shape), dtype)
    kernel = generator.standard_normal((4, 4, layer.inputs, layer.outputs))
    kernel = jnp.asarray(kernel, jnp.float32)
    calls = {}
    for lowering in LOWERINGS:
        compiled, dy = compile_layer(OPERATIONS[layer.kind], x, kernel, dtype, lowering)
        calls[lowering] = functools.partial(compiled, x, kernel, dy)
        jax.block_until_ready(calls[lowering]())
    seconds = {lowering: [] for lowering in LOWERINGS}
    for _ in range(repetitions):
        for lowering, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[lowering].append(time.perf_counter() - start)
    return seconds


def compile_layer(operation, x, kernel, dtype: str, lowering: str):
    """A compiled function of (x, kernel, dy) that gives y, dx and dkernel, and a dy for it."""
    operation = functools.partial(operation, compute_dtype=jnp.dtype(dtype), lowering=lowering)
    shape = jax.eval_shape(operation, x, kernel)

    def run(x, kernel, dy):
        y, pullback = jax.vjp(operation, x, kernel)
        return y, *pullback(dy)

    dy = jnp.ones(shape.shape, shape.dtype)
    return jax.jit(run).lower(x, kernel, dy).compile(), dy
