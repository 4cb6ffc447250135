"""pix2pix exactly as the PyTorch reference trains it (Isola et al. 2017).

python run.py --config configs/pix2pix_reference.py --config.data.path=DIR

unet_256 (54,413,955 parameters) and the 70x70 PatchGAN (2,768,705), batch norm at batch 1,
discriminator first and its loss halved, jitter and mirroring, 100 epochs at 2e-4 and 100 falling.
The learning rate falls by step and not by epoch, and never reaches zero while there is work to do.

Cost and result on facades (400 pairs, 256 pixels), two shared cores of an AMD EPYC Zen 3 with other
work beside it (jax 0.10.2, float32, commit 49789fb): 6.5 to 13 minutes an epoch, and 34 s of
compilation; validation L1 0.363, 0.366, 0.366, 0.363; after 4 of the 200 epochs PSNR 12.8 dB and
LPIPS (AlexNet) 0.640. All 200 need a GPU: not run.
"""

from ml_collections import ConfigDict

from configs import pix2pix
from jaxcolor.models import patchgan, unet


def get_config() -> ConfigDict:
    """The experiment, as changes of `configs/pix2pix.py`."""
    config = pix2pix.get_config()
    config.augment = ConfigDict({"load_size": 286, "flip": True})
    config.generator = ConfigDict(unet.REFERENCE)
    config.discriminator = ConfigDict(patchgan.REFERENCE)
    config.losses.discriminator = 0.5
    for name in ("generator_optimizer", "discriminator_optimizer"):
        config[name].schedule = "constant_then_linear"
    config.train.update({"epochs": 200, "batch_size": 1, "update_order": "sequential"})
    return config
