"""Facts about prepared caches: equal to their sources, whole or refused, and resumable."""

import importlib.util
import json
import pickle
import random
import signal
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import filelock
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcolor.data import prepare_plan
from jaxcolor.data.prepare import prepare
from jaxcolor.data.prepared import (
    PreparedSource,
    is_prepared,
    open_prepared,
    read_manifest,
    verify,
)
from jaxcolor.data.record_format import decode_record, encode_record
from jaxcolor.data.transforms import TrainingTransform, fit_picture
from jaxcolor.errors import ConfigError, DataError

SIZE = 8
FOUR_PICTURES = 4 * SIZE * SIZE * 6  # bytes: shards of four
# Which files a finished cache of 10 and 3 pictures in such shards has.
FILES = {
    f"{shard}.{suffix}"
    for shard in ["val-00000-of-00001", *(f"train-0000{i}-of-00003" for i in range(3))]
    for suffix in ("array_record", "json")
}


class Listed:
    """A source of these records; an exception in the place of one is raised."""

    def __init__(self, records, names=None):
        self.records = records
        self.names = names or [f"folder/picture {index}" for index in range(len(records))]
        self.read = []

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        self.read.append(index)
        if isinstance(self.records[index], BaseException):
            raise self.records[index]
        return self.records[index]


def noise(seed, height=SIZE, width=SIZE, channels=3):
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pairs(count, seed=0):
    """Records whose two pictures differ in size from one another and from pair to pair."""
    return [
        {"target": noise([seed, i, 0], 6 + i % 5, 9), "condition": noise([seed, i, 1], 7, 5 + i)}
        for i in range(count)
    ]


def unreadable(name):
    return DataError(f"cannot read the picture {name} (truncated): replace or remove it")


def make(directory, train=None, val=None, **options):
    """Prepares 10 and 3 pairs, unless told otherwise, four to a shard."""
    splits = {
        "train": Listed(pairs(10)) if train is None else train,
        "val": Listed(pairs(3, seed=1)) if val is None else val,
    } | options.pop("more", {})
    options = {
        "sizes": dict.fromkeys(splits, SIZE),
        "method": "bicubic",
        "fit": "stretch",
        "workers": 2,
        "shard_bytes": FOUR_PICTURES,
        "description": {"path": "pictures", "line_strength": (0.5, 1.0)},
    } | options
    return prepare(splits, directory, **options)


def files(directory):
    return {path.name: path for path in directory.iterdir() if path.name != ".lock"}


def contents(directory):
    return {name: path.read_bytes() for name, path in files(directory).items()}


def identities(directory):
    """What changes when a shard is written anew."""
    found = {path: path.stat() for path in directory.glob("*-of-*.array_record")}
    return {path.name: (stat.st_ino, stat.st_mtime_ns) for path, stat in found.items()}


def assert_one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def assert_same(record, expected):
    assert sorted(record) == sorted(expected)
    for name, picture in expected.items():
        assert record[name].dtype == np.uint8
        np.testing.assert_array_equal(record[name], picture)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished")
    make(directory)
    return directory


@pytest.fixture
def cache(finished, tmp_path):
    """A copy of a finished cache, to be damaged."""
    for name, data in contents(finished).items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


shapes = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(target=shapes, condition=st.none() | shapes)
def test_pictures_of_any_shape_come_back_from_their_bytes(target, condition):
    record = {"target": noise(0, *target)}
    if condition is not None:
        record["condition"] = noise(1, *condition)
    data = encode_record(record)
    decoded = decode_record(data)
    assert_same(decoded, record)
    assert not decoded["target"].flags.writeable
    assert np.shares_memory(decoded["target"], np.frombuffer(data, np.uint8))


@settings(max_examples=60, deadline=None)
@given(change=st.integers(-400, 50).filter(bool), condition=st.booleans())
def test_bytes_of_another_length_are_no_record(change, condition):
    data = encode_record(pairs(1)[0] if condition else {"target": noise(0)})
    data = data[:change] if change < 0 else data + bytes(change)
    with pytest.raises(ValueError, match=r"header|bytes"):
        decode_record(data)


@settings(max_examples=100, deadline=None)
@given(head=st.binary(min_size=22, max_size=22), body=st.binary(max_size=64))
def test_a_damaged_header_never_reads_outside_of_the_record(head, body):
    for start in (b"", b"\x01\x01", b"\x01\x02", b"\x02\x02"):
        try:
            decoded = decode_record(start + head[len(start) :] + body)
        except ValueError:
            continue
        stored = [part if part.strides[2] else part[..., 0] for part in decoded.values()]
        assert sum(part.size for part in stored) == len(body)


