"""ICC profiles made here, of kinds that Pillow does not make."""

import itertools
import struct

ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
_D50 = (0.9642, 1.0, 0.8249)


def gamma(power):
    """A curve that is a power."""
    return b"curv" + bytes(4) + struct.pack(">LH", 1, round(power * 256))


def points(values):
    """A curve through these values in [0, 1]."""
    numbers = [round(value * 65535) for value in values]
    return b"curv" + bytes(4) + struct.pack(f">L{len(numbers)}H", len(numbers), *numbers)


def parametric(kind, *parameters):
    """A curve of a kind of ICC.1's."""
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + _fixed(*parameters)


def colours(curve, axes=ADOBE_RGB):
    """A profile of RGB: one curve and the XYZ of each colour."""
    tags = {
        name: b"XYZ " + bytes(4) + _fixed(*axis) for name, axis in zip(_AXES, axes, strict=True)
    }
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | dict.fromkeys(_CURVES, curve))


def grey(curve):
    """A profile of grey."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve})


def scanner():
    """A profile of RGB that says what a scanner saw, in a table that nobody can invert."""
    corners = b""
    for red, green, blue in itertools.product((0, 1), repeat=3):
        light = round((0.3 * red + 0.6 * green + 0.1 * blue) * 0xFF00)
        across = round(0x8000 + 0x3000 * (red - green))
        down = round(0x8000 + 0x3000 * ((red + green) / 2 - blue))
        corners += struct.pack(">3H", light, across, down)
    straight = struct.pack(">2H", 0, 65535) * 3
    table = b"mft2" + bytes(4) + bytes([3, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += struct.pack(">2H", 2, 2) + straight + corners + straight
    return _profile(b"scnr", b"RGB ", b"Lab ", {b"A2B0": table})


_AXES, _CURVES = (b"rXYZ", b"gXYZ", b"bXYZ"), (b"rTRC", b"gTRC", b"bTRC")


def _fixed(*numbers):
    return struct.pack(f">{len(numbers)}l", *(round(number * 65536) for number in numbers))


def _profile(kind, space, connection, tags):
    tags = tags | {b"wtpt": b"XYZ " + bytes(4) + _fixed(*_D50)}
    place = 128 + 4 + 12 * len(tags)
    entries, body = struct.pack(">L", len(tags)), b""
    for name, tag in tags.items():
        entries += struct.pack(">4sLL", name, place + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    head = struct.pack(">LLL4s4s4s", place + len(body), 0, 0x02400000, kind, space, connection)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(*_D50)
    return head.ljust(128, b"\0") + entries + body
