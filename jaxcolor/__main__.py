"""python -m jaxcolor COMMAND: all that the library does on its own.

train       train the experiment of a config, as run.py does
check-data  what is wrong with the pictures of a config, and how the network will see them
prepare     decode and resize them once, into a cache that training reads many times as fast
evaluate    measure a trained network, or pictures made elsewhere, on a split or a folder
colorize    colour files and folders of pictures, of any size and kind
gui         the same in a browser, on this machine (extra gui)
compare     trainings on the same pictures, side by side in one HTML file
import      make a workdir of weights of pytorch-CycleGAN-and-pix2pix
export      write a trained network for others: safetensors, StableHLO or ONNX
"""

import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from jaxcolor import collector

INTERRUPTED = 130
CONFIG_COMMANDS = ("check-data", "prepare")
MODULES = {
    "colorize": "jaxcolor.colorize_command",
    "evaluate": "jaxcolor.evaluate_command",
    "compare": "jaxcolor.compare.command",
    "import": "jaxcolor.import_command",
    "export": "jaxcolor.export_command",
    "gui": "jaxcolor.gui.command",
}
COMMANDS = ("train", *CONFIG_COMMANDS, *MODULES)


def main(argv: list[str] | None = None) -> int:
    """Runs the command that the words of the command line name; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in COMMANDS:
        asked = words[:1] in (["--help"], ["-h"], ["help"])
        known = f"python -m jaxcolor COMMAND --help\n\n{__doc__.partition(chr(10) * 2)[2]}"
        if words and not asked:
            sys.stderr.write(f"error: unknown command {words[0]!r}\n")
        (sys.stdout if asked else sys.stderr).write(known)
        return 0 if asked else 2
    name, *words = words
    if name in MODULES:
        return _import(MODULES[name]).main(words)
    if name == "train":
        return _import("jaxcolor.train_command").main(["jaxcolor train", *words])
    return _run(name, [f"jaxcolor {name}", *words])


def _import(module: str) -> ModuleType:
    """A module, imported; Ctrl-C meanwhile ends the process without a word."""
    with _quiet_interrupts(), collector.held_back():
        return importlib.import_module(module)


@contextlib.contextmanager
def _quiet_interrupts() -> Iterator[None]:
    # An exception would not do: libraries that are half imported swallow it or print it.
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run(name: str, words: list[str]) -> int:
    with _quiet_interrupts(), collector.held_back():
        from absl import flags
        from ml_collections import config_flags

        from jaxcolor import command, data_commands

    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", help_string="Config of the experiment.", flag_values=values
    )
    flags.DEFINE_bool("help", False, "Show this.", short_name="h", flag_values=values)
    if name == "prepare":
        flags.DEFINE_string("out", None, "Directory of the cache.", flag_values=values)
        flags.DEFINE_integer("workers", 0, "Threads; 0 for all cores.", flag_values=values)
        flags.DEFINE_bool(
            "compress", False, "Less disk for drawings, more time to read.", flag_values=values
        )
    else:
        flags.DEFINE_string(
            "sheet", None, "Contact sheet. Default: check-data.png", flag_values=values
        )
        flags.DEFINE_string("json", None, "File for all findings.", flag_values=values)
        flags.DEFINE_bool("quick", False, "Read headers only.", flag_values=values)
    if {"--help", "-h"} & set(words):
        print(f"{words[0]} --config FILE [--config.section.key=value ...]\n{values.get_help()}")
        return 0
    command.parse_flags(words, values)
    config, overridden = values.config, config_flags.get_override_values(values["config"])
    if name == "prepare":
        options = {"workers": values.workers, "compress": values.compress}
        return data_commands.prepare_data(config, overridden, values.out, **options)
    return data_commands.check_data(
        config,
        overridden,
        sheet=Path(values.sheet or "check-data.png"),
        report=Path(values.json) if values.json else None,
        quick=values.quick,
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before the command itself began
        sys.exit(INTERRUPTED)
