"""Hosts that train together: the same numbers as one, and one's errors end all."""

import shutil
import signal
import time

import numpy as np
import pytest
from many_hosts import Hosts, finish
from processes import logged_rows, stored_state, wait_for_step

from jaxcolor import hosts
from jaxcolor.errors import ConfigError

# 24 pictures make 6 steps in two epochs; 5 validate, in batches of 4.
RUN = {"train__batch_size": 8, "evaluation__batch_size": 4, "train__log_every": 1}
# Sums over devices are taken in another order between processes than within one.
TOLERANCE = {"rtol": 2e-3, "atol": 2e-4}
CLOSE = {"rel": 2e-3, "abs": 2e-4}


@pytest.fixture(scope="module")
def run_hosts(environment, pictures):
    runs = Hosts(environment, pictures)
    yield runs.start
    runs.close()


@pytest.fixture(scope="module")
def alone(run_hosts, tmp_path_factory):
    """Workdir of two epochs by one process with four devices."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    finish(run_hosts(workdir, hosts=1, devices=4, **RUN))
    return workdir


@pytest.fixture(scope="module")
def half(run_hosts, tmp_path_factory):
    """Workdir of the first of these epochs by two processes with two devices each."""
    workdir = tmp_path_factory.mktemp("half") / "run"
    printed = finish(run_hosts(workdir, hosts=2, devices=2, **RUN, train__epochs=1))
    assert "4 x cpu" in printed[0][0]
    assert printed[1][0] == ""
    return workdir


def newest(workdir):
    return max(int(path.name) for path in (workdir / "checkpoints").iterdir())


def assert_same_training(workdir, expected):
    """Parameters, statistics, optimizers and the logged numbers, up to where `workdir` got."""
    step = newest(workdir)
    found, wanted = stored_state(workdir), stored_state(expected, step)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, err_msg=key, **TOLERANCE)
    rows = [row for row in logged_rows(expected) if row["step"] <= step]
    assert len(logged_rows(workdir)) == len(rows)
    for ours, theirs in zip(logged_rows(workdir), rows, strict=True):
        assert ours == pytest.approx(theirs, **CLOSE)


def test_two_hosts_train_as_one_does(half, alone):
    assert_same_training(half, alone)
    assert (half / "samples" / "epoch_0001.png").is_file()
    assert len((half / "timing.csv").read_text().splitlines()) == 2


def test_one_goes_on_where_two_stopped(run_hosts, half, alone, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(half, workdir)
    [(output, _)] = finish(run_hosts(workdir, hosts=1, devices=4, **RUN))
    assert "at step 3 of 6" in output
    assert_same_training(workdir, alone)


@pytest.mark.slow
@pytest.mark.parametrize(("hosts", "devices"), [(4, 1), (2, 2)])
def test_many_go_on_where_two_stopped(run_hosts, half, alone, tmp_path, hosts, devices):
    workdir = tmp_path / "run"
    shutil.copytree(half, workdir)
    printed = finish(run_hosts(workdir, hosts=hosts, devices=devices, **RUN))
    assert "at step 3 of 6" in printed[0][0]
    assert_same_training(workdir, alone)


def test_an_error_of_one_host_ends_all(run_hosts, pictures, tmp_path):
    """Pictures whose headers are whole and whose pixels are not, on host 1 alone."""
    broken = tmp_path / "pictures"
    shutil.copytree(pictures, broken)
    for path in broken.glob("train/*.png"):
        path.write_bytes(path.read_bytes()[:200])
    started = time.monotonic()
    own = {1: {"data__path": broken}}
    printed = finish(run_hosts(tmp_path / "run", hosts=2, devices=1, of_host=own, **RUN), 1)
    assert time.monotonic() - started < 60
    assert "cannot read" in printed[1][1]
    for _, errors in printed:
        assert errors.count("\n") == 1
    reason = printed[1][1].removeprefix("error: ")
    assert printed[0][1] == f"error: host 1: {reason}"


def test_hosts_with_different_configs_are_refused(run_hosts, tmp_path):
    own = {1: {"generator__base_width": 6}}
    for _, errors in finish(run_hosts(tmp_path, hosts=2, devices=1, of_host=own, **RUN), 1):
        assert "host 1 has another config than host 0: generator.base_width is 6, there 4" in errors
        assert errors.count("\n") == 1


def test_hosts_with_different_workdirs_are_refused(run_hosts, tmp_path, monkeypatch):
    own = {1: {"workdir": tmp_path / "other"}}
    printed = finish(run_hosts(tmp_path / "run", hosts=2, devices=1, of_host=own, **RUN), 1)
    assert "this host does not see what host 0 writes there" in printed[1][1]
    assert "error: host 1: workdir" in printed[0][1]


@pytest.mark.parametrize("victim", [0, 1])
def test_the_death_of_one_host_ends_the_other(run_hosts, tmp_path, victim):
    long = RUN | {"train__epochs": 500, "checkpoint__every_steps": 3}
    processes = run_hosts(tmp_path, hosts=2, devices=1, **long)
    wait_for_step(tmp_path, 3, processes[0])
    processes[victim].send_signal(signal.SIGKILL)
    started = time.monotonic()
    _, errors = processes[1 - victim].communicate(timeout=60)
    print(time.monotonic() - started, errors)
    assert processes[1 - victim].returncode not in (0, 75, 130)
    assert "another host has died" in errors


def test_a_stop_is_after_the_same_step_on_all(run_hosts, tmp_path):
    long = RUN | {"train__epochs": 500, "checkpoint__every_epochs": 100}
    processes = run_hosts(tmp_path, hosts=2, devices=1, **long)
    while not (tmp_path / "metrics.jsonl").exists():
        assert processes[0].poll() is None, processes[0].communicate()
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    printed = finish(processes, 75, seconds=60)
    said = {errors for _, errors in printed}
    assert len(said) == 1
    assert f"stopped at step {newest(tmp_path)}, saved" in said.pop()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (("here:1", 2, None), "together"),
        ((None, 2, 1), "together"),
        (("here", 2, 1), "ADDRESS:PORT"),
        (("here:1", 2, 2), "--process_id 2"),
        (("here:1", 0, 0), "--process_id 0"),
    ],
)
def test_an_address_that_is_none_is_refused(address, message):
    with pytest.raises(ConfigError, match=message):
        hosts.Address(*address).check()


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
