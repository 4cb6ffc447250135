"""python -m jaxcolor colorize: N pictures in, N out, in their places; nothing replaced unasked."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from small_workdir import make_workdir

from jaxcolor import colorize_command
from jaxcolor.__main__ import main
from jaxcolor.colorize import Colorizer, jobs, picture_files


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, pictures):
    directory = tmp_path_factory.mktemp("luma")
    options = {"data__condition": "luma", "data__source": "pictures"}
    make_workdir(directory, pictures, scores=((3, {"l1": 0.5}),), **options)
    return directory


@pytest.fixture(scope="module", autouse=True)
def one_colorizer(workdir):
    """All commands share a network that is loaded and compiled once."""
    loaded = {}

    def load(*arguments, **options):
        key = (*map(str, arguments), *options.items())
        if key not in loaded:
            loaded[key] = original(*arguments, **options)
        return loaded[key]

    original = Colorizer.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(colorize_command.Colorizer, "load", load)
        yield load


@pytest.fixture
def folder(tmp_path):
    """Four pictures of four formats, two of them in a folder within."""
    directory = tmp_path / "in"
    (directory / "a" / "b").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, name in enumerate(("1.png", "a/2.jpg", "a/b/3.tif", "a/4.bmp")):
        pixels = rng.integers(0, 256, (20 + number, 31), np.uint8)
        Image.fromarray(pixels).save(directory / name)
    return directory


def run(workdir, out, *words):
    return main(["colorize", *map(str, words), "--model", str(workdir), "--out", str(out)])


def files_below(directory):
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_a_folder_is_coloured_into_the_same_tree(workdir, folder, tmp_path, one_colorizer, capsys):
    out = tmp_path / "out"
    assert run(workdir, out, folder) == 0
    assert files_below(out) == files_below(folder)
    assert "4 of 4 pictures coloured" in capsys.readouterr().out
    colorizer = one_colorizer(workdir, "best", batch_size=0)
    for name in files_below(folder):
        given, found = picture_files.read(folder / name), picture_files.read(out / name)
        assert given.format == found.format
        if given.format != "JPEG":
            np.testing.assert_array_equal(found.pixels, colorizer.colorize(given.pixels))
            np.testing.assert_array_equal(colorizer.before(found.pixels)[..., :1], given.pixels)


def test_files_and_patterns_have_their_places(workdir, folder, tmp_path):
    out = tmp_path / "out"
    assert run(workdir, out, folder / "a" / "b" / "3.tif", folder / "*.png") == 0
    assert files_below(out) == {"3.tif", "1.png"}
    again = tmp_path / "again"
    assert run(workdir, again, f"{folder}/**/*", folder / "1.png") == 0
    assert files_below(again) == files_below(folder)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("**", {"1.png", "a/2.jpg", "a/4.bmp", "a/b/3.tif"}),
        ("**/*.[jt]*", {"a/2.jpg", "a/b/3.tif"}),
        ("*/?.bmp", {"a/4.bmp"}),
        ("*/b/*", {"a/b/3.tif"}),
        ("[b-z]", {"1.png", "a/2.jpg", "a/4.bmp", "a/b/3.tif"}),
        ("**/.*/*", {".hidden/5.png"}),
    ],
)
def test_patterns_end_where_links_lead_in_circles(folder, tmp_path, pattern, names):
    (folder / "a" / "up").symlink_to(folder)
    (folder / "z").symlink_to(folder / "a")
    (folder / ".hidden").mkdir()
    shutil.copy(folder / "1.png", folder / ".hidden" / "5.png")
    out = tmp_path / "out"
    found, _ = jobs.find_jobs([f"{folder}/{pattern}"], out)
    once = {job.source.resolve() for job in found}
    assert once == {folder / name for name in names}
    if "**" in pattern:
        assert len(found) == len(names)
        assert {str(job.target.relative_to(out)) for job in found} == names


def test_nothing_is_replaced_unasked(workdir, folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(workdir, out, folder) == 0
    (out / "1.png").write_bytes(b"mine")
    before = {name: (out / name).read_bytes() for name in files_below(out)}
    assert run(workdir, out, folder) == 1
    assert "4 of 4 results are there already" in capsys.readouterr().err
    assert {name: (out / name).read_bytes() for name in files_below(out)} == before
    (out / "a" / "2.jpg").unlink()
    assert run(workdir, out, folder, "--skip-existing") == 0
    assert {name: (out / name).read_bytes() for name in files_below(out)} == before
    assert run(workdir, out, folder, "--overwrite") == 0
    assert (out / "1.png").read_bytes() != b"mine"


def test_an_interrupted_run_goes_on_and_ends_as_a_whole_one(
    workdir, folder, tmp_path, monkeypatch, capsys
):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run(workdir, whole, folder) == 0
    count = []

    def interrupt(path, *arguments, **options):
        count.append(path)
        if len(count) == 3:
            raise KeyboardInterrupt
        return original(path, *arguments, **options)

    original = picture_files.write
    with monkeypatch.context() as patch:
        patch.setattr(picture_files, "write", interrupt)
        assert run(workdir, out, folder) == 130
    assert "the same command goes on" in capsys.readouterr().err
    done = files_below(out) - {jobs.UNFINISHED}
    assert 0 < len(done) < 4
    stamps = {name: (out / name).stat().st_mtime_ns for name in done}
    assert run(workdir, out, folder, "--side-by-side") == 1  # another wish: not to be mixed
    assert run(workdir, out, folder) == 0
    assert {name: (out / name).stat().st_mtime_ns for name in done} == stamps
    assert files_below(out) == files_below(whole)
    for name in files_below(whole):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_bad_pictures_are_named_at_the_end_and_the_others_coloured(
    workdir, folder, tmp_path, capsys
):
    (folder / "a" / "bad.png").write_bytes(b"no picture")
    (folder / "empty.jpg").touch()
    (folder / "moving.gif").touch()
    out = tmp_path / "out"
    assert run(workdir, out, folder) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "4 of 6 pictures coloured" in lines
    assert all(line.startswith("not coloured: ") for line in lines[-2:])
    named = "\n".join(lines[-2:])
    assert str(folder / "a" / "bad.png") in named
    assert str(folder / "empty.jpg") in named
    assert any("moving.gif" in line and "passed over" in line for line in lines)
    assert len(files_below(out)) == 4


def test_side_by_side_is_before_and_after(workdir, folder, tmp_path):
    assert run(workdir, tmp_path / "alone", folder / "1.png") == 0
    assert run(workdir, tmp_path / "both", folder / "1.png", "--side-by-side") == 0
    both = picture_files.read(tmp_path / "both" / "1.png").pixels
    given = picture_files.read(folder / "1.png").pixels
    np.testing.assert_array_equal(both[:, :31], given.repeat(3, axis=2))
    alone = picture_files.read(tmp_path / "alone" / "1.png").pixels
    np.testing.assert_array_equal(both[:, 31:], alone)


def test_the_user_is_told_of_colours_that_are_dropped(workdir, tmp_path, capsys):
    path = tmp_path / "colour.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)).save(path)
    assert run(workdir, tmp_path / "out", path) == 0
    assert "pictures that were in colour: 1;" in capsys.readouterr().out


def test_the_user_is_told_of_drawings_that_are_seen_in_parts(pictures, tmp_path, capsys):
    make_workdir(tmp_path / "drawings", pictures)
    path = tmp_path / "large.png"
    Image.fromarray(np.full((9, 33), 255, np.uint8)).save(path)
    assert run(tmp_path / "drawings", tmp_path / "out", path) == 0
    assert "--render_size 16 shows it the whole" in capsys.readouterr().out
    words = ["--overwrite", "--render_size", 16]
    assert run(tmp_path / "drawings", tmp_path / "out", path, *words) == 0
    assert "note" not in capsys.readouterr().out


def test_results_that_would_meet_are_refused(workdir, folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "other")
    assert run(workdir, tmp_path / "out", folder, tmp_path / "other") == 1
    assert "would both become" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [(), ("--overwrite",)])
def test_an_original_is_never_replaced(workdir, folder, capsys, words):
    before = {name: (folder / name).read_bytes() for name in files_below(folder)}
    assert run(workdir, folder, folder, *words) == 1
    assert "choose another directory for --out" in capsys.readouterr().err
    assert {name: (folder / name).read_bytes() for name in files_below(folder)} == before


def test_results_within_the_folder_are_not_coloured_again(workdir, folder):
    assert run(workdir, folder / "out", folder) == 0
    assert run(workdir, folder / "out", folder, "--overwrite") == 0
    assert len(files_below(folder / "out")) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.png"], "no file or folder missing.png"),
        ([""], "is empty"),
        (["*.none"], "no pictures in"),
        (["{folder}", "--render_size=0"], "render_size 0"),
        (["{folder}", "--quality=0"], "--quality 0"),
        (["{folder}", "--max_pixels=0"], "--max_pixels 0"),
        (["{folder}", "--batch_size=-1"], "batch_size -1"),
        (["{folder}", "--checkpoint=77"], "no checkpoint '77'"),
    ],
)
def test_mistakes_are_one_line(workdir, folder, tmp_path, capsys, words, said):
    words = [word.format(folder=folder) for word in words]
    assert run(workdir, tmp_path / "out", *words) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [["--nonsense"], [], ["in", "--skip-existing", "--overwrite"]])
def test_bad_usage_is_one_line_and_status_2(capsys, words):
    with pytest.raises(SystemExit) as caught:
        main(["colorize", *words])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_picture_above_the_limit_is_named(workdir, folder, tmp_path, capsys):
    assert run(workdir, tmp_path / "out", folder, "--max_pixels=650") == 1
    assert "more than the 650 that are allowed" in capsys.readouterr().out


def test_a_full_disk_stops_in_one_line(workdir, folder, tmp_path, monkeypatch, capsys):
    def fail(path, *arguments, **options):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(picture_files, "write", fail)
    assert run(workdir, tmp_path / "out", folder) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / jobs.UNFINISHED).read_text())["render_size"] is None


def test_pictures_go_to_the_folder_around_them(workdir, folder, capsys):
    around = folder.parent
    assert run(workdir, around, folder) == 0
    assert files_below(around) >= {"1.png", "a/2.jpg", "a/b/3.tif", "a/4.bmp"}
    assert run(workdir, around, f"{folder}/*.png") == 1
    assert "1 of 1 results are there already" in capsys.readouterr().err


def test_a_pattern_does_not_find_the_results(workdir, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert run(workdir, "out", "*") == 0
    assert run(workdir, "out", "*", "--overwrite") == 0
    assert files_below(folder / "out") == {"1.png", "a/2.jpg", "a/b/3.tif", "a/4.bmp"}


def test_a_result_is_no_folder_of_another(workdir, folder, tmp_path, capsys):
    (tmp_path / "other" / "1.png").mkdir(parents=True)
    shutil.copy(folder / "1.png", tmp_path / "other" / "1.png" / "5.png")
    assert run(workdir, tmp_path / "out", folder, tmp_path / "other") == 1
    assert "the folder of what" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def interrupted(monkeypatch):
    """Runs the command, which is interrupted when so many results are written."""

    def run_interrupted(count, *arguments):
        written = []

        def write(*given, **options):
            if len(written) == count:
                raise KeyboardInterrupt
            original(*given, **options)
            written.append(given)

        original = picture_files.write
        with monkeypatch.context() as patch:
            patch.setattr(picture_files, "write", write)
            assert run(*arguments) == 130

    return run_interrupted


def test_overwriting_goes_on_too(workdir, folder, tmp_path, interrupted, capsys):
    out = tmp_path / "out"
    assert run(workdir, out, folder) == 0
    whole = {name: (out / name).read_bytes() for name in files_below(out)}
    for name in whole:
        (out / name).write_bytes(b"old")
    interrupted(2, workdir, out, folder, "--overwrite")
    assert sum((out / name).read_bytes() == b"old" for name in whole) == 2
    assert run(workdir, out, folder) == 1  # what is left is old, and not to be kept
    capsys.readouterr()
    assert run(workdir, out, folder, "--overwrite") == 0
    assert "2 of 4 results are there already" in capsys.readouterr().out
    assert {name: (out / name).read_bytes() for name in files_below(out)} == whole


def test_another_folder_does_not_go_on(workdir, folder, tmp_path, interrupted, capsys):
    out, other = tmp_path / "out", tmp_path / "other"
    shutil.copytree(folder, other)
    interrupted(1, workdir, out, folder)
    assert run(workdir, out, other) == 1
    assert "1 of 4 results are there already" in capsys.readouterr().err


def test_what_a_killed_run_had_half_written_goes(workdir, folder, tmp_path, interrupted):
    out = tmp_path / "out"
    interrupted(1, workdir, out, folder)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (out / "a").mkdir(exist_ok=True)
    half, busy = (f".{'0' * 16}.{number}.part" for number in (gone.pid, os.getpid()))
    for name in (half, f"a/{half}", busy, ".mine.part"):
        (out / name).touch()
    assert run(workdir, out, folder) == 0
    assert files_below(out) - files_below(folder) == {busy, ".mine.part"}


def test_a_full_disk_does_not_lose_what_the_run_was(workdir, folder, tmp_path, interrupted):
    out = tmp_path / "out"
    interrupted(1, workdir, out, folder)
    record = out / jobs.UNFINISHED
    written = record.stat().st_mtime_ns
    interrupted(1, workdir, out, folder)
    assert record.stat().st_mtime_ns == written


def test_a_result_that_its_format_has_no_room_for_is_named(workdir, tmp_path, capsys):
    given = tmp_path / "in"
    given.mkdir()
    Image.new("L", (9_000, 1)).save(given / "wide.webp")
    Image.new("L", (9, 1)).save(given / "x.png")
    assert run(workdir, tmp_path / "out", given, "--side-by-side") == 1
    said = capsys.readouterr().out
    assert f"not coloured: {given / 'wide.webp'}: 18000x1 pixels cannot be written" in said
    assert "1 of 2 pictures coloured" in said
    assert files_below(tmp_path / "out") == {"x.png"}


def test_pictures_beyond_pillows_own_limit_are_read_if_asked_for(
    workdir, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    assert run(workdir, tmp_path / "out", folder) == 0


def test_a_thread_of_a_picture_is_named(workdir, folder, tmp_path, capsys):
    Image.new("1", (1, 6_000_000)).save(folder / "thread.png")
    assert run(workdir, tmp_path / "out", folder) == 1
    assert "1x6000000 pixels, which is too thin" in capsys.readouterr().out
    assert files_below(tmp_path / "out") == files_below(folder) - {"thread.png"}
