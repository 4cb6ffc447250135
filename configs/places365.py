"""Places365 coloured by the GAN of Nazeri, Ng and Ebrahimi (2018), 256x256 pixels.

python run.py --config configs/places365.py    # the demo set

The recipe of cifar10.py with the larger generator, of 42,033,027 numbers and without dropout, at
batch 16 for 10 epochs. Label smoothing is the authors'.

Data: TensorFlow Datasets, --config.data.path=places365_small; 1,803,460 pictures to train on. The
authors leave grey pictures out; that decodes every picture before training starts, so
--config.data.drop_greyscale=True is yours to set. Not run: Places365 was not at hand, so there is
neither cost nor result. With the demo set this recipe only shows that it works.
"""

from ml_collections import ConfigDict

from configs import cifar10
from jaxcolor.models import nazeri


def get_config() -> ConfigDict:
    """The experiment, as changes of `configs/cifar10.py`."""
    config = cifar10.get_config()
    config.data.update({"image_size": 256, "drop_greyscale": False})
    config.augment.load_size = 256
    config.generator = ConfigDict({"architecture": "nazeri", **nazeri.PLACES365})
    config.train.update({"epochs": 10, "batch_size": 16})
    config.demo_settings = cifar10.demo_settings(base_width=8, batch_size=4)
    return config
