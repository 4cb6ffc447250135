"""Picture files in and out: every kind, depth and fault, with what is carried over."""

import io
import struct
import time
import zlib

import cv2
import icc_profiles
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, ImageOps

from jaxcolor.colorize import deep_files, picture_files
from jaxcolor.errors import DataError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 9, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (6, 9, 3), np.uint16)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def file_of(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def other_profile(space=b"RGB "):
    """The profile of sRGB under another name, which makes it one to convert from."""
    return SRGB.replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be")).replace(
        b"RGB ", space
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP", "JPEG"])
def test_colours_are_read_and_written_in_their_format(kind):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    found = picture_files.read(file_of(Image.fromarray(COLOURS), kind, **options))
    assert found.format == kind
    most = 6 if kind == "JPEG" else 0
    assert np.abs(found.pixels.astype(int) - COLOURS).max() <= most
    again = picture_files.read(picture_files.encode(COLOURS, found, quality=100))
    assert again.format == kind
    assert np.abs(again.pixels.astype(int) - COLOURS).max() <= most


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 2), ("P", 3), ("RGB", 3), ("RGBA", 4)],
)
def test_modes_of_png_have_their_channels(mode, channels):
    image = Image.fromarray(COLOURS).convert(mode)
    found = picture_files.read(file_of(image, "PNG"))
    assert found.pixels.shape == (6, 9, channels)
    plain = image.convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels])
    np.testing.assert_array_equal(found.pixels, np.asarray(plain).reshape(6, 9, channels))


def test_a_transparent_palette_has_alpha():
    image = Image.fromarray(COLOURS).quantize(4)
    found = picture_files.read(file_of(image, "PNG", transparency=2)).pixels
    np.testing.assert_array_equal(found[..., 3] == 0, np.asarray(image) == 2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_written(kind):
    pixels = np.dstack([COLOURS, RNG.integers(0, 256, (6, 9), np.uint8)])
    like = picture_files.Picture(pixels, kind)
    found = picture_files.read(picture_files.encode(pixels, like, quality=100)).pixels
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb_and_drops_a_profile_that_no_longer_fits(kind):
    image = Image.fromarray(COLOURS).convert("CMYK")
    found = picture_files.read(file_of(image, kind, icc_profile=other_profile(b"CMYK")))
    assert found.pixels.shape == (6, 9, 3)
    assert found.profile is None
    assert picture_files.read(picture_files.encode(found.pixels, found)).pixels.shape == (6, 9, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "deep PNG", "deep TIFF"])
def test_rotation_is_applied_once(kind, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if kind == "deep PNG":
        data = deep_files.encode(DEEP, "PNG", None, exif.tobytes())
    elif kind == "deep TIFF":
        data = with_tiff_orientation(deep_files.encode(DEEP, "TIFF", None), orientation)
    else:
        data = file_of(Image.fromarray(COLOURS), kind, exif=exif.tobytes())
    found = picture_files.read(data)
    stored = Image.fromarray(COLOURS)
    stored.getexif()[ExifTags.Base.Orientation] = orientation
    if kind.startswith("deep"):
        channels = []
        for channel in np.moveaxis(DEEP, 2, 0):
            image = Image.fromarray(channel)
            image.getexif()[ExifTags.Base.Orientation] = orientation
            channels.append(np.asarray(ImageOps.exif_transpose(image)))
        np.testing.assert_array_equal(found.pixels, np.dstack(channels))
    else:
        expected = np.asarray(ImageOps.exif_transpose(stored)).astype(int)
        assert found.pixels.shape == expected.shape
        if kind != "JPEG":
            np.testing.assert_array_equal(found.pixels, expected)
    again = picture_files.encode(found.pixels, found, keep_metadata=True)
    np.testing.assert_array_equal(picture_files.read(again).pixels.shape, found.pixels.shape)


def with_tiff_orientation(data, orientation):
    """The TIFF with tag 274 in place of tag 284, of which 1 is the default, in order."""
    (count,) = struct.unpack_from("<H", data, 8)
    tags = [data[at : at + 12] for at in range(10, 10 + 12 * count, 12)]
    tags = [tag for tag in tags if struct.unpack_from("<H", tag) != (284,)]
    tags.append(struct.pack("<HHIHH", 274, 3, 1, orientation, 0))
    tags.sort(key=lambda tag: struct.unpack_from("<H", tag))
    return data[:10] + b"".join(tags) + data[10 + 12 * count :]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_go_in_and_out(kind, channels):
    pixels = RNG.integers(0, 65536, (300, 401, channels), np.uint16)
    like = picture_files.Picture(pixels, kind, profile=SRGB, dpi=(300, 200))
    data = picture_files.encode(pixels, like, keep_metadata=True)
    found = picture_files.read(data)
    assert (found.format, found.profile) == (kind, SRGB)
    assert found.dpi == pytest.approx((300, 200), abs=0.02)
    np.testing.assert_array_equal(found.pixels, pixels)
    with Image.open(io.BytesIO(data)) as image:  # other readers see the same picture
        assert np.abs(np.asarray(image).astype(int) - pixels / 257).max() < 1


@pytest.mark.parametrize("kind", [".png", ".tif"])
def test_16_bits_of_grey_are_read(kind):
    data = cv2.imencode(kind, DEEP[..., 0])[1].tobytes()
    np.testing.assert_array_equal(picture_files.read(data).pixels, DEEP[..., :1])


def test_16_bits_of_grey_and_alpha_are_read():
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in DEEP[..., :2])
    header = struct.pack(">IIBBBBB", 9, 6, 16, 4, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    np.testing.assert_array_equal(picture_files.read(data).pixels, DEEP[..., :2])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_an_srgb_profile_is_carried_over_and_changes_nothing(kind):
    options = {"icc_profile": SRGB} | ({"lossless": True} if kind == "WEBP" else {})
    found = picture_files.read(file_of(Image.fromarray(COLOURS), kind, **options))
    assert not found.converted
    again = Image.open(io.BytesIO(picture_files.encode(found.pixels, found)))
    assert again.info["icc_profile"] == SRGB


def test_another_rgb_profile_is_converted_from_and_back():
    profile = other_profile()
    image = Image.fromarray(COLOURS)
    found = picture_files.read(file_of(image, "PNG", icc_profile=profile))
    assert found.converted
    again = Image.open(io.BytesIO(picture_files.encode(found.pixels, found)))
    assert again.info["icc_profile"] == profile
    assert np.abs(np.asarray(again).astype(int) - COLOURS).max() <= 2


def test_a_damaged_profile_is_left_alone():
    found = picture_files.read(file_of(Image.fromarray(COLOURS), "PNG", icc_profile=b"nonsense"))
    np.testing.assert_array_equal(found.pixels, COLOURS)
    assert found.profile is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_metadata_is_kept_on_request_alone(kind):
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "1931:05:06 07:08:09"
    given = file_of(Image.fromarray(COLOURS), kind, exif=exif.tobytes(), dpi=(300, 300))
    found = picture_files.read(given)
    kept = Image.open(
        io.BytesIO(picture_files.encode(found.pixels, found, keep_metadata=True))
    ).getexif()
    assert kept[ExifTags.Base.Artist] == "somebody"
    assert kept.get(ExifTags.Base.Orientation, 1) == 1
    taken = kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal]
    assert taken == "1931:05:06 07:08:09"
    bare = Image.open(io.BytesIO(picture_files.encode(found.pixels, found))).getexif()
    assert ExifTags.Base.Artist not in bare


