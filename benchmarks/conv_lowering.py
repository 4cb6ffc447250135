"""Times every convolution of the U-Net and the PatchGAN in each lowering, with both gradients.

python benchmarks/conv_lowering.py [--dtype bfloat16] [--batch 1] [--width 64]

Prints medians of interleaved repetitions, so that a busy machine slows both alike; compiling is
excluded. One multiply-add counts as two operations.
"""

import argparse
import functools
import os
import pathlib
import platform
import subprocess
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxcolor.models.conv_lowering import convolve, transposed_convolve

REPETITIONS = 9


def layers(width: int) -> list[tuple]:
    """(name, operation, input side, in, out) of a 256x256 U-Net and its PatchGAN."""
    down = functools.partial(convolve, stride=2, padding=1)
    flat = functools.partial(convolve, stride=1, padding=1)
    widths = [width * min(2**level, 8) for level in range(8)]
    rows = []
    for level, (before, after) in enumerate(zip([3, *widths], widths, strict=False)):
        rows.append((f"down_{level}", down, 256 >> level, before, after))
    inputs = [widths[-1], *(2 * n for n in reversed(widths[:-1]))]
    for level, (before, after) in enumerate(zip(inputs, [*widths[-2::-1], 3], strict=True)):
        rows.append((f"up_{level}", transposed_convolve, 1 << level, before, after))
    rows.append(("patchgan_0", down, 256, 6, width))
    rows.append(("patchgan_1", down, 128, width, 2 * width))
    rows.append(("patchgan_2", down, 64, 2 * width, 4 * width))
    rows.append(("patchgan_3", flat, 32, 4 * width, 8 * width))
    rows.append(("logits", flat, 31, 8 * width, 1))
    return rows


def compile_layer(operation, x, kernel, dtype: str, lowering: str):
    """A compiled function of (x, kernel, dy) that gives y, dx and dkernel, and a dy for it."""
    operation = functools.partial(operation, compute_dtype=jnp.dtype(dtype), lowering=lowering)
    shape = jax.eval_shape(operation, x, kernel)

    def run(x, kernel, dy):
        y, pullback = jax.vjp(operation, x, kernel)
        return y, *pullback(dy)

    dy = jnp.ones(shape.shape, shape.dtype)
    return jax.jit(run).lower(x, kernel, dy).compile(), dy


def time_layer(operation, side, before, after, batch, dtype) -> tuple[dict[str, float], float]:
    """Median seconds by lowering, and the operations of forward and both gradients."""
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.standard_normal((batch, side, side, before)), dtype)
    kernel = jnp.asarray(generator.standard_normal((4, 4, before, after)), jnp.float32)
    calls, seconds = {}, {}
    for lowering in ("native", "gemm"):
        compiled, dy = compile_layer(operation, x, kernel, dtype, lowering)
        calls[lowering] = functools.partial(compiled, x, kernel, dy)
        jax.block_until_ready(calls[lowering]())
        seconds[lowering] = []
    for _ in range(REPETITIONS):
        for lowering, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[lowering].append(time.perf_counter() - start)
    windows = x.shape[1] * x.shape[2] if operation is transposed_convolve else dy[0, ..., 0].size
    operations = 3 * 2 * batch * windows * kernel.size
    return {name: float(np.median(values)) for name, values in seconds.items()}, operations


def commit() -> str:
    """The checked-out commit, marked where files differ from it."""
    folder = pathlib.Path(__file__).parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def machine() -> str:
    """Processor, cores this process may use, and the device jax computes on."""
    names = pathlib.Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model or platform.processor()}, {cores} cores, {jax.devices()[0].device_kind}"


def main() -> None:
    """Prints one line a layer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--width", type=int, default=64, help="channels of the first level")
    options = parser.parse_args()
    print(f"{machine()}; jax {jax.__version__}; commit {commit()}")
    print(f"batch {options.batch}, {options.dtype}, width {options.width}: y, dx and dkernel")
    print(f"{'layer':<11}{'shape':<20}{'native ms':>10}{'gemm ms':>10}{'GFLOP/s':>9}{'ratio':>7}")
    totals = {"native": 0.0, "gemm": 0.0}
    for name, operation, side, before, after in layers(options.width):
        medians, operations = time_layer(
            operation, side, before, after, options.batch, options.dtype
        )
        native, gemm = medians["native"], medians["gemm"]
        totals = {lowering: totals[lowering] + medians[lowering] for lowering in totals}
        shape = f"{side}x{side} {before}->{after}"
        rate = operations / gemm / 1e9
        numbers = f"{native * 1e3:>10.1f}{gemm * 1e3:>10.1f}{rate:>9.0f}{native / gemm:>7.1f}"
        print(f"{name:<11}{shape:<20}{numbers}", flush=True)
    native, gemm = totals["native"], totals["gemm"]
    numbers = f"{native * 1e3:>10.1f}{gemm * 1e3:>10.1f}{'':>9}{native / gemm:>7.1f}"
    print(f"{'all, once':<31}{numbers}")


if __name__ == "__main__":
    main()
