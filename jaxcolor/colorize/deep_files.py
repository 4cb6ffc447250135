"""PNG and TIFF of 16 bits a channel, which Pillow reads as 8 and cannot write; all TIFF written."""

import struct
import zlib

import cv2
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

_PNG_DEPTH_AT, _PNG_COLOURS_AT = 24, 25  # in the header chunk, which comes first
_GREY_AND_ALPHA = 4
_BITS, _PROFILE, _XMP = 258, 34675, 700
_INCH = 2
_RGB, _DEFLATE = 2, 8


def is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether a file's pixels have 16 bits a channel.

    Args:
      image: as Pillow opened it.
      data: the file's content.
    """
    if image.format == "PNG":
        return data[_PNG_DEPTH_AT : _PNG_DEPTH_AT + 1] == b"\x10"
    return image.format == "TIFF" and set(image.tag_v2.get(_BITS, ())) == {16}


def decode_png(data: bytes) -> np.ndarray | None:
    """uint16 [height, width, 1 to 4], as it is stored; None if OpenCV will not have it."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if pixels is None or pixels.dtype != np.uint16:
        return None
    if pixels.ndim == 2:
        return pixels[..., None]
    if data[_PNG_COLOURS_AT] == _GREY_AND_ALPHA:  # of which OpenCV makes colours
        return pixels[..., [0, 3]]
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def encode(
    pixels: np.ndarray,
    kind: str,
    profile: bytes | None,
    exif: bytes = b"",
    dpi: tuple[float, float] | None = None,
    xmp: bytes = b"",
) -> bytes:
    """A file of 16 bits a channel.

    Args:
      pixels: uint16 RGB [height, width, 3], or 4 with alpha.
      kind: "PNG" or "TIFF".
      profile: ICC profile.
      exif: as Pillow serialises it.
      dpi: pixels per inch, across and down.
      xmp: to be kept with it.
    """
    make = {"PNG": _encode_png, "TIFF": encode_tiff}[kind]
    return make(pixels, profile, exif, dpi, xmp)


def png_xmp(xmp: bytes) -> bytes:
    """The body of the iTXt chunk that holds XMP: its keyword, not compressed, in no language."""
    return b"XML:com.adobe.xmp" + bytes(5) + xmp


def _encode_png(pixels, profile, exif, dpi, xmp):
    order = [2, 1, 0, 3][: pixels.shape[2]]
    data = cv2.imencode(".png", pixels[..., order])[1].tobytes()
    chunks = []
    if profile:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile)))
    if dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(x / 0.0254) for x in dpi), 1)))
    if exif:
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    if xmp:
        chunks.append((b"iTXt", png_xmp(xmp)))
    packed = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    after_header = 8 + 25
    return data[:after_header] + packed + data[after_header:]


def encode_tiff(
    pixels: np.ndarray,
    profile: bytes | None = None,
    exif: bytes = b"",
    dpi: tuple[float, float] | None = None,
    xmp: bytes = b"",
) -> bytes:
    """A deflated little-endian TIFF, as libtiff reads it, of 8 or 16 bits a channel.

    Args:
      pixels: uint8 or uint16 RGB [height, width, 3], or 4 with alpha.
      profile: ICC profile.
      exif: as Pillow serialises it.
      dpi: pixels per inch, across and down.
      xmp: to be kept with it.
    """
    height, width, channels = pixels.shape
    strip = zlib.compress(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")))
    tags = TiffImagePlugin.ImageFileDirectory_v2(b"II\x2a\0\0\0\0\0")
    tags[256], tags[257], tags[259] = width, height, _DEFLATE
    tags[_BITS] = (8 * pixels.itemsize,) * channels
    tags[262], tags[277], tags[278], tags[284] = _RGB, channels, height, 1
    if channels == 4:
        tags[338] = 2  # the fourth is alpha that the colours were not multiplied with
    if dpi:
        tags[282], tags[283], tags[296] = *dpi, _INCH
    if profile:
        tags.tagtype[_PROFILE] = 7
        tags[_PROFILE] = profile
    if xmp:
        tags.tagtype[_XMP] = 1
        tags[_XMP] = xmp
    if exif:
        _add_exif(tags, exif)
    tags.tagtype[273] = tags.tagtype[279] = 4
    # Where the one strip begins: Pillow counts from the end of the directory.
    tags[273], tags[279] = 0, len(strip)
    return b"II\x2a\0" + struct.pack("<I", 8) + tags.tobytes(8) + strip


def _add_exif(tags, exif):
    given = Image.Exif()
    given.load(exif)
    for tag, value in given.items():
        if isinstance(value, str):
            tags[tag] = value
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if values := dict(given.get_ifd(directory)):
            tags.tagtype[directory] = 4
            tags[directory] = values
