"""Times contenders in turns, states how much faster one is, or why that cannot be said."""

import gc
import importlib.metadata
import json
import os
import random
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.conv_lowering import commit, machine

OURS, NAIVE, PYTORCH = "jaxcolor", "naive JAX", "PyTorch"
FEWEST_SAMPLES = 5
WIDEST_RATIO = 1.5
RULE = (
    "ratio: the peer's median seconds by ours, the peer being the fastest of its kind; in brackets "
    "what the quartiles allow, from (its first by our third) to (its third by our first). Where "
    f"these differ by more than a factor of {WIDEST_RATIO}, or with fewer than {FEWEST_SAMPLES} "
    "samples, no ratio is stated."
)
WARM_UPS = 2
# A contender many times slower than the others need not be seen as often as they.
MOST_SECONDS = 60.0
# Thread pools spin for a while after their work, on the cores that the next contender needs.
PAUSE = 0.05
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


class Contender(NamedTuple):
    """One way to do the work.

    Attributes:
      family: OURS, NAIVE or PYTORCH.
      variant: what distinguishes it within its family; begins with the dtype.
      prepare: builds and compiles all it needs; returns a function that does the work once and
        returns when it is done.
    """

    family: str
    variant: str
    prepare: Callable[[], Callable[[], None]]

    @property
    def name(self) -> str:
        """Family and variant."""
        return f"{self.family} {self.variant}"

    @property
    def dtype(self) -> str:
        """ "float32" or "bfloat16"."""
        return self.variant.split()[0]


class Case(NamedTuple):
    """Work for all contenders: a title, the pictures it handles, and who does it."""

    title: str
    images: int
    contenders: list[Contender]


class Ratio(NamedTuple):
    """How many times as fast `ours` is as `peer`: value, and from low to high by the quartiles.

    `withheld` says why there is none to state, or is empty.
    """

    ours: str
    peer: str
    against: str
    value: float
    low: float
    high: float
    withheld: str


