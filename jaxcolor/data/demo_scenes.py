"""Scenes of the demo set: fields, streets, seas, beaches and forests, drawn from far to near.

Sky is above and ground below, so that where nothing is drawn the place tells the colour.
"""

import numpy as np

from jaxcolor.data import demo_things as things
from jaxcolor.data.demo_canvas import Canvas, box, ellipse, ground


def draw_sky(canvas):
    """Sky with a sun, clouds and, sometimes, birds or a balloon."""
    rng = canvas.rng
    canvas.shape(things.SKY, box(-0.1, -0.1, 1.1, 1.1), shade=0.1)
    sun_side = rng.integers(2)
    things.draw_sun(
        canvas, *_between(rng, (0.12, 0.3), (0.1, 0.2), side=sun_side), rng.uniform(0.06, 0.085)
    )
    for _ in range(rng.integers(1, 4)):
        things.draw_cloud(
            canvas, rng.uniform(0.05, 0.95), rng.uniform(0.09, 0.3), rng.uniform(0.1, 0.17)
        )
    if rng.random() < 0.35:
        place = _between(rng, (0.15, 0.4), (0.14, 0.22), side=1 - sun_side)
        things.draw_balloon(canvas, *place, rng.uniform(0.07, 0.1))
    if rng.random() < 0.5:
        for _ in range(rng.integers(1, 4)):
            things.draw_bird(canvas, rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.35), 0.025)


def _between(rng, across, down, *, side):
    x = rng.uniform(*across)
    return (1 - x if side else x), rng.uniform(*down)


def _stand(canvas, choices, nearest, farthest, *, count):
    """Draws `count` things between two heights, the farther ones first and smaller.

    `choices`: pairs of a drawing function and a size, each taken as often as any other.
    """
    rng = canvas.rng
    columns = rng.permutation(count) + rng.uniform(0.2, 0.8, count)
    feet = np.sort(rng.uniform(farthest, nearest, count))
    for column, foot in zip(columns / count, feet, strict=True):
        draw, size = choices[rng.integers(len(choices))]
        near = (foot - farthest) / max(nearest - farthest, 1e-6)
        draw(canvas, column, foot, size * (0.72 + 0.4 * near) * rng.uniform(0.88, 1.12))


def draw_field(canvas):
    """Hills with a house, trees and flowers."""
    rng = canvas.rng
    draw_sky(canvas)
    if rng.random() < 0.5:
        for x in rng.uniform(0.1, 0.9, rng.integers(1, 4)):
            things.draw_mountain(canvas, x, 0.66, rng.uniform(0.22, 0.36))
    canvas.shape(things.FAR_GRASS, ground(rng, rng.uniform(0.52, 0.58), 0.03))
    _stand(
        canvas,
        [(things.draw_fir, 0.2), (things.draw_tree, 0.2)],
        0.68,
        0.62,
        count=rng.integers(1, 4),
    )
    canvas.shape(things.GRASS, ground(rng, rng.uniform(0.66, 0.71), 0.025))
    middle = [
        (things.draw_house, 0.36),
        (things.draw_tree, 0.42),
        (things.draw_house, 0.36),
        (things.draw_fir, 0.4),
    ]
    _stand(canvas, middle, 0.86, 0.76, count=rng.integers(1, 4))
    near = [
        (things.draw_flower, 0.15),
        (things.draw_tuft, 0.04),
        (things.draw_fence, 0.1),
        (things.draw_flower, 0.15),
    ]
    _stand(canvas, near, 0.98, 0.88, count=rng.integers(3, 7))
    if rng.random() < 0.4:
        things.draw_butterfly(canvas, rng.uniform(0.15, 0.85), rng.uniform(0.5, 0.7), 0.05)