@settings(max_examples=20, deadline=None)
@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), one_off=st.booleans())
def test_a_grey_picture_of_three_channels_is_stored_as_one(shape, one_off):
    grey = np.repeat(noise(1, *shape, 1), 3, axis=2)
    grey[-1, -1, -1] ^= one_off  # a single step off, and it is not grey
    record = {"target": noise(0, *shape, 3), "condition": grey}
    data = encode_record(record)
    assert_same(decode_record(data), record)
    pixels = shape[0] * shape[1]
    assert len(data) == 22 + pixels * (6 if one_off else 4)


def test_records_of_the_first_version_are_read():
    data = encode_record(pairs(1)[0])
    assert_same(decode_record(b"\x01" + data[1:]), pairs(1)[0])


@pytest.mark.parametrize(
    "part", [noise(0)[..., 0], noise(0).astype(np.float32), np.empty((0, 4, 3), np.uint8)]
)
def test_what_is_no_picture_is_a_mistake_of_the_source(part):
    with pytest.raises(TypeError, match="not uint8"):
        encode_record({"target": part})


@settings(max_examples=15, deadline=None)
@given(
    shapes=st.lists(st.tuples(shapes, st.none() | shapes), min_size=1, max_size=6),
    size=st.integers(1, 24),
    fit=st.sampled_from(["stretch", "crop"]),
    method=st.sampled_from(["nearest", "bicubic"]),
)
def test_a_cache_holds_the_fitted_pictures(tmp_path_factory, shapes, size, fit, method):
    directory = tmp_path_factory.mktemp("cache")
    paired = shapes[0][1] is not None
    records = []
    for index, ((height, width, _), condition) in enumerate(shapes):
        record = {"target": noise(index, height, width)}
        if paired:
            given_shape = condition or (4, 4, 3)
            record["condition"] = noise(-index % 99, *given_shape[:2], 1 + 2 * (index % 2))
        records.append(record)
    prepare({"train": Listed(records)}, directory, sizes={"train": size}, method=method, fit=fit)
    source = PreparedSource(directory, "train")
    assert (source.size, source.method, source.fit, source.paired) == (size, method, fit, paired)
    assert len(source) == len(records)
    for index, record in enumerate(records):
        expected = {name: fit_picture(part, size, method, fit) for name, part in record.items()}
        assert_same(source[np.int64(index)], expected)
        again = {name: fit_picture(p, size, method, fit) for name, p in source[index].items()}
        assert_same(again, expected)


def test_training_from_a_cache_gives_the_same_batches_to_the_bit(tmp_path):
    source = Listed(pairs(10))
    make(tmp_path, source, sizes={"train": 12, "val": 8})
    transform = TrainingTransform(
        image_size=8, load_size=12, rotation=20.0, zoom=0.2, noise=0.1, fill="reflect"
    )
    prepared = PreparedSource(tmp_path, "train")
    for index in range(10):
        direct, cached = (
            transform(records[index], np.random.default_rng(index))
            for records in (source, prepared)
        )
        assert_same(cached, direct)


def test_order_and_names_are_those_of_the_source(tmp_path):
    names = ["z", "a/b c", "ä\u65e5\u672c", "line\nbreak", "\udcff broken", *"56789"]
    make(tmp_path, Listed(pairs(10), names))
    splits = open_prepared(tmp_path)
    assert list(splits) == ["train", "val"]
    assert splits["train"].names == names
    assert splits["val"].names == [f"folder/picture {index}" for index in range(3)]
    for index in (10, -1):
        with pytest.raises(IndexError, match="the source has 10"):
            splits["train"][index]


def test_the_manifest_says_what_is_there(finished):
    assert set(files(finished)) == FILES | {"manifest.json"}
    manifest = read_manifest(finished)
    plan = manifest["plan"]
    assert plan["description"] == {"path": "pictures", "line_strength": [0.5, 1.0]}
    assert (plan["method"], plan["fit"], plan["drop_greyscale"]) == ("bicubic", "stretch", False)
    assert plan["splits"]["train"]["pictures"] == 10
    assert plan["splits"]["val"]["size"] == SIZE
    train = manifest["splits"]["train"]
    assert (train["records"], train["left_out"], train["greyscale"]) == (10, [], [])
    assert [shard["records"] for shard in train["shards"]] == [4, 4, 2]
    for shard in train["shards"]:
        assert (finished / shard["file"]).stat().st_size == shard["bytes"]
    verify(finished)


