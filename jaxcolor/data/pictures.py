"""Picture files of any kind as uint8 RGB arrays, and where in a directory they are.

JPEG, PNG, WebP, TIFF and BMP; grey, palette, CMYK and 16-bit ones are converted to 8 bits of RGB,
EXIF rotation is applied, transparency is laid on a background, and colours under an embedded ICC
profile other than sRGB become sRGB, as a browser shows them. Of several frames the first is taken.
"""

import collections
import contextlib
import functools
import io
import os
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import PIL.WebPImagePlugin  # noqa: F401 - Pillow knows the format once it is imported
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from jaxcolor.data.picture_tags import check_exif, check_tags
from jaxcolor.errors import ConfigError, DataError

# Whatever a file is called, nothing else is decoded: for EPS Pillow would run Ghostscript.
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 89_478_485  # where Pillow begins to warn of decompression bombs: 256 MB of RGB
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Pictures too, which are not read: worth a word, as other files are not.
OTHER_SUFFIXES = (".avif", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".psd", ".svg", ".tga")
OTHER_SUFFIXES += (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf")  # of cameras
BACKGROUNDS = ("white", "black")
_BITS, _PHOTOMETRIC, _PLANAR = 258, 262, 284  # tags of TIFF
_IN_PLANES = 2
_TURN = Image.Transpose
_TURNS = {
    2: _TURN.FLIP_LEFT_RIGHT,
    3: _TURN.ROTATE_180,
    4: _TURN.FLIP_TOP_BOTTOM,
    5: _TURN.TRANSPOSE,
    6: _TURN.ROTATE_270,
    7: _TURN.TRANSVERSE,
    8: _TURN.ROTATE_90,
}  # that make a picture upright, by its orientation in EXIF
# A pixel this far from grey (largest less smallest channel, of 255) shows: JPEG alone stays below.
_VISIBLE_CHROMA = 12
_FEWEST_COLOURED = 1e-3


class Listing(NamedTuple):
    """The pictures below a directory.

    Attributes:
      paths: of the pictures, in the order of their names within the directory.
      stems: their names within the directory, without suffix, "/" between folders.
      names: the same, with the suffix where other pictures would have the same name without.
      ignored: (path, reason) of files that look like pictures and are not read.
    """

    paths: list[str]
    stems: list[str]
    names: list[str]
    ignored: list[tuple[str, str]]

    def part(self, places: list[int]) -> "Listing":
        """Some of the pictures, with nothing ignored."""
        columns = (self.paths, self.stems, self.names)
        return Listing(*([column[place] for place in places] for column in columns), [])


def read_picture(file: str | Path | IO[bytes], *, background: str = "white") -> np.ndarray:
    """The picture in a file: uint8 RGB [height, width, 3], upright.

    Args:
      file: its path, or the open file.
      background: what shows through where it is transparent, one of BACKGROUNDS.

    Raises:
      DataError: it cannot be read as a picture.
    """
    try:
        with _open(file) as image:
            image.load()
            check_exif(image.info)
            # Of 16 bits Pillow takes negatives for positives, and mixes up planes.
            tags = image.tag_v2 if image.format == "TIFF" else {}
            if tags.get(_PLANAR) == _IN_PLANES and tags.get(_BITS, ())[:1] == (16,):
                picture = _read_deep(file, background)
                if picture is None:
                    raise ValueError("its planes of 16 bits cannot be read: save it interleaved")
                return picture
            negative = tags.get(_PHOTOMETRIC) == 0
            return np.asarray(_to_rgb(upright(image), background, negative))
    except UnidentifiedImageError as error:
        picture = _read_deep(file, background)
        if picture is None:
            raise _unreadable(file, error) from error
        return picture
    except Exception as error:  # Pillow's decoders meet damage with errors of any kind
        raise _unreadable(file, error) from error


def read_size(file: str | Path) -> tuple[int, int]:
    """Width and height of the upright picture, from the header alone: about 0.03 ms.

    Raises:
      DataError: the file has no header of a picture.
    """
    try:
        with _open(file) as image:
            check_exif(image.info)
            # TIFF sizes come turned already; asking a PNG without EXIF for it would decode it.
            turned = "exif" in image.info and orientation(image) > 4
            return image.size[::-1] if turned else image.size
    except UnidentifiedImageError as error:
        picture = _read_deep(file, BACKGROUNDS[0])
        if picture is None:
            raise _unreadable(file, error) from error
        return picture.shape[1::-1]
    except Exception as error:
        raise _unreadable(file, error) from error


def upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF, or else its XMP, says that it is to be turned."""
    turn = _TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """1 to 8, as EXIF counts: 1 is upright, which a picture with damaged EXIF is taken for, too."""
    try:
        given = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damage shows as errors of any kind
        return 1
    return given if isinstance(given, int) and 1 <= given <= 8 else 1


def is_greyscale(picture: np.ndarray) -> bool:
    """Whether a uint8 picture [height, width, 3] has no colour that anybody would see."""
    red, green, blue = (picture[..., channel] for channel in range(3))
    largest = np.maximum(np.maximum(red, green), blue)
    chroma = largest - np.minimum(np.minimum(red, green), blue)
    return bool(np.count_nonzero(chroma > _VISIBLE_CHROMA) < _FEWEST_COLOURED * chroma.size)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """`image` as RGB; a profile that is damaged or does not fit its mode is left alone.

    Args:
      image: of mode RGB, L or CMYK.
      profile: ICC profile of its colours, if it has one.
    """
    transform = srgb_transform(profile, image.mode)
    if transform is None:
        return image.convert("RGB")
    return ImageCms.applyTransform(image, transform)


@functools.lru_cache(maxsize=16)  # building one takes longer than applying it
def srgb_transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the numbers of a profile to sRGB; None if they are that, or nobody can tell.

    Args:
      profile: ICC profile, maybe damaged or of another mode.
      mode: RGB, L or CMYK.
    """
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and "sRGB" in ImageCms.getProfileDescription(given):
            return None
        return ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


def list_pictures(directory: str | Path) -> Listing:
    """The pictures in a directory and its folders, links followed; hidden ones are left out.

    Raises:
      DataError: there is no such directory, or it cannot be listed.
    """
    root = Path(directory)
    if not is_directory(root):
        what = f"{directory} is a file" if root.is_file() else f"no directory {directory}"
        raise DataError(f"{what}: set data.path to the folder that holds the pictures")
    found, ignored = _walk(str(root))
    found.sort()  # the order of a directory differs between file systems
    whole = {name for name, _ in found}
    stems = [os.path.splitext(name)[0] for name, _ in found]
    counts = collections.Counter(stems)
    names = [
        stem if counts[stem] == 1 and stem not in whole else name
        for stem, (name, _) in zip(stems, found, strict=True)
    ]
    return Listing([path for _, path in found], stems, names, sorted(ignored))


def expand(path: str | Path) -> Path:
    """The path with ~ replaced.

    Raises:
      DataError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"cannot tell what {path} is: {error}") from error


def list_folders(path: Path) -> list[str]:
    """Names of the folders in a directory, in order; none where there is no such directory.

    Raises:
      DataError: it cannot be listed.
    """
    if not is_directory(path):
        return []
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if _kind(entry) == "folder")
    except OSError as error:
        raise _unusable(path, error) from error


def is_directory(path: Path) -> bool:
    """Whether it is one.

    Raises:
      DataError: that cannot be told, mostly for lack of permission.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise _unusable(path, error) from error


def check_background(background: str) -> None:
    """Raises ConfigError unless `background` is one of BACKGROUNDS."""
    if background not in BACKGROUNDS:
        raise ConfigError(f"data.background {background!r} must be one of {', '.join(BACKGROUNDS)}")


def _walk(root):
    """(name within the root, path) of every picture; (path, reason) of what is ignored.

    Folders that links lead to are looked at once.
    """
    found, ignored, seen = [], [], set()
    folders = [(root, "")]
    while folders:
        directory, prefix = folders.pop()
        real = os.path.realpath(directory)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(directory) as entries:
                entries = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            raise _unusable(directory, error) from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            kind = _kind(entry)
            if kind == "folder":
                folders.append((entry.path, f"{prefix}{entry.name}/"))
            elif entry.name.lower().endswith(OTHER_SUFFIXES):
                ignored.append((entry.path, f"of another kind than {', '.join(SUFFIXES)}"))
            elif entry.name.lower().endswith(SUFFIXES):
                if kind == "file":
                    found.append((prefix + entry.name, entry.path))
                else:
                    ignored.append((entry.path, kind))
    return found, ignored


def _kind(entry):
    """ "folder", "file", or why an entry of a directory is neither."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError as error:  # a link to itself
        return error.strerror
    return "a link to nothing" if entry.is_symlink() else "not a file"


def _open(file):
    with _stream(file) as stream:
        check_tags(stream)
    return Image.open(file, formats=FORMATS)


def _stream(file):
    is_path = isinstance(file, (str, Path))
    return Path(file).open("rb") if is_path else contextlib.nullcontext(file)


def _to_rgb(image, background, negative=False):
    if image.mode in ("F", "I"):  # of no known range
        raise ValueError("its pixels are 32-bit numbers; save it with 8 or 16 bits a channel")
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow's own conversion would clip
        levels = _to_8_bits(np.asarray(image))
        return Image.fromarray(255 - levels if negative else levels).convert("RGB")
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        plain = Image.new("RGBA", image.size, background)
        colours = to_srgb(image.convert("RGB"), profile)
        colours.putalpha(image.getchannel("A"))
        return Image.alpha_composite(plain, colours).convert("RGB")
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    return to_srgb(image, profile)


def _to_8_bits(pixels):
    return np.rint(pixels.astype(np.float32) / 257).astype(np.uint8)


def _read_deep(file, background):
    """A TIFF of 16 bits a channel that Pillow does not open; None for others."""
    from jaxcolor.data import deep_tiff

    with _stream(file) as stream:
        stream.seek(0)
        pixels = deep_tiff.decode(stream.read(), MAX_PIXELS)
    if pixels is None:
        return None
    small = _to_8_bits(pixels)
    image = Image.fromarray(small if small.shape[2] > 1 else small[..., 0])
    return np.asarray(_to_rgb(image, background))


def _unusable(directory, error):
    return DataError(f"cannot list {directory} ({error.strerror}): check its name and permissions")


def _unreadable(file, error):
    reason = " ".join(str(error).split()) or type(error).__name__
    path = file if isinstance(file, (str, Path)) else getattr(file, "name", "in a data set")
    return DataError(f"cannot read the picture {path} ({reason}): replace or remove it")
