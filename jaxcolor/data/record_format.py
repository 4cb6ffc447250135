"""The bytes of a record in a prepared cache: a small header, then the pixels as they are.

Pixels are stored raw, uint8, in ArrayRecord; zstd is used where it at least halves a sample of the
pictures. Measured on 2 cores (AMD EPYC Zen 3) at 286 pixels, reading at random, one thread:
drawings with their colours take 492 kB a pair and are read at 5,900/s raw, 25 kB and 5,300/s with
zstd, 29 kB and 540/s as PNG, 16 kB and 1,000/s as lossless WebP; photographs 246 kB and 12,900/s
raw, 212 kB and 3,100/s with zstd, 151 kB and 370/s as PNG, 115 kB and 510/s as WebP. So raw costs
the least time, zstd makes drawings 20 times smaller for a tenth of it, and what photographs would
gain is not worth four times of it; PNG and WebP would need more time than all of the augmentation.
"""

import math
import struct

import numpy as np

PARTS = ("target", "condition")
RAW, ZSTD = "uncompressed", "zstd:3"  # as ArrayRecord writes its options
_VERSION = 1
# Version, number of parts, then height, width and channels of each; zeros for one that is missing.
_HEADER = struct.Struct("<BB" + 2 * "IIH")


def encode_record(record: dict[str, np.ndarray]) -> bytes:
    """The bytes of {"target", and maybe "condition"}: uint8 arrays [height, width, channels]."""
    parts = [record[name] for name in PARTS if name in record]
    shapes = [0] * 6
    for place, part in enumerate(parts):
        if part.dtype != np.uint8 or part.ndim != 3 or not part.size:
            raise TypeError(f"a picture is {part.dtype} {part.shape}, not uint8 [height, width, c]")
        shapes[3 * place : 3 * place + 3] = part.shape
    header = _HEADER.pack(_VERSION, len(parts), *shapes)
    return b"".join([header, *(part.tobytes() for part in parts)])


def decode_record(data: bytes) -> dict[str, np.ndarray]:
    """What `encode_record` was given; the arrays are read-only views of `data`.

    Raises:
      ValueError: these are not the bytes of a record.
    """
    if len(data) < _HEADER.size:
        raise ValueError(f"{len(data)} bytes are less than its header")
    version, count, *numbers = _HEADER.unpack_from(data)
    if version != _VERSION or count not in (1, 2):
        raise ValueError(f"its header has version {version} and {count} pictures")
    shapes = [numbers[:3], numbers[3:]][:count]
    sizes = [math.prod(shape) for shape in shapes]
    if 0 in sizes or _HEADER.size + sum(sizes) != len(data):
        raise ValueError(f"{len(data)} bytes do not hold pictures of the shapes {shapes}")
    record, offset = {}, _HEADER.size
    for name, shape, size in zip(PARTS, shapes, sizes, strict=False):
        record[name] = np.frombuffer(data, np.uint8, size, offset).reshape(shape)
        offset += size
    return record
