"""Things of the demo set: suns, houses, trees, fish and others, drawn on a canvas.

Colours follow from what a thing is, with slight variation only, so that the colours of a drawing
never seen are determined.
"""

import numpy as np

from jaxcolor.data.demo_canvas import box, ellipse, star

SKY, SUN, CLOUD, BIRD = (112, 186, 238), (255, 208, 46), (232, 240, 250), (66, 74, 104)
ROCK, SNOW, GRASS, FAR_GRASS = (134, 126, 162), (240, 244, 252), (112, 184, 76), (154, 204, 112)
WALL, ROOF, DOOR, WINDOW = (246, 220, 168), (206, 66, 54), (130, 82, 48), (150, 212, 236)
BRICK, TRUNK, LEAVES, FIR = (168, 84, 66), (126, 84, 52), (66, 148, 62), (34, 112, 84)
APPLE, PETAL, PISTIL, STEM = (220, 52, 48), (236, 100, 164), (252, 206, 60), (58, 142, 60)
CAP, SPOT, STALK, ROAD = (214, 48, 44), (252, 244, 236), (244, 226, 196), (122, 124, 134)
BODY, TYRE, HUB, LAMP = (64, 96, 196), (52, 52, 60), (196, 200, 208), (252, 226, 120)
SEA, HULL, SAIL, FISH = (36, 118, 184), (150, 88, 50), (250, 236, 208), (250, 142, 40)
FIN, SAND, STARFISH, TOWER = (228, 96, 36), (240, 212, 146), (240, 120, 84), (250, 244, 238)
BAND, PALM, ENVELOPE, STRIPE = (212, 62, 60), (64, 156, 72), (150, 84, 190), (250, 190, 60)
BASKET, WING, EYE, FENCE = (164, 112, 62), (246, 168, 54), (40, 40, 48), (222, 196, 156)


# Things in the sky: (x, y) is the centre, s the radius or half the width.


def draw_sun(canvas, x, y, s):
    """A disc with a ring of rays."""
    canvas.shape(SUN, star(x, y, s * 1.65, s * 1.15, 11, turn=canvas.rng.uniform(0, 30)))
    canvas.shape(SUN, ellipse(x, y, s))


def draw_cloud(canvas, x, y, s):
    """Three or four puffs on a flat base."""
    puffs = [ellipse(x + dx * s, y - dy * s, r * s) for dx, dy, r in _puffs(canvas.rng)]
    canvas.shape(CLOUD, *puffs, box(x - 0.72 * s, y, x + 0.72 * s, y + 0.22 * s), shade=0.06)


def _puffs(rng):
    sway = rng.uniform(-0.08, 0.08, 4)
    return [
        (-0.62 + sway[0], -0.0, 0.30),
        (-0.20 + sway[1], 0.20, 0.40),
        (0.28 + sway[2], 0.12, 0.36),
        (0.66 + sway[3], -0.0, 0.27),
    ]


def draw_bird(canvas, x, y, s):
    """Two arcs."""
    canvas.stroke(BIRD, ellipse(x - s, y, s, 0.6 * s, start=200, stop=350))
    canvas.stroke(BIRD, ellipse(x + s, y, s, 0.6 * s, start=190, stop=340))


def draw_balloon(canvas, x, y, s):
    """A hot-air balloon with one bright stripe."""
    for side in (-1, 1):
        canvas.stroke(
            BASKET, [(x + side * 0.55 * s, y + 0.7 * s), (x + side * 0.2 * s, y + 1.6 * s)]
        )
    canvas.shape(BASKET, box(x - 0.24 * s, y + 1.5 * s, x + 0.24 * s, y + 1.9 * s))
    skirt = [(x - 0.85 * s, y + 0.5 * s), (x + 0.85 * s, y + 0.5 * s), (x, y + 1.5 * s)]
    canvas.shape(ENVELOPE, ellipse(x, y, s), skirt)
    canvas.shape(STRIPE, ellipse(x, y + 0.08 * s, 0.36 * s, 0.98 * s))


def draw_butterfly(canvas, x, y, s):
    """Four wings and a body."""
    for side in (-1, 1):
        canvas.shape(WING, ellipse(x + side * 0.5 * s, y + 0.35 * s, 0.42 * s, 0.36 * s))
        canvas.shape(WING, ellipse(x + side * 0.6 * s, y - 0.3 * s, 0.58 * s, 0.46 * s))
    canvas.shape(TRUNK, ellipse(x, y, 0.13 * s, 0.75 * s))


# Things that stand: (x, y) is the middle of the foot, s the height.


def draw_mountain(canvas, x, y, s):
    """A peak with a cap of snow."""
    half = 0.75 * s
    canvas.shape(ROCK, [(x - half, y), (x, y - s), (x + half, y)])
    edge = [(-0.24, 0.34), (-0.11, 0.24), (0.0, 0.36), (0.12, 0.25), (0.255, 0.34)]
    canvas.shape(SNOW, [(x, y - s), *[(x - dx * s, y - s + dy * s) for dx, dy in edge]], shade=0.05)


