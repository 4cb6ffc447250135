"""Hosts that meet, agree, tell one another of errors, and part; without a training."""

import re
import signal
import socket
import subprocess
import sys
import time

import jax
import pytest
from conftest import ROOT
from many_hosts import DEATH, finish, free_port

from jaxcolor import hosts
from jaxcolor.errors import ConfigError, WorkdirError


@pytest.fixture
def act(environment):
    """Starts processes that do what `host_actions` says; killed when the test is over."""
    started = []

    def start(action, *argument, count=2, numbers=None, port=None):
        coordinator = f"localhost:{port or free_port()}"
        script = [sys.executable, str(ROOT / "tests" / "host_actions.py"), action, coordinator]
        for index, total in numbers or [(index, count) for index in range(count)]:
            command = [*script, str(total), str(index), *map(str, argument)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            started.append(subprocess.Popen(command, env=environment, cwd=ROOT, **pipes))
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_all_say_something_and_the_first_prints(act):
    (first, said), *others = finish(act("gather", count=3), seconds=60)
    waiting, *rounds = first.splitlines()
    assert waiting.startswith("waiting for the other hosts at localhost:")
    assert rounds == ["['a0', 'a1', 'a2']", "['b0', 'b1', 'b2']"]
    assert said == "0 of 3\n"
    assert others == [("", "1 of 3\n"), ("", "2 of 3\n")]


@pytest.mark.parametrize(
    ("action", "own", "theirs"),
    [
        ("fail", "error: no such picture\n", "error: host 1: no such picture\n"),
        ("crash", "ZeroDivisionError: 1/0\n", "error: host 0: ZeroDivisionError: 1/0\n"),
    ],
)
def test_an_error_of_one_ends_all(act, action, own, theirs):
    started = time.monotonic()
    printed = finish(act(action, count=3), status=1, seconds=60)
    assert time.monotonic() - started < 60
    (failed,) = [errors for _, errors in printed if errors != theirs]
    assert failed.endswith(own)
    assert ("Traceback" in failed) is (action == "crash")


@pytest.mark.parametrize(
    ("number", "victim"),
    [
        (signal.SIGKILL, 1),
        pytest.param(signal.SIGSTOP, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, 0, marks=pytest.mark.slow),
        pytest.param(signal.SIGSTOP, 0, marks=pytest.mark.slow),
    ],
)
def test_one_that_dies_or_hangs_ends_the_other(act, number, victim):
    survivor = act("signal_one", int(number), victim)[1 - victim]
    _, errors = survivor.communicate(timeout=90)
    assert survivor.returncode not in (0, 75, 130)
    assert re.search(DEATH, errors)


def test_others_that_do_not_come_are_not_waited_for_for_ever(act):
    [(_, errors)] = finish(act("wait_briefly", numbers=[(1, 2)]), status=1, seconds=60)
    assert errors.startswith("error: the hosts did not meet at localhost:")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([(0, 2), (1, 3)], "all hosts must have the same --num_processes; they have ['2', '3']"),
        ([(0, 2), (1, 2), (1, 2)], "--process_id 1 is taken: give each host one of its own"),
    ],
)
def test_numbers_that_do_not_fit_together_end_all(act, numbers, said):
    for process in act("stay", numbers=numbers):
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1, errors
        assert re.match(rf"error: (host \d: )?{re.escape(said)}", errors)
        assert errors.count("\n") == 1


def test_a_port_that_another_program_listens_on_is_refused(act):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        [(_, errors)] = finish(act("gather", numbers=[(0, 2)], port=port), status=1, seconds=60)
    assert f"host 0 cannot listen on port {port} (Address already in use)" in errors
    assert errors.count("\n") == 1


def test_hosts_with_workdirs_of_their_own_are_refused(act, tmp_path):
    printed = finish(act("own", tmp_path), status=1, seconds=60)
    line = f"workdir {tmp_path}/1: this host does not see what host 0 writes there"
    assert printed[0][1].startswith(f"error: host 1: {line}")
    assert printed[1][1].startswith(f"error: {line}")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (("here:1", 2, None), "together"),
        ((None, 2, 1), "together"),
        (("here", 2, 1), "ADDRESS:PORT"),
        (("here:99999", 2, 1), "ADDRESS:PORT"),
        (("here:1", 2, 2), "--process_id 2"),
        (("here:1", 0, 0), "--process_id 0"),
    ],
)
def test_an_address_that_is_none_is_refused(address, message):
    with pytest.raises(ConfigError, match=message):
        hosts.Address(*address).check()


@pytest.mark.parametrize(
    ("error", "is_lost_host"),
    [
        (jax.errors.JaxRuntimeError("UNKNOWN: Gloo AllReduce failed"), True),
        (ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer"), True),
        (ValueError("UNKNOWN"), False),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), False),
    ],
)
def test_what_jax_raises_where_a_host_is_lost_is_told_from_other_errors(error, is_lost_host):
    told = WorkdirError("checkpoint could not be written")
    told.__cause__ = error
    assert hosts._failure_together(told) is (error if is_lost_host else None)


def test_alone_nothing_is_set_up(monkeypatch):
    for name in ("SLURM_JOB_ID", "OMPI_MCA_orte_hnp_uri", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    with hosts.together(hosts.Address()), hosts.errors_told():
        assert (hosts.index(), hosts.count()) == (0, 1)
        assert hosts.gather("a") == ["a"]
    hosts.leave(3)  # does not


def test_a_slurm_job_of_several_tasks_is_a_cluster(monkeypatch):
    variables = {"JOB_ID": 7, "STEP_NODELIST": "node[1-2]", "PROCID": 1, "LOCALID": 0}
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    for tasks, is_cluster in (("1", False), ("2", True)):
        monkeypatch.setenv("SLURM_NTASKS", tasks)
        assert hosts._is_in_cluster() is is_cluster
