"""Side-by-side pictures on disk and the cache prepared from them, for the input pipeline."""

from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from jaxcolor.data import demo, pictures, sources
from jaxcolor.data.prepare import prepare

JPEG_QUALITY = 95


class PictureSet(NamedTuple):
    """The same pairs for all contenders.

    Attributes:
      name: of their format, for the report.
      paths: side-by-side files, the target at the left.
      cache: directory of the cache prepared from them.
    """

    name: str
    paths: list[str]
    cache: str


def open_folder(directory: str, count: int, folder: Path, transform: dict[str, Any]) -> PictureSet:
    """The first `count` pictures of `directory`/train, and their cache, made in `folder`."""
    paths = pictures.list_pictures(Path(directory, "train")).paths[:count]
    return _prepare_set(Path(directory).name, paths, folder, transform)


def draw(names: list[str], count: int, folder: Path, transform: dict[str, Any]) -> list[PictureSet]:
    """The demo set in `folder`, in the formats "png" and "jpeg" as named, and the caches of both.

    Args:
      names: of formats.
      count: number of pairs.
      folder: is there; what is made stays there.
      transform: keyword arguments of the training transform.
    """
    size = transform["image_size"]
    demo.write_demo_set(folder, train=count, validation=0, size=size)
    paths = pictures.list_pictures(folder / "train").paths
    found = {"png": paths}
    if "jpeg" in names:
        found["jpeg"] = [_save_jpeg(path, folder) for path in paths]
    return [_prepare_set(name, found[name], folder, transform) for name in names]


def open_files(paths: list[str]) -> sources.SideBySideSource:
    """The source of these files."""
    return sources.SideBySideSource(paths, [Path(path).stem for path in paths])


def _save_jpeg(path: str, folder: Path) -> str:
    saved = folder / "jpeg" / f"{Path(path).stem}.jpg"
    saved.parent.mkdir(exist_ok=True)
    with Image.open(path) as picture:
        picture.save(saved, quality=JPEG_QUALITY)
    return str(saved)


def _prepare_set(name, paths, folder, transform):
    cache = str(folder / f"cache of {name}")
    sizes = {"train": transform["load_size"]}
    prepare({"train": open_files(paths)}, cache, sizes=sizes, method="bicubic", fit="stretch")
    return PictureSet(name, paths, cache)