def test_compression_loses_nothing_and_is_only_on_request(tmp_path):
    record = {"target": np.full((64, 64, 3), 200, np.uint8)}
    for name, compress in (("small", True), ("raw", False)):
        directory = tmp_path / name
        options = {"sizes": {"train": 64, "val": 64}, "compress": compress}
        make(directory, *[Listed([record] * 30)] * 2, **options)
        assert_same(PreparedSource(directory, "train")[29], record)
        with pytest.raises(DataError, match="was prepared otherwise"):
            make(directory, *[Listed([record] * 30)] * 2, **options | {"compress": not compress})
    sizes = [
        read_manifest(tmp_path / name)["splits"]["train"]["bytes"] for name in ("small", "raw")
    ]
    assert sizes[1] > 30 * 64 * 64 * 3
    assert sizes[1] - sizes[0] > 0.8 * 30 * 64 * 64 * 3 - 8 * 65536


def test_a_source_survives_pickling_and_opens_its_files_anew(finished):
    source = PreparedSource(finished, "train")
    expected, names = source[9], source.names
    copy = pickle.loads(pickle.dumps(source))
    assert_same(copy[9], expected)
    assert copy.names == names


def test_threads_may_read_at_once(finished):
    source = PreparedSource(finished, "train")
    expected = [source[index] for index in range(10)]
    source = PreparedSource(finished, "train")  # the threads open the files, too

    def read(index):
        assert_same(source[index], expected[index])

    order = random.Random(0).choices(range(10), k=1000)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read, order))


def test_without_a_manifest_there_is_no_cache(cache):
    (cache / "manifest.json").unlink()
    assert not is_prepared(cache)
    with pytest.raises(DataError, match="no prepared cache in") as caught:
        PreparedSource(cache, "train")
    assert_one_line(caught, cache)
    (cache / "prepare.unfinished.json").write_text("{}")
    assert is_prepared(cache)
    for use in (open_prepared, verify):
        with pytest.raises(DataError, match="was not finished: run the same prepare") as caught:
            use(cache)
        assert_one_line(caught, cache)


@pytest.mark.parametrize("damage", ["truncated", "changed", "binary"])
def test_a_damaged_manifest_is_refused(cache, damage):
    path = cache / "manifest.json"
    data = path.read_bytes()
    path.write_bytes(
        {
            "truncated": data[: len(data) // 2],
            "changed": data.replace(b'"records"', b'"recorbs"', 1),
            "binary": data.replace(b'"records"', b"\xff\x00", 1),
        }[damage]
    )
    assert is_prepared(cache)
    with pytest.raises(DataError, match="is damaged") as caught:
        PreparedSource(cache, "train")
    assert_one_line(caught, path)


def test_other_versions_and_formats_are_refused(cache):
    path = cache / "manifest.json"
    manifest = json.loads(path.read_bytes())
    path.write_text(json.dumps(manifest | {"version": 99}))
    with pytest.raises(DataError, match="has version 99, this program reads version 1") as caught:
        PreparedSource(cache, "train")
    assert_one_line(caught, cache)
    for other in ({"format": "a web page"}, [1]):
        path.write_text(json.dumps(other))
        assert not is_prepared(cache)
        with pytest.raises(DataError, match="is not of a jaxcolor prepared cache") as caught:
            PreparedSource(cache, "train")
        assert_one_line(caught, path)


def test_a_split_that_is_not_there_is_named(finished):
    with pytest.raises(DataError, match="no split test: it has train, val") as caught:
        PreparedSource(finished, "test")
    assert_one_line(caught, finished)


@pytest.mark.parametrize("missing", [True, False])
def test_missing_and_shortened_shards_are_found_at_once(cache, missing):
    path = cache / "train-00001-of-00003.array_record"
    if missing:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    assert len(PreparedSource(cache, "val")) == 3
    for use in (lambda path: PreparedSource(path, "train"), verify):
        with pytest.raises(DataError, match="is damaged") as caught:
            use(cache)
        assert_one_line(caught, path)


def test_a_flipped_byte_in_a_record_is_found_when_it_is_read(cache):
    path = cache / "train-00001-of-00003.array_record"
    data = path.read_bytes()
    wanted = decode_record(encode_record(PreparedSource(cache, "train")[5]))["target"].tobytes()
    place = data.index(wanted) + 10  # of noise, which is stored as it is
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    source = PreparedSource(cache, "train")
    with pytest.raises(DataError, match=r"record 1 of .* is damaged") as caught:
        source[5]
    assert_one_line(caught, path)
    for index in (0, 4, 6, 7, 9):
        assert source[index]["target"].shape == (SIZE, SIZE, 3)
    with pytest.raises(DataError, match="SHA-256") as caught:
        verify(cache)
    assert_one_line(caught, path)


def test_verify_finds_any_flipped_byte(cache):
    rng = random.Random(0)
    for name in sorted(FILES):
        data = (cache / name).read_bytes()
        place = rng.randrange(len(data))
        (cache / name).write_bytes(data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :])
        with pytest.raises(DataError, match="SHA-256") as caught:
            verify(cache)
        assert_one_line(caught, cache / name)
        (cache / name).write_bytes(data)
    verify(cache)


