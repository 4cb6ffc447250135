"""The reference recipe as an experiment of run.py, at any size, on the demo set or a folder."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from configs import pix2pix_reference
from jaxcolor import experiment

ROOT = Path(__file__).parents[1]
CONFIG = "configs/pix2pix_reference.py"


def overrides(options: Namespace, dtype: str, batch_size: int, pictures: int) -> dict[str, Any]:
    """What a benchmark changes of the config, by key.

    Args:
      options: image_size, base_width, and data if it is an option.
      dtype: what convolutions compute in.
      batch_size: over all devices.
      pictures: of the demo set, to train on.
    """
    return {
        "data.path": getattr(options, "data", None) or "",
        "data.image_size": options.image_size,
        "augment.load_size": options.image_size * 286 // 256,
        "demo.train": pictures,
        "demo.validation": 2,
        "generator.base_width": options.base_width,
        "discriminator.base_width": options.base_width,
        "train.batch_size": batch_size,
        "train.compute_dtype": dtype,
        "train.epochs": 1000,
    }


def resolve(changes: dict[str, Any]) -> dict[str, Any]:
    """The reference config with these overrides, as plain values."""
    config = pix2pix_reference.get_config()
    config.update_from_flattened_dict(changes)
    return experiment.resolve(config, changes)[0]


def build(changes: dict[str, Any]) -> experiment.Experiment:
    """The experiment of the reference config with these overrides."""
    return experiment.build(resolve(changes))
