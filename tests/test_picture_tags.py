"""Tags of TIFF and EXIF: what Pillow would multiply is refused, what photographs have is read."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxcolor.colorize import picture_files
from jaxcolor.data import picture_tags
from jaxcolor.data.pictures import read_picture, read_size
from jaxcolor.errors import DataError

UNDEFINED, SHORT, LONG, RATIONAL = 7, 3, 4, 5
ORIENTATION, EXIF_DIRECTORY = 0x0112, 0x8769
LENGTH = 60_000
ORDERS = pytest.mark.parametrize("order", ["<", ">"])


def directory(order, tags):
    """(tag, type, count, value) each as the list of TIFF."""
    return struct.pack(f"{order}H", len(tags)) + b"".join(
        struct.pack(f"{order}HHII", *tag) for tag in tags
    )


def block(order, *directories):
    """EXIF of LENGTH bytes, with directories one behind the other from byte 8 on."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return (head + b"".join(directories)).ljust(LENGTH, b"\0")


def shared(order, *, kind=UNDEFINED, count=4000):
    """A directory whose tags all name the same half of the block."""
    size = {UNDEFINED: 1, RATIONAL: 8}[kind]
    return directory(order, [(0x2000 + i, kind, LENGTH // 2 // size, 0) for i in range(count)])


def within(order, tag, inner):
    """A directory with another behind it."""
    return directory(order, [(tag, LONG, 1, 8 + 2 + 12)]) + inner


def multiplied(order):
    return {
        "bytes": block(order, shared(order)),
        "numbers": block(order, shared(order, kind=RATIONAL, count=300)),
        "in EXIF": block(order, within(order, EXIF_DIRECTORY, shared(order))),
    }


def saved(kind, **options):
    data = io.BytesIO()
    Image.fromarray(np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)).save(
        data, kind, **options
    )
    return data.getvalue()


def jpeg_with(marker, head, tags):
    data = saved("JPEG")
    return data[:2] + marker + struct.pack(">H", 2 + len(head) + len(tags)) + head + tags + data[2:]


def jpeg(tags):
    return jpeg_with(b"\xff\xe1", b"Exif\0\0", tags)


def shared_by_segments(tags):
    """Half of it in each of two; something that is no segment between them."""
    both = [jpeg(part)[2 : -len(saved("JPEG")) + 2] for part in (tags[:30_000], tags[30_000:])]
    return b"\xff\xd8" + both[0] + b"\0\xff" + both[1] + saved("JPEG")[2:]


def png_chunk(name, body):
    chunk = name + body
    return struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))


def png(tags):
    """EXIF behind the pixels, where it may be as well."""
    data = saved("PNG")
    return data[:-12] + png_chunk(b"eXIf", tags) + data[-12:]


def png_of_imagemagick(tags):
    text = f"\nexif\n{len(tags):8}\n{tags.hex()}".encode()
    body = b"Raw profile type exif\0\0" + zlib.compress(text)
    data = saved("PNG")
    return data[:33] + png_chunk(b"zTXt", body) + data[33:]


def webp(tags):
    return saved("WEBP", exif=tags)


def tiff(tags):
    return tags


WRITERS = (jpeg, shared_by_segments, png, png_of_imagemagick, webp, tiff)


def readers(data):
    return (
        lambda: read_picture(io.BytesIO(data)),
        lambda: picture_files.read(data),
        lambda: read_size(io.BytesIO(data)),
    )


@ORDERS
@pytest.mark.parametrize("kind", multiplied("<"))
@pytest.mark.parametrize("writer", WRITERS)
def test_tags_that_share_their_bytes_are_refused(writer, kind, order):
    data = writer(multiplied(order)[kind])
    late = writer in (png, png_of_imagemagick)  # of which `read_size` does not look for EXIF
    for read in readers(data)[: 2 if late else 3]:
        with pytest.raises(DataError, match="far more memory than it has bytes"):
            read()


def test_a_list_of_pictures_is_looked_at_too():
    data = jpeg_with(b"\xff\xe2", b"MPF\0", multiplied(">")["numbers"])
    for read in readers(data):
        with pytest.raises(DataError, match="far more memory than it has bytes"):
            read()


def test_exif_of_a_jpeg_has_an_end(monkeypatch):
    monkeypatch.setattr(picture_tags, "MOST_EXIF", 1000)
    data = jpeg(block("<", directory("<", [])))
    for read in readers(data):
        with pytest.raises(DataError, match="more than 1000 bytes of EXIF"):
            read()


@ORDERS
@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("writer", WRITERS[:-1])
def test_exif_of_photographs_is_read(writer, order):
    """Orientation, a nested directory, and a tag that reaches beyond the end, as some have."""
    value = 6 if order == "<" else 6 << 16
    inner = directory(order, [(0x9000, UNDEFINED, 4, 0), (0x927C, UNDEFINED, 2**31, 99)])
    outer = [(ORIENTATION, SHORT, 1, value), (EXIF_DIRECTORY, LONG, 1, 8 + 2 + 24)]
    data = writer(block(order, directory(order, outer), inner))
    assert read_picture(io.BytesIO(data)).shape == (6, 8, 3), "8 high and 6 wide, but turned"
    assert picture_files.read(data).pixels.shape == (6, 8, 3)


def test_lists_of_tags_have_an_end():
    itself = directory("<", [(ORIENTATION, SHORT, 1, 6), (EXIF_DIRECTORY, LONG, 1, 8)])
    assert read_picture(io.BytesIO(jpeg(block("<", itself)))).shape == (6, 8, 3)
    places = [8 + 14 * (i + 1) for i in range(picture_tags.MOST_LISTS)]
    chain = [directory("<", [(EXIF_DIRECTORY, LONG, 1, place)]) for place in places]
    with pytest.raises(DataError, match="more lists of tags than any picture"):
        read_picture(io.BytesIO(jpeg(block("<", *chain))))


def test_numbers_of_tags_are_few():
    """As Python's they would take many times the bytes that they have in the file."""

    def with_numbers(count):
        return io.BytesIO(tiff(block("<", directory("<", [(273, LONG, count, 0)]))) + bytes(2**23))

    picture_tags.check_tags(with_numbers(picture_tags.MOST_NUMBERS // 4))
    with pytest.raises(ValueError, match="far more memory"):
        picture_tags.check_tags(with_numbers(picture_tags.MOST_NUMBERS // 4 + 1))


@ORDERS
@pytest.mark.parametrize("big", [False, True])
def test_tags_of_tiff_are_counted(order, big):
    """What Pillow itself would read of them, in both widths; without more than there is."""
    word, width = ("Q", 16) if big else ("I", 8)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    head += struct.pack(f"{order}HHQ", 8, 0, width) if big else struct.pack(f"{order}I", width)

    def with_tags(count, length, place=0):
        tags = [struct.pack(f"{order}HH{word}{word}", 700, UNDEFINED, length, place)] * count
        body = struct.pack(f"{order}{'Q' if big else 'H'}", count) + b"".join(tags)
        return io.BytesIO((head + body).ljust(100_000, b"\0"))

    picture_tags.check_tags(with_tags(2, 100_000))
    picture_tags.check_tags(with_tags(1000, 100_000, place=1))  # beyond the end
    with pytest.raises(ValueError, match="far more memory"):
        picture_tags.check_tags(with_tags(3, 100_000))
