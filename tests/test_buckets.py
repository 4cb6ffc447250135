"""Pictures and caches in buckets: a filesystem in memory stands for gs:// here."""

import json
import re
import shutil

import fsspec
import numpy as np
import pytest
from memory_bucket import Bucket

from jaxcolor import mirror
from jaxcolor.__main__ import main
from jaxcolor.data import buckets, layouts
from jaxcolor.data.prepare import prepare
from jaxcolor.data.prepared import MANIFEST
from jaxcolor.errors import ConfigError, DataError

URL = "gs://bucket/some/pairs"


@pytest.fixture
def filled(bucket, pictures):
    """The bucket with side-by-side pairs in it."""
    bucket.put(str(pictures), "gs://bucket/some/pairs", recursive=True)
    bucket.sent.clear()
    return bucket


def again():
    """What a new process would be given."""
    buckets.fetch.cache_clear()
    Bucket.copied.clear()
    return buckets.fetch(URL, progress=False)


def records(splits):
    return {
        split: [(name, source[i]["target"], source[i]["condition"])]
        for split, source in splits.sources.items()
        for i, name in enumerate(source.names)
    }


def test_pictures_of_a_bucket_are_those_of_the_directory_they_came_from(filled, pictures):
    there, here = layouts.open_splits(URL), layouts.open_splits(pictures)
    assert there.kind == "side_by_side"
    assert len(there.sources["train"]) == len(here.sources["train"])
    for split, expected in records(here).items():
        for ours, theirs in zip(records(there)[split], expected, strict=True):
            assert ours[0] == theirs[0]
            np.testing.assert_array_equal(ours[1], theirs[1])
            np.testing.assert_array_equal(ours[2], theirs[2])


def test_only_what_has_changed_is_copied_again(filled):
    place = again()
    names = sorted(path.name for path in place.rglob("*.png"))
    assert len(Bucket.copied) == len(names) > 2
    assert again() == place
    assert Bucket.copied == []
    filled.pipe_file(f"{URL}/train/{names[0]}", b"other content")
    again()
    assert [path.rpartition("/")[2] for path in Bucket.copied] == [names[0]]
    assert (place / "train" / names[0]).read_bytes() == b"other content"


def test_a_local_file_that_was_cut_is_copied_again(filled):
    path = next(again().rglob("*.png"))
    path.write_bytes(path.read_bytes()[:-1])
    again()
    assert [copied.rpartition("/")[2] for copied in Bucket.copied] == [path.name]


def test_what_has_gone_from_the_bucket_goes_here(filled):
    path = next(again().rglob("*.png"))
    filled.rm_file(f"{URL}/{path.relative_to(again()).as_posix()}")
    again()
    assert not path.exists()


def test_an_interrupted_copy_goes_on_after_the_last_whole_file(filled):
    names = sorted(path.rpartition("/")[2] for path in filled.find(URL))
    Bucket.fails.add(names[-1])
    with pytest.raises(DataError, match=r"pairs/.* cannot be read \(503 try again later\)"):
        again()
    before = len(Bucket.copied)
    assert 0 < before < len(names)
    Bucket.fails.clear()
    again()
    assert before + len(Bucket.copied) == len(names)


def test_copies_of_two_folders_are_kept_apart(filled, pictures):
    filled.put(str(pictures), "gs://bucket/some-pairs", recursive=True)
    first, second = buckets.fetch(URL), buckets.fetch("gs://bucket/some-pairs")
    assert first != second
    assert not first.is_relative_to(second)
    assert not second.is_relative_to(first)


def test_names_that_lead_elsewhere_are_refused(filled, tmp_path):
    filled.store["/bucket/some/pairs/../../outside.png"] = filled.store[
        next(iter(filled.find(URL)))
    ]
    with pytest.raises(DataError, match="is no name for a file"):
        again()
    assert not list(tmp_path.rglob("outside.png"))


def test_nothing_there_is_one_line(bucket):
    with pytest.raises(DataError, match="nothing is below gs://bucket/none: check its name"):
        layouts.open_splits("gs://bucket/none")


def test_too_small_a_disk_is_told_before_anything_is_copied(filled, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"whose disk has 0\.00 GB free"):
        again()
    assert Bucket.copied == []


@pytest.mark.parametrize(("scheme", "extra"), [("gs", "gcs"), ("s3", "s3")])
def test_a_missing_extra_is_one_line(scheme, extra, monkeypatch):
    def refuse(protocol, **options):
        raise ImportError(f"Please install {protocol}fs")

    monkeypatch.setattr(fsspec, "filesystem", refuse)
    buckets.fetch.cache_clear()
    line = rf"{scheme}:// needs the extra {extra}: pip install -e '.\[{extra}\]'"
    with pytest.raises(ConfigError, match=line):
        layouts.open_splits(f"{scheme}://bucket/pairs")


def make_cache(pictures, directory, size=32):
    sizes = {"train": size, "val": 32, "test": 32}
    splits = layouts.open_splits(pictures).sources
    fixed = {"method": "bicubic", "fit": "stretch", "progress": False}
    return prepare(splits, directory, sizes=sizes, **fixed).directory


def test_a_cache_that_was_sent_trains_like_the_one_here(bucket, pictures, tmp_path):
    made = make_cache(pictures, tmp_path / "made")
    buckets.send(made, "gs://bucket/cache", MANIFEST, progress=False)
    assert Bucket.sent[-1].endswith(MANIFEST)
    names = {path.rpartition("/")[2] for path in Bucket.sent}
    assert names == {path.name for path in made.iterdir() if not path.name.startswith(".")}
    there, here = layouts.open_splits("gs://bucket/cache"), layouts.open_splits(made)
    assert there.kind == "prepared"
    for split in here.sources:
        np.testing.assert_array_equal(
            there.sources[split][0]["target"], here.sources[split][0]["target"]
        )


def test_the_same_cache_is_sent_once_and_another_not_over_it(bucket, pictures, tmp_path):
    made, other = make_cache(pictures, tmp_path / "a"), make_cache(pictures, tmp_path / "b", 48)
    buckets.send(made, "gs://bucket/cache", MANIFEST, progress=False)
    Bucket.sent.clear()
    buckets.send(made, "gs://bucket/cache", MANIFEST, progress=False)
    with pytest.raises(DataError, match=f"holds another {MANIFEST}"):
        buckets.send(other, "gs://bucket/cache", MANIFEST, progress=False)
    assert Bucket.sent == []
    held = json.loads(bucket.cat_file(f"gs://bucket/cache/{MANIFEST}"))
    assert held == json.loads((made / MANIFEST).read_bytes())


@pytest.mark.parametrize(
    "words",
    [
        "colorize gs://bucket/scans --model RUN --out OUT",
        "colorize DIR --model RUN --out gs://bucket/out",
        "evaluate RUN --out gs://bucket/out",
        "compare A=RUN B=s3://bucket/run",
        "import net.pth --out s3://bucket/run",
        "export RUN --out s3://bucket/out",
        "gui --model gs://bucket/run",
    ],
)
def test_where_no_bucket_can_be_it_is_not_taken_for_a_folder(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    line = r"error: \S+ is in a bucket: give \w+ on the disk.*\n"
    assert re.fullmatch(line, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["gcs://bucket/pairs", "https://host/pairs"])
def test_other_urls_are_refused(path):
    with pytest.raises(ConfigError, match="of an unknown kind: write gs:// and s3:// for buckets"):
        layouts.open_splits(path)
    with pytest.raises(ConfigError, match="of an unknown kind"), mirror.opened(path):
        pass
