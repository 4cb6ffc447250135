"""Trainings on many hosts: the same numbers as on one, whoever is stopped or killed."""

import re
import shutil
import signal

import numpy as np
import pytest
from many_hosts import DEATH, Hosts, finish
from processes import logged_rows, stored_state, wait_for_step

# 24 pictures make 3 steps an epoch; 5 validate, in batches of 4, the last of which host 1 has
# nothing of.
RUN = {"train__batch_size": 8, "evaluation__batch_size": 4, "train__log_every": 1}
RUN |= {"data__image_size": 16, "augment__load_size": 18}
EPOCH_STEPS = 3
LONG = RUN | {"train__epochs": 4, "checkpoint__every_steps": 1, "checkpoint__keep_last": 100}
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
def pair(run_hosts, tmp_path_factory):
    """Workdir of four epochs by two processes with two devices each; a checkpoint of each step."""
    workdir = tmp_path_factory.mktemp("pair") / "run"
    printed = finish(run_hosts(workdir, hosts=2, devices=2, **LONG))
    assert "4 x cpu" in printed[0][0]
    assert printed[1] == ("", "")
    return workdir


def assert_same_training(workdir, expected, steps):
    """Parameters, statistics, optimizers and the logged numbers, of so many steps."""
    found, wanted = stored_state(workdir, steps), stored_state(expected, steps)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, err_msg=key, **TOLERANCE)
    ours, theirs = (
        [row for row in logged_rows(x) if row["step"] <= steps] for x in (workdir, expected)
    )
    assert len(ours) == steps + steps // EPOCH_STEPS
    for our_row, their_row in zip(ours, theirs, strict=True):
        assert our_row.pop("kind") == their_row.pop("kind")
        assert our_row == pytest.approx(their_row, **CLOSE)


def copy_of_an_epoch(workdir, target):
    """A copy of a workdir as it was after its first epoch."""
    shutil.copytree(workdir, target)
    for path in (target / "checkpoints").iterdir():
        if int(path.name) > EPOCH_STEPS:
            shutil.rmtree(path)
    return target


def test_two_hosts_train_as_one_does(pair, alone):
    assert_same_training(pair, alone, 2 * EPOCH_STEPS)
    sheets = sorted(path.name for path in (pair / "samples").iterdir())
    assert sheets == [f"epoch_{epoch:04d}.png" for epoch in range(1, 5)]
    assert len((pair / "timing.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize(("hosts", "devices"), [(1, 4), pytest.param(4, 1, marks=pytest.mark.slow)])
def test_others_go_on_where_two_stopped(run_hosts, pair, alone, tmp_path, hosts, devices):
    workdir = copy_of_an_epoch(pair, tmp_path / "run")
    printed = finish(run_hosts(workdir, hosts=hosts, devices=devices, **RUN))
    assert "at step 3 of 6" in printed[0][0]
    assert_same_training(workdir, alone, 2 * EPOCH_STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("shard_optimizer", [False, True])
def test_four_hosts_train_as_one_does(run_hosts, alone, tmp_path, shard_optimizer):
    options = RUN | {"parallel__shard_optimizer": shard_optimizer}
    finish(run_hosts(tmp_path, hosts=4, devices=1, **options))
    assert_same_training(tmp_path, alone, 2 * EPOCH_STEPS)


def test_two_hosts_add_parts_in_bfloat16_and_go_back_as_one_does(run_hosts, tmp_path):
    """The batch that follows three steps makes the weights NaN; others go on from there."""
    options = RUN | {"train__accumulate_steps": 2, "parallel__gradient_dtype": "bfloat16"}
    options |= {"generator__norm": "instance", "discriminator__norm": "instance"}
    options |= {"train__on_nan": "rollback", "checkpoint__every_steps": 1}
    options["program"] = "tests/spoiling_run.py"
    runs = [run_hosts(tmp_path / str(n), hosts=n, devices=4 // n, **options) for n in (1, 2)]
    for first, *others in map(finish, runs):
        assert "step 4: a parameter = nan; back to checkpoint 3, to go on without" in first[0]
        assert {first[1], *sum(others, ())} == {""}
    assert_same_training(tmp_path / "2", tmp_path / "1", 2 * EPOCH_STEPS)


def test_a_stop_and_a_death_change_no_bit(run_hosts, pair, tmp_path):
    """Host 1 is stopped after the first epoch; then it is killed; then nothing happens any more."""
    workdir, options = tmp_path / "run", {"hosts": 2, "devices": 2, **LONG}
    processes = run_hosts(workdir, **options)
    wait_for_step(workdir, EPOCH_STEPS + 1, processes[0])
    processes[1].terminate()
    first, second = finish(processes, status=75, seconds=60)
    step = int(re.fullmatch(r"stopped at step (\d+), saved in .*\n", first[1])[1])
    assert second[1].endswith(f"\n{first[1]}")  # after a line of JAX's about the signal
    assert max(int(path.name) for path in (workdir / "checkpoints").iterdir()) == step

    processes = run_hosts(workdir, **options)
    wait_for_step(workdir, step + 2, processes[0])
    assert_kill_ends_all(processes, victim=1)

    printed = finish(run_hosts(workdir, **options))
    assert int(re.search(r"resuming .* at step (\d+) of 12", printed[0][0])[1]) >= step + 2
    found, wanted = stored_state(workdir), stored_state(pair)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def assert_kill_ends_all(processes, victim):
    """That the others end within a minute of a kill, with a line that says why."""
    processes[victim].send_signal(signal.SIGKILL)
    for process in processes[:victim] + processes[victim + 1 :]:
        _, errors = process.communicate(timeout=60)
        assert process.returncode not in (0, 75, 130)
        assert re.search(DEATH, errors)
        assert "Extension modules: " not in errors  # as under the stacks of all threads


@pytest.mark.slow
@pytest.mark.parametrize(("count", "victim"), [(2, 0), (4, 0), (4, 3)])
def test_any_death_ends_all(run_hosts, tmp_path, count, victim):
    options = RUN | {"train__epochs": 500, "checkpoint__every_steps": 3}
    processes = run_hosts(tmp_path, hosts=count, devices=1, **options)
    wait_for_step(tmp_path, 3, processes[0])
    assert_kill_ends_all(processes, victim)


def test_an_unreadable_picture_of_one_host_ends_all(run_hosts, pictures, tmp_path):
    """Pictures whose headers are whole and whose pixels are not, on host 1 alone."""
    broken = tmp_path / "pictures"
    shutil.copytree(pictures, broken)
    for path in broken.glob("train/*.png"):
        path.write_bytes(path.read_bytes()[:200])
    own = {1: {"data__path": broken}}
    printed = finish(run_hosts(tmp_path / "run", hosts=2, devices=2, of_host=own, **RUN), 1)
    assert "cannot read" in printed[1][1]
    for _, errors in printed:
        assert errors.count("\n") == 1
    reason = printed[1][1].removeprefix("error: ")
    assert printed[0][1] == f"error: host 1: {reason}"


def test_hosts_with_different_configs_are_refused(run_hosts, tmp_path):
    own = {1: {"generator__base_width": 6}}
    for _, errors in finish(run_hosts(tmp_path, hosts=2, devices=2, of_host=own, **RUN), 1):
        assert "host 1 has another config than host 0: generator.base_width is 6, there 4" in errors
        assert errors.count("\n") == 1
