"""The training step of the reference recipe: jaxcolor, the naive JAX version, PyTorch."""

import functools
import importlib.util
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.stages import Compiled

from benchmarks import arithmetic, harness, limits
from benchmarks.harness import NAIVE, OURS, PYTORCH, Case, Contender
from benchmarks.peers import naive_jax
from benchmarks.pictures import draw_batch
from jaxcolor.models import patchgan, unet
from jaxcolor.parallel import AXIS, DataParallel
from jaxcolor.training import optimizers, steps
from jaxcolor.training.state import GanState, Networks, Optimizers, create_state, from_linen

FULL = {
    "batch": [1, 4],
    "dtype": ["float32", "bfloat16"],
    "update": ["sequential"],
    "steps_per_dispatch": [1],
    "image_size": 256,
    "base_width": 64,
    "repetitions": 15,
    "skip": [],
    "emulated": "skip",
    "omp_wait_policy": "passive",
    "at_least": None,
}
# torch.compile alone would take longer than a quick run may.
QUICK = {"batch": [1], "base_width": 32, "repetitions": 7, "skip": ["compiled"]}


def tables(options: Namespace) -> Iterator[dict[str, Any]]:
    """A table for every update order and batch size."""
    announce_peers(options)
    yield from harness.measure_cases(cases(options), options)
    print(f"\n{harness.RULE}")


def shortfall(result: dict[str, Any], at_least: float) -> str:
    """Which table's fastest of ours is not `at_least` times as fast as naive JAX; empty if none.

    By medians, also where RULE withholds the ratio: a busy machine slows both.
    """
    for table in result["tables"]:
        ratios = [row for row in table["ratios"] if row["against"] == NAIVE]
        best = max(ratios, key=lambda row: row["value"], default=None)
        if best is None or best["value"] < at_least:
            found = f"{best['value']:.2f} times naive JAX" if best else "not compared to naive JAX"
            return f"{table['title']}: {found}, needs {at_least}"
        doubt = f" (as a ratio withheld: {best['withheld']})" if best["withheld"] else ""
        print(f"{table['title']}: {best['value']:.2f} times naive JAX by medians{doubt}")
    return ""


def cases(options: Namespace) -> Iterator[Case]:
    """Who is measured in every table."""
    for update in options.update:
        for batch_size in options.batch:
            title = (
                f"training step, {update} update, batch {batch_size}, "
                f"{options.image_size}x{options.image_size}, width {options.base_width}"
            )
            facts = {"images": batch_size, "update": update}
            rows = contenders(options, update, batch_size) + limits.matrix_products(options.dtype)
            yield Case(title, facts, rows)


def contenders(options: Namespace, update: str, batch_size: int) -> list[Contender]:
    """Ours in every dtype, naive JAX in the first, and the PyTorch variants of these dtypes."""
    batch = draw_batch(options.image_size, batch_size)
    flops = batch_size * arithmetic.step_flops(update, options.image_size, options.base_width)
    rows = []
    for dtype in options.dtype:
        for count in options.steps_per_dispatch:
            variant = dtype if count == 1 else f"{dtype} {count} a dispatch"
            prepare = functools.partial(prepare_ours, options, update, batch, dtype, count)
            rows.append(Contender(OURS, variant, prepare, flops, times=count))
    dtype = options.dtype[0]
    naive = functools.partial(prepare_naive, options, update, batch, dtype)
    rows.append(Contender(NAIVE, dtype, naive, flops))
    for variant, settings in pytorch_variants(options, "VARIANTS").items():
        prepare = functools.partial(prepare_pytorch, options, update, batch, settings)
        rows.append(Contender(PYTORCH, variant, prepare, flops))
    return rows


def announce_peers(options: Namespace) -> None:
    """Says which peers are missing."""
    harness.announce_peers()
    if "bfloat16" in options.dtype and _skips_bfloat16(options):
        print(
            "this processor has no bfloat16 instructions: PyTorch emulates them, at a hundredth of "
            "the speed, and is left out in bfloat16; --emulated measure times it all the same"
        )


def _skips_bfloat16(options: Namespace) -> bool:
    return options.emulated == "skip" and not limits.multiplies("bfloat16")


