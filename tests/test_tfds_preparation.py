"""Facts about preparing TFDS data sets without TensorFlow."""

import io
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from jaxcolor.data import tfds_preparation
from jaxcolor.data.tfds_source import open_tfds


def random_picture(seed, height=32, width=32, channels=3):
    shape = (height, width, channels)[: 3 if channels > 1 else 2]
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


PREPARE = """
import io, sys, tarfile
from pathlib import Path
import numpy as np
from PIL import Image
from jaxcolor.data import tfds_preparation as preparation

root, name = Path(sys.argv[1]), sys.argv[2]
assert "tensorflow" not in sys.modules
sys.modules["tensorflow"] = preparation.stand_in()
import tensorflow_datasets as tfds
from etils import epath
from promise import Promise
from tensorflow_datasets.core import shuffle

shuffle.MAX_MEM_BUFFER_SIZE = 100  # sort on disk, as TFDS does from 1 GB on

def archive(path, files):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for file, data in files.items():
            info = tarfile.TarInfo(file)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

def row(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return bytes([seed % 10]) + pixels.transpose(2, 0, 1).tobytes()

def picture(seed):
    file = io.BytesIO()
    Image.fromarray(np.full((256, 256, 3), seed, np.uint8)).save(file, "JPEG")
    return file.getvalue()

if name == "cifar10":
    files = {f"data_batch_{n}.bin": row(n) for n in range(1, 6)} | {"test_batch.bin": row(6)}
    files["batches.meta.txt"] = "\\n".join("abcdefghij").encode()
    files = {f"cifar-10-batches-bin/{file}": data for file, data in files.items()}
    archive(root / "cifar-10-binary.tar.gz", files)
else:
    lists = {}
    for tar, folder, text, inner, label in (
        ("train_256_places365standard", "data_256", "train_standard", "/a/", " 7"),
        ("val_256", "val_256", "val", "", " 7"),
        ("test_256", "test_256", "test", "", ""),
    ):
        files = [f"{inner}{number}.jpg" for number in range(3)]
        pictures = {f"{folder}/{file.lstrip('/')}": picture(n) for n, file in enumerate(files)}
        archive(root / f"{tar}.tar", pictures)
        lists[f"places365_{text}.txt"] = "\\n".join(file + label for file in files).encode()
    archive(root / "filelist_places365-standard.tar", lists)

tfds.download.DownloadManager._download_or_get_cache = lambda self, url: Promise.resolve(
    epath.Path(root / getattr(url, "url", url).rsplit("/", 1)[-1])
)
preparation._check_reachable = lambda builder: None
preparation._prepare(name, str(root / "sets"))
"""


@pytest.mark.parametrize("name", ["cifar10", "places365_small"])
def test_the_stand_in_prepares_what_tfds_downloads(tmp_path, name):
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREPARE, str(tmp_path), name],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    sources = open_tfds(name, directory=str(tmp_path / "sets"), validation_fraction=0.1)
    counts = {split: len(source) for split, source in sources.items()}
    read_back = [source[n]["target"] for source in sources.values() for n in range(len(source))]
    if name == "cifar10":
        assert counts == {"train": 5, "val": 1}
        found = sorted(picture.tobytes() for picture in read_back)
        assert found == sorted(random_picture(seed).tobytes() for seed in range(1, 7))
    else:
        assert counts == {"train": 3, "val": 3, "test": 3}
        assert all(picture.shape == (256, 256, 3) for picture in read_back)


def test_the_stand_in_says_when_tensorflow_is_needed():
    tensorflow = tfds_preparation.stand_in()
    assert not hasattr(tensorflow.io.gfile, "glob")
    with pytest.raises(AttributeError, match=r"needs tensorflow\.io\.gfile\.glob: install"):
        tensorflow.io.gfile.glob("*")
    with pytest.raises(NotImplementedError, match="install TensorFlow"):
        tensorflow.image.encode_png(np.zeros((2, 2, 3), np.uint16))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_stand_in_encodes_png(channels):
    pixels = random_picture(1, 5, 7, channels).reshape(5, 7, channels)
    data = tfds_preparation.stand_in().image.encode_png(pixels).numpy()
    assert type(data) is bytes
    read_back = np.asarray(Image.open(io.BytesIO(data))).reshape(pixels.shape)
    np.testing.assert_array_equal(read_back, pixels)
