"""Ways to damage a file, for hypothesis: bytes, lengths, and the values of JSON."""

import json
import re
import struct

from hypothesis import strategies as st

HUGE = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
DEEP = "[" * 3000 + "]" * 3000
# What may stand in the place of any value of JSON, as JSON; the last three are more than plain.
ODD = ("null", "true", '""', '"x"', "-1", "0", "3", "1e308", "-0.5", "[]", "[1]", "{}", '{"a": 1}')
ODD += (str(2**62), str(10**40), str(10**400), "1e999", DEEP)


@st.composite
def damaged(draw, data):
    """`data` with one to three faults; it may come out as it was."""
    for fault in draw(st.lists(st.sampled_from(FAULTS), min_size=1, max_size=3)):
        data = fault(draw, data) if data else data
    return data


def _place(draw, data):
    """Half of them near an end, where the headers and directories are."""
    last = len(data) - 1
    near = st.integers(0, min(63, last))
    return draw(st.one_of(near, near.map(lambda x: last - x), st.integers(0, last)))


def _flip(draw, data):
    place = _place(draw, data)
    return data[:place] + bytes([data[place] ^ draw(st.integers(1, 255))]) + data[place + 1 :]


def _truncate(draw, data):
    return data[: _place(draw, data)]


def _leave_out(draw, data):
    place = _place(draw, data)
    return data[:place] + data[place + draw(st.integers(1, 40)) :]


def _repeat(draw, data):
    place = _place(draw, data)
    return data[:place] + data[place : place + draw(st.integers(1, 40))] + data[place:]


def _state_another_length(draw, data):
    """A number of 2, 4 or 8 bytes, mostly a huge one, in the place of what was there."""
    size = draw(st.sampled_from((2, 4, 8)))
    number = draw(st.sampled_from(HUGE)) % 2 ** (8 * size)
    order = draw(st.sampled_from(("little", "big")))
    place = _place(draw, data)
    return data[:place] + number.to_bytes(size, order) + data[place + size :]


def _swap_lengths(draw, data):
    size = draw(st.sampled_from((2, 4, 8)))
    one, other = sorted((_place(draw, data), _place(draw, data)))
    if other - one < size:
        return data
    first, second = data[one : one + size], data[other : other + size]
    return data[:one] + second + data[one + size : other] + first + data[other + size :]


def _write_another_number(draw, data):
    """Digits of a header that is text: of safetensors, npy or JSON."""
    found = list(re.finditer(rb"\d+", data[:4096]))
    if not found:
        return data
    start, end = draw(st.sampled_from(found)).span()
    return data[:start] + str(draw(st.sampled_from((*HUGE, 10**400)))).encode() + data[end:]


FAULTS = (
    _flip,
    _truncate,
    _leave_out,
    _repeat,
    _state_another_length,
    _swap_lengths,
    _write_another_number,
)


@st.composite
def damaged_json(draw, data):
    """JSON that is whole but not what it was: a value replaced, or a key left out."""
    value = json.loads(data)
    path, container = [], value
    while isinstance(container, (dict, list)) and container:
        keys = list(container) if isinstance(container, dict) else range(len(container))
        path.append((container, draw(st.sampled_from(list(keys)))))
        container = container[path[-1][1]]
        if draw(st.integers(0, 4)) == 0:
            break
    if not path:
        return data
    container, key = path[-1]
    mark, odd = '"\\u0007"', draw(st.sampled_from((*ODD, None)))
    if odd is None:
        del container[key]
        return json.dumps(value).encode()
    container[key] = "\x07"
    return json.dumps(value).replace(mark, odd).encode()


def png_of(width, height):
    """A PNG of a few bytes whose header, with its checksum, states this size."""
    import zlib

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")
