"""The targets of the benchmarks, and whether what was measured meets them.

A result is what `records.record` wrote; results are held by (benchmark, platform).
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.harness import MOST_CORES_OF_OTHERS, NAIVE, OURS, quartiles
from benchmarks.loaders import AGAINST, CACHE, FILES, ONE_CORE, growth

Results = dict[tuple[str, str], dict[str, Any]]
FULL_SIZE = {"image_size": 256, "base_width": 64}
DTYPES = ("float32", "bfloat16")
# Batch sizes and how many times as fast as PyTorch, on a GPU.
GPU_TARGETS = {1: 1.2, 8: 1.0, 32: 1.0, 128: 1.0}


class Row(NamedTuple):
    """A line of the table of targets, as it is printed."""

    measure: str
    target: str
    measured: str
    verdict: str


class Goal(NamedTuple):
    """A number and what it must be.

    Attributes:
      limit: the number it is held to.
      above: whether it must be at least the limit, or else below it.
      show: how a number is printed.
    """

    limit: float
    above: bool
    show: Callable[[float], str]

    def text(self) -> str:
        """The target in words."""
        return f"{'at least' if self.above else 'below'} {self.show(self.limit)}"

    def is_met(self, value: float) -> bool:
        """Whether `value` is good enough."""
        return value >= self.limit if self.above else value < self.limit


def times(limit: float) -> Goal:
    """At least so many times."""
    return Goal(limit, True, lambda value: f"{value:.2f}x")


def rows(results: Results) -> Iterator[Row]:
    """All targets, those of a GPU last."""
    yield from _speed_rows(results)
    yield from _run_rows(results)
    yield from _loader_rows(results)
    for dtype in DTYPES:
        for batch, limit in GPU_TARGETS.items():
            case = {"images": batch, "update": "sequential"}
            measure = f"GPU: training step, {dtype}, batch {batch}, against PyTorch"
            yield _ratio_row(
                results, ("train_step", "gpu"), measure, case, dtype, "PyTorch", times(limit)
            )


def _speed_rows(results: Results) -> Iterator[Row]:
    key = ("train_step", "cpu")
    for dtype, limit in (("float32", 1.3), ("bfloat16", 1.2)):
        for batch in (1, 4):
            case = {"images": batch, "update": "sequential"}
            name = f"training step, {dtype}, batch {batch}"
            held = "float32 PyTorch" if dtype == "float32" else "PyTorch of any precision"
            measure = f"{name}, against the fastest {held}"
            yield _ratio_row(results, key, measure, case, dtype, "PyTorch", times(limit))
            measure = f"{name}, against naive JAX"
            yield _ratio_row(results, key, measure, case, dtype, NAIVE, times(5.0))
            yield _fraction_row(results, f"{name}, share of the matrix rate", case, dtype)
    for dtype in DTYPES:
        for batch in (1, 8):
            measure = f"inference, {dtype}, batch {batch}, against the fastest PyTorch"
            key, case = ("inference", "cpu"), {"images": batch}
            yield _ratio_row(results, key, measure, case, dtype, "PyTorch", times(1.2))
    for dtype in DTYPES:
        measure = f"photograph of 768x512 in colour, {dtype}, against the fastest PyTorch"
        key, case = ("inference", "cpu"), {"photograph": [512, 768]}
        yield _ratio_row(results, key, measure, case, dtype, "PyTorch", times(1.2))


def _run_rows(results: Results) -> Iterator[Row]:
    percent = Goal(0.02, False, lambda value: f"{value:.1%}")
    seconds = Goal(8.0, False, lambda value: f"{value:.1f} s")
    for dtype in DTYPES:
        for batch in (1, 4):
            case = {"images": batch, "dtype": dtype}
            measure = f"epoch of run.py against the bare step, {dtype}, batch {batch}"
            key = ("end_to_end", "cpu")
            yield _ratio_row(results, key, measure, case, None, "bare step", times(0.95))
    for dtype in DTYPES:
        for batch in (1, 4):
            case = {"images": batch, "update": "sequential"}
            measure = f"memory of PyTorch against ours, {dtype}, batch {batch}"
            key = ("memory", "cpu")
            yield _ratio_row(results, key, measure, case, dtype, "PyTorch", times(1.0))
    measure = "training time lost to a checkpoint each epoch of 400 steps"
    yield _value_row(results, ("checkpoint", "cpu"), measure, {}, _lost, percent)
    for dtype in DTYPES:
        measure = f"second start to the first step, {dtype}"
        case = {"dtype": dtype}
        yield _value_row(results, ("startup", "cpu"), measure, case, _whole_start, seconds)
    digits = Goal(1e-4, False, lambda value: f"{value:.0e}")  # equal but for rounding
    measure = "1 to 8 devices: largest relative difference of a loss"
    yield _value_row(results, ("scaling", "cpu"), measure, {}, _difference, digits, {})


def _loader_rows(results: Results) -> Iterator[Row]:
    key, sizes = ("input_pipeline", "cpu"), {"image_size": 256, "batch_size": 32}
    pairs = Goal(1000.0, True, lambda value: f"{value:.0f}")
    grown = Goal(0.05, False, lambda value: f"{value:.1%}")
    for kind in ("png", "jpeg"):
        case = {"format": kind}
        for origin, limit in ((FILES, 1.5), (CACHE, 4.0)):
            measure = f"pairs a second from the {origin}, against PyTorch from files, {kind}"
            against = AGAINST[origin]
            yield _ratio_row(results, key, measure, case, None, against, times(limit), sizes)
    measure = "pairs a second on one core, from the cache"
    yield _value_row(results, key, measure, {"format": "png"}, _pairs_on_one_core, pairs, sizes)
    measure = "growth of the loaders' memory, largest of ours"
    yield _value_row(results, key, measure, {"format": "png"}, _growth, grown, sizes)
    for dtype in DTYPES:
        for batch in (1, 4):
            case = {"images": batch, "dtype": dtype}
            measure = f"time of run.py spent waiting for data, {dtype}, batch {batch}"
            little = Goal(0.01, False, lambda value: f"{value:.2%}")
            yield _value_row(results, ("end_to_end", "cpu"), measure, case, _waiting, little)


def _pairs_on_one_core(table: dict) -> float | None:
    seconds = table["samples"].get(ONE_CORE[CACHE].name)
    return table["images"] / quartiles(seconds)[1] if seconds else None


def _growth(table: dict) -> float:
    grown = [growth(values) for name, values in table["memory"].items() if name.startswith(OURS)]
    return max(grown)


def _waiting(table: dict) -> float | None:
    return quartiles(table["waiting"])[1] if "waiting" in table else None


def _lost(table: dict) -> float:
    return next(iter(table["shares"].values()))


def _whole_start(table: dict) -> float:
    return quartiles(table["samples"]["whole"])[1]


def _difference(table: dict) -> float:
    return max(table["loss_differences"].values())


def find_table(result: dict[str, Any] | None, case: dict[str, Any]) -> dict[str, Any] | None:
    """The first table of a result with these facts."""
    for table in (result or {}).get("tables", ()):
        if all(table.get(name) == value for name, value in case.items()):
            return table
    return None


def _missing(key: tuple[str, str], results: Results) -> str:
    """Why there is no table."""
    name, platform = key
    if key in results:
        return "not measured: not among the measured cases"
    return "not measured on a GPU" if platform == "gpu" else f"not measured: no {name} on a CPU"


def _ratio_row(
    results: Results,
    key: tuple[str, str],
    measure: str,
    case: dict[str, Any],
    dtype: str | None,
    against: str,
    goal: Goal,
    sizes: dict[str, int] = FULL_SIZE,
) -> Row:
    """A ratio of ours in `dtype` (None: of whatever there is) against peers of that name."""
    table = find_table(results.get(key), case)
    for ratio in table["ratios"] if table else ():
        ours = dtype is None or ratio["ours"] == f"{OURS} {dtype}"
        if ours and ratio["against"].endswith(against):
            return _judge(results[key], measure, ratio["value"], goal, ratio["withheld"], sizes)
    return Row(measure, goal.text(), "", _missing(key, results))


def _fraction_row(results: Results, measure: str, case: dict, dtype: str) -> Row:
    goal = Goal(0.6, True, lambda value: f"{value:.2f}")
    key, name = ("train_step", "cpu"), f"{OURS} {dtype}"
    table = find_table(results.get(key), case)
    if table is None or name not in table["fractions_of_limit"]:
        return Row(measure, goal.text(), "", _missing(key, results))
    fraction = table["fractions_of_limit"][name]
    return _judge(results[key], measure, fraction, goal, _disturbed(table))


def _value_row(
    results: Results,
    key: tuple[str, str],
    measure: str,
    case: dict[str, Any],
    read: Callable[[dict], float | None],
    goal: Goal,
    sizes: dict[str, int] = FULL_SIZE,
) -> Row:
    """A number that `read` finds in a table, for networks of these `sizes`."""
    table = find_table(results.get(key), case)
    value = read(table) if table else None
    if value is None:
        return Row(measure, goal.text(), "", _missing(key, results))
    return _judge(results[key], measure, value, goal, _disturbed(table), sizes)


def _disturbed(table: dict[str, Any]) -> str:
    """Why the seconds of a table mean little, or nothing."""
    others = table["others"] or 0.0
    return f"other programs used {others:.1f} cores" if others > MOST_CORES_OF_OTHERS else ""


def _judge(
    result: dict[str, Any],
    measure: str,
    value: float,
    goal: Goal,
    withheld: str,
    sizes: dict[str, int] = FULL_SIZE,
) -> Row:
    """The row of a number, which is not judged where it means little or is of other networks."""
    options = result["options"]
    other = [f"{name} {options[name]}" for name, size in sizes.items() if options[name] != size]
    if withheld:
        return Row(measure, goal.text(), "", f"not measured: {withheld}")
    if other:
        return Row(measure, goal.text(), "", f"not measured at full size: {', '.join(other)}")
    verdict = "met" if goal.is_met(value) else "not met"
    return Row(measure, goal.text(), goal.show(value), verdict)
