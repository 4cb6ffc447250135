"""The command line: every benchmark takes the options that its FULL names, and no other.

A benchmark is a module with FULL, its options and what they are by default; QUICK, what differs
with --quick; and tables(options), which measures, prints and yields one table after the other.
"""

import argparse
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NoReturn

from jaxcolor.training.steps import INFERENCE_STATISTICS, UPDATES

FOLDER = "benchmarks/results"
DTYPES = ("float32", "bfloat16")
BAD_USAGE = 2
# Of the discriminator's patches.
SMALLEST_SIDE = 32


def _one_or_more(word: str) -> int:
    return _at_least(1, word)


def _zero_or_more(word: str) -> int:
    return _at_least(0, word)


def _at_least(least: int, word: str) -> int:
    try:
        number = int(word)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"needs a whole number of at least {least}, got {word}")
    return number


def _side(word: str) -> int:
    """A side in pixels that the reference networks take."""
    number = _at_least(SMALLEST_SIDE, word)
    if number & (number - 1):
        raise argparse.ArgumentTypeError(f"needs a power of two, got {word}")
    return number


OPTIONS = {
    "batch": {"type": _one_or_more, "nargs": "+", "help": "batch sizes"},
    "generator": {
        "type": _one_or_more,
        "nargs": "*",
        "help": "batch sizes of the generator alone",
    },
    "batch_size": {"type": _one_or_more, "help": "the one batch size, over all devices"},
    "dtype": {"nargs": "+", "choices": DTYPES, "help": "what convolutions compute in"},
    "update": {"nargs": "+", "choices": UPDATES, "help": "order of the two updates"},
    "statistics": {"choices": INFERENCE_STATISTICS, "help": "of batch norm in inference"},
    "image_size": {"type": _side, "help": "side in pixels, a power of two"},
    "base_width": {"type": _one_or_more, "help": "channels of the first layers"},
    "photograph": {
        "type": _one_or_more,
        "nargs": 2,
        "help": "height and width of a whole photograph",
    },
    "repetitions": {"type": _one_or_more, "help": "samples of each"},
    "skip": {"nargs": "*", "help": "leave out PyTorch variants with these words"},
    "emulated": {
        "choices": ("skip", "measure"),
        "help": "PyTorch's bfloat16 on a processor without bfloat16 instructions: 100 times slower",
    },
    "steps_per_dispatch": {
        "type": _one_or_more,
        "nargs": "+",
        "help": "of ours: steps in one call",
    },
    "omp_wait_policy": {"choices": ("passive", "active"), "help": "how PyTorch's threads wait"},
    "at_least": {"type": float, "help": "fail if our fastest is not so many times naive JAX"},
    "steps": {"type": _one_or_more, "help": "training steps of one sample"},
    "devices": {"type": _one_or_more, "nargs": "+", "help": "how many devices share a batch"},
    "gradient_dtype": {"choices": DTYPES, "help": "what devices add gradients in"},
    "shard_optimizer": {
        "nargs": "+",
        "choices": ("no", "yes"),
        "help": "each device holds its part of Adam's moments",
    },
    "data": {"help": "folder with train/ and val/; the demo set if left out"},
    "pictures": {"type": _one_or_more, "help": "pictures of the demo set"},
    "format": {"nargs": "+", "choices": ("png", "jpeg"), "help": "of the demo set's files"},
    "threads": {"type": _zero_or_more, "nargs": "+", "help": "of ours: that load, in each process"},
    "workers": {"type": _zero_or_more, "nargs": "+", "help": "of ours: processes that load, or 0"},
    "peer_workers": {"type": _zero_or_more, "nargs": "+", "help": "of PyTorch: the same"},
    "batches": {"type": _one_or_more, "help": "batches of one sample"},
}


class _Parser(argparse.ArgumentParser):
    """Answers a mistake with one line and status 2."""

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        self.exit(BAD_USAGE, f"error: {message}\n")


def parse(
    benchmarks: Mapping[str, ModuleType], arguments: Sequence[str] | None = None, *, about: str
) -> argparse.Namespace:
    """The command line, with what it leaves open filled in.

    Args:
      benchmarks: modules by name.
      arguments: words of the command line; the program's own by default.
      about: what the whole command does.
    """
    parser = _Parser(
        "python -m benchmarks",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
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
    parser = names.add_parser(name, help=about, description=about, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="small: under two minutes on 2 cores")
    parser.add_argument("--out", default=FOLDER, metavar="FOLDER", help="of the JSON files")
    return parser


def _show(value: object) -> str:
    """A default, as it would be written on the command line."""
    if value is None or value == []:
        return "none"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
