"""Damaged files, as a stranger may hand them over: loaded or refused in one line, and cheaply."""

import ast
import io
import json
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from conftest import ROOT
from damage import DEEP, png_of
from damaged_kinds import KINDS
from PIL import Image

from jaxcolor.archives import LARGEST_DIRECTORY
from jaxcolor.colorize import picture_files
from jaxcolor.data.pictures import read_picture, read_size
from jaxcolor.errors import ConfigError, UserError
from jaxcolor.exported import read_description
from jaxcolor.perceptual.array_files import open_arrays
from jaxcolor.plain_json import parse_json
from jaxcolor.settings import LARGEST_SIZE
from jaxcolor.torch_files import read_tensors

UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
QUICK = {"checkpoints": 20, "weights": 60, "exports": 12, "cache": 40, "pictures": 60}
QUICK |= {"evaluations": 30}


def load_damaged(kind, examples, directory):
    command = [sys.executable, str(ROOT / "tests" / "damaged_loads.py"), kind, str(examples)]
    # With more arenas, malloc reserves 64 MB of addresses for each thread.
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(
        [*command, str(directory)], env=environment, capture_output=True, text=True, cwd=ROOT
    )
    last = directory / "last"
    where = last.read_text() if last.exists() else "before the first"
    said = f"{done.stderr[:3000]}\n...\n{done.stderr[-1000:]}"  # between them the file itself
    assert done.returncode == 0, f"status {done.returncode} at {where}:\n{said}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_loaded_or_refused_in_one_line(kind, tmp_path):
    """By a process of its own: a crash, a hang or a hunger for memory is its alone."""
    ends = load_damaged(kind, QUICK[kind], tmp_path)
    assert ends["loaded"] + ends["refused"] >= QUICK[kind] // 2
    assert ends["refused"], "none of them was noticed"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files_are_loaded_or_refused_in_one_line(kind, tmp_path):
    print(kind, load_damaged(kind, 50 * QUICK[kind], tmp_path))


