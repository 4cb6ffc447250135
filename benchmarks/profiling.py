"""Where the time of our training step, and of our generator alone, goes, and what bounds it.

Every instruction XLA ran in a traced step, by phase and by kind, which its names in the compiled
program tell. A fusion counts whole for what its last instruction is for. Sums are over threads:
instructions that ran at once add up to more than the step took. The limit is that of the
convolutions' sums as they are written; Winograd's algorithm, which needs fewer products, may go
below it.
"""

import sys
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from benchmarks import arithmetic, harness, hlo, inference, limits, train_step
from benchmarks.harness import OURS, Contender, quartiles
from benchmarks.pictures import draw_batch

FULL = {
    "batch": [1, 4],
    "generator": [1, 8],
    "dtype": ["float32", "bfloat16"],
    "update": ["sequential"],
    "image_size": 256,
    "base_width": 64,
    "repetitions": 9,
    "steps": 3,
}
QUICK = {"batch": [1], "generator": [1], "base_width": 32, "repetitions": 5}
# Adam reads parameter, gradient and both moments, and writes all but the gradient.
ADAM_BYTES = 7 * 4
GENERATOR = "generator alone"


def tables(options: Namespace) -> Iterator[dict[str, Any]]:
    """A table for every update order, dtype and batch size; then those of the generator alone."""
    sizes = (options.image_size, options.base_width)
    adam = ADAM_BYTES * arithmetic.parameter_count(*sizes)
    for update in options.update:
        flops = arithmetic.step_flops(update, *sizes)
        for dtype in options.dtype:
            for batch_size in options.batch:
                program = compile_step(options, update, dtype, batch_size)
                yield profile(options, f"{update} update", dtype, batch_size, program, flops, adam)
    flops = arithmetic.inference_flops(*sizes)
    for dtype in options.dtype:
        for batch_size in options.generator:
            condition = draw_batch(options.image_size, batch_size)["condition"]
            program = inference.compile_ours(options, condition, dtype, statistics="picture")
            yield profile(options, GENERATOR, dtype, batch_size, program, flops, 0)


def profile(
    options: Namespace,
    what: str,
    dtype: str,
    batch_size: int,
    program: tuple[Callable[[], None], str],
    picture_flops: int,
    adam_bytes: int,
) -> dict[str, Any]:
    """Times, traces and prints one program.

    Args:
      options: of the benchmark.
      what: the program does, for the title.
      dtype: it computes in.
      batch_size: how many pictures it takes.
      program: a function that runs it once, and it as text.
      picture_flops: its arithmetic, of one picture.
      adam_bytes: what its optimizers move.
    """
    run, text = program
    flops = batch_size * picture_flops
    triad, moved = limits.triad()
    ours = Contender(OURS, dtype, lambda: run, flops)
    rows = [ours, triad, *limits.matrix_products([dtype])]
    measured = harness.measure(rows, options.repetitions)
    seconds = trace(run, options.steps)
    step = quartiles(measured.samples[ours.name])[1]
    bandwidth = moved / quartiles(measured.samples.pop(triad.name))[1]
    rate = harness.matrix_rates(rows, measured)[dtype]
    title = f"{what}, {dtype}, batch {batch_size}, width {options.base_width}"
    table = {
        "title": title,
        "images": batch_size,
        "dtype": dtype,
        "what": what,
        "step_seconds": step,
        "samples": measured.samples,
        "others": measured.others,
        "instructions": seconds,
        **sum_up(seconds, hlo.read_module(text)),
        "limits": {
            "matrix_rate": rate,
            "bandwidth": bandwidth,
            "arithmetic_seconds": flops / rate,
            "optimizer_seconds": adam_bytes / bandwidth,
        },
    }
    print_profile(table)
    return table


def compile_step(
    options: Namespace, update: str, dtype: str, batch_size: int
) -> tuple[Callable[[], None], str]:
    """A function that takes one step, and the compiled program as text."""
    batch = draw_batch(options.image_size, batch_size)
    compiled, *arguments = train_step.compile_ours(options, update, batch, dtype)
    return train_step.repeat(compiled, *arguments), compiled.as_text()


def trace(run: Callable[[], None], count: int) -> dict[str, float]:
    """Seconds a step of every instruction by name, from a trace of `count` steps."""
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(count):
                run()
        for path in Path(folder).rglob("*.xplane.pb"):
            for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
                for event in (event for line in plane.lines for event in line.events):
                    name = next((value for key, value in event.stats if key == "hlo_op"), None)
                    if name is not None:
                        total[str(name)] += event.duration_ns / 1e9 / count
    return dict(total)


def sum_up(
    seconds: dict[str, float], instructions: dict[str, hlo.Instruction]
) -> dict[str, dict[str, float]]:
    """Seconds by "phases" and by "kinds"; either sums to the whole.

    Args:
      seconds: of every instruction that ran, by name.
      instructions: of the program; what ran and is not in it counts as the rest.
    """
    phases, kinds = dict.fromkeys(hlo.PHASES, 0.0), dict.fromkeys(hlo.KINDS, 0.0)
    unknown = hlo.Instruction("", frozenset(), hlo.PHASES[-1], hlo.KINDS[-1])
    for name, spent in seconds.items():
        row = instructions.get(name, unknown)
        if row.opcode not in hlo.CONTAINERS:
            phases[row.phase] += spent
            kinds[row.kind] += spent
    return {"phases": phases, "kinds": kinds}


def print_profile(table: dict[str, Any]) -> None:
    """A line a phase, a line a kind, and the limit."""
    step, bounds = table["step_seconds"], table["limits"]
    print(f"\n{table['title']}: {step * 1e3:.1f} ms, untraced")
    if not table["instructions"]:
        print("the profiler gave no instructions on this platform")
    for name in ("phases", "kinds"):
        whole = sum(table[name].values()) or 1.0
        print(f"by {name.removesuffix('s'):<28}{'ms':>10}{'share':>8}")
        for label, spent in table[name].items():
            print(f"  {label:<29}{spent * 1e3:>10.1f}{spent / whole:>8.1%}")
    arithmetic_seconds, optimizer = bounds["arithmetic_seconds"], bounds["optimizer_seconds"]
    print(
        f"limit: {arithmetic_seconds * 1e3:.1f} ms of arithmetic at "
        f"{bounds['matrix_rate'] / 1e9:.0f} GFLOP/s and {optimizer * 1e3:.1f} ms of Adam at "
        f"{bounds['bandwidth'] / 1e9:.1f} GB/s: {(arithmetic_seconds + optimizer) / step:.0%} "
        "of that"
    )
    sys.stdout.flush()
