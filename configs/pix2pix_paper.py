"""pix2pix exactly as the paper has it: the TensorFlow tutorial's generator, Table 1's PatchGAN.

python run.py --config configs/pix2pix_paper.py --config.data.path=DIR

Batch norm on the 1x1 bottleneck, both networks updated at once, losses summed, Adam with the
epsilon of Keras, nearest-neighbour resizing. The batch size is 4: at batch 1 that bottleneck would
be a constant, and 15 % of the generator idle. Validation therefore uses the running statistics.
The ranges of the augmentation are ours, since the paper prints none.
"""

from ml_collections import ConfigDict

from configs import pix2pix
from jaxcolor.models import patchgan, unet


def get_config() -> ConfigDict:
    """The experiment, as changes of `configs/pix2pix.py`."""
    config = pix2pix.get_config()
    config.data.resize = "nearest"
    config.generator = ConfigDict(unet.PAPER)
    config.discriminator = ConfigDict(patchgan.PAPER)
    for name in ("generator_optimizer", "discriminator_optimizer"):
        config[name].epsilon = 1e-7
    config.evaluation.statistics = "running"
    # The demo set at batch 4, for the sake of the bottleneck.
    config.demo_settings.train.batch_size = 4
    return config
