"""Arrays in colour: any size and depth, with the network's own numbers, one by one or together."""

import jax
import numpy as np
import pytest
from PIL import Image
from small_workdir import make_workdir

from jaxcolor import colorspace
from jaxcolor.colorize import Colorizer, joining
from jaxcolor.data.conditions import make_condition
from jaxcolor.errors import ConfigError, DataError, WorkdirError

SIZE = 16  # of the networks


@pytest.fixture(scope="module")
def sketches(tmp_path_factory, pictures):
    """Colorizer of drawings: a condition of three channels."""
    directory = tmp_path_factory.mktemp("sketches")
    make_workdir(directory, pictures, scores=((3, {"l1": 0.5}),))
    return Colorizer.load(directory)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory, pictures):
    """Colorizers of grey photographs, by (kind of condition, fit)."""
    found = {}
    for kind, fit in (("luma", "stretch"), ("lab_l", "crop")):
        directory = tmp_path_factory.mktemp(kind)
        options = {"data__condition": kind, "data__source": "pictures", "data__fit": fit}
        make_workdir(directory, pictures, scores=((3, {"l1": 0.5}),), **options)
        found[kind] = Colorizer.load(directory, batch_size=2)
    return found


def picture_of(shape, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def test_a_drawing_of_the_networks_size_is_what_it_predicts(sketches):
    drawing = picture_of((SIZE, SIZE, 3))
    predicted = np.asarray(sketches.trained.predict(drawing[None])[0])
    found = sketches.colorize(drawing)
    assert found.dtype == np.uint8
    assert np.abs(found - 127.5 * (predicted + 1)).max() < 0.51
    assert np.ptp(found) > 0


@pytest.mark.parametrize("kind", ["luma", "lab_l"])
def test_a_photograph_has_the_chroma_that_the_network_predicts(photographs, kind):
    colorizer = photographs[kind]
    grey = picture_of((SIZE, SIZE, 1))
    grey[:] = 120 + grey // 16  # of mid tones, in which all its chroma has room
    condition = make_condition(grey, kind)
    lab = colorspace.rgb_to_lab(colorizer.trained.predict(condition[None]))[0]
    expected = joining.join(grey[..., 0], np.asarray(lab[..., 1:]))
    found = colorizer.colorize(grey)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.ptp(found.astype(int), axis=2).max() > 2


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (50, 50)])
@pytest.mark.parametrize("kind", ["luma", "lab_l"])  # of the fits stretch and crop
def test_the_rim_of_a_canvas_does_not_tint_a_picture(photographs, monkeypatch, kind, size):
    def network(state, batch):
        """No chroma but in the two outermost pixels, where networks see what is outside."""
        chroma = np.full((*batch.shape[:3], 2), 40, np.float32)
        chroma[:, 2:-2, 2:-2] = 0
        return chroma

    monkeypatch.setattr(photographs[kind], "_compiled", network)
    grey = np.full(size, 128, np.uint8)
    found = photographs[kind].colorize(grey, render_size=64)
    np.testing.assert_array_equal(found, np.broadcast_to(grey[..., None], found.shape))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["luma", "lab_l"])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 23), (16, 16), (90, 61)])
def test_a_photograph_keeps_its_grey_at_any_size(photographs, kind, dtype, size):
    grey = picture_of(size, dtype)
    for render_size in (None, 24):
        found = photographs[kind].colorize(grey, render_size)
        assert (found.shape, found.dtype) == ((*size, 3), dtype)
        np.testing.assert_array_equal(joining.grey_levels(found), grey)


def test_a_colour_picture_keeps_its_lightness_and_the_caller_can_tell(photographs):
    colorizer, picture = photographs["luma"], picture_of((20, 30, 3))
    assert colorizer.has_colour_to_lose(picture)
    assert not colorizer.has_colour_to_lose(colorizer.before(picture))
    found = colorizer.colorize(picture)
    np.testing.assert_array_equal(joining.grey_levels(found), joining.grey_levels(picture))
    levels = joining.grey_levels(picture)[..., None]
    np.testing.assert_array_equal(colorizer.before(picture), levels.repeat(3, axis=2))


