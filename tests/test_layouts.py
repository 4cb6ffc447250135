"""Facts about layouts: which files belong together, and which of them validate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxcolor.data.layouts import hash_fraction, open_splits, split_by_name
from jaxcolor.errors import ConfigError, DataError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def save(path, colour=RED, size=(8, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def names(splits):
    return {split: source.names for split, source in splits.sources.items()}


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_folders_make_the_splits(tmp_path, validation):
    for name in ("train/a.png", "train/b.jpg", f"{validation}/c.png", "test/d.png"):
        save(tmp_path / name)
    splits = open_splits(tmp_path)
    assert names(splits) == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    assert (splits.kind, splits.condition) == ("side_by_side", "given")


@pytest.mark.parametrize("inside", ["", "train/"])
def test_without_a_validation_folder_names_decide(tmp_path, inside):
    for number in range(40):
        save(tmp_path / f"{inside}{number}.png")
    before = names(open_splits(tmp_path, validation_fraction=0.2))
    assert sorted(before["train"] + before["val"]) == sorted(map(str, range(40)))
    assert 2 <= len(before["val"]) <= 16
    for number in range(40, 80):
        save(tmp_path / f"{inside}{number}.jpg")
    after = names(open_splits(tmp_path, validation_fraction=0.2))
    assert set(before["val"]) <= set(after["val"])
    assert set(before["train"]) <= set(after["train"])


@given(st.lists(st.text(max_size=8), min_size=2, max_size=40, unique=True), st.floats(0.01, 0.99))
def test_a_name_keeps_its_split_and_neither_is_empty(stems, fraction):
    train, val = split_by_name(stems, fraction)
    assert sorted(train + val) == list(range(len(stems)))
    assert train
    assert val
    for place in val[1:] if len(train) == 1 else ():
        assert hash_fraction(stems[place]) < fraction


def test_hashes_are_spread_evenly_and_never_change():
    values = [hash_fraction(str(number)) for number in range(4000)]
    assert abs(np.mean(np.array(values) < 0.05) - 0.05) < 0.012
    # Changing this would move everybody's validation pictures into training.
    assert hash_fraction("kitten") == 0.34605636290517605


PLACES = {
    "together": ("A/{}", "B/{}"),
    "split first": ("train/A/{}", "train/B/{}"),
    "folder first": ("A/train/{}", "B/train/{}"),
    "one word": ("trainA/{}", "trainB/{}"),
    "underlined": ("train_A/{}", "train_B/{}"),
}


@pytest.mark.parametrize("place", PLACES)
def test_two_folders_are_paired_by_name(tmp_path, place):
    condition, target = PLACES[place]
    for stem in "pqrs":
        save(tmp_path / condition.format(f"{stem}.png"), BLUE)
        save(tmp_path / target.format(f"{stem}.JPG"), RED)
    save(tmp_path / condition.format("alone.png"))
    save(tmp_path / target.format("lonely.png"))
    splits = open_splits(tmp_path)
    assert (splits.kind, splits.condition) == ("two_folders", "given")
    assert sorted(names(splits)["train"] + names(splits)["val"]) == list("pqrs")
    pair = splits.sources["train"][0]
    assert pair["target"][0, 0, 0] > 240
    assert pair["condition"][0, 0, 2] > 240
    assert [path.rsplit("/")[-1] for path in splits.unpaired] == ["alone.png", "lonely.png"]


def test_folders_of_any_name_and_place(tmp_path):
    for stem in "pqrs":
        save(tmp_path / "here" / "lines" / f"{stem}.png", BLUE)
        save(tmp_path / "there" / "colour" / f"{stem}.png", RED)
    options = {"target_folder": str(tmp_path / "there" / "colour"), "condition_folder": "lines"}
    splits = open_splits(tmp_path / "here", **options)
    assert np.all(splits.sources["train"][0]["target"] == RED)
    with pytest.raises(DataError, match="no pairs of folders") as caught:
        open_splits(tmp_path / "here", source="two_folders")
    assert "\n" not in str(caught.value)


def test_two_pictures_of_one_name_cannot_be_paired(tmp_path):
    for name in ("A/x.png", "B/x.png", "B/x.jpg"):
        save(tmp_path / name)
    with pytest.raises(DataError, match="several pictures named x"):
        open_splits(tmp_path)


def test_validation_folders_of_pairs(tmp_path):
    for split in ("train", "val", "test"):
        for folder in "AB":
            save(tmp_path / split / folder / f"{split}.png")
    splits = open_splits(tmp_path)
    assert names(splits) == {"train": ["train"], "val": ["val"], "test": ["test"]}


@pytest.mark.parametrize("kind", ["luma", "lab_l", "lines"])
def test_single_pictures_want_a_condition_made(tmp_path, kind):
    for number in range(4):
        save(tmp_path / f"{number}.png")
    splits = open_splits(tmp_path, condition=kind)
    assert (splits.kind, splits.condition) == ("pictures", kind)
    assert splits.sources["train"][0].keys() == {"target"}
    assert open_splits(tmp_path, source="pictures").condition == "luma"
    with pytest.raises(ConfigError, match="holds single pictures"):
        open_splits(tmp_path, source="pictures", condition="given")


def test_a_condition_can_be_made_for_pairs_too(tmp_path):
    for number in range(4):
        save(tmp_path / f"{number}.png")
    splits = open_splits(tmp_path, source="side_by_side", condition="lines")
    assert (splits.kind, splits.condition) == ("side_by_side", "lines")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"source": "folder"}, "data.source 'folder' must be one of auto"),
        ({"condition": "grey"}, "data.condition 'grey' must be one of auto"),
        ({"background": "red"}, "data.background 'red' must be one of white"),
        ({"target_side": "middle"}, "data.target_side 'middle' must be one of left"),
        ({"validation_fraction": 1.0}, "data.validation_fraction 1.0 must be between 0 and 1"),
    ],
)
def test_unknown_choices_name_the_key_and_the_value(tmp_path, wrong, message):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    with pytest.raises(ConfigError, match=message) as caught:
        open_splits(tmp_path, **wrong)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match="no directory"):
        open_splits(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no pictures in"):
        open_splits(tmp_path)
    save(tmp_path / "val" / "a.png")
    with pytest.raises(DataError, match="has the folder val but none named train"):
        open_splits(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match=r"no pictures in .*train"):
        open_splits(tmp_path)
    save(tmp_path / "single" / "a.png")
    with pytest.raises(DataError, match="cannot both train and validate"):
        open_splits(tmp_path / "single")


def test_a_second_suffix_neither_moves_a_picture_nor_unpairs_it(tmp_path):
    for number in range(40):
        save(tmp_path / "one" / f"{number}.png")
    before = names(open_splits(tmp_path / "one", validation_fraction=0.3))["val"]
    for number in range(40):
        save(tmp_path / "one" / f"{number}.jpg")
    after = names(open_splits(tmp_path / "one", validation_fraction=0.3))["val"]
    assert sorted(after) == sorted(
        f"{stem}.{suffix}" for stem in before for suffix in ("jpg", "png")
    )
    for stem in "pqrs":
        save(tmp_path / "A" / f"{stem}.jpg.png")
        save(tmp_path / "B" / f"{stem}.jpg.png")
    assert open_splits(tmp_path, source="two_folders").sources["train"].names[0].endswith(".jpg")


def test_split_folders_may_be_capitalised(tmp_path):
    save(tmp_path / "Train" / "a.png")
    save(tmp_path / "VAL" / "b.png")
    assert names(open_splits(tmp_path)) == {"train": ["a"], "val": ["b"]}


def test_an_unknown_home_is_one_line():
    with pytest.raises(DataError, match="cannot tell what ~no-such-user/x is") as caught:
        open_splits("~no-such-user/x")
    assert "\n" not in str(caught.value)
