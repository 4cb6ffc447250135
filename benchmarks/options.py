"""The command line: every benchmark takes the options that its FULL names, and no other.

A benchmark is a module with FULL, its options and what they are by default; QUICK, what differs
with --quick; and tables(options), which measures, prints and yields one table after the other.
"""

import argparse
from collections.abc import Mapping, Sequence
from types import ModuleType

from jaxcolor.training.steps import INFERENCE_STATISTICS, UPDATES

FOLDER = "benchmarks/results"
DTYPES = ("float32", "bfloat16")
OPTIONS = {
    "batch": {"type": int, "nargs": "+", "help": "batch sizes"},
    "batch_size": {"type": int, "help": "the one batch size, over all devices"},
    "dtype": {"nargs": "+", "choices": DTYPES, "help": "what convolutions compute in"},
    "update": {"nargs": "+", "choices": UPDATES, "help": "order of the two updates"},
    "statistics": {"choices": INFERENCE_STATISTICS, "help": "of batch norm in inference"},
    "image_size": {"type": int, "help": "side in pixels, a power of two"},
    "base_width": {"type": int, "help": "channels of the first layers"},
    "photograph": {"type": int, "nargs": 2, "help": "height and width of a whole photograph"},
    "repetitions": {"type": int, "help": "samples of each"},
    "skip": {"nargs": "*", "help": "leave out PyTorch variants with these words"},
    "emulated": {
        "choices": ("skip", "measure"),
        "help": "PyTorch's bfloat16 on a processor without bfloat16 instructions: 100 times slower",
    },
    "steps_per_dispatch": {"type": int, "nargs": "+", "help": "of ours: steps in one call"},
    "omp_wait_policy": {"choices": ("passive", "active"), "help": "how PyTorch's threads wait"},
    "at_least": {"type": float, "help": "fail if our fastest is not so many times naive JAX"},
    "steps": {"type": int, "help": "training steps of one sample"},
    "devices": {"type": int, "nargs": "+", "help": "how many devices share a batch"},
    "gradient_dtype": {"choices": DTYPES, "help": "what devices add gradients in"},
    "shard_optimizer": {"choices": ("no", "yes"), "help": "each device holds its part of Adam"},
    "data": {"help": "folder with train/ and val/; the demo set if left out"},
    "pictures": {"type": int, "help": "pictures of the demo set"},
    "format": {"nargs": "+", "choices": ("png", "jpeg"), "help": "of the demo set's files"},
    "threads": {"type": int, "nargs": "+", "help": "of ours: that load, in each process"},
    "workers": {"type": int, "nargs": "+", "help": "of ours: processes that load, or 0"},
    "peer_workers": {"type": int, "nargs": "+", "help": "of PyTorch: the same"},
    "batches": {"type": int, "help": "batches of one sample"},
}


def parse(
    benchmarks: Mapping[str, ModuleType], arguments: Sequence[str] | None = None, *, about: str
) -> argparse.Namespace:
    """The command line, with what it leaves open filled in.

    Args:
      benchmarks: modules by name.
      arguments: words of the command line; the program's own by default.
      about: what the whole command does.
    """
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = parser.add_subparsers(dest="benchmark", required=True, metavar="NAME")
    for name, module in benchmarks.items():
        first_line = module.__doc__.splitlines()[0]
        own = _add_parser(names, name, first_line)
        for option, default in module.FULL.items():
            quick = module.QUICK.get(option, default)
            details = dict(OPTIONS[option])
            note = f"{_show(default)}" + (f", quick {_show(quick)}" if quick != default else "")
            details["help"] += f" ({note})"
            own.add_argument(f"--{option}", **details)
    _add_parser(names, "all", "Every benchmark, each in a process of its own.")
    _add_parser(names, "report", "RESULTS.md and its plots, from what the others wrote.")
    options = parser.parse_args(arguments)
    if options.benchmark in benchmarks:
        module = benchmarks[options.benchmark]
        for name, value in (module.FULL | (module.QUICK if options.quick else {})).items():
            if getattr(options, name) is None:
                setattr(options, name, value)
    return options


def _add_parser(names, name: str, about: str) -> argparse.ArgumentParser:
    parser = names.add_parser(name, help=about, description=about)
    parser.add_argument("--quick", action="store_true", help="small: under two minutes on 2 cores")
    parser.add_argument("--out", default=FOLDER, metavar="FOLDER", help="of the JSON files")
    return parser


def _show(value: object) -> str:
    """A default, as it would be written on the command line."""
    if value is None or value == []:
        return "none"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
