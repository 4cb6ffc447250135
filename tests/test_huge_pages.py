"""A program that asks for huge pages starts anew once, as the same process, arguments and all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxcolor import huge_pages

PROGRAM = """
import os, sys
from jaxcolor.huge_pages import restart_with_huge_pages
print(os.getpid(), flush=True)
restart_with_huge_pages()
print(os.environ.get("GLIBC_TUNABLES"), *sys.argv[1:])
"""


def run(**changes):
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"} | changes
    environment["PYTHONPATH"] = str(Path(huge_pages.__file__).parents[1])
    command = [sys.executable, "-X", "dev", "-c", PROGRAM, "a b", "--c"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return found.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages on request are Linux's")
def test_started_anew_where_the_kernel_gives_huge_pages_on_request():
    try:
        on_request = "[madvise]" in huge_pages._SWITCH.read_text()
    except OSError:
        on_request = False
    *starts, last = run()
    assert last == f"{huge_pages.HUGE_PAGES if on_request else None} a b --c"
    assert len(starts) == 1 + on_request
    assert len(set(starts)) == 1, "another process"


def test_what_the_user_chose_stays():
    assert run(GLIBC_TUNABLES="")[1:] == [" a b --c"]
