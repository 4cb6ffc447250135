"""The demo set on disk: drawn pairs of a cartoon scene and its line art, made when first used."""

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from jaxcolor.data.cache_root import cache_root as default_root
from jaxcolor.data.demo_scenes import draw_pair
from jaxcolor.errors import ConfigError, DataError

VERSION = 1  # raise it when the pictures change: it is part of the cache's name


def write_demo_set(directory, *, train=200, validation=20, size=256, seed=0):
    """Writes the demo set: `directory`/train/NNNN.png and `directory`/val/NNNN.png.

    Each file is a pair side by side, 2 * size wide and size high: the colour picture on the left,
    its line drawing on the right. The pictures are a function of `seed`, the split and their
    number alone, so a longer set begins with the pictures of a shorter one. About 40 ms a pair.

    Args:
      directory: is made if missing; must be writable.
      train: number of training pairs.
      validation: number of validation pairs, none of them a training pair.
      size: height of a pair in pixels.
      seed: integer, at least 0.

    Raises:
      ConfigError: a number is out of range.
    """
    minima = {"train": (train, 0), "validation": (validation, 0), "size": (size, 16)}
    for name, (value, minimum) in (minima | {"seed": (seed, 0)}).items():
        if value < minimum:
            raise ConfigError(f"demo.{name} {value} must be at least {minimum}")
    files = []
    for split, (folder, count) in enumerate((("train", train), ("val", validation))):
        path = Path(directory, folder)
        path.mkdir(parents=True, exist_ok=True)
        files += [(path / f"{index:04d}.png", (seed, split, index)) for index in range(count)]
    # Pillow lets go of the interpreter while it resizes and compresses.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        list(threads.map(lambda file: _write_pair(*file, size), files))


def demo_directory(cache_root=None, *, train=200, validation=20, size=256, seed=0):
    """Path of a complete demo set in the cache, which is drawn there if it is missing.

    Args:
      cache_root: directory that holds the sets; by default `jaxcolor` under $JAXCOLOR_CACHE,
        $XDG_CACHE_HOME or ~/.cache, the first of them that is set.
      train: as for `write_demo_set`, like the rest.
      validation: number of validation pairs.
      size: height of a pair in pixels.
      seed: integer, at least 0.

    Raises:
      ConfigError: a number is out of range.
      DataError: the cache cannot be written.
    """
    root = default_root() if cache_root is None else Path(cache_root)
    path = root / f"demo-v{VERSION}-{train}-{validation}-{size}px-seed{seed}"
    if path.is_dir():
        return path
    unfinished = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=root))
        made = unfinished / "set"
        write_demo_set(made, train=train, validation=validation, size=size, seed=seed)
        _publish(made, path)
    except OSError as error:
        raise DataError(
            f"cannot write the demo set to {path} ({error.strerror or error}): "
            "set JAXCOLOR_CACHE to a directory that can be written"
        ) from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    return path


def _publish(made, path):
    # A rename is atomic: the set appears whole or not at all.
    try:
        os.replace(made, path)
    except OSError:
        if not path.is_dir():  # else another process was faster, with the same pictures
            raise


def _write_pair(path, seed, size):
    colour, sketch = draw_pair(seed, size)
    pair = Image.new("RGB", (2 * size, size))
    pair.paste(colour, (0, 0))
    pair.paste(sketch, (size, 0))
    pair.save(path, compress_level=3)
