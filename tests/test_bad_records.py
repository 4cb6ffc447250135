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
    assert (records.take_news(), records.take_news()) == ((5, [7, 9]), (0, []))


def test_a_record_that_can_be_read_again_is_named_too():
    said = []
    BadRecords(Source(400, []), 0.01, said.append).note([7])
    assert said == ["left out: n7 could not be read, and now can"]


def test_more_than_may_be_are_refused_in_one_line():
    records = BadRecords(Source(400, range(9)), 0.01, str)
    for index in range(4):
        records.note([index])
    with pytest.raises(
        DataError, match=r"of 400 pictures were bad so far, more than data.max_bad_f"
    ) as e:
        records.note([8])
    assert str(e.value).startswith("8 is broken. With it 5 of 400")
    assert "\n" not in str(e.value)


def test_hosts_that_tell_one_another_count_a_record_once_and_refuse_alike():
    """Over the passes each host meets all of them: as many as may be stay as many as may be."""
    said = []
    both = [BadRecords(Source(400, range(9)), 0.01, said.append) for _ in range(2)]
    for first, second in ([0, 1], [2, 3]), ([2, 3], [0, 1]), ([0, 1, 2, 3], []):
        both[0].note(first)
        both[1].note(second)
        told = [index for records in both for index in records.take_news().found]
        for records in both:
            records.learn(told)
    assert len(said) == 4
    messages = []
    for records in both:
        with pytest.raises(DataError) as caught:
            records.learn([8])
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith("On all hosts together 5 of 400 pictures were bad so far")
