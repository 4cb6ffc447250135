"""Sources: random access to the pairs of pictures in a directory.

A source has `len(source)`, `source[index]` -> {"condition", "target"}, two uint8 RGB arrays
[height, width, 3] of one size, and `source.names`, what to call the pairs in files and reports.
It can be pickled, since worker processes each take a copy.
"""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from jaxcolor.errors import ConfigError, DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SIDES = ("left", "right")
MIXED_SIZES = ("error", "resize")


class SideBySideSource:
    """Pairs stored as one picture each, the target in one half and the condition in the other."""

    def __init__(self, directory, *, target_side="left", mixed_sizes="error"):
        """Source of the pictures directly in `directory`, ordered by file name.

        Args:
          directory: holds JPEG, PNG, WebP, BMP or TIFF files; hidden and other files are ignored.
          target_side: "left" or "right", the half of each picture that is the target.
          mixed_sizes: "error" reads the header of every file at once and refuses pictures of
            different sizes; "resize" takes them as they are, for a transform to resize.

        Raises:
          ConfigError: an argument has none of these values.
          DataError: the directory or its pictures cannot be used.
        """
        _check_choice("data.target_side", target_side, SIDES)
        _check_choice("data.mixed_sizes", mixed_sizes, MIXED_SIZES)
        self._paths = _list_pictures(directory)
        self._target_is_left = target_side == "left"
        if mixed_sizes == "error":
            _check_sizes(self._paths)

    @property
    def names(self):
        """File names without suffix, in the order of the source."""
        return [Path(path).stem for path in self._paths]

    def __len__(self):
        """Number of pairs."""
        return len(self._paths)

    def __getitem__(self, index):
        """The pair {"condition", "target"}: uint8 arrays [height, width, 3].

        Raises:
          DataError: the picture cannot be read or has an odd width.
        """
        path = self._paths[index]
        picture = read_picture(path)
        width = picture.shape[1]
        _check_even(path, width)
        left, right = picture[:, : width // 2], picture[:, width // 2 :]
        target, condition = (left, right) if self._target_is_left else (right, left)
        return {"condition": condition, "target": target}


def open_pairs(path, *, target_side="left", mixed_sizes="error"):
    """(train, validation): the sources of the side-by-side pairs in `path`/train and `path`/val.

    Raises:
      ConfigError: see `SideBySideSource`, like the rest.
      DataError: one of the two directories is missing or its pictures cannot be used.
    """
    for split in ("train", "val"):
        directory = Path(path, split)
        if not _is_directory(directory):
            raise DataError(
                f"expected the directory {directory}: data.path needs the folders train and val, "
                "each with pictures that hold a pair side by side"
            )
    options = {"target_side": target_side, "mixed_sizes": mixed_sizes}
    return tuple(SideBySideSource(Path(path, split), **options) for split in ("train", "val"))


def read_picture(path):
    """The picture in a file: uint8 RGB [height, width, 3], upright, on white where transparent.

    Grey, palette, CMYK and 16-bit pictures are converted; of several frames the first is taken.

    Raises:
      DataError: the file cannot be read as a picture.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    except Exception as error:  # Pillow's decoders meet damage with errors of any kind
        raise _unreadable(path, error) from error


def _to_rgb(image):
    if image.mode in ("F", "I"):  # of no known range
        raise ValueError("its pixels are 32-bit numbers; save it with 8 bits a channel")
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow's own conversion would clip
        grey = np.clip(np.asarray(image, dtype=np.float32) / 257, 0, 255)
        return Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _list_pictures(directory):
    directory = Path(directory)
    if not _is_directory(directory):
        raise DataError(f"no directory {directory}: set data.path to where the pictures are")
    try:
        files = [file for file in directory.iterdir() if file.suffix.lower() in SUFFIXES]
        files = [file.name for file in files if not file.name.startswith(".") and file.is_file()]
    except OSError as error:
        raise _unusable(directory, error) from error
    files.sort()  # the order of a directory differs between file systems
    if not files:
        raise DataError(f"no pictures in {directory}: expected files {', '.join(SUFFIXES)}")
    return [str(directory / file) for file in files]


def _is_directory(path):
    try:
        return path.is_dir()
    except OSError as error:  # above all, no permission to look
        raise _unusable(path, error) from error


def _unusable(directory, error):
    return DataError(f"cannot list {directory} ({error.strerror}): check its name and permissions")


def _check_sizes(paths):
    first = None
    for path in paths:
        size = _read_size(path)
        _check_even(path, size[0])
        first = size if first is None else first
        if size != first:
            raise DataError(
                f"pictures differ in size: {paths[0]} is {first[0]}x{first[1]}, "
                f"{path} is {size[0]}x{size[1]}; data.mixed_sizes=resize resizes them all"
            )


def _read_size(path):
    # The header alone, about 0.03 ms a file on a local disk.
    try:
        with Image.open(path) as image:
            # TIFF sizes come turned already; asking a PNG without EXIF for it would decode it.
            turned = "exif" in image.info and image.getexif().get(ExifTags.Base.Orientation, 1) > 4
            return image.size[::-1] if turned else image.size
    except Exception as error:
        raise _unreadable(path, error) from error


def _check_even(path, width):
    if width % 2:
        raise DataError(
            f"{path} is {width} pixels wide: two pictures side by side need an even width"
        )


def _check_choice(key, value, choices):
    if value not in choices:
        raise ConfigError(f"{key} {value!r} must be one of {', '.join(choices)}")


def _unreadable(path, error):
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"cannot read the picture {path} ({reason}): replace or remove it")