def test_nothing_here_unpickles_or_runs_what_it_reads():
    """By name; `damaged_loads` watches what happens."""
    found = []
    for path in sorted((ROOT / "jaxcolor").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {getattr(node, "module", None), *(alias.name for alias in node.names)}
                found += [f"{path.name}:{node.lineno}"] * bool(names & UNPICKLERS)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found += [f"{path.name}:{node.lineno}"] * (node.func.id in ("eval", "exec"))
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                found += [f"{path.name}:{node.lineno}"]
    assert not found


def refused(read, *arguments):
    with pytest.raises(UserError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_json_is_plain_or_refused():
    assert parse_json('{"a": [1, 2.5, null, "x"], "b": -9223372036854775808}') == {
        "a": [1, 2.5, None, "x"],
        "b": -(2**63),
    }
    for text, message in (
        (DEEP, "nested too deeply"),
        ("[" * 100 + "]" * 100, "nested too deeply"),
        (str(2**63), "beyond 64 bits"),
        ('{"a": [1, [' + "9" * 400 + "]]}", "beyond 64 bits"),
        ("9" * 5000, "digits"),
        (b"\xff\xfe{", "codec"),
        ("{", "Expecting"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_json(text)


def read_all(path):
    with open_arrays(path) as file:
        return {name: file.read(name) for name in file.names()}


def npz_member(path, data, compression):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x.npy", data)


def test_headers_of_arrays_cost_no_more_than_they_may(tmp_path):
    path = tmp_path / "x.npz"
    header = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**28)
    npz_member(path, header + b" " * 2**28, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**19, "a short file, and long once unpacked"
    assert most_memory_of(refused, read_all, path) < 2**24
    for text in (b"{'descr': (", b"  x\n y", b"-" * 9000 + b"1", b"(" * 500, b"[1]", b"\xff"):
        npz_member(path, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text, 0)
        assert "array x has a damaged header" in refused(read_all, path)


def most_memory_of(function, *arguments):
    import tracemalloc

    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_arrays_are_as_long_as_their_headers_state(tmp_path):
    path = tmp_path / "x.npz"
    wanted = np.arange(6, dtype=">f4").reshape(2, 3).T
    np.savez(path, x=wanted)
    np.testing.assert_array_equal(read_all(path)["x"], wanted)
    data = io.BytesIO()
    np.save(data, wanted)
    npz_member(path, data.getvalue() + b"\0", 0)
    assert "has not the 24 bytes that its header states" in refused(read_all, path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_that_unpack_without_a_limit_are_refused(tmp_path, compression):
    for name, read in (("x.npz", read_all), ("x.pth", read_tensors)):
        npz_member(tmp_path / name, b"0" * 99, compression)
        assert "compressed in a way that is not read here" in refused(read, tmp_path / name)


def test_a_long_directory_of_an_archive_is_not_read(tmp_path):
    """Its entries would take six times as much memory as the file has bytes."""
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for place in range(LARGEST_DIRECTORY // 60_000 + 1):
            info = zipfile.ZipInfo(f"{place}.npy")
            info.comment = b" " * 60_000
            archive.writestr(info, b"")
    assert path.stat().st_size > LARGEST_DIRECTORY
    for name, read in (("x.npz", read_all), ("x.pth", read_tensors)):
        path = path.rename(tmp_path / name)
        assert most_memory_of(refused, read, path) < 2**20
        assert f"its directory has more than {LARGEST_DIRECTORY} bytes" in refused(read, path)


def test_tensors_that_share_their_numbers_are_not_multiplied(tmp_path):
    """A thousand of one storage would make a network of a thousand times the file."""
    from torch_format import StoredTensor, pickled, write_zip

    array = np.zeros(2**14, np.float32)
    tensors = {str(place): StoredTensor("0", array) for place in range(1000)}
    write_zip(tmp_path / "x.pth", pickled(tensors), {"0": array.tobytes()})
    assert "share one another's numbers" in refused(read_tensors, tmp_path / "x.pth")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


def test_postscript_is_not_handed_to_ghostscript(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(EPS)
    with Image.open(path) as image:
        assert image.format == "EPS", "Pillow alone would take it for a picture"
    for read in (read_picture, read_size, picture_file):
        assert "cannot read the picture" in refused(read, path)


def picture_file(path):
    return picture_files.read(path)


def test_pictures_that_state_a_huge_size_are_refused_by_their_header(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(png_of(60_000, 60_000))
    for read in (read_picture, picture_file):
        assert most_memory_of(refused, read, path) < 2**24
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("was asked to decode it"))
    path.write_bytes(deep_tiff_of(30_000, 30_000))
    for read in (read_picture, picture_file):
        assert most_memory_of(refused, read, path) < 2**24


def deep_tiff_of(width, height):
    """A TIFF of 16 bits a channel that states this size and holds nothing."""
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 2), (277, 3), (278, height)]
    tags += [(273, 8), (279, 8)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags)]
    start = struct.pack("<HI", len(tags), 0)[:2]
    return b"II*\0" + struct.pack("<I", 8) + start + b"".join(entries) + bytes(16)


def test_a_picture_file_of_too_many_bytes_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)
    size = path.stat().st_size
    monkeypatch.setattr(picture_files, "MAX_BYTES", size)
    assert picture_files.read(path).pixels.shape == (4, 4, 3)
    monkeypatch.setattr(picture_files, "MAX_BYTES", size - 1)
    assert f"more than the {size - 1} that are allowed" in refused(picture_files.read, path)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("file", "../raw/val-00000-of-00001.array_record"),
        ("file", "/etc/passwd"),
        ("contents_file", ".."),
        ("records", 10**18),
        ("records", -1),
        ("sha256", None),
    ],
)
def test_a_manifest_stays_in_its_cache_and_counts_what_is_there(tmp_path, part, value):
    from damaged_kinds import _seal, write_cache

    from jaxcolor.data.prepared import PreparedSource, read_manifest

    write_cache(tmp_path)
    path = tmp_path / "raw" / "manifest.json"
    manifest = read_manifest(path.parent)
    manifest["splits"]["train"]["shards"][0][part] = value
    if part == "records":
        manifest["splits"]["train"]["records"] = value
    path.write_text(json.dumps(manifest))
    _seal(path)
    assert f"splits.train.shards.0.{part} is missing or of another kind" in refused(
        PreparedSource, path.parent, "train"
    )


def test_a_config_cannot_ask_for_endless_networks():
    from test_configuration import load_config

    from jaxcolor import experiment

    for section, key, value in (
        ("data", "image_size", 2 * LARGEST_SIZE),
        ("discriminator", "strided_layers", 10**12),
    ):
        config = load_config("pix2pix")
        config[section][key] = value
        with pytest.raises(ConfigError, match=key):
            experiment.build(experiment.resolve(config)[0])


def test_an_export_counts_its_steps_in_32_bits(tmp_path):
    values = {"format": "jaxcolor generator", "schema": 1, "config": {}, "step": 6, "scores": {}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert read_description(tmp_path).step == 6
    for change in ({"step": 2**31}, {"step": -1}, {"step": True}, {"scores": {"l1": "0.5"}}):
        (tmp_path / "config.json").write_text(json.dumps(values | change))
        assert "is damaged" in refused(read_description, tmp_path)
