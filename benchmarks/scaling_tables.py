"""The tables of docs/scaling.md as rows of text: what is measured, assumed, published, derived."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import records
from benchmarks import scaling_laws as laws
from benchmarks.accelerators import ACCELERATORS, Accelerator
from benchmarks.harness import quartiles
from benchmarks.report import markdown_table
from benchmarks.scaling_laws import BFLOAT16, FLOAT32, PARAMETERS, Assumptions
from jaxcolor.errors import UserError

DEVICES = (8, 64, 256)
WANTED = 0.9
ETHERNET = 10e9 / 8  # bytes a second, assumed between the hosts of the row that was measured
# Two pictures of a pair, three channels, a byte each, at the size that a prepared cache has.
PAIR_BYTES = 2 * 3 * 286**2
BASE_RATE, BASE_B1, BASE_B2 = 2e-4, 0.5, 0.999
BATCHES = (1, 2, 4, 16, 64, 256, 1024, 4096)
# TensorFlow's pix2pix tutorial on a V100: 15 s for 400 pictures one at a time.
TUTORIAL_RATE, V100_FLOAT32, V100_TENSOR = 400 / 15, 15.7e12, 125e12


class Table(NamedTuple):
    """Head and rows, of text."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[str]:
        """As Markdown."""
        return list(markdown_table(self.head, self.rows))


class Measured(NamedTuple):
    """What was measured here.

    Attributes:
      machine: that all of it was measured on.
      steps: seconds of a step on its processor, by pictures.
      loaders: pairs a second on one core, by "cache" and "files": the slowest of the sets.
    """

    machine: str
    steps: dict[int, float]
    loaders: dict[str, float]


def read_measured(folder: Path) -> Measured:
    """What `train_step` and `input_pipeline` wrote in `folder`, on a CPU.

    Raises:
      UserError: it is not there, or does not hold what is needed, such as the reference's step.
    """
    names = ("train_step", "input_pipeline")
    results = records.read_results(folder, names, quick=False)
    for name in names:
        if (name, "cpu") not in results:
            raise UserError(f"{folder}: no {name} of a CPU: python -m benchmarks {name}")
    step, loading = (results[name, "cpu"] for name in names)
    with records.readable(step["path"]):
        steps = {
            table["images"]: quartiles(table["samples"]["jaxcolor float32"])[1]
            for table in step["tables"]
            if table["update"] == laws.UPDATE
        }
    with records.readable(loading["path"]):
        loaders = {kind: _slowest(loading, kind) for kind in ("cache", "files")}
    return Measured(step["machine"], steps, loaders)


def _slowest(loading: dict[str, Any], kind: str) -> float:
    """Pairs a second on one core, of the set that takes longest."""
    return min(
        table["images"] / quartiles(table["samples"][f"jaxcolor {kind}, 1 core"])[1]
        for table in loading["tables"]
        if "contenders" in table
    )


def all_tables(measured: Measured, assumptions: Assumptions) -> dict[str, Table]:
    """Every table, by the name that the document calls it."""
    return {
        "published": published(),
        "alone": alone(measured, assumptions),
        "bytes": reduced_bytes(),
        "memory": memory(),
        "scaling": scaling(assumptions),
        "processors": processors(measured, assumptions),
        "limits": limits(assumptions),
        "input": input_rates(measured, assumptions),
        "rates": learning_rates(),
    }


def published() -> Table:
    """The vendors' figures."""
    head = ("accelerator", "bfloat16, TFLOP/s", "memory", "memory, GB/s", "links, GB/s one way")
    head += ("network, GB/s each", "on a host", "its cores", "source")
    rows = [
        (
            row.name,
            f"{row.peak / 1e12:.0f}",
            f"{row.memory / 1e9:.0f} GB",
            f"{row.memory_rate / 1e9:.0f}",
            f"{row.link / 1e9:.0f}",
            f"{row.network / 1e9:.0f}" if row.network else "not used",
            str(row.host_devices),
            str(row.host_cores or "not found"),
            row.sources,
        )
        for row in ACCELERATORS
    ]
    return Table(head, rows)


def alone(measured: Measured, assumptions: Assumptions) -> Table:
    """A step on one device, and where its time is from."""
    head = ("device", "pictures", "share of the peak", "Adam, ms", "step, ms", "pictures/s")
    rows = [
        (f"{measured.machine}", str(batch), "measured, float32", "within", *_rate(seconds, batch))
        for batch, seconds in sorted(measured.steps.items())
    ]
    plain, tensor = tutorial_shares()
    told = f"published; {plain:.2f} of float32's, {tensor:.3f} of the tensor cores'"
    rows.append(("V100, TensorFlow's tutorial", "1", told, "within", *_rate(1 / TUTORIAL_RATE, 1)))
    for row in ACCELERATORS:
        for batch, share in sorted(assumptions.shares.items()):
            known = (row.name, batch) in assumptions.measured
            seconds = laws.alone_seconds(row, batch, assumptions)
            origin = "given" if known else f"{share:g}, assumed"
            adam = f"{1e3 * laws.adam_seconds(row):.2f}"
            rows.append((row.name, str(batch), origin, adam, *_rate(seconds, batch)))
    return Table(head, rows)


def _rate(seconds: float, batch: int) -> tuple[str, str]:
    rate = batch / seconds
    return f"{1e3 * seconds:.2f}", f"{rate:.3g}" if rate < 100 else f"{rate:,.0f}"


