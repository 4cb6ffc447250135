"""Requests to stop: Ctrl-C, SIGTERM, and JAX's notice that a machine is about to be taken away."""

import contextlib
import itertools
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

import jax
from jax.experimental import multihost_utils

from jaxcolor import hosts

INTERRUPTED = 130  # as a shell reports Ctrl-C
PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: run the same command again
Item = TypeVar("Item")
# JAX has all hosts stop at the question after the last that any of them had asked. Counted so, and
# not by training steps, none comes before a notice that was given ahead of the first one.
_questions = itertools.count(1)


class Interrupted(hosts.AgreedStop):
    """The user or the system asked the run to stop; everything is saved.

    Attributes:
      status: for the program to exit with.
    """

    def __init__(self, message: str, status: int = INTERRUPTED):
        """A line for the user, and a status."""
        super().__init__(message)
        self.status = status


class StopNow(BaseException):
    """A request to stop, raised in what `StopRequests.cutting_short` surrounds."""


class StopRequests:
    """Whether someone asked the run to stop; a context in which signals are taken for requests.

    The first SIGINT or SIGTERM is a request, a SIGINT after it stops at once. Where hosts train
    together, JAX itself watches for SIGTERM, which is how most schedulers announce that they take a
    machine, and has all hosts stop after the same step; Ctrl-C on one of them counts as that.
    """

    def __init__(self):
        """No request as yet."""
        self._number: int | None = None
        self._may_raise = False
        self._are_many = jax.distributed.is_initialized()
        self._previous: dict[int, object] = {}

    def is_due(self) -> bool:
        """Whether to stop now; hosts that train together ask equally often, and are told alike."""
        if self._are_many:
            return multihost_utils.reached_preemption_sync_point(next(_questions))
        return self._number is not None

    @property
    def status(self) -> int:
        """For the program to exit with."""
        return INTERRUPTED if self._number == signal.SIGINT else PREEMPTED

    @contextlib.contextmanager
    def cutting_short(self) -> Iterator[None]:
        """A context that a request leaves at once with StopNow: for what may wait or last long.

        Not where hosts train together, who could not agree on how far they came: see `through`.
        """
        self._may_raise = not self._are_many
        try:
            if self._may_raise and self._number is not None:
                raise StopNow
            yield
        finally:
            self._may_raise = False

    def through(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, until a request; then StopNow."""
        for item in items:
            if self.is_due():
                raise StopNow
            yield item

    def __enter__(self) -> "StopRequests":
        """Itself; takes the signals over, which only the main thread can do."""
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGINT,) if self._are_many else (signal.SIGINT, signal.SIGTERM)
            self._previous = {x: signal.signal(x, self._take) for x in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._number is None:
            self._number = number
        if self._are_many:
            os.kill(os.getpid(), signal.SIGTERM)  # which JAX passes on to the other hosts
        elif self._may_raise:
            self._may_raise = False
            raise StopNow


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """A context that SIGTERM ends at once, the process with it and PREEMPTED as its status.

    It is for what surrounds `StopRequests`, when nothing is to be saved: reading, compiling,
    restoring. Python itself hears a signal in the main thread alone, which may compile for minutes;
    here a thread of its own does, too. Does nothing outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_):
        sys.stderr.write("stopped by SIGTERM: run the same command to go on\n")
        sys.stdout.flush()
        os._exit(PREEMPTED)

    def listen():
        while numbers := heard.recv(64):
            if signal.SIGTERM in numbers and signal.getsignal(signal.SIGTERM) is end:
                end()

    heard, told = socket.socketpair()
    told.setblocking(False)  # as signals want it
    before = signal.signal(signal.SIGTERM, end)
    heard_before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=listen, name="sigterm", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(heard_before)
        signal.signal(signal.SIGTERM, before)
        told.close()
        thread.join()
        heard.close()


def leave_within(seconds: float, status: int) -> None:
    """Ends this process with `status` in `seconds` at the latest, from now on, whatever hangs.

    At its end Python waits for all threads: for one that compiles, or reads from a disk that no
    longer answers, for longer than who takes a machine away would wait.
    """

    def leave():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
