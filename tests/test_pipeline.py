"""Facts about batches: what they hold, and that nothing but seed and step decides it."""

import itertools
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from jaxcolor.data.demo import write_demo_set
from jaxcolor.data.layouts import open_splits
from jaxcolor.data.pipeline import training_batches, validation_batches
from jaxcolor.data.transforms import TrainingTransform, ValidationTransform
from jaxcolor.errors import ConfigError, DataError

TRANSFORM = TrainingTransform(
    image_size=16, load_size=20, rotation=5.0, zoom=0.1, shift=0.05, noise=0.1
)


ALL = -1


class NumberedSource:
    """Pairs whose every pixel is the number of the pair."""

    def __init__(self, length, broken=None):
        self._length, self._broken, self.read = length, broken, None

    @property
    def names(self):
        return [str(index) for index in range(self._length)]

    def __len__(self):
        return self._length

    def __getitem__(self, index):
        if self.read is not None:
            self.read.append(index)
        if self._broken in (index, ALL):
            raise DataError(f"cannot read the picture number-{index}.png (broken): remove it")
        picture = np.full((8, 8, 3), index, np.uint8)
        return {"condition": picture, "target": picture}


def keep(pair, rng=None):
    return pair


def draw(pair, rng):
    """Puts a draw in place of the condition."""
    return pair | {"condition": rng.integers(0, 2**62, 1)}


def batches(source, steps, transform=keep, **options):
    options = {"batch_size": 2, "seed": 0, "num_threads": 0} | options
    iterator = training_batches(source, transform, **options)
    taken = list(itertools.islice(iterator, steps))
    iterator.close()
    return taken


def numbers(taken):
    return [batch["target"][:, 0, 0, 0].tolist() for batch in taken]


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo")
    write_demo_set(directory, train=7, validation=1, size=32)
    return open_splits(directory).sources["train"]


@pytest.fixture(scope="module")
def reference(pictures):
    return batches(pictures, 9, TRANSFORM)


def test_shapes_and_types(reference):
    for half in (reference[0]["condition"], reference[0]["target"]):
        assert half.shape == (2, 16, 16, 3)
        assert half.dtype == np.uint8
        assert half.flags.c_contiguous
    assert reference[0].keys() == {"condition", "target"}


@pytest.mark.parametrize("num_threads", [1, 4, 16])
def test_threads_do_not_change_the_batches(pictures, reference, num_threads):
    assert_same(batches(pictures, 9, TRANSFORM, num_threads=num_threads), reference)
    assert_same(batches(pictures, 9, TRANSFORM, num_threads=num_threads, prefetch=1), reference)


def test_worker_processes_do_not_change_the_batches(pictures, reference):
    taken = batches(pictures, 7, TRANSFORM, num_workers=2, num_threads=1, start_step=2)
    assert_same(taken, reference[2:])