def draw_street(canvas):
    """Houses along a road with cars."""
    rng = canvas.rng
    draw_sky(canvas)
    canvas.shape(things.GRASS, ground(rng, rng.uniform(0.5, 0.56), 0.015))
    back = [(things.draw_house, 0.36), (things.draw_tree, 0.36), (things.draw_house, 0.36)]
    _stand(canvas, back, 0.7, 0.64, count=rng.integers(2, 5))
    top = rng.uniform(0.73, 0.76)
    canvas.shape(things.ROAD, box(-0.1, top, 1.1, top + 0.17), shade=0.06)
    for x in np.arange(-0.05, 1.1, 0.16) + rng.uniform(0, 0.1):
        canvas.shape(things.SPOT, box(x, top + 0.075, x + 0.08, top + 0.092), shade=0.0)
    _stand(canvas, [(things.draw_car, 0.13)], top + 0.14, top + 0.1, count=rng.integers(1, 3))
    near = [(things.draw_flower, 0.13), (things.draw_tuft, 0.04), (things.draw_fence, 0.09)]
    _stand(canvas, near, 1.0, 0.96, count=rng.integers(2, 5))


def draw_sea(canvas):
    """Boats and a lighthouse on a sea full of fish, with sand at its bottom."""
    rng = canvas.rng
    draw_sky(canvas)
    level = rng.uniform(0.5, 0.58)
    if rng.random() < 0.6:
        things.draw_lighthouse(
            canvas, rng.choice([0.15, 0.85]), level + 0.04, rng.uniform(0.34, 0.42)
        )
    _stand(canvas, [(things.draw_boat, 0.32)], level + 0.05, level + 0.02, count=rng.integers(1, 3))
    canvas.shape(things.SEA, _waves(rng, level), shade=0.22)
    for _ in range(rng.integers(2, 5)):
        x, y = rng.uniform(0.1, 0.9), rng.uniform(level + 0.07, 0.84)
        canvas.stroke(things.SKY, ellipse(x, y, 0.035, 0.02, start=200, stop=340))
    _stand(canvas, [(things.draw_fish, 0.085)], 0.8, level + 0.14, count=rng.integers(1, 5))
    canvas.shape(things.SAND, ground(rng, rng.uniform(0.87, 0.91), 0.015))
    _stand(canvas, [(things.draw_starfish, 0.045)], 0.96, 0.93, count=rng.integers(1, 4))


def _waves(rng, level):
    x = np.linspace(-0.05, 1.05, 240)
    y = level - 0.022 * np.abs(np.sin(x * 8 * np.pi + rng.uniform(0, np.pi)))
    return [*zip(x, y, strict=True), (1.05, 1.1), (-0.05, 1.1)]


def draw_beach(canvas):
    """Palms on the sand before the sea."""
    rng = canvas.rng
    draw_sky(canvas)
    level = rng.uniform(0.5, 0.54)
    _stand(canvas, [(things.draw_boat, 0.2)], level + 0.04, level + 0.02, count=rng.integers(1, 3))
    canvas.shape(things.SEA, _waves(rng, level), shade=0.18)
    canvas.shape(things.SAND, ground(rng, rng.uniform(0.66, 0.72), 0.025))
    _stand(canvas, [(things.draw_palm, 0.5)], 0.88, 0.76, count=rng.integers(1, 4))
    _stand(
        canvas,
        [(things.draw_starfish, 0.05), (things.draw_tuft, 0.04)],
        0.96,
        0.9,
        count=rng.integers(2, 5),
    )


def draw_forest(canvas):
    """Firs and mushrooms."""
    rng = canvas.rng
    draw_sky(canvas)
    canvas.shape(things.FAR_GRASS, ground(rng, rng.uniform(0.54, 0.6), 0.02))
    _stand(canvas, [(things.draw_fir, 0.36)], 0.7, 0.62, count=rng.integers(3, 6))
    canvas.shape(things.GRASS, ground(rng, rng.uniform(0.7, 0.75), 0.02))
    _stand(
        canvas,
        [(things.draw_fir, 0.45), (things.draw_tree, 0.42)],
        0.84,
        0.78,
        count=rng.integers(1, 4),
    )
    near = [
        (things.draw_mushroom, 0.16),
        (things.draw_mushroom, 0.2),
        (things.draw_tuft, 0.045),
        (things.draw_flower, 0.14),
    ]
    _stand(canvas, near, 0.98, 0.87, count=rng.integers(3, 6))


SCENES = (draw_field, draw_street, draw_sea, draw_beach, draw_forest)


def draw_pair(seed, size):
    """(colour, sketch): RGB images, `size` by `size`, a function of `seed` (integers) alone."""
    rng = np.random.default_rng(seed)
    canvas = Canvas(size, rng)
    SCENES[rng.integers(len(SCENES))](canvas)
    return canvas.pictures()
