"""How busy a machine is besides what this process and its children do."""

import os
import time
from pathlib import Path


class Bystanders:
    """The other programs, from when this is made on."""

    def __init__(self):
        """Starts to count."""
        self._started, self._used = time.perf_counter(), _seconds_of_others()

    def cores(self) -> float | None:
        """Cores they used on average since; None where the system does not tell."""
        if self._used is None:
            return None
        return (_seconds_of_others() - self._used) / (time.perf_counter() - self._started)


def _seconds_of_others() -> float | None:
    """Core seconds used since the machine started, by all but this process and its children."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    user, nice, system, _, _, *rest = map(int, path.read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK") - own_seconds()


def own_seconds() -> float:
    """Core seconds used by this process and its descendants, ended ones included."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        number = int(path.parent.name)
        parents[number] = int(fields[1])
        ticks[number] = sum(map(int, fields[11:15]))
    own = {os.getpid()}
    while more := {number for number, parent in parents.items() if parent in own} - own:
        own |= more
    return sum(ticks[number] for number in own) / os.sysconf("SC_CLK_TCK")
