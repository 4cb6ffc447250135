"""python -m jaxcolor import: weights of pytorch-CycleGAN-and-pix2pix as a workdir of ours."""

import argparse
from collections.abc import Sequence

from jaxcolor import weights_import
from jaxcolor.command import errors_as_lines, make_parser, set_up_jax
from jaxcolor.data.check_report import printable
from jaxcolor.training.state import parameter_count

DESCRIPTION = """\
Makes a workdir of a pix2pix of pytorch-CycleGAN-and-pix2pix, for everything that takes a workdir.

  import latest_net_G.pth --out runs/imported
  import latest_net_G.pth latest_net_D.pth --out runs/imported --direction BtoA

unet_128, unet_256 and the basic discriminator, with batch or instance norm. Neither PyTorch nor
trust in the file is needed: nothing of it is executed."""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    words = make_parser("import", DESCRIPTION)
    add = words.add_argument
    add("files", nargs="+", metavar="FILE", help="of a generator, a discriminator or both")
    add("--out", required=True, metavar="WORKDIR", help="a new directory")
    add(
        "--direction",
        choices=tuple(weights_import.DIRECTIONS),
        default="AtoB",
        help="as it was trained, for pictures side by side or in folders A and B; default: AtoB",
    )
    add(
        "--condition",
        choices=weights_import.CONDITIONS,
        default="",
        help="what it colours; default: given, or luma of a network with one input channel",
    )
    add("--image_size", type=int, default=0, help="with a discriminator alone; default: 256")
    return words


def main(argv: Sequence[str]) -> int:
    """Runs the command on its words; returns the exit status."""
    values = parser().parse_args(list(argv))
    with errors_as_lines(files=values.out) as status:
        set_up_jax()
        import_weights(values)
    return status[0]


def import_weights(values: argparse.Namespace) -> None:
    """Reads, converts and writes what the arguments ask for, and says what it was.

    Raises:
      UserError: whatever the user can mend, in one line.
    """
    networks = weights_import.read_networks(values.files)
    config = weights_import.make_config(
        networks,
        direction=values.direction,
        condition=values.condition,
        image_size=values.image_size,
        origin=weights_import.describe_origin(values.files, networks),
    )
    weights_import.write_workdir(values.out, config, networks)
    for kind, network in networks.items():
        section = network.section
        size = f", {network.image_size} pixels" if network.image_size else ""
        print(
            f"{kind}: {parameter_count(network.params):,} parameters, width "
            f"{section['base_width']}, norm {section['norm']}{size}"
        )
    for kind in ("generator", "discriminator"):
        if kind not in networks:
            print(f"{kind}: no file given; freshly initialised, as a training starts")
    derived = config["derived"]
    print(f"it colours: {derived['condition']}, {derived['condition_channels']} channels")
    print(f"written to {printable(str(values.out))}", flush=True)
