"""A watchdog: when a training hangs, it says where, with the stacks of all threads."""

import faulthandler
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO, TypeVar

from jaxcolor import hosts

Item = TypeVar("Item")

LONGEST_SLEEP = 30.0  # seconds


class Watchdog:
    """Reports, from a thread of its own, that nothing has happened for too long; kills nothing.

    The training says what it is about to do, which costs it a fraction of a microsecond.
    """

    def __init__(self, seconds: float, folder: Path):
        """Sleeps until `at` is called.

        Args:
          seconds: how long one thing may take; 0 for ever.
          folder: where the stacks are written, as stacks-STEP.txt; among many hosts, whose
            stacks all tell, as stacks-STEP-host-INDEX.txt.
        """
        self._seconds, self._folder = seconds, folder
        self._mark: tuple[str, int, float] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def at(self, what: str, step: int) -> None:
        """From now on `what` is done, after `step` steps: "waiting for data", say."""
        self._mark = (what, step, time.monotonic())

    def rest(self) -> None:
        """What comes now may take any time, such as compiling."""
        self._mark = None

    def through(self, items: Iterable[Item], what: str, step: int) -> Iterator[Item]:
        """The items, each of which may take as long as anything."""
        self.at(what, step)
        for item in items:
            self.at(what, step)
            yield item

    def __enter__(self) -> "Watchdog":
        """Itself, awake."""
        if self._seconds:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the watch."""
        self._over.set()
        if self._seconds:
            self._thread.join()

    def _watch(self) -> None:
        told = None
        while not self._over.wait(min(self._seconds / 4, LONGEST_SLEEP)):
            mark = self._mark
            if mark is None or mark is told:
                continue
            what, step, since = mark
            if time.monotonic() - since > self._seconds:
                told = mark
                self._report(what, step)

    def _report(self, what: str, step: int) -> None:
        of_host = f"-host-{hosts.index()}" if hosts.count() > 1 else ""
        path = self._folder / f"stacks-{step}{of_host}.txt"
        heading = (
            f"warning: {what} after step {step} has taken more than {self._seconds:g} s "
            "(train.watchdog_seconds); what all threads are doing:"
        )
        _dump(sys.stderr, heading)
        try:
            with path.open("w", encoding="utf-8") as file:
                _dump(file, heading)
        except OSError as error:  # the disk may be what hangs
            sys.stderr.write(f"{path} could not be written: {error.strerror}\n")


def _dump(file: TextIO, heading: str) -> None:
    file.write(f"{heading}\n")
    file.flush()
    faulthandler.dump_traceback(file=file, all_threads=True)