def test_damaged_names_are_not_believed(cache):
    path = cache / "train-00000-of-00003.json"
    path.write_bytes(path.read_bytes().replace(b"picture 2", b"picture 3"))
    with pytest.raises(DataError, match="SHA-256") as caught:
        _ = PreparedSource(cache, "train").names
    assert_one_line(caught, path)


def test_an_interrupted_run_keeps_its_finished_shards(finished, tmp_path):
    records = pairs(10)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, Listed([*records[:9], KeyboardInterrupt()]), workers=1)
    left = identities(tmp_path)
    assert sorted(left) == [
        "train-00000-of-00003.array_record",
        "train-00001-of-00003.array_record",
    ]
    assert not list(tmp_path.glob("*.tmp"))
    source = Listed(records)
    result = make(tmp_path, source)
    assert (result.kept, result.was_complete) == (8, False)
    assert identities(tmp_path).items() >= left.items()
    sampled = {0, 2, 4, 6, 8}  # to guess the size again
    assert set(source.read) - sampled <= {8, 9}
    assert contents(tmp_path) == contents(finished)


def test_the_number_of_workers_changes_no_byte(finished, tmp_path):
    make(tmp_path, workers=5)
    assert contents(tmp_path) == contents(finished)


def test_a_complete_cache_is_left_alone(cache):
    before = identities(cache)
    (cache / "prepare.unfinished.json").write_text("{}")  # killed between the two
    source = Listed(pairs(10))
    result = make(cache, source)
    assert result.was_complete
    assert source.read == []
    assert identities(cache) == before
    assert set(files(cache)) == FILES | {"manifest.json"}
    (line,) = result.lines()
    assert line.startswith(f"{cache} is complete: 10 train and 3 val pictures, ")


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sizes": {"train": 9, "val": SIZE}}, "train.size was 8 and is now 9"),
        ({"method": "nearest"}, 'method was "bicubic" and is now "nearest"'),
        ({"fit": "crop"}, 'fit was "stretch" and is now "crop"'),
        ({"drop_greyscale": True}, "drop_greyscale was false and is now true"),
        (
            {"description": {"path": "others"}},
            'description.path was "pictures" and is now "others"',
        ),
        ({"train": Listed(pairs(9))}, "train.pictures was 10 and is now 9"),
        ({"val": Listed(pairs(3, seed=1), list("abc"))}, "val had pictures of other names"),
        ({"more": {"test": Listed(pairs(2))}}, "test was null and is now"),
    ],
)
def test_other_options_are_refused_and_named(tmp_path, complete, change, said):
    if complete:
        make(tmp_path)
    else:
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path, Listed([*pairs(9), KeyboardInterrupt()]))
    before = contents(tmp_path)
    with pytest.raises(DataError, match="was prepared otherwise") as caught:
        make(tmp_path, **change)
    assert_one_line(caught, tmp_path, said, "choose another directory, or delete this one")
    assert contents(tmp_path) == before


