"""Facts about the pictures whose colour cannot be known."""

import numpy as np
from PIL import Image

from benchmarks import two_colours
from jaxcolor import colorspace
from jaxcolor.data.conditions import make_condition


def test_the_colours_look_alike_in_grey_and_their_mean_has_next_to_no_chroma():
    signed = two_colours.two_colours().astype(np.float32) / 127.5 - 1
    lightness = np.asarray(colorspace.rgb_to_lab(signed))[:, 0]
    assert abs(lightness[0] - lightness[1]) < 0.5
    condition = make_condition(two_colours.two_colours()[None], "lab_l")
    assert condition[0, 0] == condition[0, 1]
    answers = two_colours.best_answers()
    assert answers["truth"] > 40
    assert answers["L2 optimum"] < answers["truth"] / 8


def test_both_colours_are_as_frequent_and_every_split_is_written(tmp_path):
    two_colours.write(tmp_path, train=6, validation=4, size=16)
    for split, count in (("train", 6), ("val", 4)):
        files = sorted((tmp_path / split).iterdir())
        pictures = np.stack([np.asarray(Image.open(path)) for path in files])
        assert pictures.shape == (count, 16, 16, 3)
        assert (pictures[:, 0, 0] == 255).all(), "no disc reaches a corner"
        middle = pictures.reshape(count, -1, 3).astype(int).min(1)
        purple = (middle[:, 2] > middle[:, 1]).sum()
        assert purple == count // 2
