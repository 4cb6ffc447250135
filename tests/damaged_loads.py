"""Loads damaged files of one kind in a process of its own, under a limit on its memory.

python damaged_loads.py KIND EXAMPLES DIRECTORY: the process ends with an error when a load does
anything but succeed or raise a UserError of one line, unpickles, starts a program, connects, takes
SECONDS, or needs too much memory; a crash ends it by a signal. DIRECTORY/last says what was being
read.
"""

import faulthandler
import itertools
import json
import os
import resource
import shutil
import sys
import warnings
from pathlib import Path

from damage import damaged, damaged_json
from damaged_kinds import KINDS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jaxcolor.errors import UserError

SECONDS = 60  # one load; most take milliseconds
RESERVED = 2**30  # bytes of address space beyond those of undamaged files
MORE_THAN_USUAL = 2**28  # bytes of memory beyond those of undamaged files
# What Python tells its auditors of, and no load may do; importing is told as `exec` too.
FORBIDDEN = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec")
FORBIDDEN += ("os.posix_spawn", "os.fork", "socket.connect", "ctypes.dlopen")


def limit_memory():
    """Lets the process have RESERVED more than it has; returns the most it ever used, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + RESERVED
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return most_memory()


def most_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def contents(directory):
    """All files by their path within the directory."""
    paths = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


@st.composite
def one_damaged(draw, files):
    """(name, bytes) of one of the files, damaged."""
    name = draw(st.sampled_from(sorted(files)))
    data = files[name]
    if is_json(data) and draw(st.booleans()):
        return name, draw(damaged_json(data))
    return name, draw(damaged(data))


def is_json(data):
    try:
        return isinstance(json.loads(data), (dict, list))
    except ValueError:
        return False


def run(kind, examples, directory):
    """Damages the files of a kind one after the other; returns how the loads ended."""
    write, load = KINDS[kind]
    write(directory / "whole")
    files, numbers = contents(directory / "whole"), itertools.count()
    undamaged = load(directory / "whole")
    assert undamaged, "nothing was loaded"
    assert not any(isinstance(found, UserError) for found in undamaged), undamaged
    happened = []
    sys.addaudithook(lambda event, _: happened.append(event) if event in FORBIDDEN else None)
    usual, ends = limit_memory(), {"loaded": 0, "refused": 0}

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(one_damaged(files))
    def load_damaged(changed):
        # A new place each time: TensorStore remembers what it read where.
        place = directory / str(next(numbers))
        (directory / "last").write_text(f"{place}: {changed[0]}")
        for name, data in (*files.items(), changed):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        found = load(place)
        faulthandler.cancel_dump_traceback_later()
        assert not happened, happened
        shutil.rmtree(place)  # of one that failed it stays, to be looked at
        refused = any(isinstance(one, UserError) for one in found)
        ends["refused" if refused else "loaded"] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow about odd pictures, as for a user
        load_damaged()
    grown = most_memory() - usual
    assert grown < MORE_THAN_USUAL, f"{grown / 1e6:.0f} MB more than for undamaged files"
    return ends | {"grown_bytes": grown}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