def test_a_directory_of_something_else_is_refused_and_untouched(tmp_path):
    (tmp_path / "holiday.png").write_bytes(b"picture")
    with pytest.raises(DataError, match="is not empty and holds no prepared cache") as caught:
        make(tmp_path)
    assert_one_line(caught, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.png"]


def test_one_process_at_a_time(tmp_path):
    with filelock.FileLock(tmp_path / ".lock"):
        with pytest.raises(DataError, match="is being prepared by another process") as caught:
            make(tmp_path)
        assert_one_line(caught, tmp_path)
    make(tmp_path)


def test_unreadable_pictures_are_left_out_and_named(tmp_path):
    records = pairs(10)
    records[0], records[5] = unreadable("a.png"), OSError(5, "Input/output error")
    result = make(tmp_path, Listed(records), max_bad_fraction=0.2)
    source = PreparedSource(tmp_path, "train")
    assert source.names == [f"folder/picture {index}" for index in (1, 2, 3, 4, 6, 7, 8, 9)]
    for place, index in enumerate((1, 2, 3, 4, 6, 7, 8, 9)):
        expected = fit_picture(records[index]["target"], SIZE, "bicubic", "stretch")
        np.testing.assert_array_equal(source[place]["target"], expected)
    train = read_manifest(tmp_path)["splits"]["train"]
    assert [shard["records"] for shard in train["shards"]] == [3, 3, 2]
    assert [name for name, _ in train["left_out"]] == ["folder/picture 0", "folder/picture 5"]
    head, first, second = result.lines()
    assert head.startswith("prepared 8 train and 3 val pictures in ")
    assert first == f"train: left out: {unreadable('a.png')}"
    assert "picture 5 of train" in second
    assert "Input/output error" in second
    again = make(tmp_path, Listed(records), max_bad_fraction=0.2).lines()
    assert again[1:3] == [first, second]
    assert again[3] == f"to try again what was left out, delete {tmp_path} first"


def test_a_long_list_of_unreadable_pictures_is_cut(tmp_path):
    records = [unreadable(f"\udcff{index}.png") for index in range(8)] + pairs(2)
    lines = make(tmp_path, Listed(records), max_bad_fraction=0.9).lines()
    assert len(lines) == 7
    assert lines[-1] == f"train: left out 3 more: see {tmp_path / 'manifest.json'}"
    "\n".join(lines).encode("utf-8")  # can be printed


def test_too_many_unreadable_pictures_stop_it_until_they_are_mended(finished, tmp_path):
    records = pairs(10)
    broken = [*records[:2], unreadable("a.png"), *records[3:8], unreadable("b.png"), records[9]]
    with pytest.raises(DataError, match=r"With it 2 of 10 train pictures are bad") as caught:
        make(tmp_path, Listed(broken), max_bad_fraction=0.1)
    assert_one_line(caught, "b.png", "data.max_bad_fraction 0.1")
    assert sorted(identities(tmp_path)) == [
        "train-00000-of-00003.array_record",
        "train-00001-of-00003.array_record",
    ]
    untouched = identities(tmp_path)["train-00001-of-00003.array_record"]
    with pytest.raises(DataError, match="2 of 10"):  # the same again, from what was finished
        make(tmp_path, Listed(broken), max_bad_fraction=0.1)
    result = make(tmp_path, Listed(records), max_bad_fraction=0.1)
    assert result.kept == 4
    assert identities(tmp_path)["train-00001-of-00003.array_record"] == untouched
    assert contents(tmp_path) == contents(finished)


def test_greyscale_pictures_are_left_out_on_request(tmp_path):
    records = pairs(10)
    records[3] = {**records[3], "target": np.repeat(noise(0)[..., :1], 3, axis=-1)}
    result = make(tmp_path, Listed(records), drop_greyscale=True)
    train = read_manifest(tmp_path)["splits"]["train"]
    assert (train["records"], train["greyscale"]) == (9, ["folder/picture 3"])
    assert result.lines()[1] == "train: left out 1 greyscale pictures"
    make(tmp_path / "all", Listed(records))
    assert len(PreparedSource(tmp_path / "all", "train")) == 10


def test_train_and_val_need_pictures_and_test_does_not(tmp_path):
    with pytest.raises(DataError, match="val has no pictures to prepare"):
        make(tmp_path / "a", val=Listed([]))
    bad = Listed([unreadable("a.png")])
    with pytest.raises(DataError, match="no picture of val is left: 1 cannot be read") as caught:
        make(tmp_path / "b", val=bad, max_bad_fraction=1.0)
    assert_one_line(caught)
    assert "manifest.json" not in files(tmp_path / "b")
    for name, test in (("c", Listed([])), ("d", bad)):
        make(tmp_path / name, more={"test": test}, max_bad_fraction=1.0)
        assert list(open_prepared(tmp_path / name)) == ["train", "val"]
    make(tmp_path / "e", more={"test": Listed(pairs(2))})
    assert len(open_prepared(tmp_path / "e")["test"]) == 2


def test_a_mistake_in_a_source_is_no_bad_picture(tmp_path):
    with pytest.raises(ZeroDivisionError):
        make(tmp_path, Listed([*pairs(9), ZeroDivisionError()]))
    assert not list(tmp_path.glob("*.tmp"))


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(DataError, match="cannot write the prepared cache") as caught:
        make(tmp_path / "file" / "cache")
    assert_one_line(caught, tmp_path / "file")
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "cache", Listed([*pairs(9), KeyboardInterrupt()]))
    (tmp_path / "cache" / "train-00002-of-00003.array_record.tmp").mkdir()
    with pytest.raises(DataError, match="Is a directory") as caught:
        make(tmp_path / "cache")
    assert_one_line(caught, "cannot write the prepared cache", tmp_path / "cache")


