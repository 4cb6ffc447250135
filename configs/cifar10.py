"""CIFAR-10 coloured by the GAN of Nazeri, Ng and Ebrahimi (2018), 32x32 pixels.

python run.py --config configs/cifar10.py                              # the demo set, at 32x32
python run.py --config configs/cifar10.py --config.data.path=cifar10   # prepared by TFDS

Luma to L*a*b*, all three channels of it: L / 50 - 1, a / 110, b / 110. Generator of 16,659,715
numbers with a learning rate of 3e-4, discriminator of 2,769,345 with a tenth of it, both Adam
without first moment and falling tenfold every 10,000 batches; one update of the discriminator, then
two of the generator; L1 with weight 100; batch 128, 200 epochs, mirroring. What this leaves out of
the authors' code, faults of it, is listed in `jaxcolor/models/nazeri.py`. Their README names label
smoothing for Places365 only; here it is on for both.

Data: cifar10 of TensorFlow Datasets, 50,000 pictures to train on, without the few that are grey.
Not run: CIFAR-10 was not at hand, so there is neither cost nor result. With the demo set this
recipe only shows that it works.
"""

from ml_collections import ConfigDict

from configs import pix2pix
from jaxcolor.models import nazeri, patchgan

LEARNING_RATE = 3e-4
DECAY = {"schedule": "exponential", "decay_steps": 10_000, "floor": 1e-6}


def get_config() -> ConfigDict:
    """The experiment, as changes of `configs/pix2pix.py`."""
    config = pix2pix.get_config()
    config.data.update(
        {"source": "tfds", "condition": "luma", "drop_greyscale": True, "image_size": 32}
    )
    config.augment = ConfigDict({"load_size": 32, "flip": True})
    config.generator = ConfigDict({"architecture": "nazeri", **nazeri.CIFAR10})
    config.discriminator = ConfigDict(patchgan.NAZERI)
    config.losses.real_label = 0.9
    adam = {"b1": 0.0, "b2": 0.999, "epsilon": 1e-8, **DECAY}
    config.generator_optimizer = ConfigDict({"learning_rate": LEARNING_RATE, **adam})
    config.discriminator_optimizer = ConfigDict({"learning_rate": LEARNING_RATE / 10, **adam})
    config.train.update(
        {
            "epochs": 200,
            "batch_size": 128,
            "update_order": "sequential",
            "generator_updates": 2,
            "color_space": "lab",
        }
    )
    config.evaluation.statistics = "running"
    config.demo_settings = demo_settings(base_width=16, batch_size=8)
    return config


def demo_settings(*, base_width: int, batch_size: int) -> ConfigDict:
    """What replaces a recipe's sizes where there is no data: narrow, few epochs, the demo set."""
    return ConfigDict(
        {
            "data": {"source": "auto"},
            "generator": {"base_width": base_width},
            "discriminator": {"base_width": base_width},
            "train": {"epochs": 3, "batch_size": batch_size},
        }
    )
