"""Facts about TFDS data sets: prepared and read without TensorFlow."""

import functools
import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcolor.data import tfds_preparation
from jaxcolor.data.layouts import open_splits
from jaxcolor.data.tfds_source import open_tfds
from jaxcolor.errors import ConfigError, DataError

RGB = tfds.features.Image(shape=(None, None, 3))
LABEL = tfds.features.ClassLabel(num_classes=3)
# A TensorFlow that is installed and must not be met.
POISON = "raise AssertionError('TensorFlow was imported')"


def random_picture(seed, height=32, width=32, channels=3):
    shape = (height, width, channels)[: 3 if channels > 1 else 2]
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(pixels, form="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def write_set(directory, splits, features, name="tiny", file_format="array_record"):
    """A TFDS data set of these records, by split, in their order."""
    options = {"name": name, "VERSION": tfds.core.Version("1.0.0")}

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name, VERSION = options["name"], options["VERSION"]

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(records) for split, records in splits.items()}

        def _generate_examples(self, records):
            yield from enumerate(records)

    Builder(data_dir=directory).download_and_prepare(file_format=file_format)
    return str(directory)


def write_pictures(directory, counts, **options):
    """A data set like cifar10, whose split `s` holds random_picture(0), random_picture(1), ..."""
    splits = {
        split: [{"image": encoded(random_picture(n)), "label": n % 3} for n in range(count)]
        for split, count in counts.items()
    }
    return write_set(directory, splits, {"image": RGB, "label": LABEL}, **options)


read = functools.partial(open_tfds, "tiny", validation_fraction=0.25)


def assert_one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def run_python(code, *arguments):
    """What `code` prints, in a process of its own."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return finished.stdout


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("tfds"), {"train": 40, "test": 3})


def test_pixels_come_back_exactly(pictures):
    sources = read(directory=pictures)
    assert {split: len(source) for split, source in sources.items()} == {"train": 40, "val": 3}
    for source in sources.values():
        assert not source.paired
        for number in range(len(source)):
            record = source[number]
            assert record.keys() == {"target"}
            np.testing.assert_array_equal(record["target"], random_picture(number))
    with pytest.raises(IndexError):
        sources["val"][3]


def test_names_say_split_and_number(pictures):
    sources = read(directory=pictures)
    assert sources["train"].names[:2] == ["train/000000", "train/000001"]
    assert sources["val"].names == ["test/000000", "test/000001", "test/000002"]


def test_version_may_be_named(pictures):
    for name in ("tiny:1.0.0", "tiny:1.*.*"):
        assert len(open_tfds(name, directory=pictures, validation_fraction=0.1)["train"]) == 40


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (("train", "validation", "test"), {"train": 1, "val": 2, "test": 3}),
        (("train", "val"), {"train": 1, "val": 2}),
        (("train", "valid", "extra"), {"train": 1, "val": 2}),
        (("train", "test"), {"train": 1, "val": 2}),
    ],
)
def test_splits_of_the_set_are_used(tmp_path, own, expected):
    write_pictures(tmp_path, {split: count for count, split in enumerate(own, 1)})
    sources = read(directory=str(tmp_path))
    assert {split: len(source) for split, source in sources.items()} == expected


def test_one_split_is_divided_by_number_for_good(tmp_path):
    divided = []
    for count in (60, 90):  # the first 60 records are the same
        sources = read(directory=write_pictures(tmp_path / str(count), {"train": count}))
        names = {split: source.names for split, source in sources.items()}
        assert sorted(names["train"] + names["val"]) == [f"train/{n:06d}" for n in range(count)]
        assert 0 < len(names["val"]) < count / 2
        divided.append(names["val"])
        place = sources["val"].names.index(names["val"][-1])
        expected = random_picture(int(names["val"][-1][-6:]))
        np.testing.assert_array_equal(sources["val"][place]["target"], expected)
    assert divided[0] == [name for name in divided[1] if name < "train/000060"]


def test_one_record_cannot_be_divided(tmp_path):
    with pytest.raises(DataError) as caught:
        read(directory=write_pictures(tmp_path, {"train": 1}))
    assert_one_line(caught, tmp_path)


def test_a_split_to_train_on_is_needed(tmp_path):
    with pytest.raises(DataError) as caught:
        read(directory=write_pictures(tmp_path, {"test": 2, "extra": 2}))
    assert_one_line(caught, "tiny/1.0.0", "train", "test, extra")


def write_one(directory, value, feature=RGB):
    splits = {split: [{"image": value}] for split in ("train", "val")}
    return write_set(directory, splits, {"image": feature})


def test_grey_and_transparent_pictures_become_rgb(tmp_path):
    grey = random_picture(1, 5, 7, 1)
    one_channel = tfds.features.Image(shape=(None, None, 1))
    source = read(directory=write_one(tmp_path / "grey", encoded(grey), one_channel))["train"]
    np.testing.assert_array_equal(source[0]["target"], np.stack([grey] * 3, axis=-1))

    clear = np.zeros((4, 4, 4), np.uint8)
    four_channels = tfds.features.Image(shape=(None, None, 4))
    directory = write_one(tmp_path / "clear", encoded(clear), four_channels)
    for background, value in (("white", 255), ("black", 0)):
        source = read(directory=directory, background=background)["train"]
        assert np.all(source[0]["target"] == value)


@settings(max_examples=10, deadline=None)
@given(
    target=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    condition=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_features_target_and_condition_are_a_pair(tmp_path_factory, target, condition):
    pixels = {"target": random_picture(1, *target), "condition": random_picture(2, *condition)}
    record = {"label": 1, "image": encoded(random_picture(3))}
    record |= {key: encoded(picture) for key, picture in pixels.items()}
    features = {"label": LABEL, "image": RGB, "target": RGB, "condition": RGB}
    directory = tmp_path_factory.mktemp("pairs")
    write_set(directory, {split: [record] for split in ("train", "val")}, features)
    source = read(directory=str(directory))["train"]
    assert source.paired
    assert source[0].keys() == {"target", "condition"}
    for key, picture in pixels.items():
        np.testing.assert_array_equal(source[0][key], picture)


def test_features_that_are_no_pictures_are_not_even_parsed(tmp_path):
    features = {
        "anything": tfds.features.Sequence(tfds.features.Image()),
        "labels": tfds.features.LabeledImage(labels=3, shape=(None, None, 1)),
        "photo": RGB,
    }
    record = {
        "anything": [b"no picture", b"either"],
        "labels": b"no picture",
        "photo": encoded(random_picture(1)),
    }
    directory = write_set(tmp_path, {split: [record] for split in ("train", "val")}, features)
    np.testing.assert_array_equal(
        read(directory=directory)["train"][0]["target"], random_picture(1)
    )


def test_a_set_without_pictures_is_refused(tmp_path):
    features = {"label": LABEL, "text": tfds.features.Text()}
    write_set(tmp_path, {"train": [{"label": 1, "text": "a"}] * 2}, features)
    with pytest.raises(DataError) as caught:
        read(directory=str(tmp_path))
    assert_one_line(caught, "tiny/1.0.0", "label, text")


def test_a_damaged_picture_is_named(tmp_path):
    whole = encoded(random_picture(1))
    source = read(directory=write_one(tmp_path, whole[: len(whole) // 2]))["train"]
    with pytest.raises(DataError) as caught:
        source[0]
    assert_one_line(caught, "train/000000", tmp_path)


def test_a_lost_shard_is_named(tmp_path):
    write_pictures(tmp_path, {"train": 2, "val": 1})
    (shard,) = tmp_path.rglob("tiny-train*")
    shard.write_bytes(shard.read_bytes()[:100])
    source = read(directory=str(tmp_path))["train"]
    with pytest.raises(DataError) as caught:
        source[1]
    assert_one_line(caught, "train/000001", tmp_path)


def test_threads_and_copies_read_the_same(pictures):
    source = read(directory=pictures)["train"]
    copy = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(8) as threads:
        places = [*range(len(source))] * 5
        for place, record in zip(places, threads.map(copy.__getitem__, places), strict=True):
            np.testing.assert_array_equal(record["target"], random_picture(place))
    assert copy.names == source.names
    assert len(pickle.dumps(copy)) < 1000  # no open files, no pictures


def test_tensorflow_is_never_imported(pictures, tmp_path):
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text(POISON)
    code = """