def test_a_damaged_plan_is_named(tmp_path):
    (tmp_path / "prepare.unfinished.json").write_text('{"version": ')
    with pytest.raises(DataError, match="is damaged") as caught:
        make(tmp_path)
    assert_one_line(caught, tmp_path / "prepare.unfinished.json", f"delete {tmp_path}")


def test_a_negative_number_of_workers_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="workers -1 must be at least 0"):
        make(tmp_path, workers=-1)


def test_space_is_looked_at_before_anything_is_written(tmp_path, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(prepare_plan.shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 4000))
    with pytest.raises(
        DataError, match=r"needs about 0\.00 GB and its disk has 0\.00 GB"
    ) as caught:
        make(tmp_path)
    assert_one_line(caught, tmp_path, "make room or choose another directory")
    assert contents(tmp_path) == {}


PROGRAM = '''
import resource, sys, time
import numpy as np
from jaxcolor.data.prepare import prepare
from jaxcolor.errors import DataError

class Slow:
    """Noise that takes its time."""
    names = [f"picture {i}" for i in range(64)]

    def __init__(self, pause, side):
        self.pause, self.side = pause, side

    def __len__(self):
        return 64

    def __getitem__(self, index):
        time.sleep(self.pause)
        shape = (self.side, self.side, 3)
        return {"target": np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)}

def run(directory, pause=0.0, side=10, size=8):
    sizes = {"train": size, "val": size}
    prepare(
        {"train": Slow(pause, side), "val": Slow(pause, side)}, directory, sizes=sizes, workers=2,
        method="bicubic", fit="stretch", shard_bytes=4 * size * size * 6,
    )

if __name__ == "__main__":
    assert "jax" not in sys.modules
    if sys.argv[2] == "full disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            run(sys.argv[1], side=300, size=300)
        except DataError as error:
            sys.exit(f"error: {error}")
    print("go", flush=True)
    run(sys.argv[1], pause=0.01)
'''


@pytest.fixture
def program(tmp_path):
    """Path of a program that prepares 64 slow pictures, four to a shard."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def start(program, directory, what=""):
    return subprocess.Popen(
        [sys.executable, program, directory, what],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_full_disk_is_one_line_and_leaves_no_cache(program, tmp_path):
    process = start(program, tmp_path / "cache", "full disk")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.count("\n") == 1
    assert stderr.startswith(f"error: cannot write the prepared cache {tmp_path / 'cache'} (")
    assert "File too large" in stderr
    assert set(files(tmp_path / "cache")) == {"prepare.unfinished.json"}


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(program, tmp_path):
    spec = importlib.util.spec_from_file_location("program", program)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.run(tmp_path / "undisturbed")
    directory, rng, kept = tmp_path / "killed", random.Random(time.time_ns()), {}
    for finished_shards in (0, 2, 7, 12):
        process = start(program, directory)
        try:
            assert process.stdout.readline() == "go\n"
            while len(list(directory.glob("train-*.json"))) < finished_shards:
                assert process.poll() is None
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.02))
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert "manifest.json" not in files(directory)
        assert identities(directory).items() >= kept.items()
        kept = {
            name: identity
            for name, identity in identities(directory).items()
            if (directory / name).with_suffix(".json").exists()
        }
        assert len(kept) >= finished_shards
        if directory.exists() and is_prepared(directory):
            with pytest.raises(DataError, match="was not finished"):
                PreparedSource(directory, "train")
    process = start(program, directory)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert identities(directory).items() >= kept.items()
    assert contents(directory) == contents(tmp_path / "undisturbed")
    verify(directory)