@pytest.mark.parametrize("start", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("num_threads", [0, 4])
def test_a_fresh_start_at_a_step_gives_that_step(pictures, reference, start, num_threads):
    # Three steps an epoch: the starts lie within, at the end of and beyond the first.
    taken = batches(pictures, 9 - start, TRANSFORM, start_step=start, num_threads=num_threads)
    assert_same(taken, reference[start:])


@pytest.mark.parametrize("process_count", [2, 4])
def test_the_processes_share_the_batch_of_one(process_count):
    source = NumberedSource(11)
    whole = numbers(batches(source, 6, batch_size=4))
    shares = [
        numbers(batches(source, 6, batch_size=4, process_index=index, process_count=process_count))
        for index in range(process_count)
    ]
    for step, batch in enumerate(whole):
        # In the order of the processes too: what belongs to a place in the batch stays the same.
        assert batch == [n for share in shares for n in share[step]]
        assert all(len(share[step]) == 4 // process_count for share in shares)


def test_a_run_goes_on_with_another_number_of_processes():
    whole = numbers(batches(NumberedSource(11), 6, batch_size=4))
    options = {"batch_size": 4, "process_count": 2, "start_step": 3}
    shares = [numbers(batches(NumberedSource(11), 3, process_index=i, **options)) for i in range(2)]
    assert [a + b for a, b in zip(*shares, strict=True)] == whole[3:]


def test_each_process_reads_only_its_part():
    source = NumberedSource(8)
    source.read = []
    batches(source, 4, batch_size=4, process_index=1, process_count=2)
    assert len(source.read) == 4 * 2


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 7])
def test_every_pass_holds_every_pair_once_in_an_order_of_its_own(batch_size):
    taken = numbers(batches(NumberedSource(7), -(-70 // batch_size), batch_size=batch_size))
    stream = [*itertools.chain(*taken)][:70]
    passes = [tuple(stream[start : start + 7]) for start in range(0, 70, 7)]
    assert all(sorted(one) == [*range(7)] for one in passes)
    assert len(set(passes)) == 10


def test_seeds_differ_in_order_and_draws():
    source = NumberedSource(50)
    orders = {
        seed: [
            tuple(n for (n,) in numbers(batches(source, 150, batch_size=1, seed=seed))[e : e + 50])
            for e in (0, 50, 100)
        ]
        for seed in range(3)
    }
    # No epoch of one seed repeats an epoch of another, as counted-up seeds would.
    assert len({epoch for epochs in orders.values() for epoch in epochs}) == 9


def test_draws_belong_to_the_seed_the_epoch_and_the_pair():
    def drawn(seed, batch_size, steps):
        taken = batches(NumberedSource(6), steps, draw, seed=seed, batch_size=batch_size)
        flat = [
            (int(t), int(c))
            for b in taken
            for t, c in zip(b["target"][:, 0, 0, 0], b["condition"][:, 0], strict=True)
        ]
        return [dict(flat[:6]), dict(flat[6:12])]

    first, second = drawn(0, 1, 12)
    assert drawn(0, 3, 4) == [first, second]
    values = [*first.values(), *second.values(), *drawn(1, 1, 12)[0].values()]
    assert len(set(values)) == 18


def test_too_few_pairs_for_a_batch_is_an_error():
    with pytest.raises(DataError, match="3 pairs are fewer than one batch") as caught:
        batches(NumberedSource(3), 1, batch_size=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "train.batch_size 0 must be at least 1"),
        ({"batch_size": 3, "process_count": 2}, "3 must be divisible by 2 processes"),
        ({"num_threads": -1}, "loader.num_threads -1 must be at least 0"),
        ({"num_workers": -1}, "loader.num_workers -1 must be at least 0"),
        ({"start_step": -1}, "start_step -1 must be at least 0"),
        ({"seed": -1}, "seed -1 must be at least 0"),
    ],
)
def test_numbers_out_of_range_are_named(wrong, message):
    with pytest.raises(ConfigError, match=message):
        batches(NumberedSource(8), 1, **wrong)


OPTIONS = [{"num_threads": 0}, {"num_threads": 4}, {"num_workers": 1}]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_broken_record_is_replaced_and_told(options):
    told = []
    taken = numbers(batches(NumberedSource(6, broken=3), 6, on_bad=told.append, **options))
    sound = numbers(batches(NumberedSource(6), 6))
    assert taken == [[4 if n == 3 else n for n in batch] for batch in sound]
    assert told == [[3], [3]]  # once a pass


@pytest.mark.parametrize("options", OPTIONS)
def test_what_goes_wrong_is_raised_by_next_as_it_is(options):
    with pytest.raises(DataError, match=r"^cannot read the picture number-\d.png") as caught:
        batches(NumberedSource(6, broken=ALL), 3, **options)
    assert "\n" not in str(caught.value)

    def refuse(bad):
        raise DataError(f"too many: {bad}")

    with pytest.raises(DataError, match=r"too many: \[3\]"):
        batches(NumberedSource(6, broken=3), 3, on_bad=refuse, **options)


def grain_threads():
    return [thread for thread in threading.enumerate() if "grain" in thread.name]


@pytest.mark.parametrize("kind", ["training", "validation"])
def test_closing_ends_the_threads(kind):
    if kind == "training":
        iterator = training_batches(NumberedSource(6), keep, batch_size=2, seed=0, num_threads=3)
    else:
        iterator = iter(validation_batches(NumberedSource(6), keep, batch_size=1, num_threads=3))
    next(iterator)
    assert grain_threads()
    iterator.close()
    deadline = time.monotonic() + 5
    while grain_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not grain_threads()
    iterator.close()  # once more does no harm


def test_validation_holds_every_pair_once_in_order():
    pairs = validation_batches(NumberedSource(7), keep, batch_size=3)
    for _ in range(2):  # can be gone through again
        taken = list(pairs)
        assert len(taken) == len(pairs) == 3
        assert numbers(taken) == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]
        assert [batch["mask"].tolist() for batch in taken] == [[1, 1, 1], [1, 1, 1], [1, 0, 0]]
        assert {batch["mask"].dtype for batch in taken} == {np.dtype(np.float32)}
        assert sum(batch["mask"].sum() for batch in taken) == 7


