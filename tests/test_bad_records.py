"""Facts about records that cannot be read: replaced, named once, counted, refused when too many."""

import pytest

from jaxcolor.data.bad_records import BadRecords, read_or_replace
from jaxcolor.errors import DataError


class Source:
    """Numbers, some of which cannot be read."""

    def __init__(self, length, broken):
        self.names, self.broken = [f"n{index}" for index in range(length)], set(broken)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        if index in self.broken:
            raise DataError(f"{index} is broken")
        return index


def test_the_next_that_can_be_read_takes_the_place():
    source = Source(5, [1, 3, 4])
    found = [read_or_replace(source, index) for index in range(5)]
    assert found == [(0, False), (2, True), (2, False), (0, True), (0, True)]


def test_nothing_to_read_raises_the_first_error():
    with pytest.raises(DataError, match="2 is broken"):
        read_or_replace(Source(3, range(3)), 2)


def test_each_is_named_once_and_counted_each_time():
    said = []
    records = BadRecords(Source(400, [7, 9]), 0.01, said.append)
    for _ in range(3):
        records.note([7])
    records.note([9, 7])
    assert said == ["left out: 7 is broken", "left out: 9 is broken"]
    assert (records.take_count(), records.take_count()) == (5, 0)


def test_a_record_that_can_be_read_again_is_named_too():
    said = []
    BadRecords(Source(400, []), 0.01, said.append).note([7])
    assert said == ["left out: n7 could not be read, and now can"]


@pytest.mark.parametrize(("processes", "allowed"), [(1, 4), (2, 2)])
def test_more_than_may_be_are_refused_in_one_line(processes, allowed):
    records = BadRecords(Source(400, range(9)), 0.01, str, process_count=processes)
    for index in range(allowed):
        records.note([index])
    with pytest.raises(
        DataError, match=r"of 400 pictures were bad so far, more than data.max_bad_f"
    ) as e:
        records.note([8])
    assert str(e.value).startswith("8 is broken. ")
    assert "\n" not in str(e.value)