def draw_house(canvas, x, y, s):
    """Walls, gable roof, chimney, door and two windows."""
    half, eaves = 0.5 * s, y - 0.55 * s
    canvas.shape(BRICK, box(x + 0.22 * s, y - 0.98 * s, x + 0.36 * s, y - 0.6 * s))
    canvas.shape(WALL, box(x - half, eaves, x + half, y))
    canvas.shape(ROOF, [(x - 0.64 * s, eaves), (x, y - s), (x + 0.64 * s, eaves)])
    canvas.shape(WINDOW, ellipse(x, y - 0.71 * s, 0.085 * s))
    canvas.shape(DOOR, box(x - 0.11 * s, y - 0.36 * s, x + 0.11 * s, y))
    canvas.shape(SUN, ellipse(x + 0.06 * s, y - 0.17 * s, 0.02 * s))
    for side in (-1, 1):
        middle, top, bottom = x + side * 0.31 * s, y - 0.42 * s, y - 0.2 * s
        canvas.shape(WINDOW, box(middle - 0.1 * s, top, middle + 0.1 * s, bottom))
        canvas.stroke(DOOR, [(middle, top), (middle, bottom)])
        canvas.stroke(DOOR, [(middle - 0.1 * s, y - 0.31 * s), (middle + 0.1 * s, y - 0.31 * s)])


def draw_tree(canvas, x, y, s):
    """A round crown on a trunk, sometimes with apples."""
    trunk = [(x - 0.09 * s, y), (x - 0.05 * s, y - 0.5 * s)]
    trunk += [(x + 0.05 * s, y - 0.5 * s), (x + 0.09 * s, y)]
    canvas.shape(TRUNK, trunk)
    crown = [(-0.2, 0.52, 0.2), (0.2, 0.52, 0.2), (-0.12, 0.74, 0.22), (0.13, 0.76, 0.2)]
    canvas.shape(LEAVES, *[ellipse(x + dx * s, y - dy * s, r * s) for dx, dy, r in crown])
    if canvas.rng.random() < 0.5:
        for dx, dy in [(-0.2, 0.5), (0.05, 0.56), (0.22, 0.6), (-0.1, 0.76), (0.12, 0.82)]:
            canvas.shape(APPLE, ellipse(x + dx * s, y - dy * s, 0.05 * s))


def draw_fir(canvas, x, y, s):
    """Three tiers on a short trunk."""
    canvas.shape(TRUNK, box(x - 0.06 * s, y - 0.2 * s, x + 0.06 * s, y))
    for foot, half, tip in [(0.14, 0.3, 0.56), (0.36, 0.245, 0.78), (0.58, 0.19, 1.0)]:
        tier = [(x - half * s, y - foot * s), (x, y - tip * s), (x + half * s, y - foot * s)]
        canvas.shape(FIR, tier)


def draw_flower(canvas, x, y, s):
    """Six petals, two leaves."""
    canvas.stroke(STEM, [(x, y), (x, y - 0.6 * s)])
    for side in (-1, 1):
        canvas.shape(
            STEM, ellipse(x + side * 0.16 * s, y - 0.2 * s, 0.17 * s, 0.07 * s, tilt=-side * 32)
        )
    turn, head = canvas.rng.uniform(0, 60), y - 0.7 * s
    for angle in np.radians(turn + np.arange(6) * 60):
        petal = (x + 0.2 * s * np.cos(angle), head + 0.2 * s * np.sin(angle))
        canvas.shape(PETAL, ellipse(*petal, 0.125 * s))
    canvas.shape(PISTIL, ellipse(x, head, 0.125 * s))


def draw_mushroom(canvas, x, y, s):
    """A red cap with white spots."""
    stalk = [(-0.16, 0.0), (-0.11, 0.55), (0.11, 0.55), (0.16, 0.0)]
    canvas.shape(STALK, [(x + dx * s, y - dy * s) for dx, dy in stalk])
    canvas.shape(CAP, ellipse(x, y - 0.45 * s, 0.46 * s, 0.52 * s, start=180, stop=360))
    for dx, dy, r in [
        (-0.26, 0.58, 0.07),
        (0.0, 0.76, 0.09),
        (0.25, 0.6, 0.075),
        (0.02, 0.55, 0.05),
    ]:
        canvas.shape(SPOT, ellipse(x + dx * s, y - dy * s, r * s), shade=0.05)


def draw_tuft(canvas, x, y, s):
    """Three blades of grass."""
    for lean in (-0.6, 0.0, 0.6):
        canvas.stroke(LEAVES, [(x + 0.3 * lean * s, y), (x + lean * s, y - s)])


def draw_fence(canvas, x, y, s):
    """Five pointed boards on a rail."""
    canvas.shape(FENCE, box(x - 1.3 * s, y - 0.6 * s, x + 1.3 * s, y - 0.4 * s), shade=0.05)
    for step in range(-2, 3):
        left, right = x + (step * 0.5 - 0.15) * s, x + (step * 0.5 + 0.15) * s
        board = [
            (left, y),
            (left, y - 0.75 * s),
            ((left + right) / 2, y - s),
            (right, y - 0.75 * s),
        ]
        canvas.shape(FENCE, [*board, (right, y)])