def measure(contenders: list[Contender], repetitions: int) -> tuple[dict, dict]:
    """Seconds of every sample by contender's name, and why a peer could not run.

    Every round visits all contenders once in an order of its own, so that whatever else slows the
    machine slows them alike. Building, compiling and the first calls are not among the samples.
    """
    calls, failures = {}, {}
    for contender in contenders:
        start = time.perf_counter()
        try:
            calls[contender.name] = contender.prepare()
            for _ in range(WARM_UPS):
                calls[contender.name]()
        except Exception as error:
            if contender.family == OURS:
                raise
            calls.pop(contender.name, None)
            failures[contender.name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        _report(f"prepared {contender.name} in {time.perf_counter() - start:.0f} s")
    samples = {name: [] for name in calls}
    order = random.Random(0)
    for _ in range(repetitions):
        for name in order.sample(sorted(calls), len(calls)):
            if len(samples[name]) >= FEWEST_SAMPLES and sum(samples[name]) > MOST_SECONDS:
                continue
            time.sleep(PAUSE)
            start = time.perf_counter()
            calls[name]()
            samples[name].append(time.perf_counter() - start)
    return samples, failures


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def quartiles(seconds: list[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile."""
    first, median, third = np.quantile(seconds, (0.25, 0.5, 0.75))
    return float(first), float(median), float(third)


def compare(ours: str, peers: Iterable[str], against: str, samples: dict) -> Ratio:
    """The ratio of the fastest of `peers` to `ours`, by RULE.

    Args:
      ours: name of one of our contenders.
      peers: names of those it is compared with, at least one.
      against: what they have in common.
      samples: seconds by name.
    """
    peer = min(peers, key=lambda name: quartiles(samples[name])[1])
    first, median, third = quartiles(samples[ours])
    peer_first, peer_median, peer_third = quartiles(samples[peer])
    low, high = peer_first / third, peer_third / first
    fewest = min(len(samples[ours]), len(samples[peer]))
    withheld = ""
    if fewest < FEWEST_SAMPLES:
        withheld = f"{fewest} samples, needs {FEWEST_SAMPLES}"
    elif high > WIDEST_RATIO * low:
        withheld = f"the quartiles allow {low:.2f} to {high:.2f}"
    return Ratio(ours, peer, against, peer_median / median, low, high, withheld)


def compare_families(contenders: list[Contender], samples: dict) -> list[Ratio]:
    """Each of ours by the fastest PyTorch it may be held to, and by naive JAX.

    Ours in float32 is held to PyTorch in float32, ours in bfloat16 to PyTorch in any precision.
    """
    measured = [contender for contender in contenders if contender.name in samples]
    ratios = []
    for ours in (contender for contender in measured if contender.family == OURS):
        narrow = ours.dtype == "float32"
        fair = [
            peer.name
            for peer in measured
            if peer.family == PYTORCH and (peer.dtype == "float32" or not narrow)
        ]
        naive = [peer.name for peer in measured if peer.family == NAIVE]
        kind = "fastest float32 PyTorch" if narrow else "fastest PyTorch"
        for against, names in ((kind, fair), ("naive JAX", naive)):
            if names:
                ratios.append(compare(ours.name, names, against, samples))
    return ratios


def print_table(case: Case, samples: dict, failures: dict, ratios: list[Ratio]) -> None:
    """A line a contender, fastest first, then a line a ratio."""
    print(f"\n{case.title}")
    print(f"{'contender':<44}{'median ms':>10}{'quartiles ms':>18}{'images/s':>10}{'n':>4}")
    for name, seconds in sorted(samples.items(), key=lambda item: quartiles(item[1])[1]):
        first, median, third = quartiles(seconds)
        spread = f"{first * 1e3:.1f}..{third * 1e3:.1f}"
        rate = case.images / median
        print(f"{name:<44}{median * 1e3:>10.1f}{spread:>18}{rate:>10.2f}{len(seconds):>4}")
    for name, reason in failures.items():
        print(f"{name:<44}  could not run: {reason}")
    for ratio in ratios:
        value = f"{ratio.value:.2f}x [{ratio.low:.2f}..{ratio.high:.2f}]"
        stated = f"no ratio: {ratio.withheld}" if ratio.withheld else value
        print(f"{ratio.ours} against {ratio.against} ({ratio.peer}): {stated}")
    sys.stdout.flush()


def count_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def describe_run() -> dict[str, Any]:
    """Machine, cores, load, versions, commit and time."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "machine": machine(),
        "cores": count_cores(),
        "load_average": os.getloadavg(),
        "versions": versions,
        "commit": commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def run_cases(benchmark: str, cases: Iterable[Case], options: Namespace) -> dict[str, Any]:
    """Measures and prints every case; returns, and writes to `options.out`, all there is to know.

    Args:
      benchmark: its name.
      cases: one table each.
      options: of the command line: `repetitions`, `out` (a path, or None), and what to record.
    """
    result = {"benchmark": benchmark, "options": vars(options), "rule": RULE} | describe_run()
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    load = result["load_average"][0]
    print(f"{result['machine']}; load {load:.1f}; {versions}; commit {result['commit']}")
    if result["versions"]["torch"] is None:
        print("PyTorch is not installed, so nothing is compared with it: install the extra peers")
    result["tables"] = []
    for case in cases:
        samples, failures = measure(case.contenders, options.repetitions)
        ratios = compare_families(case.contenders, samples)
        print_table(case, samples, failures, ratios)
        table = {"title": case.title, "images": case.images, "samples": samples}
        table |= {"failures": failures, "ratios": [ratio._asdict() for ratio in ratios]}
        result["tables"].append(table)
        if options.out:  # after every table: a long run that is cut short keeps what it has
            Path(options.out).write_text(json.dumps(result, indent=1))
        gc.collect()
    print(f"\n{RULE}")
    return result
