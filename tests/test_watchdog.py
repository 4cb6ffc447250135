"""A training that hangs is reported, with the stacks of all threads; one that works is not."""

import threading
import time

import pytest
from small_training import train, train_step, training_batches, validation_batches

from jaxcolor.training.watchdog import Watchdog


def sleep_in_a_function_with_a_name(seconds):
    time.sleep(seconds)


def test_a_wait_that_is_too_long_is_reported_once_with_all_stacks(tmp_path, capfd):
    release = threading.Event()
    other = threading.Thread(target=release.wait, name="other")
    other.start()
    with Watchdog(0.2, tmp_path) as watchdog:
        watchdog.at("waiting for data", 17)
        sleep_in_a_function_with_a_name(1.0)
    release.set()
    other.join()
    text = (tmp_path / "stacks-17.txt").read_text()
    assert text.startswith("warning: waiting for data after step 17 has taken more than 0.2 s")
    assert "in sleep_in_a_function_with_a_name" in text
    assert text.count("Thread 0x") >= 3
    errors = capfd.readouterr().err
    assert errors.count("warning: ") == 1
    assert "in sleep_in_a_function_with_a_name" in errors


def test_what_goes_on_or_may_take_long_is_not_reported(tmp_path, capfd):
    with Watchdog(1.5, tmp_path) as watchdog:  # wide: a machine under load sleeps longer
        for step in range(8):
            watchdog.at("a training step", step)
            time.sleep(0.25)
        for _ in watchdog.through(range(8), "validation", 8):
            time.sleep(0.25)
        watchdog.rest()
        time.sleep(2.5)
    with Watchdog(0, tmp_path) as watchdog:
        watchdog.at("a training step", 9)
        time.sleep(0.5)
    assert capfd.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []


def test_the_stacks_are_told_also_where_they_cannot_be_written(tmp_path, capfd):
    with Watchdog(0.1, tmp_path / "gone") as watchdog:
        watchdog.at("saving", 3)
        time.sleep(0.6)
    errors = capfd.readouterr().err
    assert "Thread 0x" in errors
    assert "stacks-3.txt could not be written: No such file" in errors


@pytest.mark.parametrize("what", ["waiting for data", "a training step", "validation"])
def test_a_training_says_what_it_hangs_in(tmp_path, capfd, what):
    def reports():
        return [path.read_text() for path in tmp_path.glob("stacks-*.txt")]

    def hang():
        until = time.monotonic() + 30  # a test that fails
        while time.monotonic() < until and not any(" in hang\n" in text for text in reports()):
            time.sleep(0.1)

    def slow_once(function, at=3):
        calls = []

        def call(*args):
            calls.append(args)
            if len(calls) == at:
                hang()
            return function(*args)

        return call

    class Batches:
        def __iter__(self):
            for batch in validation_batches():
                hang()
                yield batch

    def open_batches(step):
        batches = training_batches(step)
        take = slow_once(lambda: next(batches))
        while True:
            yield take()

    replaced = {
        "waiting for data": {"open_batches": open_batches},
        "a training step": {"train_step": slow_once(train_step)},
        "validation": {"validation_batches": Batches()},
    }[what]
    train(tmp_path, epochs=1, watchdog_seconds=0.5, **replaced)
    hung = [text for text in reports() if " in hang\n" in text]  # a load may bring others
    assert hung
    assert all(text.startswith(f"warning: {what} after step ") for text in hung)
    assert hung[0].splitlines()[0] in capfd.readouterr().err
