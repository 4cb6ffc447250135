"""The U-Net of pix2pix.py under L1 alone: what its GAN loss adds is the difference between the two.

python run.py --config configs/unet_l1.py                          # the demo set
python run.py --config configs/unet_l1.py --config.data.path=DIR   # side-by-side pictures

No discriminator; all else is as in pix2pix.py.

Data: as for pix2pix.py. The first command, width 16, on two shared cores of an AMD EPYC Zen 3 (jax
0.10.2, float32, commit 7470d7fd43, other work beside it): 38 s of compilation and three epochs of
39 to 48 s, 8.3 to 10.4 images/s; validation L1 0.188, 0.137, 0.113, PSNR 20.4 dB (the drawing
itself: 0.698, 7.3 dB). docs/gan_vs_unet.md has it on pictures. Not run at full width.
"""

from ml_collections import ConfigDict

from configs import pix2pix, unet_l2


def get_config() -> ConfigDict:
    """The experiment, as changes of `configs/pix2pix.py`."""
    return unet_l2.without_discriminator(pix2pix.get_config(), l1=100.0, l2=0.0)