def with_xmp(xmp, kind, pixels):
    """A file with XMP, written by others than ours."""
    if kind == "TIFF" and pixels.dtype == np.uint16:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels, photometric="rgb", extratags=[(700, 1, len(xmp), xmp, 1)])
        return buffer.getvalue()
    if kind == "TIFF":
        return file_of(Image.fromarray(pixels), kind, tiffinfo={700: xmp})
    if kind == "PNG":
        data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
        body = b"iTXt" + b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return data[:33] + chunk + data[33:]
    return file_of(Image.fromarray(pixels), kind, xmp=xmp)


def xmp_of(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image.info.get("xmp")


@pytest.mark.parametrize(
    ("kind", "pixels"),
    [(kind, COLOURS) for kind in ("JPEG", "WEBP", "PNG", "TIFF")]
    + [(kind, DEEP) for kind in ("PNG", "TIFF")],
)
def test_xmp_is_kept_on_request_without_the_rotation_that_was_applied(kind, pixels):
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6" by="somebody"/>'
        b"<xmp:Thumbnails>old</xmp:Thumbnails></x:xmpmeta>"
    )
    found = picture_files.read(with_xmp(xmp, kind, pixels))
    data = picture_files.encode(found.pixels, found, keep_metadata=True)
    expected = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a by="somebody"/></x:xmpmeta>'
    assert b" ".join(xmp_of(data).split()) == expected
    again = picture_files.read(data).pixels
    assert (again.shape, again.dtype) == (found.pixels.shape, pixels.dtype)
    assert xmp_of(picture_files.encode(found.pixels, found)) is None


def test_xmp_does_not_turn_a_picture_that_exif_says_is_upright():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 1
    given = file_of(Image.fromarray(COLOURS), "JPEG", exif=exif, xmp=b'<a tiff:Orientation="6"/>')
    found = picture_files.read(given)
    data = picture_files.encode(found.pixels, found, keep_metadata=True)
    assert picture_files.read(data).pixels.shape == found.pixels.shape == COLOURS.shape


def test_xmp_too_long_for_a_jpeg_is_left_out():
    like = picture_files.Picture(COLOURS, "JPEG", xmp=bytes(70_000))
    data = picture_files.encode(COLOURS, like, keep_metadata=True)
    assert "xmp" not in Image.open(io.BytesIO(data)).info


def test_xmp_full_of_ends_that_never_come_takes_no_time():
    like = picture_files.Picture(COLOURS, "WEBP", xmp=b"<xmp:Thumbnails " * 30_000)
    started = time.perf_counter()
    data = picture_files.encode(COLOURS, like, keep_metadata=True)
    assert time.perf_counter() - started < 2
    assert Image.open(io.BytesIO(data)).info["xmp"] == like.xmp