def draw_car(canvas, x, y, s):
    """A small car seen from the side."""
    cabin = [(-0.62, 0.42), (-0.4, 0.98), (0.34, 0.98), (0.66, 0.42)]
    body = box(x - 1.05 * s, y - 0.58 * s, x + 1.05 * s, y - 0.16 * s)
    canvas.shape(BODY, body, [(x + dx * s, y - dy * s) for dx, dy in cabin])
    rear = [(-0.46, 0.56), (-0.31, 0.87), (-0.05, 0.87), (-0.05, 0.56)]
    front = [(0.05, 0.56), (0.05, 0.87), (0.27, 0.87), (0.45, 0.56)]
    for pane in (rear, front):
        canvas.shape(WINDOW, [(x + dx * s, y - dy * s) for dx, dy in pane])
    canvas.shape(LAMP, ellipse(x + 0.96 * s, y - 0.42 * s, 0.09 * s))
    for side in (-1, 1):
        canvas.shape(TYRE, ellipse(x + side * 0.58 * s, y - 0.2 * s, 0.24 * s))
        canvas.shape(HUB, ellipse(x + side * 0.58 * s, y - 0.2 * s, 0.11 * s))


def draw_lighthouse(canvas, x, y, s):
    """A banded tower with a lamp on a rock."""
    canvas.shape(ROCK, ellipse(x, y, 0.4 * s, 0.16 * s, start=180, stop=360))

    def half(height):
        return (0.16 - 0.07 * height) * s

    for index in range(4):
        low, high = 0.1 + 0.16 * index, 0.26 + 0.16 * index
        band = [(x - half(low), y - low * s), (x - half(high), y - high * s)]
        band += [(x + half(high), y - high * s), (x + half(low), y - low * s)]
        canvas.shape(BAND if index % 2 else TOWER, band, shade=0.05)
    canvas.shape(LAMP, box(x - 0.08 * s, y - 0.86 * s, x + 0.08 * s, y - 0.74 * s))
    canvas.shape(ROOF, [(x - 0.12 * s, y - 0.86 * s), (x, y - s), (x + 0.12 * s, y - 0.86 * s)])


def draw_boat(canvas, x, y, s):
    """A hull with two sails."""
    canvas.stroke(TRUNK, [(x, y - 0.2 * s), (x, y - 1.02 * s)])
    canvas.shape(
        SAIL, [(x + 0.04 * s, y - s), (x + 0.46 * s, y - 0.34 * s), (x + 0.04 * s, y - 0.34 * s)]
    )
    canvas.shape(
        BAND,
        [(x - 0.04 * s, y - 0.88 * s), (x - 0.36 * s, y - 0.34 * s), (x - 0.04 * s, y - 0.34 * s)],
    )
    hull = [(-0.56, 0.26), (0.56, 0.26), (0.36, 0.0), (-0.36, 0.0)]
    canvas.shape(HULL, [(x + dx * s, y - dy * s) for dx, dy in hull])


def draw_palm(canvas, x, y, s):
    """A leaning trunk under a fan of leaves."""
    lean = canvas.rng.uniform(-0.15, 0.15) * s
    top = (x + lean, y - 0.75 * s)
    foot, tip = 0.08 * s, 0.045 * s
    trunk = [(x - foot, y), (top[0] - tip, top[1]), (top[0] + tip, top[1]), (x + foot, y)]
    canvas.shape(TRUNK, trunk)
    for angle in (-160, -20, -125, -55, 170, 10):
        turn = np.radians(angle)
        middle = (top[0] + 0.24 * s * np.cos(turn), top[1] + 0.24 * s * np.sin(turn))
        canvas.shape(PALM, ellipse(*middle, 0.26 * s, 0.075 * s, tilt=angle))


def draw_fish(canvas, x, y, s):
    """A fish; (x, y) is its centre."""
    way = 1 if canvas.rng.random() < 0.5 else -1

    def place(points):
        return [(x + way * dx * s, y + dy * s) for dx, dy in points]

    canvas.shape(FIN, place([(-0.62, 0.0), (-1.1, -0.42), (-0.96, 0.0), (-1.1, 0.42)]))
    canvas.shape(FIN, place([(-0.3, -0.3), (0.0, -0.66), (0.3, -0.3)]))
    canvas.shape(FISH, ellipse(x, y, 0.78 * s, 0.44 * s))
    canvas.shape(SPOT, ellipse(x + way * 0.42 * s, y - 0.1 * s, 0.13 * s), shade=0.0)
    canvas.shape(EYE, ellipse(x + way * 0.45 * s, y - 0.1 * s, 0.05 * s), shade=0.0)


def draw_starfish(canvas, x, y, s):
    """A five-armed star; (x, y) is its centre."""
    canvas.shape(STARFISH, star(x, y, s, 0.45 * s, 5, turn=canvas.rng.uniform(0, 72)))