def reduced_bytes() -> Table:
    """Megabytes that each device sends a step."""
    head = ("devices", "float32", "bfloat16", "float32, sharded", "bfloat16, sharded")
    rows = [
        (
            str(count),
            *(_mega(laws.ring_bytes(count, n * PARAMETERS)) for n in (FLOAT32, BFLOAT16)),
            *(_mega(laws.sharded_bytes(count, n)) for n in (FLOAT32, BFLOAT16)),
        )
        for count in DEVICES
    ]
    return Table(head, rows)


def memory() -> Table:
    """Megabytes that parameters, gradients and Adam's moments take on each device."""
    head = ("devices", "parameters", "gradients", "moments", "moments, sharded", "saved")
    whole = FLOAT32 * PARAMETERS
    rows = [
        (
            str(count),
            *(_mega(size) for size in (whole, whole, 2 * whole)),
            _mega(2 * whole / count),
            _mega(2 * whole * (1 - 1 / count)),
        )
        for count in DEVICES
    ]
    return Table(head, rows)


def _mega(size: float) -> str:
    return f"{size / 1e6:.0f} MB"


def scaling(assumptions: Assumptions) -> Table:
    """Step time, efficiency and pictures a second of every accelerator, number and batch."""
    head = ("accelerator", "devices", "pictures each (all)", "alone, ms")
    head += ("all-reduce, ms: float32 (bfloat16)", "efficiency: float32 (bfloat16)")
    head += ("sharded optimizer", "all hidden", "pictures/s, float32")
    rows = []
    for row in ACCELERATORS:
        for count in DEVICES:
            for batch in sorted(assumptions.shares):
                rows.append((row.name, str(count), *_scaled(row, count, batch, assumptions)))
    return Table(head, rows)


def _scaled(row: Accelerator, count: int, batch: int, assumptions: Assumptions) -> tuple[str, ...]:
    full = laws.step(row, count, batch, FLOAT32, assumptions)
    half = laws.step(row, count, batch, BFLOAT16, assumptions)
    return (
        f"{batch} ({batch * count:,})",
        f"{1e3 * full.alone:.2f}",
        f"{1e3 * full.reduction:.2f} ({1e3 * half.reduction:.2f})",
        f"{full.efficiency(full.seconds):.2f} ({half.efficiency(half.seconds):.2f})",
        f"{full.efficiency(full.sharded):.2f}",
        f"{full.efficiency(full.overlapped):.2f}",
        f"{full.pictures_per_second(full.seconds):,.0f}",
    )


def processors(measured: Measured, assumptions: Assumptions) -> Table:
    """As many machines as the one measured, joined by Ethernet: here the step is no assumption."""
    head = ("hosts", "pictures each (all)", "step alone, ms", "all-reduce, ms", "efficiency")
    head += ("pictures/s",)
    rows = []
    for count in DEVICES:
        seconds = laws.ring_bytes(count, FLOAT32 * PARAMETERS) / ETHERNET / assumptions.link_share
        for batch, single in sorted(measured.steps.items()):
            found = laws.Step(single, seconds, 0.0, count, batch)
            rows.append(
                (
                    str(count),
                    f"{batch} ({batch * count:,})",
                    f"{1e3 * single:.0f}",
                    f"{1e3 * seconds:.0f}",
                    f"{found.efficiency(found.seconds):.2f}",
                    f"{found.pictures_per_second(found.seconds):,.0f}",
                )
            )
    return Table(head, rows)


def limits(assumptions: Assumptions) -> Table:
    """Pictures a device from which the efficiency is WANTED, nothing overlapped."""
    head = ("accelerator", *(f"{count} devices: float32 (bfloat16)" for count in DEVICES))
    rows = [
        (
            row.name,
            *(
                "{} ({})".format(
                    *(
                        laws.smallest_batch(row, count, n, WANTED, assumptions)
                        for n in (FLOAT32, BFLOAT16)
                    )
                )
                for count in DEVICES
            ),
        )
        for row in ACCELERATORS
    ]
    return Table(head, rows)


def input_rates(measured: Measured, assumptions: Assumptions) -> Table:
    """What a host must load while its devices lose nothing, and how many cores that takes."""
    head = ("accelerator", "pictures each", "pairs/s a host", "from the cache, GB/s")
    head += ("cores: cache", "cores: files", "it has")
    rows = []
    for row in ACCELERATORS:
        for batch in sorted(assumptions.shares):
            seconds = laws.alone_seconds(row, batch, assumptions)
            needed = row.host_devices * batch / seconds
            cores = [math.ceil(needed / measured.loaders[kind]) for kind in ("cache", "files")]
            rows.append(
                (
                    row.name,
                    str(batch),
                    f"{needed:,.0f}",
                    f"{needed * PAIR_BYTES / 1e9:.2f}",
                    *map(str, cores),
                    str(row.host_cores or "not found"),
                )
            )
    return Table(head, rows)


def learning_rates() -> Table:
    """Adam's numbers by two rules, from pix2pix's own at batch 1."""
    head = ("global batch", "linear", "square root", "b2 of that rule", "b1 of that rule")
    rows = []
    for batch in BATCHES:
        b1, b2 = (1 - batch * (1 - value) for value in (BASE_B1, BASE_B2))
        rows.append(
            (
                f"{batch:,}",
                f"{BASE_RATE * batch:.1e}",
                f"{BASE_RATE * math.sqrt(batch):.1e}",
                *(f"{value:.3g}" if value >= 0 else "below 0" for value in (b2, b1)),
            )
        )
    return Table(head, rows)


def tutorial_shares() -> tuple[float, float]:
    """Shares of a V100's two peaks that the tutorial's published rate makes, by our count."""
    rate = TUTORIAL_RATE * laws.step_flops("simultaneous", laws.IMAGE_SIZE, laws.BASE_WIDTH)
    return rate / V100_FLOAT32, rate / V100_TENSOR
