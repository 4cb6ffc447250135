"""Picture files read and written with all that coloured ones are to keep: depth, alpha, profile.

JPEG, PNG, WebP, TIFF and BMP. The first frame of several is taken.
"""

import hashlib
import io
import os
import re
import struct
import warnings
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from jaxcolor.colorize import deep_files, profiles
from jaxcolor.data import deep_tiff
from jaxcolor.data.picture_tags import check_exif, check_tags
from jaxcolor.data.pictures import FORMATS, MAX_PIXELS, orientation, upright
from jaxcolor.errors import DataError

MAX_BYTES = 2**30  # of a file; MAX_PIXELS of 16 bits and four channels take 716 MB
QUALITY = 95
_PIECE = 2**20
# Names of what is being written: those of results may be as long as a file system allows.
PART = re.compile(r"\.[0-9a-f]{16}\.(\d+)\.part")
_SUFFIX_FORMATS = "JPEG, PNG, WebP, TIFF or BMP"
# The tags of a photograph itself; the others describe the file: its strips, its rotation.
_KEPT_TAGS = ("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "Copyright")
_KEPT_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
# Readers turn a picture by its XMP where EXIF does not say; of a thumbnail the colours are the old.
_XMP_ATTRIBUTE = re.compile(rb"""\s?tiff:Orientation=(?:"[^"]*"|'[^']*')""")
_XMP_ELEMENTS = (b"tiff:Orientation", b"xmp:Thumbnails")
_JPEG_XMP_BYTES = 65_504  # that fit into one segment
_JPEG_EXIF_BYTES = 65_533
_EIGHT_BITS = "of its 16 bits a channel 8 were read, and 8 are written"


class Picture(NamedTuple):
    """What is in a file.

    Attributes:
      pixels: uint8 or uint16 [height, width, channels], upright: 1 grey, 2 grey and alpha, 3 sRGB,
        4 sRGB and alpha.
      format: one of FORMATS.
      profile: ICC profile to carry over: of RGB, and not needed to read `pixels`, which are sRGB.
      converted: whether `pixels` were converted from that profile, and results are to be back.
      exif: of the photograph, b"" for none.
      dpi: pixels per inch across and down, if the file says.
      xmp: as the file has it, b"" for none.
      note: what the user should know about how it was read, or "".
      lossless: whether it is a WebP without loss, as results are then to be, too.
    """

    pixels: np.ndarray
    format: str
    profile: bytes | None = None
    converted: bool = False
    exif: bytes = b""
    dpi: tuple[float, float] | None = None
    xmp: bytes = b""
    note: str = ""
    lossless: bool = False


def read(
    file: str | Path | bytes | IO[bytes],
    *,
    name: str = "",
    max_pixels: int = MAX_PIXELS,
    least_side: int = 1,
) -> Picture:
    """The picture in a file, of any depth and kind, upright and in sRGB.

    Args:
      file: its path, its content, or the open file.
      name: what to call it in errors; its path by default.
      max_pixels: of larger ones only the header is read.
      least_side: of what is made of the picture, however thin it is. So long a one that it would
        then have more than max_pixels, or MAX_PIXELS if that is more, is too large as well.

    Raises:
      DataError: it cannot be read, has more pixels, or its file more than MAX_BYTES.
    """
    name = name or (str(file) if isinstance(file, (str, Path)) else "uploaded")
    try:
        data = _content(file)
        if len(data) > MAX_BYTES:
            raise _too_large(name, "more bytes", MAX_BYTES)
        check_tags(io.BytesIO(data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs and damage, which are met below
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        with image:
            _check_size(name, image.size, max_pixels, least_side)
            # First: OpenCV would give what there is of a file cut short, and EXIF may come last.
            image.load()
            check_exif(image.info)
            if deep := _read_deep(image, data, max_pixels):
                return deep
            found = _read_plain(image)._replace(lossless=_is_lossless_webp(data))
            return found._replace(note=_EIGHT_BITS) if deep_files.is_deep(image, data) else found
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(name, "far more pixels", max_pixels) from error
    except Image.UnidentifiedImageError as error:
        if (deep := deep_tiff.decode(data, max_pixels)) is not None:  # of grey and alpha
            _check_size(name, deep.shape[1::-1], max_pixels, least_side)
            return Picture(np.ascontiguousarray(deep), "TIFF")
        what = "an empty file" if data == b"" else f"no {_SUFFIX_FORMATS}, or damaged"
        raise DataError(f"cannot read the picture {name} ({what})") from error
    except Exception as error:  # decoders meet damage with errors of any kind
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(
            f"cannot read the picture {name} ({reason or type(error).__name__})"
        ) from error


def write(
    path: Path,
    pixels: np.ndarray,
    like: Picture,
    *,
    quality: int = QUALITY,
    keep_metadata: bool = False,
) -> None:
    """Writes `encode`'s bytes to `path` at once or not at all, whatever it held before.

    Raises:
      OSError: it cannot be written.
      DataError: see `encode`.
    """
    data = encode(pixels, like, quality=quality, keep_metadata=keep_metadata)
    digest = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    temporary = path.with_name(f".{digest}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def encode(
    pixels: np.ndarray, like: Picture, *, quality: int = QUALITY, keep_metadata: bool = False
) -> bytes:
    """A file of the format and depth of another picture, with its colour profile.

    Args:
      pixels: of the type of `like`'s, sRGB [height, width, 3], or 4 with alpha.
      like: what was read.
      quality: 1 to 100, of JPEG, whose colours are not subsampled, and WebP, which 100 makes
        lossless; one that was without loss stays so.
      keep_metadata: carry over what the photograph says of itself: camera, time, place, author,
        copyright, resolution, in EXIF and XMP. Never its thumbnail, nor of a JPEG what does not fit
        into one segment; BMP has room for nothing but the resolution.

    Raises:
      DataError: the format does not take it, mostly for its size: WebP has 16383 pixels each way.
    """
    exif = like.exif if keep_metadata else b""
    dpi = like.dpi if keep_metadata else None
    xmp = _of_the_result(like.xmp) if keep_metadata else b""
    if pixels.dtype == np.uint16:
        if like.converted:
            pixels = profiles.deep_from_srgb(pixels, like.profile)
        return deep_files.encode(pixels, like.format, like.profile, exif, dpi, xmp)
    image = Image.fromarray(pixels)
    if like.converted:
        image = profiles.from_srgb(image, like.profile)
    if like.format == "TIFF":  # Pillow cannot compress one that has EXIF
        return deep_files.encode_tiff(np.asarray(image), like.profile, exif, dpi, xmp)
    if like.format == "JPEG" and len(exif) > _JPEG_EXIF_BYTES:
        exif = b""
    options = {"icc_profile": like.profile, "exif": exif or None, "dpi": dpi}
    if xmp and like.format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add(b"iTXt", deep_files.png_xmp(xmp))
    elif xmp and (like.format == "WEBP" or len(xmp) <= _JPEG_XMP_BYTES):
        options["xmp"] = xmp
    options |= {
        "JPEG": {"quality": quality, "subsampling": "4:4:4"},
        "WEBP": {"quality": quality, "lossless": quality == 100 or like.lossless, "exact": True},
    }.get(like.format, {})
    buffer = io.BytesIO()
    given = {key: value for key, value in options.items() if value is not None}
    try:
        image.save(buffer, like.format, **given)
    except Exception as error:  # each format has errors of its own
        height, width = pixels.shape[:2]
        raise DataError(
            f"{width}x{height} pixels cannot be written as {like.format} ({error})"
        ) from error
    return buffer.getvalue()


def _content(file):
    if isinstance(file, bytes):
        return file
    if isinstance(file, (str, Path)):
        with Path(file).open("rb") as opened:
            return _content(opened)
    parts, left = [], MAX_BYTES + 1
    # In pieces: Python reserves what is asked for, however short the file is.
    while left > 0 and (part := file.read(min(left, _PIECE))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _check_size(name, size, max_pixels, least_side):
    width, height = size
    if width * height > max_pixels:
        raise _too_large(name, f"{width}x{height} pixels", max_pixels)
    most = max(max_pixels, MAX_PIXELS)
    if max(width, least_side) * max(height, least_side) > most:
        raise DataError(
            f"the picture {name} has {width}x{height} pixels, which is too thin: the network sees "
            f"{least_side} each way at least, and that would be more than {most} in all"
        )


def _too_large(name, size, limit):
    return DataError(f"the picture {name} has {size}, more than the {limit} that are allowed")


def _read_plain(image):
    """A picture of up to 8 bits a channel."""
    metadata = {"format": _format(image), "exif": _exif(image), "dpi": _dpi(image)}
    if image.mode.startswith(("F", "I")):  # of no known range
        raise ValueError(
            "its pixels are signed or 32-bit numbers: save it with 8 or 16 bits a channel"
        )
    profile = image.info.get("icc_profile")
    image = upright(image)
    xmp = _xmp(image)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
        alpha = image.getchannel("A")
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    is_grey = image.mode == "L"
    image, of_the_profile = profiles.to_srgb(image, profile)
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    pixels = pixels[..., :1] if is_grey else pixels
    if alpha is not None:
        pixels = np.concatenate([pixels, np.asarray(alpha)[..., None]], axis=2)
    return Picture(np.ascontiguousarray(pixels), xmp=xmp, **metadata, **of_the_profile)


def _read_deep(image, data, max_pixels):
    """A picture of 16 bits a channel; None for others."""
    if not deep_files.is_deep(image, data):
        return None
    metadata = {"format": image.format, "exif": _exif(image), "dpi": _dpi(image)}
    metadata["xmp"] = _xmp(image)
    is_tiff = image.format == "TIFF"
    pixels = deep_tiff.decode(data, max_pixels) if is_tiff else deep_files.decode_png(data)
    if pixels is None:
        return None
    if not is_tiff:
        pixels = deep_tiff.turn(pixels, _orientation(image))
    pixels, of_the_profile = profiles.deep_to_srgb(pixels, image.info.get("icc_profile"))
    return Picture(np.ascontiguousarray(pixels), **metadata, **of_the_profile)


def _is_lossless_webp(data):
    at = 12  # behind the file's header come its chunks
    while data[:4] == b"RIFF" and at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8L"
        at += 24 if name == b"ANMF" else 8 + size + size % 2  # into the first frame of several
    return False


def _format(image):
    # Of several pictures, as phones write them, the JPEG plugin makes another format.
    return "JPEG" if image.format == "MPO" else image.format


def _orientation(image):
    # Asking a PNG without EXIF for it would decode it.
    return orientation(image) if "exif" in image.info else 1


def _dpi(image):
    dpi = image.info.get("dpi")
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e5 and 0 < down < 1e5 else None


def _xmp(image):
    xmp = image.info.get("xmp")
    return xmp if isinstance(xmp, bytes) else b""


def _of_the_result(xmp):
    """XMP without what holds for the original only. In time linear in its length: it may be any."""
    xmp = _XMP_ATTRIBUTE.sub(b"", xmp)
    for name in _XMP_ELEMENTS:
        kept, done = [], 0
        while True:
            start = xmp.find(b"<" + name, done)
            end = xmp.find(b"</" + name + b">", start) if start >= 0 else -1
            if end < 0:
                break
            kept.append(xmp[done:start])
            done = end + len(name) + 3
        xmp = b"".join([*kept, xmp[done:]])
    return xmp


def _exif(image):
    """What the picture's EXIF says of the photograph, serialised; b"" for nothing."""
    if not (image.format == "TIFF" or "exif" in image.info):
        return b""
    try:
        given, kept = image.getexif(), Image.Exif()
        for name in _KEPT_TAGS:
            tag = ExifTags.Base[name]
            if isinstance(given.get(tag), str):
                kept[tag] = given[tag]
        for directory in _KEPT_DIRECTORIES:
            if values := dict(given.get_ifd(directory)):
                kept.get_ifd(directory).update(values)
                kept[directory] = values
        return kept.tobytes() if len(kept) else b""
    except Exception:  # damaged metadata is no reason to leave a picture grey
        return b""
