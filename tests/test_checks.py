"""Facts about the check of the pictures before training: every fault is found, named, counted."""

import json
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcolor.data import checks
from jaxcolor.data.check_report import PROBLEMS, REMARKS, Finding, Report
from jaxcolor.data.checks import full_check, quick_check
from jaxcolor.data.sources import FolderPairSource, PictureSource, SideBySideSource
from jaxcolor.errors import DataError


def noise(seed, width=16, height=8):
    """A coloured picture that no other seed draws."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def open_folder(directory, kind=SideBySideSource, **options):
    paths = sorted(path for path in directory.iterdir() if path.is_file())
    return kind([str(path) for path in paths], [path.stem for path in paths], **options)


def clean_splits(directory, kind=SideBySideSource):
    """Ten training and four validation files with nothing wrong; more may be added to them."""
    for index in range(14):
        split = "train" if index < 10 else "val"
        save(directory / split / f"{split}{index:02}.png", noise(index))
    return {split: open_folder(directory / split, kind) for split in ("train", "val")}


def check(directory, kind=SideBySideSource, which=full_check, notes=None):
    splits = {split: open_folder(directory / split, kind) for split in ("train", "val")}
    return which(splits, notes or {})


def found(report):
    """{(kind, split): names} of the findings."""
    return {(kind, split): [name for name, _ in items] for kind, split, items in report.findings}


class ArraySource:
    """Records without files."""

    def __init__(self, count, width=16, height=16):
        self.names = [f"record{index}" for index in range(count)]
        self.reads, self._size = 0, (width, height)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        self.reads += 1
        return {"target": noise(index, *self._size)}


@pytest.mark.parametrize("kind", [SideBySideSource, PictureSource])
@pytest.mark.parametrize("which", [quick_check, full_check])
def test_a_clean_set_has_no_findings(tmp_path, kind, which):
    report = which(clean_splits(tmp_path, kind), {"unpaired": [], "ignored": []})
    assert report.findings == ()
    assert report.problems == 0
    assert report.counts == report.examined == {"train": 10, "val": 4}
    assert report.sizes == {"train": ((16, 8, 10),), "val": ((16, 8, 4),)}


def test_a_clean_set_takes_one_line_at_the_start_of_training(tmp_path):
    lines = quick_check(clean_splits(tmp_path)).lines()
    assert lines == ["data: train 10 of 16x8; val 4 of 16x8; nothing amiss"]
    assert full_check(clean_splits(tmp_path)).lines() == [
        "train 10 of 16x8",
        "val 4 of 16x8",
        "14 decoded: nothing amiss",
    ]


def test_a_cut_file_is_found_by_its_pixels_alone(tmp_path):
    clean_splits(tmp_path)
    for name in ("cut.png", "cut.jpg", "cut.tif", "cut.webp", "cut.bmp"):
        path = save(tmp_path / "train" / name, noise(99, 64, 32))
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        path.rename(path.with_stem(f"cut_{path.suffix[1:]}"))
    report = check(tmp_path)
    cut = ["cut_bmp", "cut_jpg", "cut_png", "cut_tif", "cut_webp"]
    assert found(report) == {("unreadable", "train"): cut}
    assert report.problems == 5
    assert all(f"{name}." in reason for name, reason in report.findings[0].items)
    # The headers of a WebP and a TIFF are read with the rest of the file.
    quick = found(check(tmp_path, which=quick_check)).get(("unreadable", "train"), [])
    assert not {"cut_bmp", "cut_jpg", "cut_png"} & set(quick)


@pytest.mark.parametrize("which", [quick_check, full_check])
@pytest.mark.parametrize("content", [b"", b"no picture at all\n"])
def test_a_file_without_a_header_is_found_and_its_reason_said(tmp_path, which, content):
    clean_splits(tmp_path)
    (tmp_path / "val" / "broken.png").write_bytes(content)
    report = check(tmp_path, which=which)
    assert found(report) == {("unreadable", "val"): ["broken"]}
    assert report.counts["val"] == 5
    (line,) = [line for line in report.lines() if line.startswith("PROBLEM")]
    assert "PROBLEM in val: 1 picture that cannot be read: " in line
    assert str(tmp_path / "val" / "broken.png") in line


@pytest.mark.parametrize("which", [quick_check, full_check])
@pytest.mark.parametrize(("side", "odd"), [("left", (15, 8)), ("top", (16, 7))])
def test_a_picture_that_cannot_be_halved_is_named_once(tmp_path, which, side, odd):
    clean_splits(tmp_path)
    save(tmp_path / "train" / "odd.png", noise(50, *odd))
    source = open_folder(tmp_path / "train", target_side=side)
    report = which({"train": source})
    kinds = {("odd", "train"): ["odd"]}
    if side == "top":  # which 16x8 pictures are not
        kinds[("halves", "train")] = ["16x4 in files of 16x8"]
    assert found(report) == kinds
    assert report.findings[0].items == (("odd", f"{odd[0]}x{odd[1]}"),)


@pytest.mark.parametrize("which", [quick_check, full_check])
def test_a_stray_among_pairs_side_by_side_is_a_remark(tmp_path, which):
    clean_splits(tmp_path)
    save(tmp_path / "train" / "alone.png", noise(50, 8, 8))
    save(tmp_path / "train" / "larger.png", noise(51, 64, 32))
    report = check(tmp_path, which=which)
    assert report.findings == (Finding("stray", "train", (("alone", "8x8 among 16x8"),)),)
    assert report.problems == 0
    assert not check(tmp_path, PictureSource, which).findings


def test_pairs_of_all_shapes_have_no_strays(tmp_path):
    for index in range(12):
        save(tmp_path / f"{index}.png", noise(index, *((16, 8), (12, 16), (24, 8))[index % 3]))
    assert quick_check({"train": open_folder(tmp_path)}).findings == ()


@pytest.mark.parametrize("which", [quick_check, full_check])
def test_pairs_of_two_files_are_compared(tmp_path, which):
    sizes = {"same": (16, 8), "smaller": (32, 16), "rounded": (33, 17), "squeezed": (8, 8)}
    for index, (name, size) in enumerate(sizes.items()):
        save(tmp_path / "B" / f"{name}.png", noise(index))
        save(tmp_path / "A" / f"{name}.png", noise(index + 50, *size))
    paths = [[str(tmp_path / x / f"{name}.png") for name in sizes] for x in ("B", "A")]
    report = which({"train": FolderPairSource(*paths, list(sizes))})
    assert found(report) == {
        ("proportions", "train"): ["squeezed"],
        ("size", "train"): ["smaller", "rounded"],
    }
    assert report.problems == 1
    assert report.findings[0].items == (("squeezed", "16x8 and 8x8"),)
    assert report.sizes == {"train": ((16, 8, 4),)}


def test_duplicates_within_a_split_are_a_remark_whatever_their_format(tmp_path):
    clean_splits(tmp_path)
    for name in ("twin.bmp", "twin2.tif"):
        save(tmp_path / "train" / name, noise(3))
    report = check(tmp_path)
    items = (("twin", "= train03"), ("twin2", "= train03"))
    assert report.findings == (Finding("duplicate", "train", items),)
    assert report.problems == 0
    assert not check(tmp_path, which=quick_check).findings


def test_a_target_in_two_splits_is_the_first_problem_said(tmp_path):
    clean_splits(tmp_path)
    save(tmp_path / "val" / "seen.png", noise(3))
    redrawn = noise(4)
    redrawn[:, 8:] = 255  # the same target with another condition
    save(tmp_path / "val" / "redrawn.png", redrawn)
    save(tmp_path / "val" / "twice.png", redrawn)
    save(tmp_path / "val" / "other.png", np.concatenate([noise(5)[:, 8:], noise(5)[:, 8:]], 1))
    (tmp_path / "train" / "broken.png").write_bytes(b"")
    report = check(tmp_path)
    assert found(report) == {
        ("leakage", "val"): ["redrawn", "twice", "seen"],
        ("unreadable", "train"): ["broken"],
        ("duplicate", "val"): ["twice"],
    }
    assert dict(report.findings[0].items) == {
        "redrawn": "= train/train04",
        "twice": "= train/train04",
        "seen": "= train/train03",
    }
    assert report.problems == 4
    first = report.lines()[2]
    assert first.startswith("PROBLEM in val: 3 pictures also in another split")
    assert "redrawn (= train/train04)" in first


def test_a_redrawn_target_is_no_duplicate_within_its_split(tmp_path):
    clean_splits(tmp_path)
    redrawn = noise(4)
    redrawn[:, 8:] = 255
    save(tmp_path / "train" / "redrawn.png", redrawn)
    assert check(tmp_path).findings == ()


def test_grey_targets_are_named_and_tinted_ones_are_not(tmp_path):
    clean_splits(tmp_path, PictureSource)
    grey = noise(60)[..., :1]
    save(tmp_path / "train" / "grey_mode.png", grey[..., 0])
    save(tmp_path / "train" / "grey_rgb.png", np.repeat(noise(61)[..., :1], 3, -1))
    save(tmp_path / "train" / "sepia.png", (grey * np.array([1.0, 0.9, 0.7])).astype(np.uint8))
    report = check(tmp_path, PictureSource)
    assert found(report) == {("greyscale", "train"): ["grey_mode", "grey_rgb"]}
    assert report.problems == 0
    assert not check(tmp_path, PictureSource, quick_check).findings


def test_a_grey_condition_is_no_fault(tmp_path):
    pixels = noise(0)
    pixels[:, 8:] = pixels[:, 8:, :1]
    save(tmp_path / "a.png", pixels)
    assert full_check({"train": open_folder(tmp_path)}).findings == ()


@pytest.mark.parametrize("which", [quick_check, full_check])
def test_what_the_layout_left_out_is_passed_on(tmp_path, which):
    clean_splits(tmp_path)
    notes = {"unpaired": ["A/x.png", "B/y.jpg"], "ignored": [("train/z.png", "a link to nothing")]}
    report = check(tmp_path, which=which, notes=notes)
    assert found(report) == {
        ("unpaired", ""): ["A/x.png", "B/y.jpg"],
        ("ignored", ""): ["train/z.png"],
    }
    lines = [line for line in report.lines() if line.startswith("note")]
    assert lines == [
        "note: 2 files left out for want of a partner: A/x.png; B/y.jpg",
        "note: 1 file ignored: train/z.png (a link to nothing)",
    ]
    assert report.problems == 0


def test_long_lists_are_cut_in_lines_and_whole_in_json(tmp_path):
    for index in range(30):
        save(tmp_path / f"{index:02}.png", noise(index, 2 + 2 * index, 3))
    report = full_check({"train": open_folder(tmp_path)}, {"unpaired": [str(i) for i in range(9)]})
    lines = report.lines()
    assert lines[0].endswith("2x3 (1), 4x3 (1), 6x3 (1) and 27 more sizes")
    assert lines[-2].endswith("0; 1; 2; and 6 more")
    assert "8" in report.lines(shown=9)[-2]
    assert len(json.loads(report.to_json())["sizes"]["train"]) == 30


def test_sizes_come_with_the_most_frequent_first(tmp_path):
    for index, width in enumerate([4, 8, 8, 6, 8, 6]):
        save(tmp_path / f"{index}.png", noise(index, width, 4))
    report = quick_check({"train": open_folder(tmp_path, PictureSource)})
    assert report.sizes == {"train": ((8, 4, 3), (6, 4, 2), (4, 4, 1))}
    assert report.lines() == ["data: train 6 of 8x4 (3) and 2 more sizes; nothing amiss"]


def test_a_turned_picture_has_its_upright_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a.jpg", noise(0, 16, 8), exif=exif)
    report = quick_check({"train": open_folder(tmp_path, PictureSource)})
    assert report.sizes == {"train": ((8, 16, 1),)}


def test_a_quick_check_samples_what_is_many_and_says_so(tmp_path):
    splits = clean_splits(tmp_path)
    report = quick_check(splits, limit=7)
    assert report.examined == {"train": 5, "val": 2}
    assert "train 10 of 16x8 by a sample of 5" in report.lines()[0]
    assert full_check(splits).examined == {"train": 10, "val": 4}


@given(count=st.integers(0, 300), most=st.integers(1, 40))
def test_a_sample_is_even(count, most):
    sample = list(checks._spread(count, most))
    assert len(sample) == min(count, most)
    assert sample == sorted(set(sample))
    assert all(0 <= index < count for index in sample)
    gaps = np.diff([*sample, count])
    assert not count or gaps.max() - gaps.min() <= 1


def test_many_records_without_files_take_no_time_and_no_memory():
    source = ArraySource(10_000)
    tracemalloc.start()
    started = time.perf_counter()
    report = quick_check({"train": source})
    seconds = time.perf_counter() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert source.reads == report.examined["train"] == checks.RECORDS
    assert seconds < 1
    assert peak < 1e6
    assert report.counts == {"train": 10_000}


def test_a_full_check_keeps_no_pictures():
    source = ArraySource(400, 64, 64)
    tracemalloc.start()
    report = full_check({"train": source}, progress=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert source.reads == report.examined["train"] == 400
    assert report.findings == ()
    assert peak < 0.5 * 400 * noise(0, 64, 64).nbytes


def test_records_stored_at_other_sizes_cannot_be_compared_across_splits():
    splits = {"train": ArraySource(3, 18, 18), "val": ArraySource(3), "test": ArraySource(3)}
    report = full_check(splits)
    assert found(report) == {
        ("leakage", "test"): ["record0", "record1", "record2"],
        ("incomparable", "val"): ["train"],
        ("incomparable", "test"): ["train"],
    }
    assert "1 split stored at another size" in report.lines()[-3]


def test_a_damaged_cache_is_a_problem():
    def verify():
        raise DataError("shard 3 is damaged: prepare again")

    report = full_check({"train": ArraySource(3)}, verify=verify)
    assert found(report) == {("damaged", ""): [""]}
    assert "PROBLEM: 1 fault in the prepared cache: shard 3 is damaged: prepare again" in (
        report.lines()
    )
    assert full_check({"train": ArraySource(3)}, verify=lambda: None).problems == 0


def test_an_error_that_is_no_data_error_is_not_swallowed():
    class Faulty(ArraySource):
        def __getitem__(self, index):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        full_check({"train": Faulty(100)})


def test_an_empty_split_is_counted():
    report = full_check({"train": ArraySource(2), "val": ArraySource(0)})
    assert report.counts == {"train": 2, "val": 0}
    assert report.lines()[1] == "val 0"


def test_warnings_of_pillow_are_kept_back_and_others_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # warns from 100, fails from 200
    save(tmp_path / "a.png", noise(0))
    for which in (quick_check, full_check):
        assert which({"train": open_folder(tmp_path)}).findings == ()

    class Warning_(ArraySource):
        def __getitem__(self, index):
            np.float64(1) / np.float64(0)
            return super().__getitem__(index)

    with pytest.raises(RuntimeWarning):
        full_check({"train": Warning_(1)})


text = st.text(max_size=8)
finding_strategy = st.builds(
    Finding,
    st.sampled_from([*PROBLEMS, *REMARKS]),
    text,
    st.lists(st.tuples(text, text), min_size=1, max_size=4).map(tuple),
)


@settings(max_examples=50)
@given(
    findings=st.lists(finding_strategy, max_size=4).map(tuple),
    sizes=st.lists(st.tuples(*[st.integers(1, 9)] * 3), max_size=3).map(tuple),
    split=text,
    decoded=st.booleans(),
)
def test_a_report_survives_json_and_prints_one_line_a_finding(findings, sizes, split, decoded):
    report = Report({split: 7}, {split: 5}, decoded, {split: sizes}, findings)
    assert Report.from_json(report.to_json()) == report
    assert json.loads(report.to_json())["problems"] == report.problems
    lines = report.lines()
    assert len(lines) == len(findings) + (2 if decoded else 1)
    assert all(line.isprintable() for line in lines)


def test_a_name_that_is_no_text_can_be_printed_and_saved(tmp_path):
    name = b"bad\xff\nname".decode(errors="surrogateescape")
    report = Report({}, {}, False, {}, (Finding("unpaired", "", ((name, ""),)),))
    assert report.lines()[-1].endswith("bad??name")
    assert Report.from_json(report.to_json()) == report


def test_halves_far_from_square_are_remarked_on(tmp_path):
    clean_splits(tmp_path)
    for which in (quick_check, full_check):
        source = open_folder(tmp_path / "train", target_side="top")
        report = which({"train": source})
        assert report.problems == 0
        (line,) = [line for line in report.lines() if "halves" in line]
        assert "16x4 in files of 16x8" in line
        assert "data.target_side" in line
