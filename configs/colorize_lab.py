"""Colours grey photographs in L*a*b*: the network gives a*b*, and L* stays the picture's own.

python run.py --config configs/colorize_lab.py                            # the demo set
python run.py --config configs/colorize_lab.py --config.data.path=PHOTOS  # colour photographs

The U-Net and the PatchGAN of pix2pix.py; the one has two output channels, the other sees L* and
a*b*. A predicted colour that sRGB lacks at its lightness loses chroma, never lightness. From the
command line the lightness is that of the condition, in 256 steps of 0.39; validation uses the
photograph's own, unrounded. No noise on the condition, since that would be noise in the result.

Data: a folder of colour pictures of any size; the grey ones are made from them. On 600
ImageNet photographs, width 16 (generator.base_width and discriminator.base_width), batch 4, on two
shared cores of an AMD EPYC Zen 3 (jax 0.10.2, float32, commit 7470d7fd43, other work beside it):
56 s of compilation and three epochs of 85 to 101 s, 6.0 to 7.1 images/s; validation L1 0.112,
0.121, 0.122, PSNR 22.4, 21.2, 21.4 dB, where the grey picture itself has 0.112 and 22.6: in three
epochs it has begun to colour and does not yet hit. Not run at full width.
"""

from ml_collections import ConfigDict

from configs import pix2pix


def get_config() -> ConfigDict:
    """The experiment, as changes of `configs/pix2pix.py`."""
    config = pix2pix.get_config()
    config.data.update({"condition": "lab_l", "fit": "crop", "drop_greyscale": True})
    config.augment.update({"fill": "reflect", "noise": 0.0})
    config.generator.output_channels = 2
    config.train.color_space = "ab"
    return config
