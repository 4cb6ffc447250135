"""The U-Net of pix2pix.py under L1 alone: what its GAN loss adds is the difference between the two.

python run.py --config configs/unet_l1.py                          # the demo set
python run.py --config configs/unet_l1.py --config.data.path=DIR   # side-by-side pictures

No discriminator; all else is as in pix2pix.py.

Data: as for pix2pix.py. Not run at full size: no cost or result is stated here.
"""

from ml_collections import ConfigDict

from configs import pix2pix, unet_l2


def get_config() -> ConfigDict:
    """The experiment, as changes of `configs/pix2pix.py`."""
    return unet_l2.without_discriminator(pix2pix.get_config(), l1=100.0, l2=0.0)
