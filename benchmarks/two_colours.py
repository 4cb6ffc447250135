"""python -m benchmarks.two_colours FOLDER: grey discs whose colour cannot be known.

Every picture is a disc on white, of one of two opposite colours, each with probability 1/2. In L*
of 8 bits they are equal (not so in luma), so that a network can learn where the disc is and nothing
of its colour: train with data.condition=lab_l and without warps. The best answer in the sense of L2
is the mean of both colours, which has no chroma to speak of; for L1 anything between them is as
good; a discriminator tells both from grey.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from jaxcolor import colorspace

LIGHTNESS, HALF_DIFFERENCE = 65.0, (30.0, -40.0)
WHITE = 255


def two_colours() -> np.ndarray:
    """The colours, uint8 [2, 3]: opposite in a* and b*, the same in L*."""
    lab = [[LIGHTNESS, *(sign * x for x in HALF_DIFFERENCE)] for sign in (1, -1)]
    return colorspace.to_uint8(np.asarray(colorspace.lab_to_rgb(np.array(lab, np.float32))))


def best_answers() -> dict[str, float]:
    """Mean chroma over the disc of the truth, and of the answer that minimises L2."""
    colours = two_colours()
    signed = colours.astype(np.float32) / 127.5 - 1
    chroma = [
        np.hypot(*np.asarray(colorspace.rgb_to_lab(colour))[1:])
        for colour in (*signed, signed.mean(0))
    ]
    return {"truth": float(np.mean(chroma[:2])), "L2 optimum": float(chroma[2])}


def draw(size: int, colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A disc somewhere, of some radius, uint8 [size, size, 3].

    Its edge is hard: half-covered pixels would tell the colours apart, since they are blended in
    sRGB and not in L*.
    """
    radius = size * rng.uniform(0.2, 0.35)
    x, y = rng.uniform(radius, size - radius, 2)
    places = np.arange(size) + 0.5
    inside = np.hypot(places - x, places[:, None] - y) < radius
    return np.where(inside[..., None], colour, WHITE).astype(np.uint8)


def write(folder: Path, *, train: int, validation: int, size: int, seed: int = 0) -> None:
    """Draws FOLDER/train and FOLDER/val, with as many pictures of one colour as of the other."""
    rng, colours = np.random.default_rng(seed), two_colours()
    for split, count in (("train", train), ("val", validation)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture = draw(size, colours[number % 2], rng)
            Image.fromarray(picture).save(folder / split / f"{number:04d}.png")


def main() -> None:
    """Draws the pictures that the command line asks for, and prints the answer that is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--validation", type=int, default=100)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    write(options.folder, train=options.train, validation=options.validation, size=options.size)
    answers = best_answers()
    print(
        f"colours {two_colours().tolist()}; chroma of the disc: truth {answers['truth']:.1f}, "
        f"L2 optimum {answers['L2 optimum']:.1f}"
    )


if __name__ == "__main__":
    main()
