"""Where the time of a pair goes, on one core; and the same augmentation on the device.

Every stage does a batch of pairs in its turn. The device is not held to one core: on a CPU it is
all of them, and the table also has the seconds of cores that it took.
"""

import contextlib
import functools
import io
import itertools
import os
import random
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import device_augment, harness
from benchmarks.bystanders import Bystanders
from benchmarks.picture_sets import PictureSet, open_files
from jaxcolor.data import pictures, transforms
from jaxcolor.data.prepared import PreparedSource

DEVICE, DEVICE_CORES = "augment and noise on the device", "the same, in seconds of cores"
FROM_CACHE = "read from the cache"


def measure_stages(
    options: Namespace, sets: list[PictureSet], transform: dict[str, Any]
) -> dict[str, Any]:
    """Measures and prints seconds a pair of every stage.

    Args:
      options: batch_size and repetitions.
      sets: pictures to work on, the first batch of each.
      transform: keyword arguments of the training transform.
    """
    size = options.batch_size
    stages = picture_stages(sets, size) | work_stages(sets[0], size, transform)
    on_device = prepare_device(sets[0], size, transform)
    samples: dict[str, list[float]] = {name: [] for name in stages}
    samples |= {DEVICE: [], DEVICE_CORES: []}
    order, bystanders = random.Random(0), Bystanders()
    for _ in range(options.repetitions):
        with one_core():
            for name in order.sample(list(stages), len(stages)):
                samples[name].append(_time(stages[name]) / size)
        used = time.process_time()
        samples[DEVICE].append(_time(on_device) / size)
        samples[DEVICE_CORES].append((time.process_time() - used) / size)
    others = bystanders.cores()
    title = f"stages of the input pipeline, one core, {transform['image_size']} pixels"
    table = {"title": title, "images": size, "samples": samples, "others": others}
    print(f"\n{title}\n{'stage':<34} ms a pair, median and quartiles")
    for name, seconds in samples.items():
        print(f"{name:<34} {harness.spread(seconds, scale=1e3, digits=2)}")
    harness.print_others(others)
    return table


def picture_stages(sets: list[PictureSet], size: int) -> dict[str, Callable[[], Any]]:
    """Reading and decoding, by stage and format; on the first `size` pairs of each set."""
    stages: dict[str, Callable[[], Any]] = {}
    for name, paths, _ in sets:
        paths = _repeat(paths, size)
        data = [Path(path).read_bytes() for path in paths]
        stages[f"read bytes of {name}"] = functools.partial(_all, _read_bytes, paths)
        stages[f"decode {name}"] = functools.partial(_all, _decode, data)
    return stages


def work_stages(
    picture_set: PictureSet, size: int, transform: dict[str, Any]
) -> dict[str, Callable[[], Any]]:
    """All else, by stage; on the first `size` pairs of a set."""
    files, cache = open_files(picture_set.paths), PreparedSource(picture_set.cache, "train")
    places = _repeat(range(len(files)), size)
    originals = [files[place] for place in places]
    resized = [_resize(pair, transform["load_size"]) for pair in originals]
    plain = transforms.TrainingTransform(**transform | {"noise": 0.0})
    noisy = transforms.TrainingTransform(**transform)
    rng = np.random.default_rng(0)
    moved = [plain(pair, rng) for pair in resized]
    batch = _stack(moved)
    return {
        FROM_CACHE: lambda: [cache[place] for place in places],
        "resize": lambda: [_resize(pair, transform["load_size"]) for pair in originals],
        "augment": lambda: [plain(pair, rng) for pair in resized],
        "augment and noise": lambda: [noisy(pair, rng) for pair in resized],
        "batch": lambda: _stack(moved),
        "transfer": lambda: jax.block_until_ready(jax.device_put(batch)),
    }


def prepare_device(
    picture_set: PictureSet, size: int, transform: dict[str, Any]
) -> Callable[[], Any]:
    """Moves `size` pairs on the device, where they lie resized; compiled and warm."""
    files = open_files(picture_set.paths)
    places = _repeat(range(len(files)), size)
    load_size, crop = transform["load_size"], transform["image_size"]
    placed = jax.device_put(_stack([_resize(files[place], load_size) for place in places]))
    ranges = {name: transform[name] for name in ("rotation", "shear", "zoom", "shift")}

    def move(batch, rng):
        for_moves, for_noise = jax.random.split(rng)
        moves = device_augment.draw_moves(for_moves, size, margin=load_size - crop, **ranges)
        noise = {"size": crop, "noise": transform["noise"]}
        return device_augment.augment(batch, moves, for_noise, **noise)

    rng = jax.random.key(0)
    compiled = jax.jit(move).lower(placed, rng).compile()
    jax.block_until_ready(compiled(placed, rng))
    return lambda: jax.block_until_ready(compiled(placed, rng))


def _repeat(items, count):
    return list(itertools.islice(itertools.cycle(items), count))


def _all(work, items):
    for item in items:
        work(item)


def _read_bytes(path):
    return Path(path).read_bytes()


def _decode(data):
    return pictures.read_picture(io.BytesIO(data))


def _resize(pair, size):
    return {
        name: transforms.fit_picture(picture, size, "bicubic", "stretch")
        for name, picture in pair.items()
    }


def _stack(pairs):
    return {name: np.stack([pair[name] for pair in pairs]) for name in pairs[0]}


def _time(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Holds this thread to one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
