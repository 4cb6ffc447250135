"""The page's parts without the page: users' pictures kept and deleted, coloured as elsewhere."""

import io
import os
import shutil
import socket
import sys
import tempfile

import numpy as np
import pytest
from PIL import Image
from small_workdir import make_workdir

from jaxcolor.__main__ import main
from jaxcolor.colorize import Colorizer, picture_files
from jaxcolor.errors import DataError, UserError, WorkdirError
from jaxcolor.gui.command import load_first
from jaxcolor.gui.desk import Desk
from jaxcolor.gui.folders import temporary_folder
from jaxcolor.gui.models import Models, find_models
from jaxcolor.gui.training_view import SHEETS, curves_html, sample_sheets
from jaxcolor.gui.vault import Vault, clean_name


@pytest.fixture(scope="module")
def models(photo_workdir):
    return Models({"luma": photo_workdir})


@pytest.fixture
def vault(tmp_path):
    return Vault(tmp_path)


def encoded(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def opened(shown):
    return [np.asarray(Image.open(path)) for path in shown.pair]


GREY = np.random.default_rng(0).integers(0, 256, (21, 17), np.uint8)


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\Möwe 1.tif", "Möwe 1.tif"),
        ("a\r\nSet-Cookie: x.png", "aSet-Cookie: x.png"),
        ("..", "picture"),
        ("", "picture"),
        ("x" * 500 + ".jpeg", "x" * 110 + ".jpeg"),
        ("x." + "y" * 500, "x." + "y" * 9),
    ],
)
def test_of_a_clients_name_only_a_name_is_left(given, cleaned):
    assert clean_name(given) == cleaned


def test_files_are_named_without_the_clients_help(vault, tmp_path):
    tokens = {vault.put(b"data", "../evil.png") for _ in range(3)}
    assert {path.name for path in tmp_path.iterdir()} == tokens
    assert len(tokens) == 3
    assert {len(token) for token in tokens} == {32}
    kept = vault.get(tokens.pop())
    assert (kept.path.read_bytes(), kept.name) == (b"data", "evil.png")
    for unknown in ("", "../x", "0" * 32):
        with pytest.raises(DataError, match="no longer here"):
            vault.get(unknown)


def test_a_picture_goes_when_another_comes_or_its_holder_leaves(vault, tmp_path):
    for holder in ("a", "b"):
        for data in (b"1", b"2"):
            vault.hold(holder, "source", vault.put(data, "x"))
        vault.hold(holder, "result", vault.put(b"3", "x"))
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"2", b"2", b"3", b"3"]
    vault.leave("a")
    assert {path.name for path in tmp_path.iterdir()} == {
        vault.held("b", "source"),
        vault.held("b", "result"),
    }
    assert vault.held("a", "source") is None
    vault.hold("c", "source", vault.held("b", "source"))  # one holder has it, and no other
    vault.leave("b")
    assert {path.name for path in tmp_path.iterdir()} == {vault.held("c", "source")}


def test_old_pictures_go_and_the_oldest_of_too_many(tmp_path):
    few = Vault(tmp_path, max_bytes=10)
    first, second, third = (few.put(b"1234", str(number)) for number in range(3))
    assert {path.name for path in tmp_path.iterdir()} == {second, third} != {first}
    brief = Vault(tmp_path, keep_seconds=0)
    gone = brief.put(b"1234", "x")
    assert not (tmp_path / gone).exists()