def pytorch_variants(options: Namespace, kind: str) -> dict[str, dict[str, Any]]:
    """The asked-for rows of a dict of variants of the PyTorch peer; none without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return {}
    from benchmarks.peers import pytorch_pix2pix

    dtypes, skipped = set(options.dtype), list(options.skip)
    if _skips_bfloat16(options):
        skipped.append("bfloat16")
    return {
        name: settings
        for name, settings in getattr(pytorch_pix2pix, kind).items()
        if name.split()[0] in dtypes and not any(word in name for word in skipped)
    }


def build_ours(options: Namespace, dtype: str) -> tuple[Networks, Optimizers, GanState]:
    """The reference recipe in jaxcolor: networks, optimizers and a fresh state."""
    shared = {"base_width": options.base_width, "compute_dtype": dtype}
    generator = unet.UNet(image_size=options.image_size, **unet.REFERENCE | shared)
    networks = Networks(
        from_linen(generator), from_linen(patchgan.PatchGAN(**patchgan.REFERENCE | shared))
    )
    adam, _ = optimizers.adam(total_steps=1)
    shape = (1, options.image_size, options.image_size, 3)
    create = functools.partial(
        create_state,
        networks=networks,
        optimizers=Optimizers(adam, adam),
        condition_shape=shape,
        target_shape=shape,
    )
    return networks, Optimizers(adam, adam), jax.jit(create)(jax.random.key(0))


def prepare_ours(
    options: Namespace, update: str, batch: dict, dtype: str, count: int = 1
) -> Callable[[], None]:
    """`count` steps of jaxcolor in one call."""
    return repeat(*compile_ours(options, update, batch, dtype, count))


def compile_ours(
    options: Namespace, update: str, batch: dict, dtype: str, count: int = 1
) -> tuple[Compiled, GanState, dict, jax.Array]:
    """The same as a program, wrapped and donated as in training; and its arguments."""
    devices, step, state, rng = place_ours(options, update, dtype, jax.devices()[:1])
    wrapped = devices.wrap(functools.partial(take_steps, step, count), donate_state=True)
    stacked = {name: np.concatenate([pictures] * count) for name, pictures in batch.items()}
    placed = devices.shard(stacked)
    return wrapped.lower(state, placed, rng).compile(), state, placed, rng


def place_ours(
    options: Namespace, update: str, dtype: str, devices: list[jax.Device]
) -> tuple[DataParallel, Callable, GanState, jax.Array]:
    """Our parallelism over `devices`, the per-device step, and a state and a key on them."""
    networks, both, state = build_ours(options, dtype)
    parallel = DataParallel(devices)
    step = functools.partial(
        steps.train_step,
        networks=networks,
        optimizers=both,
        losses=steps.LossWeights(discriminator=0.5),
        update=update,
        axis_name=AXIS,
    )
    return parallel, step, parallel.replicate(state), parallel.replicate(jax.random.key(0))


def take_steps(
    step: Callable, count: int, state: GanState, batches: dict, rng: jax.Array
) -> tuple[GanState, dict]:
    """State and last metrics after `count` steps, on `count` batches one after the other."""
    if count == 1:
        return step(state, batches, rng)
    stacked = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batches)
    state, metrics = lax.scan(lambda state, batch: step(state, batch, rng), state, stacked)
    return state, jax.tree.map(lambda x: x[-1], metrics)


def prepare_naive(options: Namespace, update: str, batch: dict, dtype: str) -> Callable[[], None]:
    """One step of the naive JAX version."""
    return repeat(*compile_naive(options, update, batch, dtype))


def compile_naive(
    options: Namespace, update: str, batch: dict, dtype: str
) -> tuple[Compiled, GanState, dict, jax.Array]:
    """The same as a program, jitted and donated; and its arguments."""
    _, both, state = build_ours(options, "float32")
    adam, width = both.generator, options.base_width
    networks = naive_jax.Networks(
        naive_jax.UNet(image_size=options.image_size, base_width=width, dtype=dtype),
        naive_jax.PatchGAN(base_width=width, dtype=dtype),
    )
    step = functools.partial(naive_jax.train_step, networks=networks, optimizer=adam, update=update)
    state = naive_jax.load_state(state, adam)
    arguments = (state, jax.device_put(batch), jax.random.key(0))
    return jax.jit(step, donate_argnums=0).lower(*arguments).compile(), *arguments


def repeat(compiled: Callable, state: GanState, batch: dict, rng: jax.Array) -> Callable[[], None]:
    """A function that does one more compiled step and waits for it."""
    held = [state]

    def run():
        held[0], metrics = compiled(held[0], batch, rng)
        jax.block_until_ready((held[0], metrics))

    return run


def prepare_pytorch(
    options: Namespace, update: str, batch: dict, settings: dict
) -> Callable[[], None]:
    """One step of a PyTorch variant."""
    from benchmarks.peers.pytorch_pix2pix import Pix2Pix

    sizes = {"image_size": options.image_size, "base_width": options.base_width}
    peer = Pix2Pix(**sizes, update=update, **settings)
    placed = {name: peer.place(pictures) for name, pictures in batch.items()}

    def run():
        peer.train_step(placed)
        peer.wait()

    return run
