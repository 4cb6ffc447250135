"""The bytes of a record in a prepared cache: a small header, then the pixels as they are.

Pixels are stored raw, uint8: on one core of 2 (AMD EPYC Zen 3), at 286 pixels and read at random, a
pair of 492 kB takes 0.16 ms raw and 0.39 ms with zstd, where all of the augmentation takes 0.8, and
one core is to feed 1,000 pairs a second. A picture whose three channels are the same, as those of
most drawings, is stored as one of them. PNG and lossless WebP need 1 to 2 ms. Where the disk is
what is short, `compress` chooses zstd: it makes drawings of 492 kB 20 times smaller (25 kB, WebP 16
kB), and photographs, of 246 kB, only by a seventh (212 kB, WebP 115 kB).
"""

import math
import struct

import numpy as np

PARTS = ("target", "condition")
RAW, ZSTD = "uncompressed", "zstd:3"  # as ArrayRecord writes its options
_VERSION = 2
_READABLE = (1, 2)  # the first had no grey parts
# Version, number of parts, then height, width and channels of each; zeros for one that is missing.
_HEADER = struct.Struct("<BB" + 2 * "IIH")
# In the place of channels: three, all the same, of which one is stored.
_GREY = 0x8003


def encode_record(record: dict[str, np.ndarray]) -> bytes:
    """The bytes of {"target", and maybe "condition"}: uint8 arrays [height, width, channels]."""
    parts = [record[name] for name in PARTS if name in record]
    shapes, pixels = [0] * 6, []
    for place, part in enumerate(parts):
        if part.dtype != np.uint8 or part.ndim != 3 or not part.size:
            raise TypeError(f"a picture is {part.dtype} {part.shape}, not uint8 [height, width, c]")
        grey = part.shape[2] == 3 and not np.ptp(part, axis=2).any()
        shapes[3 * place : 3 * place + 3] = (*part.shape[:2], _GREY if grey else part.shape[2])
        pixels.append((part[..., :1] if grey else part).tobytes())
    return b"".join([_HEADER.pack(_VERSION, len(parts), *shapes), *pixels])


def decode_record(data: bytes) -> dict[str, np.ndarray]:
    """What `encode_record` was given; the arrays are read-only views of `data`.

    Raises:
      ValueError: these are not the bytes of a record.
    """
    if len(data) < _HEADER.size:
        raise ValueError(f"{len(data)} bytes are less than its header")
    version, count, *numbers = _HEADER.unpack_from(data)
    if version not in _READABLE or count not in (1, 2):
        raise ValueError(f"its header has version {version} and {count} pictures")
    shapes = [numbers[:3], numbers[3:]][:count]
    stored = [(*shape[:2], 1 if shape[2] == _GREY else shape[2]) for shape in shapes]
    sizes = [math.prod(shape) for shape in stored]
    if 0 in sizes or _HEADER.size + sum(sizes) != len(data):
        raise ValueError(f"{len(data)} bytes do not hold pictures of the shapes {stored}")
    record, offset = {}, _HEADER.size
    for name, shape, size, kept in zip(PARTS, shapes, sizes, stored, strict=False):
        part = np.frombuffer(data, np.uint8, size, offset).reshape(kept)
        record[name] = np.broadcast_to(part, (*kept[:2], 3)) if shape[2] == _GREY else part
        offset += size
    return record
