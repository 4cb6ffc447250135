"""Requests to stop: what they interrupt, what is saved, and how the process ends."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT, SHIPPED_ENVIRONMENT
from jax.experimental import multihost_utils
from small_training import (
    EPOCH_STEPS,
    assert_same,
    train,
    training_batches,
    validation_batches,
)

from jaxcolor.training.checkpoints import Checkpoints
from jaxcolor.training.stopping import Interrupted, StopNow, StopRequests


def ask(number=signal.SIGTERM):
    """Sends this process a signal; its handler runs before this returns."""
    assert threading.current_thread() is threading.main_thread()
    assert signal.getsignal(number) is not signal.SIG_DFL  # or pytest would be killed
    signal.raise_signal(number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_asks_and_says_with_which_status(number, status):
    before = [signal.getsignal(x) for x in (signal.SIGINT, signal.SIGTERM)]
    with StopRequests() as stop:
        assert not stop.is_due()
        ask(number)
        ask(signal.SIGTERM)
        assert stop.is_due()
        assert stop.status == status
        with pytest.raises(KeyboardInterrupt):
            ask(signal.SIGINT)
    assert [signal.getsignal(x) for x in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_wait_is_cut_short_and_nothing_else_is():
    with StopRequests() as stop:
        with stop.cutting_short():
            pass
        timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        timer.start()
        with pytest.raises(StopNow), stop.cutting_short():
            queue.Queue().get(timeout=20)  # as grain waits for its threads
        timer.join()
        ask()  # outside
        with pytest.raises(StopNow), stop.cutting_short():
            pytest.fail("what a request came before is not begun")


def test_signals_are_the_main_threads_alone():
    found = []

    def enter():
        with StopRequests() as stop:
            found.append((signal.getsignal(signal.SIGTERM), stop.is_due()))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [(before, False)]


def batches_that(act, at):
    """`open_batches` that calls `act` before it gives the batch of step `at`, once."""
    done = []

    def open_batches(step):
        for number, batch in enumerate(training_batches(step), step):
            if number == at and not done:
                done.append(number)
                act()
            yield batch

    return open_batches


def hang():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


@pytest.mark.parametrize("act", [ask, hang])
def test_a_stopped_training_goes_on_as_if_nothing_had_been(tmp_path, act):
    """Also where the loader hangs: it is not waited for."""
    expected = train(tmp_path / "a")
    with pytest.raises(Interrupted, match=r"stopped at step 6, saved in .*: run the") as stopped:
        train(tmp_path / "b", open_batches=batches_that(act, EPOCH_STEPS + 2))
    assert stopped.value.status == 75
    assert_same(train(tmp_path / "b"), expected)
    rows = [(tmp_path / name / "metrics.jsonl").read_text() for name in "ab"]
    assert rows[0] == rows[1]


def test_a_validation_cut_short_is_made_up_for(tmp_path):
    """Of the second epoch; its numbers decide which checkpoint is best."""
    expected = train(tmp_path / "a")
    count = []

    class Batches:
        def __iter__(self):
            for batch in validation_batches():
                count.append(0)
                if len(count) == 4:
                    hang()
                yield batch

    with pytest.raises(Interrupted, match="stopped at step 8"):
        train(tmp_path / "b", validation_batches=Batches())
    with Checkpoints(tmp_path / "b" / "checkpoints", read_only=True) as checkpoints:
        assert [bool(checkpoints.metrics(step)) for step in (4, 8)] == [True, False]
    assert_same(train(tmp_path / "b"), expected)
    rows = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in "ab"]
    assert sorted(rows[0]) == sorted(rows[1])
    found = []
    for name in "ab":
        with Checkpoints(tmp_path / name / "checkpoints", read_only=True) as checkpoints:
            scores = [checkpoints.metrics(step) for step in checkpoints.steps()]
            found.append((checkpoints.best(), checkpoints.progress(12), scores))
    assert found[0] == found[1]
    assert all(found[0][-1])


def run_program(text, timeout=60):
    """The status and output of a Python program in a process of its own."""
    environment = SHIPPED_ENVIRONMENT | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", text]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_a_thread_that_hangs_does_not_keep_the_process():
    status, output, errors = run_program(
        "import threading, time; from jaxcolor.training.stopping import leave_within\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "leave_within(0.1, 75)\n"
        "print('saved', end='')\n",
        timeout=30,
    )
    assert (status, output, errors) == (75, "saved", "")


def test_nobody_else_asks_jax_whether_to_stop(tmp_path, monkeypatch):
    """Its answer counts from the last number that it was asked with; Orbax would ask by steps."""
    asked = []
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", asked.append)
    train(tmp_path)
    assert asked == []


def test_sigterm_ends_at_once_what_nothing_is_lost_of():
    """Also what does not come back to Python, as compiling; but not a training, which saves."""
    status, output, errors = run_program(
        "import functools, hashlib, os, signal, threading, time\n"
        "from jaxcolor.training.stopping import StopRequests, ended_by_sigterm\n"
        "ask = functools.partial(os.kill, os.getpid(), signal.SIGTERM)\n"
        "with ended_by_sigterm():\n"
        "    with StopRequests() as stop:\n"
        "        ask()\n"
        "        time.sleep(0.2)\n"
        "        print(stop.is_due(), flush=True)\n"
        "    threading.Timer(0.2, ask).start()\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)\n"
    )
    assert (status, output) == (75, "True\n"), errors
    assert errors == "stopped by SIGTERM: run the same command to go on\n"


@pytest.mark.parametrize("before", ["assert not stop.is_due(); ask()", "ask(); time.sleep(3)"])
def test_the_notice_that_jax_gives_to_all_hosts_is_a_request(before):
    """A host trains by itself here, yet with the service by which JAX tells all of them.

    A notice may also be given long before the first step, while programs are compiled.
    """
    status, output, errors = run_program(
        "import functools, os, signal, socket, time, jax\n"
        "from jaxcolor.training.stopping import StopNow, StopRequests\n"
        "with socket.socket() as free:\n"
        "    free.bind(('localhost', 0))\n"
        "    place = 'localhost:%d' % free.getsockname()[1]\n"
        "jax.distributed.initialize(place, num_processes=1, process_id=0)\n"
        "ask = functools.partial(os.kill, os.getpid(), signal.SIGTERM)\n"
        "with StopRequests() as stop:\n"
        f"    {before}\n"
        "    try:\n"
        "        for number in stop.through(range(400)):\n"
        "            time.sleep(0.05)\n"
        "    except StopNow:\n"
        "        print(stop.status)\n"
    )
    assert (status, output) == (0, "75\n"), errors
