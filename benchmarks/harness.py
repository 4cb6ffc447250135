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
MOST_CORES_OF_OTHERS = 0.25
RULE = (
    "ratio: the peer's median seconds by ours, the peer being the fastest of its kind; in brackets "
    "what the quartiles allow, from (its first by our third) to (its third by our first). Where "
    f"these differ by more than a factor of {WIDEST_RATIO}, with fewer than {FEWEST_SAMPLES} "
    f"samples, or if other programs used more than {MOST_CORES_OF_OTHERS} cores meanwhile, no "
    "ratio is stated."
)
WARM_UPS = 2
# A contender many times slower than the others need not be seen as often as they.
MOST_SECONDS = 60.0
# Thread pools spin for a while after their work, on the cores that the next contender needs.
PAUSE = 0.05
ENVIRONMENT = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "XLA_FLAGS")
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


class Measurement(NamedTuple):
    """Seconds of every sample by contender's name, and what else there is to know about them.

    Attributes:
      samples: seconds by name.
      failures: why a peer could not run, by name.
      others: cores that other programs used meanwhile; None where the system does not tell.
    """

    samples: dict[str, list[float]]
    failures: dict[str, str]
    others: float | None


def measure(contenders: list[Contender], repetitions: int) -> Measurement:
    """Samples of all contenders.

    Every round visits all contenders once in an order of its own, so that whatever else slows the
    machine slows them alike. Building, compiling and the first calls are not among the samples.
    """
    calls, failures = _prepare(contenders)
    samples = {name: [] for name in calls}
    order, start, busy = random.Random(0), time.perf_counter(), _seconds_of_others()
    for _ in range(repetitions):
        for name in order.sample(sorted(calls), len(calls)):
            if len(samples[name]) < FEWEST_SAMPLES or sum(samples[name]) < MOST_SECONDS:
                time.sleep(PAUSE)
                samples[name].append(_time(calls[name]))
    elapsed = time.perf_counter() - start
    others = None if busy is None else (_seconds_of_others() - busy) / elapsed
    return Measurement(samples, failures, others)


def _prepare(contenders):
    """Calls that are compiled and warm, by name, and why a peer has none."""
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
    return calls, failures


def _time(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _seconds_of_others() -> float | None:
    """Core seconds used since the machine started, by all but this process."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    user, nice, system, _, _, *rest = map(int, path.read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK") - time.process_time()


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def quartiles(seconds: list[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile."""
    first, median, third = np.quantile(seconds, (0.25, 0.5, 0.75))
    return float(first), float(median), float(third)


def compare(ours: str, peers: Iterable[str], against: str, measured: Measurement) -> Ratio:
    """The ratio of the fastest of `peers` to `ours`, by RULE.

    Args:
      ours: name of one of our contenders.
      peers: names of those it is compared with, at least one.
      against: what they have in common.
      measured: samples of all of them.
    """
    samples = measured.samples
    peer = min(peers, key=lambda name: quartiles(samples[name])[1])
    first, median, third = quartiles(samples[ours])
    peer_first, peer_median, peer_third = quartiles(samples[peer])
    low, high = peer_first / third, peer_third / first
    fewest = min(len(samples[ours]), len(samples[peer]))
    withheld = ""
    if (measured.others or 0) > MOST_CORES_OF_OTHERS:
        withheld = f"other programs used {measured.others:.1f} cores"
    elif fewest < FEWEST_SAMPLES:
        withheld = f"{fewest} samples, needs {FEWEST_SAMPLES}"
    elif high > WIDEST_RATIO * low:
        withheld = f"the quartiles allow {low:.2f} to {high:.2f}"
    return Ratio(ours, peer, against, peer_median / median, low, high, withheld)


def compare_families(contenders: list[Contender], measured: Measurement) -> list[Ratio]:
    """Each of ours by the fastest PyTorch it may be held to, and by naive JAX.

    Ours in float32 is held to PyTorch in float32, ours in bfloat16 to PyTorch in any precision.
    """
    able = [contender for contender in contenders if contender.name in measured.samples]
    naive = [peer.name for peer in able if peer.family == NAIVE]
    pytorch = [peer for peer in able if peer.family == PYTORCH]
    ratios = []
    for ours in (contender for contender in able if contender.family == OURS):
        kind, names = "fastest PyTorch", [peer.name for peer in pytorch]
        if ours.dtype == "float32":
            kind = "fastest float32 PyTorch"
            names = [peer.name for peer in pytorch if peer.dtype == "float32"]
        for against, peers in ((kind, names), ("naive JAX", naive)):
            if peers:
                ratios.append(compare(ours.name, peers, against, measured))
    return ratios


def print_table(case: Case, measured: Measurement, ratios: list[Ratio]) -> None:
    """A line a contender, fastest first, then a line a ratio."""
    others = "unknown" if measured.others is None else f"{measured.others:.2f}"
    print(f"\n{case.title}; cores used by others: {others}")
    print(f"{'contender':<44}{'median ms':>10}{'quartiles ms':>18}{'images/s':>10}{'n':>4}")
    for name, seconds in sorted(measured.samples.items(), key=lambda item: quartiles(item[1])[1]):
        first, median, third = quartiles(seconds)
        spread = f"{first * 1e3:.1f}..{third * 1e3:.1f}"
        rate = case.images / median
        print(f"{name:<44}{median * 1e3:>10.1f}{spread:>18}{rate:>10.2f}{len(seconds):>4}")
    for name, reason in measured.failures.items():
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
        "environment": {name: os.environ.get(name) for name in ENVIRONMENT},
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
        measured = measure(case.contenders, options.repetitions)
        ratios = compare_families(case.contenders, measured)
        print_table(case, measured, ratios)
        table = {"title": case.title, "images": case.images} | measured._asdict()
        result["tables"].append(table | {"ratios": [ratio._asdict() for ratio in ratios]})
        if options.out:  # after every table: a long run that is cut short keeps what it has
            Path(options.out).write_text(json.dumps(result, indent=1))
        gc.collect()
    print(f"\n{RULE}")
    return result
