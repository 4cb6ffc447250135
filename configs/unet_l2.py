"""The traditional network of the paper's comparison: the U-Net of pix2pix.py under L2 alone.

python run.py --config configs/unet_l2.py                          # the demo set
python run.py --config configs/unet_l2.py --config.data.path=DIR   # side-by-side pictures

No discriminator; all else, dropout included, is as in pix2pix.py, so that the two compare. The
weight of 100 only keeps the loss far above Adam's epsilon: Adam does not see the scale of a loss.

Data: as for pix2pix.py. The first command, width 16, on two shared cores of an AMD EPYC Zen 3 (jax
0.10.2, float32, commit 7470d7fd43, other work beside it): 29 s of compilation and three epochs of
40 to 47 s, 8.4 to 10.0 images/s; validation L1 0.198, 0.153, 0.132, PSNR 20.1 dB (the drawing
itself: 0.698, 7.3 dB). docs/gan_vs_unet.md has it on pictures. Not run at full width.
"""

from ml_collections import ConfigDict

from configs import pix2pix

DISCRIMINATOR_SECTIONS = ("discriminator", "discriminator_optimizer")


def get_config() -> ConfigDict:
    """The experiment, as changes of `configs/pix2pix.py`."""
    return without_discriminator(pix2pix.get_config(), l1=0.0, l2=100.0)


def without_discriminator(config: ConfigDict, *, l1: float, l2: float) -> ConfigDict:
    """`config`, changed in place: these losses alone, and no section of a discriminator."""
    config.losses = ConfigDict({"adversarial": 0.0, "l1": l1, "l2": l2})
    for name in DISCRIMINATOR_SECTIONS:
        del config[name]
        del config.demo_settings[name]
    return config