@pytest.mark.parametrize("extra", [{}, {"exif": b"Exif\0\0"}, {"icc_profile": SRGB}, {"frames": 2}])
def test_a_webp_without_loss_stays_without(extra):
    extra = dict(extra)
    frames = [Image.fromarray(COLOURS[::-1])] * (extra.pop("frames", 1) - 1)
    options = extra | ({"save_all": True, "append_images": frames} if frames else {})
    given = Image.fromarray(COLOURS)
    found = picture_files.read(file_of(given, "WEBP", lossless=True, **options))
    again = picture_files.read(picture_files.encode(COLOURS, found, quality=20))
    np.testing.assert_array_equal(again.pixels, COLOURS)
    lossy = picture_files.read(file_of(given, "WEBP", quality=20, **options))
    changed = picture_files.read(picture_files.encode(COLOURS, lossy, quality=20))
    assert (changed.pixels != COLOURS).any()


def test_quality_is_that_of_jpeg():
    like = picture_files.Picture(COLOURS, "JPEG")
    noise = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    sizes = [len(picture_files.encode(noise, like, quality=quality)) for quality in (10, 50, 95)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] / 3


def bomb():
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = b"IHDR" + header
    crc = struct.pack(">I", zlib.crc32(body))
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + body
        + crc
        + file_of(Image.fromarray(COLOURS), "PNG")[33:]
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an empty file"),
        (b"GIF89a" + bytes(100), "no JPEG, PNG"),
        (b"text", "no JPEG, PNG"),
        (file_of(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"), "32-bit"),
        (file_of(Image.fromarray(COLOURS.repeat(40, 0)), "PNG")[:-3000], "cannot read"),
        (file_of(Image.fromarray(COLOURS.repeat(40, 0)), "JPEG")[:-300], "truncated"),
        (deep_files.encode(DEEP.repeat(40, 0), "PNG", None)[:-3000], "cannot read"),
        (bomb(), "more than the"),
    ],
    ids=["empty", "other", "text", "float", "cut png", "cut jpeg", "cut deep png", "bomb"],
)
def test_a_fault_is_one_line_that_names_the_file(tmp_path, data, said):
    path = tmp_path / "it.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match=said) as caught:
        picture_files.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_above_the_limit_is_refused_and_at_it_read():
    data = file_of(Image.fromarray(COLOURS), "PNG")
    assert picture_files.read(data, max_pixels=54).pixels.shape == (6, 9, 3)
    with pytest.raises(DataError, match=r"the picture mine has 9x6 pixels, more than the 53"):
        picture_files.read(data, name="mine", max_pixels=53)


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "it.png"
    path.write_bytes(b"before")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(picture_files.Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        picture_files.write(path, COLOURS, picture_files.Picture(COLOURS, "PNG"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["it.png"]
    assert path.read_bytes() == b"before"


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / f"{'x' * 251}.png"
    picture_files.write(path, COLOURS, picture_files.Picture(COLOURS, "PNG"))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_a_format_has_no_room_for_is_named():
    for kind, width in (("WEBP", 16_384), ("JPEG", 65_501)):
        pixels = np.zeros((1, width, 3), np.uint8)
        with pytest.raises(DataError, match=f"{width}x1 pixels cannot be written as {kind}"):
            picture_files.encode(pixels, picture_files.Picture(pixels, kind))


def test_exif_too_long_for_a_jpeg_is_left_out():
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "x" * 70_000
    like = picture_files.Picture(COLOURS, "JPEG", exif=exif.tobytes())
    data = picture_files.encode(COLOURS, like, keep_metadata=True)
    assert "exif" not in Image.open(io.BytesIO(data)).info


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_of_a_profile_that_leads_one_way_the_result_is_srgb(kind):
    given = file_of(Image.fromarray(COLOURS), kind, icc_profile=icc_profiles.scanner())
    found = picture_files.read(given)
    assert (found.profile, found.converted) == (None, False)
    assert "the result is in sRGB" in found.note
    assert (found.pixels != np.asarray(Image.open(io.BytesIO(given)))).any()
    again = Image.open(io.BytesIO(picture_files.encode(found.pixels, found)))
    assert "icc_profile" not in again.info


def png_of_zeros(width, height):
    packer = zlib.compressobj()
    rows = packer.compress(bytes((width + 8) // 8) * height) + packer.flush()  # a bit a pixel
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )


@pytest.mark.parametrize("size", [(1, 400_000), (400_000, 1)])
def test_a_thin_picture_is_refused_for_what_would_be_made_of_it(size):
    data = png_of_zeros(*size)
    assert picture_files.read(data).pixels.shape == (size[1], size[0], 1)
    assert picture_files.read(data, least_side=200).pixels.size == 400_000
    said = f"thread has {size[0]}x{size[1]} pixels, which is too thin: the network sees 256"
    with pytest.raises(DataError, match=said):
        picture_files.read(data, name="thread", least_side=256)
