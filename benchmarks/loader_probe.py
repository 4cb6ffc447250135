"""python -m benchmarks.loader_probe: a loader in a process of its own, which works when told to.

The first line of its input is a request, as JSON; every further line is a number of batches. It
answers each line with one of JSON. Between two lines nothing works: what was read ahead is full.
"""

import contextlib
import ctypes
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bystanders import own_seconds

# Batches that a worker, or a process without workers, keeps ready; PyTorch's default as well.
PREFETCH = 2
# A process and its workers count as quiet below this share of a core.
LOOK, QUIET, LONGEST, BLIND = 0.3, 0.1, 60.0, 5.0


def main() -> None:
    """Answers the lines of the standard input until it ends."""
    request = json.loads(sys.stdin.readline())
    if request["cores"]:  # before anything starts a thread
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: request["cores"]])
    batches, ahead = open_loader(request)
    next(batches)
    _answer({"ready": True})
    for line in sys.stdin:
        _answer(take(batches, ahead, int(line)))
    batches.close()


def _answer(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


def open_loader(request: dict[str, Any]) -> tuple[Iterator[dict], int]:
    """The endless batches of a request, and how many to take before the rest come as they are made.

    Args:
      request: `family`; `paths` of side-by-side pictures, or else a `cache`; `transform`, the
        keyword arguments of the augmentation; `batch_size`, `num_threads` and `num_workers`.
    """
    size, workers = request["batch_size"], request["num_workers"]
    if request["family"] == "PyTorch":
        from benchmarks.peers import pytorch_data

        dataset = pytorch_data.PairDataset(request["paths"], **request["transform"])
        batches = pytorch_data.training_batches(dataset, batch_size=size, num_workers=workers)
        return batches, batches_ahead(1, workers, PREFETCH * workers)
    from jaxcolor.data import pipeline, transforms

    threads = request["num_threads"]
    batches = pipeline.training_batches(
        open_source(request),
        transforms.TrainingTransform(**request["transform"]),
        batch_size=size,
        seed=0,
        num_threads=threads,
        prefetch=PREFETCH,
        num_workers=workers,
    )
    # Of the threads; of each worker, also in its queue and in one of this process that is filled
    # from there, and before both one that waits for a place.
    kept = (max(PREFETCH, threads) if threads else 0) + (2 * (PREFETCH + 1) if workers else 0)
    return batches, batches_ahead(threads, workers, kept * max(1, workers))


def batches_ahead(num_threads: int, num_workers: int, kept: int) -> int:
    """Batches to take before timing: all that are `kept` ready, and one of every thread.

    Those kept cost nothing. Once they are gone the loader is slower than who takes from it, and
    from one batch to another so many later it makes just that many.
    """
    return kept + max(1, num_threads) * max(1, num_workers)


def open_source(request: dict[str, Any]):
    """Our source of a request."""
    if request["cache"]:
        from jaxcolor.data.prepared import PreparedSource

        return PreparedSource(request["cache"], "train")
    from jaxcolor.data.sources import SideBySideSource

    names = [Path(path).stem for path in request["paths"]]
    return SideBySideSource(request["paths"], names, target_side="left")


def take(batches: Iterator[dict], ahead: int, count: int) -> dict[str, float]:
    """Takes `ahead` batches and then `count`; waits until all that is read ahead is full.

    Returns:
      The `seconds` of the latter batches, and the `bytes` that the processes hold in the end.
    """
    for _ in range(ahead):
        next(batches)
    started = time.perf_counter()
    for _ in range(count):
        next(batches)
    seconds = time.perf_counter() - started
    wait_until_quiet()
    return {"seconds": seconds, "bytes": held_bytes()}


def wait_until_quiet() -> None:
    """Returns when this process and its workers use hardly any of a core, or after LONGEST.

    Where the system does not tell, after a while that should do.
    """
    if not Path("/proc/stat").exists():
        time.sleep(BLIND)
        return
    ends = time.perf_counter() + LONGEST
    used, before = own_seconds(), time.perf_counter()
    while before < ends:
        time.sleep(LOOK)
        used_now, now = own_seconds(), time.perf_counter()
        if used_now - used < QUIET * (now - before):
            return
        used, before = used_now, now


def held_bytes() -> int:
    """Memory of this process and its workers; pages that some of them share are counted once.

    0 where the system does not tell. What this process has freed is given back first: glibc would
    keep it, or not, by chance.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)
    processes = [os.getpid(), *(worker.pid for worker in multiprocessing.active_children())]
    return sum(_proportional_bytes(number) for number in processes)


def _proportional_bytes(process: int) -> int:
    path = Path(f"/proc/{process}/smaps_rollup")
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