@pytest.mark.parametrize("batch_size", [1, 7, 9])
def test_masks_sum_to_the_number_of_pairs(batch_size):
    taken = list(validation_batches(NumberedSource(7), keep, batch_size=batch_size))
    assert sum(batch["mask"].sum() for batch in taken) == 7
    assert {len(batch["target"]) for batch in taken} == {batch_size}


@pytest.mark.parametrize("process_count", [2, 4])
def test_the_processes_share_the_validation_of_one(process_count):
    """Nine pairs in batches of four: of the last, only the first process has a pair of its own."""

    def validate(**share):
        return list(validation_batches(NumberedSource(9), keep, batch_size=4, **share))

    shares = [
        validate(process_index=index, process_count=process_count) for index in range(process_count)
    ]
    together = [
        {name: np.concatenate([share[name] for share in step]) for name in step[0]}
        for step in zip(*shares, strict=True)
    ]
    assert_same(together, validate())
    with pytest.raises(ConfigError, match="4 must be divisible by 3 processes"):
        validate(process_index=0, process_count=3)


def test_validation_transforms_and_reads_ahead_without_a_change(pictures):
    transform = ValidationTransform(image_size=24)
    plain, ahead = (
        list(validation_batches(pictures, transform, batch_size=4, num_threads=threads))
        for threads in (0, 4)
    )
    assert_same(plain, ahead)
    np.testing.assert_array_equal(plain[1]["target"][2], transform(pictures[6])["target"])


def test_a_broken_record_does_not_count_in_validation():
    told = []
    pairs = validation_batches(NumberedSource(7, broken=3), keep, batch_size=3, on_bad=told.append)
    taken = list(pairs)
    assert numbers(taken) == [[0, 1, 2], [4, 4, 5], [6, 6, 6]]
    assert [batch["mask"].tolist() for batch in taken] == [[1, 1, 1], [0, 1, 1], [1, 0, 0]]
    assert told == [[3]]


def test_validation_raises_what_went_wrong():
    with pytest.raises(DataError, match=r"number-0\.png"):
        list(validation_batches(NumberedSource(6, broken=ALL), keep, batch_size=2))
    with pytest.raises(ConfigError, match=r"evaluation\.batch_size 0"):
        validation_batches(NumberedSource(6), keep, batch_size=0)


def test_the_interpreter_ends_quietly_with_batches_read_ahead(pictures, tmp_path):
    write_demo_set(tmp_path, train=4, validation=1, size=32)
    program = f"""
from jaxcolor.data.pipeline import training_batches
from jaxcolor.data.layouts import open_splits
from jaxcolor.data.transforms import TrainingTransform
source = open_splits({str(tmp_path)!r}).sources["train"]
batches = training_batches(source, TrainingTransform(), batch_size=2, seed=0, prefetch=1)
print(next(batches)["target"].shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(2, 256, 256, 3)\n", "")
