"""Colours grey photographs in L*a*b*: the network gives a*b*, and L* stays the picture's own.

python run.py --config configs/colorize_lab.py                            # the demo set
python run.py --config configs/colorize_lab.py --config.data.path=PHOTOS  # colour photographs

The U-Net and the PatchGAN of pix2pix.py; the one has two output channels, the other sees L* and
a*b*. A predicted colour that sRGB lacks at its lightness loses chroma, never lightness. From the
command line the lightness is that of the condition, in 256 steps of 0.39; validation uses the
photograph's own, unrounded. No noise on the condition, since that would be noise in the result.

Data: a folder of colour pictures of any size; the grey ones are made from them. Not run at full
size: no cost or result is stated here.
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
