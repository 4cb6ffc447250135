"""Pairs a second: jaxcolor from files and from a prepared cache, and PyTorch's DataLoader.

All do the same work on the same side-by-side pictures: read, decode, resize, crop, flip, affine
warp, noise on the condition, batch; from the cache the pictures come decoded and resized. An image
is a pair of pictures here. PyTorch's batches are float32, as the reference's networks take them;
ours are uint8, and the step scales them on the device. Then the time of every stage on one core,
and of the same warp and noise on the device.
"""

import importlib.util
import os
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import harness, input_stages, picture_sets
from benchmarks.harness import OURS, PYTORCH, Measurement
from benchmarks.loaders import (
    AGAINST,
    CACHE,
    FILES,
    ONE_CORE,
    Loader,
    describe_memory,
    take_turns,
)
from benchmarks.picture_sets import PictureSet

FULL = {
    "data": None,
    "format": ["png", "jpeg"],
    "pictures": 400,
    "batch_size": 32,
    "image_size": 256,
    "threads": [1, 2, 4],
    "workers": [0, 2],
    "peer_workers": [0, 1, 2, 4],
    "batches": 8,
    "repetitions": 7,
    "omp_wait_policy": "passive",
}
QUICK = {
    "format": ["png"],
    "pictures": 128,
    "threads": [2],
    "workers": [0],
    "peer_workers": [0, 2],
    "batches": 4,
    "repetitions": 5,
}
AUGMENT = {"rotation": 5.0, "shear": 3.0, "zoom": 0.05, "shift": 0.03, "noise": 0.02}


def tables(options: Namespace) -> Iterator[dict[str, Any]]:
    """A table of loaders for every picture set, and one of the stages of the work."""
    harness.announce_peers()
    transform = describe_transform(options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.data:
            sets = [picture_sets.open_folder(options.data, options.pictures, folder, transform)]
        else:
            sets = picture_sets.draw(options.format, options.pictures, folder, transform)
        for picture_set in sets:
            yield measure_loaders(options, picture_set)
        yield input_stages.measure_stages(options, sets, transform)
    print(f"\n{harness.RULE}")


def describe_transform(options: Namespace) -> dict[str, Any]:
    """What is done to every pair, as keyword arguments of the training transform."""
    load_size = options.image_size * 286 // 256
    return {"image_size": options.image_size, "load_size": load_size, "flip": True} | AUGMENT


def loaders(options: Namespace) -> list[Loader]:
    """All contenders: ours with all threads and workers, ours on one core, and PyTorch's.

    One core only where a process can be held to it.
    """
    rows = []
    for origin in (FILES, CACHE):
        for workers in options.workers:
            rows += [Loader(OURS, origin, workers, threads) for threads in options.threads]
        if hasattr(os, "sched_setaffinity"):
            rows.append(ONE_CORE[origin])
    if importlib.util.find_spec("torch") is not None:
        rows += [Loader(PYTORCH, FILES, workers) for workers in options.peer_workers]
    return rows


def measure_loaders(options: Namespace, picture_set: PictureSet) -> dict[str, Any]:
    """Measures and prints seconds a batch of all loaders, and what memory they hold."""
    rows = loaders(options)
    requests = {row: make_request(options, picture_set, row) for row in rows}
    measured, memory = take_turns(
        requests, batches=options.batches, repetitions=options.repetitions
    )
    ratios = compare_origins(rows, measured)
    title = (
        f"input pipeline, {len(picture_set.paths)} pairs of {picture_set.name}, "
        f"batch {options.batch_size}, {options.image_size}x{options.image_size}"
    )
    facts = {"images": options.batch_size, "format": picture_set.name}
    facts |= {"pairs": len(picture_set.paths), "batches": options.batches}
    harness.print_table(harness.Case(title, facts, []), measured, ratios)
    for name, values in memory.items():
        print(f"{name:<40} memory {describe_memory(values)}")
    epochs = options.repetitions * options.batches * options.batch_size / len(picture_set.paths)
    print(f"memory: the least in each half of the turns, together {epochs:.1f} epochs or more")
    return {"title": title, **facts, **measured._asdict()} | {
        "contenders": {row.name: row._asdict() for row in rows},
        "fractions_of_limit": {},
        "memory": memory,
        "ratios": [ratio._asdict() for ratio in ratios],
    }


def make_request(options: Namespace, picture_set: PictureSet, row: Loader) -> dict[str, Any]:
    """What a loader is asked, as `loader_probe.open_loader` wants it."""
    return {
        "family": row.family,
        "paths": picture_set.paths,
        "cache": picture_set.cache if row.origin == CACHE else "",
        "transform": describe_transform(options),
        "batch_size": options.batch_size,
        "num_threads": row.threads,
        "num_workers": row.workers,
        "cores": row.cores,
    }


def compare_origins(rows: list[Loader], measured: Measurement) -> list[harness.Ratio]:
    """The fastest of ours from FILES and from CACHE, on all cores, by the fastest of PyTorch."""
    able = [row for row in rows if row.name in measured.samples and not row.cores]
    peers = [row.name for row in able if row.family == PYTORCH]
    ratios = []
    for origin, against in AGAINST.items():
        ours = [row.name for row in able if row.family == OURS and row.origin == origin]
        if peers and ours:
            fastest = min(ours, key=lambda name: harness.quartiles(measured.samples[name])[1])
            ratios.append(harness.compare(fastest, peers, against, measured))
    return ratios
