"""What one of several processes does in the tests of `hosts`, without a training.

Called as: python tests/host_actions.py ACTION COORDINATOR COUNT INDEX [ARGUMENT ...]
"""

import functools
import os
import sys
import time
from pathlib import Path

from jaxcolor import command, hosts, workdir
from jaxcolor.errors import DataError


def gather():
    """Two rounds of what all say, printed by the first, and below by each as an error."""
    for word in ("a", "b"):
        print(hosts.gather(f"{word}{hosts.index()}"), flush=True)
    sys.stderr.write(f"{hosts.index()} of {hosts.count()}\n")


def fail():
    """The second has an error of the user's while the others wait for it."""
    if hosts.index() == 1:
        raise DataError("no such picture")
    hosts.gather("")


def crash():
    """The first has an error of ours."""
    if hosts.is_first():
        raise ZeroDivisionError("1/0")
    hosts.gather("")


def stay():
    """All do something else for a while."""
    time.sleep(30)


def wait_briefly():
    """One waits for others that do not come."""
    hosts.gather("")


def signal_one(number, victim):
    """One is sent a signal, such as SIGKILL, while the others wait for it."""
    hosts.gather("")
    if hosts.index() == int(victim):
        os.kill(os.getpid(), int(number))
    hosts.gather("")


def own(root):
    """Each takes a workdir of its own for the shared one."""
    workdir.SHARED_SECONDS = 0.5
    with workdir.own_workdir(Path(root, str(hosts.index()))):
        time.sleep(1)


_ACTIONS = (gather, fail, crash, stay, wait_briefly, signal_one, own)
ACTIONS = {action.__name__: action for action in _ACTIONS}


def main(action, coordinator, count, index, *arguments):
    hosts.MEET_SECONDS = 5 if action == "wait_briefly" else 60
    hosts.HEARTBEAT_SECONDS = 10
    address = hosts.Address(coordinator, int(count), int(index))
    return command.run_together(functools.partial(ACTIONS[action], *arguments), address)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