@pytest.mark.parametrize("size", [(1, 1), (5, 17), (33, 16), (70, 45)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_network_that_copies_gives_a_drawing_back(sketches, monkeypatch, dtype, size):
    monkeypatch.setattr(sketches, "_compiled", lambda state, batch: batch)
    for channels in (1, 3, 4):
        drawing = picture_of((*size, channels), dtype)
        if channels == 4:
            drawing[..., 3] = np.iinfo(dtype).max
        found = sketches.colorize(drawing)
        expected = drawing.repeat(3, axis=2) if channels == 1 else drawing
        np.testing.assert_array_equal(found, expected)
        if channels == 1:
            np.testing.assert_array_equal(sketches.colorize(drawing[..., 0]), expected)


def test_a_drawing_keeps_its_proportions_at_another_render_size(sketches, monkeypatch):
    monkeypatch.setattr(sketches, "_compiled", lambda state, batch: batch)
    drawing = np.full((60, 90, 3), 255, np.uint8)
    drawing[20:40, 30:60] = [200, 30, 30]
    found = sketches.colorize(drawing, render_size=45)
    assert found.shape == drawing.shape
    assert np.abs(found[24:36, 34:56].astype(int) - [200, 30, 30]).max() <= 4
    assert np.abs(found[:12].astype(int) - 255).max() <= 4


def test_the_caller_can_tell_whether_a_drawing_is_seen_in_parts(sketches, photographs):
    size = sketches.trained.image_size
    large = picture_of((3, 2 * size + 1, 3))
    assert sketches.sees_parts(large)
    assert not sketches.sees_parts(large, size)
    assert sketches.sees_parts(large[:, :size], 2 * size + 1)
    assert not sketches.sees_parts(large[:, :-1])
    assert not photographs["luma"].sees_parts(large)


def test_alpha_stays_and_the_background_shows_through_to_the_network(sketches, monkeypatch):
    seen = []

    def network(state, batch):
        seen.append(batch)
        return batch

    monkeypatch.setattr(sketches, "_compiled", network)
    drawing = np.zeros((SIZE, SIZE, 4), np.uint8)
    drawing[:8, :, 3] = 255
    found = sketches.colorize(drawing)
    np.testing.assert_array_equal(found[..., 3], drawing[..., 3])
    assert np.all(seen[0][0, :8] == -1)
    assert np.all(seen[0][0, 8:] == 1)
    grey_and_alpha = drawing[..., 2:]
    assert sketches.colorize(grey_and_alpha).shape == (SIZE, SIZE, 4)


def test_a_picture_is_not_changed_by_those_beside_it(photographs):
    colorizer = photographs["luma"]
    some = [picture_of((20 + 7 * n, 40 - 9 * n), seed=n) for n in range(3)]
    together = list(colorizer.colorize_many(some))
    for picture, result in zip(some, together, strict=True):
        alone = colorizer.colorize(picture)
        np.testing.assert_array_equal(colorizer.colorize(picture), alone)
        assert np.abs(alone.astype(int) - result).max() <= 1  # rounding, of another batch place
    in_reverse = list(colorizer.colorize_many(some[::-1]))[::-1]
    for one, other in zip(together, in_reverse, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_many_sizes_compile_few_programs(photographs, sketches):
    for number in range(12):
        size = (3 + 11 * number, 60 - 5 * number)
        photographs["luma"].colorize(picture_of(size))
        sketches.colorize(picture_of(size))
    assert photographs["luma"]._compiled._cache_size() <= 2  # and one of render_size 24
    assert sketches._compiled._cache_size() <= 4


def test_dropout_is_off_whatever_the_config_says(tmp_path, pictures):
    make_workdir(tmp_path, pictures, scores=((3, {"l1": 0.5}),), evaluation__dropout=True)
    colorizer = Colorizer.load(tmp_path)
    assert not colorizer.trained.experiment.settings.evaluation.dropout
    assert colorizer.batch_size == (1 if jax.default_backend() == "cpu" else 8)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8 or uint16"),
        (np.zeros((4, 4, 5), np.uint8), "channels"),
        (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"),
        (np.zeros(4, np.uint8), r"\[4\]"),
    ],
)
def test_what_is_no_picture_is_refused(sketches, picture, said):
    with pytest.raises(DataError, match=said):
        sketches.colorize(picture)


@pytest.mark.parametrize("render_size", [0, -3, 5000])
def test_a_render_size_out_of_range_is_refused(sketches, render_size):
    with pytest.raises(ConfigError, match="render_size"):
        sketches.colorize(np.zeros((4, 4), np.uint8), render_size)


def test_there_must_be_a_network(tmp_path):
    with pytest.raises(WorkdirError, match="no directory"):
        Colorizer.load(tmp_path / "nothing")


def test_the_demo_pictures_are_coloured(sketches, pictures):
    drawing = np.asarray(Image.open(next((pictures / "val").iterdir())))[:, 32:]
    assert sketches.colorize(drawing).shape == drawing.shape
