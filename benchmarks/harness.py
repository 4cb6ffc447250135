"""Times contenders in turns, states how much faster one is, or why that cannot be said."""

import gc
import importlib.util
import random
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from benchmarks.bystanders import Bystanders

OURS, NAIVE, PYTORCH, LIMIT = "jaxcolor", "naive JAX", "PyTorch", "matrix product"
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


class Contender(NamedTuple):
    """One way to do the work.

    Attributes:
      family: OURS, NAIVE or PYTORCH; or LIMIT, which does other work, to tell what the device can.
      variant: what distinguishes it within its family; begins with the dtype.
      prepare: builds and compiles all it needs; returns a function that does the work `times`
        times and returns when it is done.
      flops: operations that the work needs, done once; 0 if not counted.
      times: how often one call does the work.
    """

    family: str
    variant: str
    prepare: Callable[[], Callable[[], None]]
    flops: float = 0.0
    times: int = 1

    @property
    def name(self) -> str:
        """Family and variant."""
        return f"{self.family} {self.variant}"

    @property
    def dtype(self) -> str:
        """ "float32" or "bfloat16"."""
        return self.variant.split()[0]


class Case(NamedTuple):
    """Work for all contenders.

    Attributes:
      title: says which work.
      facts: the same in values, for the report; "images" is how many pictures the work handles.
      contenders: who does it.
    """

    title: str
    facts: dict[str, Any]
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
      samples: seconds the work took once, by name.
      failures: why a peer could not run, by name.
      others: cores that other programs used meanwhile; None where the system does not tell.
    """

    samples: dict[str, list[float]]
    failures: dict[str, str]
    others: float | None


def measure(contenders: list[Contender], repetitions: int) -> Measurement:
    """Samples of all contenders.

    Every round visits all contenders once in an order of its own, so that whatever else slows the
    machine slows them alike. Building, compiling and the first calls are not among the samples,
    nor is the call before each sample: its memory is then where work that goes on has it, while the
    system may have taken back what lay idle through the others' turns.
    """
    calls, failures = _prepare(contenders)
    times = {contender.name: contender.times for contender in contenders}
    samples = {name: [] for name in calls}
    order, bystanders = random.Random(0), Bystanders()
    for _ in range(repetitions):
        for name in order.sample(sorted(calls), len(calls)):
            if len(samples[name]) < FEWEST_SAMPLES or sum(samples[name]) < MOST_SECONDS:
                time.sleep(PAUSE)
                calls[name]()
                samples[name].append(_time(calls[name]) / times[name])
    return Measurement(samples, failures, bystanders.cores())


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
    fractions = fractions_of_limit(case.contenders, measured)
    limits = {row.name for row in case.contenders if row.family == LIMIT}
    print(f"\n{case.title}; cores used by others: {others}")
    print(
        f"{'contender':<40}{'median ms':>10}{'quartiles ms':>18}{'images/s':>10}{'of limit':>9}"
        f"{'n':>4}"
    )
    for name, seconds in sorted(measured.samples.items(), key=lambda item: quartiles(item[1])[1]):
        if name in limits:
            continue
        first, median, third = quartiles(seconds)
        spread = f"{first * 1e3:.1f}..{third * 1e3:.1f}"
        rate = case.facts["images"] / median
        share = f"{fractions[name]:.2f}" if name in fractions else ""
        print(
            f"{name:<40}{median * 1e3:>10.1f}{spread:>18}{rate:>10.2f}{share:>9}{len(seconds):>4}"
        )
    for name, reason in measured.failures.items():
        print(f"{name:<40}  could not run: {reason}")
    for ratio in ratios:
        print(state(ratio))
    for dtype, rate in matrix_rates(case.contenders, measured).items():
        print(f"limit: matrix products in {dtype} at {rate / 1e9:.0f} GFLOP/s, in this run")
    sys.stdout.flush()


def state(ratio: Ratio) -> str:
    """A line: the ratio with what the quartiles allow, or why there is none."""
    value = f"{ratio.value:.2f}x [{ratio.low:.2f}..{ratio.high:.2f}]"
    stated = f"no ratio: {ratio.withheld}" if ratio.withheld else value
    return f"{ratio.ours} against {ratio.against} ({ratio.peer}): {stated}"


def matrix_rates(contenders: list[Contender], measured: Measurement) -> dict[str, float]:
    """Operations a second of the fastest matrix product in every dtype, by medians."""
    rates: dict[str, float] = {}
    for row in contenders:
        if row.family == LIMIT and row.name in measured.samples:
            rate = row.flops / quartiles(measured.samples[row.name])[1]
            rates[row.dtype] = max(rate, rates.get(row.dtype, 0.0))
    return rates


def fractions_of_limit(contenders: list[Contender], measured: Measurement) -> dict[str, float]:
    """The share of the matrix rate of its dtype that each contender reaches, by name."""
    rates = matrix_rates(contenders, measured)
    return {
        row.name: row.flops / quartiles(measured.samples[row.name])[1] / rates[row.dtype]
        for row in contenders
        if row.family != LIMIT and row.name in measured.samples and row.flops and row.dtype in rates
    }


def spread(values: list[float], *, scale: float = 1.0, digits: int = 1) -> str:
    """Median and quartiles of `values`, each times `scale`, in one phrase."""
    first, median, third = (scale * value for value in quartiles(values))
    return f"{median:.{digits}f} ({first:.{digits}f}..{third:.{digits}f})"


def print_others(others: float | None) -> None:
    """A line: how many cores other programs used meanwhile."""
    print(f"cores used by others: {'unknown' if others is None else f'{others:.2f}'}", flush=True)


def announce_peers() -> None:
    """Says so if PyTorch is missing."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed, so nothing is compared with it: install the extra peers")


def measure_cases(cases: Iterable[Case], options: Namespace) -> Iterator[dict[str, Any]]:
    """Measures and prints every case in `options.repetitions`; yields all there is to know of it.

    A table has the case's title and facts, the samples (seconds, LIMIT's among them), flops,
    matrix rates, fractions of these, ratios, failures, and the cores others used.
    """
    for case in cases:
        measured = measure(case.contenders, options.repetitions)
        ratios = compare_families(case.contenders, measured)
        print_table(case, measured, ratios)
        yield {"title": case.title, **case.facts, **measured._asdict()} | {
            "flops": {row.name: row.flops for row in case.contenders},
            "matrix_rates": matrix_rates(case.contenders, measured),
            "fractions_of_limit": fractions_of_limit(case.contenders, measured),
            "ratios": [ratio._asdict() for ratio in ratios],
        }
        gc.collect()
