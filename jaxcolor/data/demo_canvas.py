"""A canvas that paints a picture twice at once, in colour and in line, and its basic outlines.

All coordinates are fractions of the picture's side, x to the right and y downwards.
"""

import numpy as np
from PIL import Image, ImageDraw

INK = 28  # grey level of a line before antialiasing
LINE_WIDTH = 0.0085  # of the side; 2.2 pixels at 256


class Canvas:
    """A colour picture and its line drawing, painted together, later shapes over earlier ones."""

    def __init__(self, size, rng, *, supersampling=3):
        """Empty canvas for pictures of `size` pixels a side; `rng` varies the colours."""
        self.size, self.side, self.rng = size, size * supersampling, rng
        self.line = max(2, round(self.side * LINE_WIDTH))
        self.colour = Image.new("RGB", (self.side, self.side))
        self.sketch = Image.new("L", (self.side, self.side), 255)
        self._pens = ImageDraw.Draw(self.colour), ImageDraw.Draw(self.sketch)

    def shape(self, colour, *parts, shade=0.16):
        """Fill the union of the polygons `parts` and outline it, hiding whatever is under it.

        `shade`: how much lighter than `colour` its top is, and how much darker its bottom.
        """
        base = np.asarray(colour) + self.rng.uniform(-9, 9, 3)
        outline = tuple(int(channel) for channel in np.clip(base * 0.62, 0, 255))
        polygons = [self._pixels(part) for part in parts]
        # Grown parts first, then the insides: lines between the parts vanish.
        for polygon in polygons:
            grown = _grow(polygon, self.line)
            self._pens[0].polygon(grown, fill=outline)
            self._pens[1].polygon(grown, fill=INK)
        for polygon in polygons:
            self._pens[1].polygon(polygon, fill=255)
        self._fill(polygons, base, shade)

    def stroke(self, colour, points):
        """A single open line."""
        pixels = self._pixels(points)
        self._pens[0].line(pixels, fill=tuple(colour), width=self.line, joint="curve")
        self._pens[1].line(pixels, fill=INK, width=self.line, joint="curve")

    def pictures(self):
        """(colour, sketch): RGB images of `size` pixels a side."""
        small = (self.size, self.size)
        sketch = self.sketch.resize(small, Image.Resampling.BOX).convert("RGB")
        return self.colour.resize(small, Image.Resampling.BOX), sketch

    def _fill(self, polygons, colour, shade):
        corners = np.concatenate(polygons)
        left, top = np.floor(np.maximum(corners.min(axis=0), 0)).astype(int)
        right, bottom = np.ceil(np.minimum(corners.max(axis=0) + 1, self.side)).astype(int)
        if left >= right or top >= bottom:
            return  # all of it lies outside of the picture
        # A mask no larger than the shape: a whole one for each shape takes half of all the time.
        mask = Image.new("L", (right - left, bottom - top))
        pen = ImageDraw.Draw(mask)
        for polygon in polygons:
            pen.polygon([(x - left, y - top) for x, y in polygon], fill=255)
        column = colour * np.linspace(1 + shade, 1 - shade, bottom - top)[:, None]
        column = Image.fromarray(np.clip(column, 0, 255).astype(np.uint8)[:, None])
        self.colour.paste(
            column.resize(mask.size, Image.Resampling.NEAREST), (int(left), int(top)), mask
        )

    def _pixels(self, points):
        return [(float(x) * self.side, float(y) * self.side) for x, y in points]


def _grow(polygon, width):
    """Corners of `polygon` moved outwards so that each edge moves by `width`."""
    corners = np.asarray(polygon)
    corners = corners[np.any(corners != np.roll(corners, 1, axis=0), axis=1)]
    edges = np.roll(corners, -1, axis=0) - corners
    normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / np.hypot(*edges.T)[:, None]
    x, y = corners.T
    if np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) < 0:
        normals = -normals
    before = np.roll(normals, 1, axis=0)
    # Two edges that nearly fold back on each other would send their corner far away.
    spread = np.maximum(1 + np.sum(before * normals, axis=1), 0.35)
    return [tuple(corner) for corner in corners + width * (before + normals) / spread[:, None]]


def ellipse(x, y, rx, ry=None, *, start=0.0, stop=360.0, tilt=0.0):
    """Points of an ellipse, or of its part from `start` to `stop` degrees (0 right, 90 down)."""
    angle = np.radians(np.linspace(start, stop, 48))
    across, down = rx * np.cos(angle), (rx if ry is None else ry) * np.sin(angle)
    cos, sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    return np.stack([x + across * cos - down * sin, y + across * sin + down * cos], axis=1)


def box(left, top, right, bottom):
    """Corners of an upright rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def star(x, y, outer, inner, points, *, turn=-90.0):
    """Corners of a star."""
    angle = np.radians(turn + np.arange(2 * points) * 180 / points)
    radius = np.where(np.arange(2 * points) % 2 == 0, outer, inner)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def ground(rng, height, amplitude):
    """The area below a wavy horizon around `height`."""
    x = np.linspace(-0.05, 1.05, 60)
    waves, phase = rng.uniform(2.5, 6.5), rng.uniform(0, 2 * np.pi)
    y = height + amplitude * np.sin(waves * x + phase)
    return [*zip(x, y, strict=True), (1.05, 1.1), (-0.05, 1.1)]
