"""The garbage collector rests only as long as it is held back."""

import gc

import pytest

from jaxcolor import collector


def test_it_rests_in_the_body_and_no_longer():
    seen = []

    @collector.held_back()
    def inner():
        seen.append(gc.isenabled())

    assert gc.isenabled()
    with collector.held_back():
        inner()
        seen.append(gc.isenabled())
    assert seen == [False, False]
    assert gc.isenabled()


def test_an_error_ends_its_rest():
    @collector.held_back()
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off():
    gc.disable()
    try:
        with collector.held_back():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
