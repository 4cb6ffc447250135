"""The tags of TIFF and EXIF, looked at before Pillow copies what they name.

A tag names a part of the file, and thousands of tags may name the same: of a JPEG of 64 kB, Pillow
would make gigabytes.
"""

import io
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

MOST_NUMBERS = 2**22  # bytes; as Python's numbers they take up to 40 times as much
MOST_EXIF = 2**24  # bytes of a JPEG's; one segment, which is all that others write, has 2**16
MOST_LISTS = 16  # Pillow reads four: the first, two that it names, and one within those
_MORE = 2**16  # bytes beyond twice the file, for short ones
_KINDS = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")  # as Pillow takes them
_EXIF, _MPF = b"Exif\0\0", b"MPF\0"
_PNG_EXIF = "Raw profile type exif"  # of ImageMagick: hexadecimal digits below three lines
# Bytes of a value by its type; the types of text and plain bytes are 1, 2, 6 and 7.
_SIZES = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8])
_PLAIN = (1, 2, 6, 7)
_INNER = (0x8769, 0x8825, 0xA005)  # tags of directories: EXIF, GPS, interoperability
_PLACES = {3: "H", 4: "L", 8: "h", 9: "l", 13: "L", 16: "Q"}  # types that may say where one is
_MOST = 2**59  # of what a file may count: eight times that fits 64 bits


def check_tags(stream: BinaryIO) -> None:
    """Looks at a file before it is opened: of a TIFF all tags, of a JPEG those of its EXIF.

    Args:
      stream: the file; left at its start.

    Raises:
      ValueError: they would take far more memory than the file has bytes, or there are lists of
        them without end.
    """
    stream.seek(0)
    head = stream.read(4)
    if head in _KINDS:
        _check(stream)
    elif head[:3] == b"\xff\xd8\xff":
        for block in _blocks_of_jpeg(stream):
            _check(io.BytesIO(block))
    stream.seek(0)


def check_exif(info: dict[Any, Any]) -> None:
    """Looks at the EXIF of an opened picture before Pillow does.

    Args:
      info: of the picture, after its pixels are loaded if they are to be: a PNG may have it last.

    Raises:
      ValueError: as `check_tags`.
    """
    exif = info.get("exif")
    if exif is None and _PNG_EXIF in info:
        try:
            exif = bytes.fromhex("".join(info[_PNG_EXIF].split("\n")[3:]))
        except ValueError:  # no digits: nobody can read them
            return
    if exif:
        _check(io.BytesIO(_without_prefix(exif)))


def _without_prefix(exif):
    while exif.startswith(_EXIF):
        exif = exif[len(_EXIF) :]
    return exif


def _blocks_of_jpeg(stream: BinaryIO) -> Iterator[bytes]:
    """What Pillow reads as tags: EXIF, which segments may share, and the list of pictures."""
    exif = []
    stream.seek(2)
    while byte := stream.read(1):
        if byte != b"\xff":  # between segments Pillow passes over anything
            continue
        while (marker := stream.read(1)) == b"\xff":
            pass
        if marker == b"\xda":  # the pixels
            break
        if not _has_length(marker):
            continue
        (length,) = struct.unpack(">H", stream.read(2).rjust(2, b"\0"))
        segment = stream.read(max(0, length - 2))
        if marker == b"\xe1" and segment.startswith(_EXIF):
            exif.append(segment[len(_EXIF) :])
            if sum(map(len, exif)) > MOST_EXIF:
                raise ValueError(f"it has more than {MOST_EXIF} bytes of EXIF")
        elif marker == b"\xe2" and segment.startswith(_MPF):
            yield segment[len(_MPF) :]
    yield _without_prefix(b"".join(exif))


def _has_length(marker):
    code = ord(marker or b"\0")
    return code >= 0xC0 and code != 0xC8 and not (0xD0 <= code <= 0xD9 or 0xF0 <= code <= 0xFD)


def _check(stream):
    length = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    head = stream.read(16)
    if head[:4] not in _KINDS or len(head) < 16:
        return  # Pillow takes it for no tags
    # Pillow takes BigTIFF for TIFF where the larger byte comes first: it is looked at as both.
    for big in {head[2] == 43, 43 in head[2:4]}:
        _check_lists(stream, head, big, length)


def _check_lists(stream, head, big, length):
    order = "<" if head[:2] == b"II" else ">"
    pending = [struct.unpack_from(f"{order}{'Q' if big else 'L'}", head, 8 if big else 4)[0]]
    taken, numbers, seen = 0, 0, set()
    while pending:
        place = pending.pop()
        if place in seen:
            continue
        seen.add(place)
        if len(seen) > MOST_LISTS:
            raise ValueError("it has more lists of tags than any picture")
        more, more_numbers, inner = _look_at(stream, place, order, big, length)
        taken, numbers = taken + more, numbers + more_numbers
        if taken > 2 * length + _MORE or numbers > MOST_NUMBERS:
            raise ValueError("its tags would take far more memory than it has bytes")
        pending += inner


def _look_at(stream, place, order, big, length):
    """A list of tags: bytes of it and its values, of those that become numbers, and lists in it."""
    inline = 8 if big else 4
    word = f"{order}u{inline}"
    kind = np.dtype(
        [("tag", f"{order}u2"), ("type", f"{order}u2"), ("count", word), ("value", word)]
    )
    stream.seek(min(place, length))
    count = int.from_bytes(stream.read(8 if big else 2), "little" if order == "<" else "big")
    data = stream.read(min(count * kind.itemsize, length))
    entries = np.frombuffer(data, kind, len(data) // kind.itemsize)
    types = np.where(entries["type"] < len(_SIZES), entries["type"], 0)
    counts, values = (
        np.minimum(entries[name].astype(np.uint64), _MOST).astype(np.int64)
        for name in ("count", "value")
    )
    sizes = counts * _SIZES[types]
    # What reaches beyond the file Pillow notices itself.
    there = (sizes > inline) & (values <= length - sizes)
    inner = []
    for i in np.flatnonzero(np.isin(entries["tag"], _INNER) & np.isin(types, list(_PLACES))):
        stated = data[(i + 1) * kind.itemsize - inline : (i + 1) * kind.itemsize]
        if there[i]:
            stream.seek(values[i])
            stated = stream.read(8)
        elif not 0 < sizes[i] <= inline:
            continue
        (place,) = struct.unpack_from(order + _PLACES[types[i]], stated)
        inner += [place] if place >= 0 else []
    taken = len(data) + int(sizes[there].sum())
    return taken, int(sizes[there & ~np.isin(types, _PLAIN)].sum()), inner
