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

import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

CONFIG_COMMANDS = ("check-data", "prepare")
COMMANDS = (
    "train",
    *CONFIG_COMMANDS,
    "evaluate",
    "colorize",
    "gui",
    "compare",
    "import",
    "export",
)


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
    if name == "train":
        from jaxcolor import train_command

        return train_command.main(["jaxcolor train", *words])
    if name == "evaluate":
        from jaxcolor import evaluate_command

        return evaluate_command.main(words)
    if name == "compare":
        from jaxcolor.compare import command as compare_command

        return compare_command.main(words)
    if name == "import":
        from jaxcolor import import_command

        return import_command.main(words)
    if name == "export":
        from jaxcolor import export_command

        return export_command.main(words)
    if name == "colorize":
        from jaxcolor import colorize_command

        return colorize_command.main(words)
    if name == "gui":
        from jaxcolor.gui import command as gui_command

        return gui_command.main(words)
    return _run(name, [f"jaxcolor {name}", *words])


def _run(name: str, words: list[str]) -> int:
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
    sys.exit(main())
