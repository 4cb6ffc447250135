"""The training step of the reference recipe: jaxcolor, the naive JAX version, PyTorch."""

import functools
import importlib.util
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from benchmarks.harness import NAIVE, OURS, PYTORCH, Case, Contender
from benchmarks.peers import naive_jax
from jaxcolor.models import patchgan, unet
from jaxcolor.parallel import AXIS, DataParallel
from jaxcolor.training import optimizers, steps
from jaxcolor.training.state import GanState, Networks, Optimizers, create_state, from_linen

BATCHES = (1, 4)


def cases(options: Namespace) -> Iterator[Case]:
    """A table for every update order and batch size."""
    for update in options.update:
        for batch_size in options.batch:
            title = (
                f"training step, {update} update, batch {batch_size}, "
                f"{options.image_size}x{options.image_size}, width {options.base_width}"
            )
            yield Case(title, batch_size, contenders(options, update, batch_size))


def contenders(options: Namespace, update: str, batch_size: int) -> list[Contender]:
    """Ours in every dtype, naive JAX in the first, and the PyTorch variants of these dtypes."""
    batch = draw_batch(options.image_size, batch_size)
    rows = [
        Contender(OURS, dtype, functools.partial(prepare_ours, options, update, batch, dtype))
        for dtype in options.dtype
    ]
    dtype = options.dtype[0]
    naive = functools.partial(prepare_naive, options, update, batch, dtype)
    rows.append(Contender(NAIVE, dtype, naive))
    for variant, settings in pytorch_variants(options, "VARIANTS").items():
        prepare = functools.partial(prepare_pytorch, options, update, batch, settings)
        rows.append(Contender(PYTORCH, variant, prepare))
    return rows


def draw_batch(image_size: int, batch_size: int) -> dict[str, np.ndarray]:
    """Random pictures, uint8 [batch, image_size, image_size, 3]: their content costs nothing."""
    shape = (2, batch_size, image_size, image_size, 3)
    pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return {"condition": pictures[0], "target": pictures[1]}


def pytorch_variants(options: Namespace, kind: str) -> dict[str, dict[str, Any]]:
    """The asked-for rows of a dict of variants of the PyTorch peer; none without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return {}
    from benchmarks.peers import pytorch_pix2pix

    return {
        name: settings
        for name, settings in getattr(pytorch_pix2pix, kind).items()
        if name.split()[0] in options.dtype and not any(word in name for word in options.skip)
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


def prepare_ours(options: Namespace, update: str, batch: dict, dtype: str) -> Callable[[], None]:
    """One step of jaxcolor, wrapped and donated as in training."""
    networks, both, state = build_ours(options, dtype)
    devices = DataParallel(jax.devices()[:1])
    step = functools.partial(
        steps.train_step,
        networks=networks,
        optimizers=both,
        losses=steps.LossWeights(discriminator=0.5),
        update=update,
        axis_name=AXIS,
    )
    state, rng = devices.replicate(state), devices.replicate(jax.random.key(0))
    return _repeat(devices.wrap(step, donate_state=True), state, devices.shard(batch), rng)


def prepare_naive(options: Namespace, update: str, batch: dict, dtype: str) -> Callable[[], None]:
    """One step of the naive JAX version, jitted and donated."""
    _, both, state = build_ours(options, "float32")
    adam, width = both.generator, options.base_width
    networks = naive_jax.Networks(
        naive_jax.UNet(image_size=options.image_size, base_width=width, dtype=dtype),
        naive_jax.PatchGAN(base_width=width, dtype=dtype),
    )
    step = functools.partial(naive_jax.train_step, networks=networks, optimizer=adam, update=update)
    state = naive_jax.load_state(state, adam)
    jitted = jax.jit(step, donate_argnums=0)
    return _repeat(jitted, state, jax.device_put(batch), jax.random.key(0))


def _repeat(step, state, batch, rng):
    """A function that does one more compiled step and waits for it."""
    held = [state]
    compiled = step.lower(state, batch, rng).compile()

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