def test_models_are_found_below_a_directory(tmp_path):
    for name in ("b/checkpoints/12", "a/deep/checkpoints/3", ".hidden/checkpoints/3", "c/1/2/3/4"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "b" / "checkpoints" / "12" / "checkpoints" / "1").mkdir(parents=True)
    (tmp_path / "new" / "checkpoints").mkdir(parents=True)  # no epoch done yet
    (tmp_path / "c" / "1" / "2" / "3" / "4" / "checkpoints" / "1").mkdir(parents=True)  # too deep
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "model.safetensors").touch()
    assert list(find_models(None, tmp_path)) == ["a/deep", "b", "export"]
    (tmp_path / "new" / "link").symlink_to(tmp_path / "b")
    (tmp_path / "new" / "loop").symlink_to(tmp_path / "new")
    assert list(find_models(None, tmp_path / "new")) == ["link"]
    (tmp_path / "new" / "link").unlink()
    (tmp_path / "new" / "loop").unlink()
    assert list(find_models(tmp_path / "export", tmp_path)) == ["export", "a/deep", "b"]
    assert find_models(None, tmp_path / "b") == {"b": tmp_path / "b"}
    with pytest.raises(WorkdirError, match="no model in"):
        find_models(None, tmp_path / "new")


def test_a_model_is_loaded_once_and_again_when_its_training_went_on(photo_workdir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(photo_workdir, copy)
    models = Models({"x": copy})
    first = models.colorizer("x")
    assert models.colorizer("x") is first
    shutil.copytree(copy / "checkpoints" / "6", copy / "checkpoints" / "9")
    assert models.colorizer("x") is not first


def test_a_picture_is_coloured_as_the_colorizer_does_and_keeps_depth_and_format(models, vault):
    desk = Desk(models, vault, 10_000)
    colorizer = Colorizer(models.colorizer("luma").trained)
    deep = (np.arange(21 * 17).reshape(21, 17) * 180).astype(np.uint16)
    for name, pixels in (("old photo.png", GREY), ("deep.png", deep)):
        shown = desk.take("me", vault.put(encoded(pixels), name), "luma", 0)
        kept = vault.get(shown.result)
        found = picture_files.read(kept.path)
        assert (kept.name, found.format, found.pixels.dtype) == (name, "PNG", pixels.dtype)
        np.testing.assert_array_equal(found.pixels, colorizer.colorize(pixels))
        assert [part.shape for part in opened(shown)] == [(21, 17, 3)] * 2
        assert {path.parent for path in shown.pair} == {kept.path.parent}
        assert f"{name}</b> 17 x 21, {8 * pixels.itemsize} bits, PNG" in shown.status
    np.testing.assert_array_equal(opened(shown)[0][..., 0], np.rint(deep / 257))
    again = desk.again("me", "luma", 8)
    other = picture_files.read(vault.get(again.result).path).pixels
    np.testing.assert_array_equal(other, colorizer.colorize(deep, 8))
    assert (other != found.pixels).any()


def test_users_do_not_see_one_another(models, vault, tmp_path):
    desk = Desk(models, vault, 10_000)
    mine = desk.take("me", vault.put(encoded(GREY), "mine.png"), "luma", 0)
    desk.take("you", vault.put(encoded(GREY.T.copy()), "yours.png"), "luma", 0)
    assert vault.get(mine.result).name == "mine.png"
    assert "mine.png" in desk.again("me", "luma", 0).status
    assert desk.again("nobody", "luma", 0) is None
    desk.leave("me")
    left = {vault.get(path.stem).name for path in tmp_path.iterdir()}
    assert left == {"yours.png", "before", "after"}
    assert len(list(tmp_path.iterdir())) == 4


def test_refusals_are_told_with_the_name_escaped(models, vault):
    desk = Desk(models, vault, 300)
    for data, said in (
        (b"no picture", "cannot read the picture &lt;b&gt;.png"),
        (encoded(GREY), "17x21 pixels, more than the 300 that are allowed"),
        (encoded(np.zeros((20, 10), np.uint8), "GIF"), "no JPEG, PNG"),
    ):
        shown = desk.take("me", vault.put(data, "<b>.png"), "luma", 0)
        assert said in shown.status
        assert (shown.pair, shown.result) == (None, "")
    assert "no longer here" in desk.take("me", "made up", "luma", 0).status


def test_sketches_and_examples_are_coloured(models, vault):
    desk = Desk(models, vault, 10_000)
    empty = np.zeros((64, 64, 4), np.uint8)  # transparent
    token = vault.put(encoded(empty), "")
    assert "nothing on the canvas" in desk.take_sketch("me", token, "luma", 0).status
    assert "nothing on the canvas" in desk.take_sketch("me", None, "luma", 0).status
    empty[10:20, :, 3] = 255  # a black bar
    shown = desk.take_sketch("me", vault.put(encoded(empty), ""), "luma", 0)
    before, _ = opened(shown)
    assert before.shape == (16, 16, 3)  # the network's own size
    assert before[0, 0, 0] > 250
    assert before[3, 0, 0] < 5
    examples = desk.examples("luma")
    assert {example.shape for example in examples} == {(64, 64)}
    shown = desk.take_example("me", 1, "luma", 0)
    np.testing.assert_array_equal(opened(shown)[0][..., 0], examples[1])
    assert vault.get(shown.result).name == "example_2.png"


def test_a_drawing_that_is_seen_in_parts_is_told(vault, pictures, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("drawings") / "run"
    make_workdir(workdir, pictures)
    desk = Desk(Models({"x": workdir}), vault, 10_000)
    token = vault.put(encoded(np.tile(GREY, 4)), "large.png")
    assert "choose render size 16" in desk.take("me", token, "x", 0).status
    assert "render size" not in desk.again("me", "x", 16).status


def test_sketches_are_opened_as_pictures_are(models, vault):
    desk = Desk(models, vault, 400)
    for data, said in (
        (encoded(np.zeros((20, 10, 3), np.uint8), "EPS"), "no JPEG, PNG"),
        (encoded(np.zeros((21, 20, 4), np.uint8)), "20x21 pixels, more than the 400"),
    ):
        shown = desk.take_sketch("me", vault.put(data, ""), "luma", 0)
        assert said in shown.status
        assert shown.pair is None
    grey = np.zeros((20, 20), np.uint16)
    assert desk.take_sketch("me", vault.put(encoded(grey), ""), "luma", 0).pair
    assert "no longer here" in desk.take_sketch("me", "made up", "luma", 0).status


@pytest.mark.parametrize(
    ("method", "words", "said"),
    [
        ("take_example", (8, "luma", 0), "no example 8"),
        ("take_example", ([1], "luma", 0), "no example"),
        ("take_example", (0, "other", 0), "no model other"),
        ("take_example", (0, "luma", "big"), "render_size big"),
        ("take_example", (0, "luma", 64.5), "render_size 64.5"),
        ("take_example", (0, "luma", True), "render_size True"),
        ("take_example", (0, "luma", 10**9), "render_size 1000000000"),
    ],
)
def test_what_the_page_never_asks_for_is_refused(models, vault, method, words, said):
    shown = getattr(Desk(models, vault, 10_000), method)("me", *words)
    assert said in shown.status
    assert shown.pair is None


def test_nothing_is_left_of_a_picture_whose_owner_leaves_meanwhile(
    models, vault, tmp_path, monkeypatch
):
    desk = Desk(models, vault, 10_000)

    def leave(colorizer, *arguments):
        desk.leave("me")
        return original(colorizer, *arguments)

    original = Colorizer.colorize
    desk.take("you", vault.put(encoded(GREY), "yours.png"), "luma", 0)
    with monkeypatch.context() as patch:
        patch.setattr(Colorizer, "colorize", leave)
        desk.take("me", vault.put(encoded(GREY), "mine.png"), "luma", 0)
    assert len(list(tmp_path.iterdir())) == 4  # what the other has
    desk.take("me", vault.put(encoded(GREY), "mine.png"), "luma", 0)  # back again
    assert len(list(tmp_path.iterdir())) == 8


def test_a_model_is_described(models, pictures, vault, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("untrained") / "run"
    make_workdir(workdir, pictures, scores=((0, None),))
    said = Desk(models, vault, 10_000).about("luma")
    assert said == "<p>Colours grey photographs; 16 pixels; epoch 2; l1 0.4</p>"
    said = Desk(Models({"x": workdir}), vault, 10_000).about("x")
    assert "drawings or label maps" in said
    assert "is untrained" in said


def test_sheets_and_curves_of_a_training_are_shown(tmp_path):
    assert "no metrics.jsonl" in curves_html("<x>", tmp_path)
    assert sample_sheets(tmp_path) == []
    (tmp_path / "samples").mkdir()
    for epoch in range(1, 101):
        (tmp_path / "samples" / f"epoch_{epoch:04d}.png").touch()
    captions = [caption for _, caption in sample_sheets(tmp_path)]
    assert len(captions) == SHEETS
    assert (captions[0], captions[-1]) == ("epoch 100", "epoch 1")
    row = '{"step": %d, "epoch": %d, "kind": "validation", "l1": 0.5}\n'
    (tmp_path / "metrics.jsonl").write_text(row % (4, 1) + row % (8, 2))
    assert "<figcaption>l1</figcaption>" in curves_html("x", tmp_path)


def test_folders_of_servers_that_were_killed_go(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "jaxcolor-gui-other").mkdir()  # of whatever has no lock
    with temporary_folder() as first:
        os.utime(first / "in-use", (0, 0))
        with temporary_folder() as second:
            assert len({first, second, *tmp_path.iterdir()}) == 3
            abandoned = tmp_path / "jaxcolor-gui-abandoned"
            shutil.copytree(second, abandoned)
            (abandoned / "picture").touch()
            with temporary_folder():
                assert abandoned.exists()  # it may be one that is being made
            os.utime(abandoned / "in-use", (0, 0))
            with temporary_folder():
                assert not abandoned.exists()
                assert first.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["jaxcolor-gui-other"]


def refused(capsys, *words):
    assert main(["gui", *map(str, words)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_without_gradio_one_line_names_the_extra(photo_workdir, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    said = refused(capsys, "--model", photo_workdir, "--port", 0)
    assert 'the extra gui: pip install -e ".[gui]"' in said


def test_a_port_that_is_taken_is_one_line(photo_workdir, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(capsys, "--model", photo_workdir, "--port", port)
    assert f"port {port} (Address already in use): choose another --port" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model={tmp}/none"], "no directory"),
        (["--model={tmp}"], "no workdir of a training"),
        (["--runs={tmp}"], "no model in"),
        (["--runs={tmp}/none"], "no directory"),
        (["--max_megabytes=0"], "--max_megabytes 0"),
        (["--max_pixels=-1"], "--max_pixels -1"),
        (["--model={photo_workdir}", "--port=70000"], "--port 70000 must be"),
        (["--model={photo_workdir}", "--host=256.0.0.1"], "256.0.0.1"),
    ],
)
def test_mistakes_are_one_line(photo_workdir, tmp_path, capsys, words, said):
    words = [word.format(tmp=tmp_path, photo_workdir=photo_workdir) for word in words]
    assert said in refused(capsys, *words)


@pytest.fixture
def broken(tmp_path):
    """A workdir whose only checkpoint is an empty folder."""
    (tmp_path / "broken" / "checkpoints" / "6").mkdir(parents=True)
    return tmp_path / "broken"


def test_a_model_that_cannot_be_loaded_does_not_keep_others_from_the_page(
    broken, photo_workdir, capsys
):
    models = Models({"broken": broken, "luma": photo_workdir})
    with pytest.raises(UserError, match="broken"):
        load_first(models, asked=True)
    assert load_first(models, asked=False) is models.colorizer("luma")
    assert list(models.workdirs) == ["luma"]
    assert capsys.readouterr().out.startswith("passed over: ")
    with pytest.raises(UserError, match="broken"):
        load_first(Models({"broken": broken}), asked=False)


def test_a_model_that_cannot_be_loaded_is_told_without_a_picture_too(broken, photo_workdir, vault):
    desk = Desk(Models({"broken": broken, "luma": photo_workdir}), vault, 10_000)
    assert "refused" in desk.again("me", "broken", 0).status
    assert desk.again("me", "luma", 0) is None