import pickle, sys
sys.path.insert(0, sys.argv[2])
from jaxcolor.data import tfds_source
assert not {"tensorflow_datasets", "jax"} & set(sys.modules)
sources = tfds_source.open_tfds("tiny", directory=sys.argv[1], validation_fraction=0.1)
for source in sources.values():
    print(len(source), pickle.loads(pickle.dumps(source))[0]["target"].shape)
from jaxcolor.data import anime_sketch_pairs
assert not [name for name in sys.modules if name.startswith(("tensorflow.", "jax."))]
assert "tensorflow" not in sys.modules
"""
    printed = run_python(code, pictures, tmp_path)
    assert printed == "40 (32, 32, 3)\n3 (32, 32, 3)\n"  # and nothing that TFDS says


def test_tfds_may_be_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ConfigError) as caught:
        read(directory=str(tmp_path))
    assert_one_line(caught, "pip install tensorflow-datasets")


def test_open_splits_takes_the_name(pictures):
    found = open_splits("tiny", source="tfds", tfds_directory=pictures)
    assert (found.kind, found.condition, len(found.sources["train"])) == ("tfds", "luma", 40)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("cifr10", ["cifr10", "cifar10"]),
        ("no such name", ["no such name", "name/config"]),
        ("anime_sketch_pairs", ["anime_sketch_pairs:PATH"]),
    ],
)
def test_what_is_not_known_is_refused(tmp_path, name, parts):
    with pytest.raises((ConfigError, DataError)) as caught:
        open_tfds(name, directory=str(tmp_path), validation_fraction=0.1)
    assert_one_line(caught, *parts)
    assert not [*tmp_path.iterdir()]


def test_without_a_network_the_command_is_named(tmp_path, monkeypatch, capfd):
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(DataError) as caught:
        open_tfds("cifar10", directory=str(tmp_path), validation_fraction=0.1)
    assert_one_line(caught, "cifar10", tmp_path, "no connection", tfds_preparation._COMMAND)
    assert "downloading 170 MB" in capfd.readouterr().out


def test_a_format_without_random_access_is_refused(tmp_path):
    directory = write_pictures(tmp_path, {"train": 2})
    for description in tmp_path.rglob("dataset_info.json"):
        text = description.read_text()
        description.write_text(text.replace('"array_record"', '"tfrecord"'))
    with pytest.raises(DataError) as caught:
        read(directory=directory)
    assert_one_line(caught, "tfrecord", "data.tfds_directory", tmp_path)


def test_a_damaged_description_is_named(tmp_path):
    directory = write_pictures(tmp_path, {"train": 2})
    for description in tmp_path.rglob("dataset_info.json"):
        description.write_text("{")
    with pytest.raises(DataError) as caught:
        read(directory=directory)
    assert_one_line(caught, "tiny", tmp_path)


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError) as caught:
        open_tfds("cifar10", directory=str(tmp_path / "file" / "sets"), validation_fraction=0.1)
    assert_one_line(caught, "data.tfds_directory", tmp_path)
