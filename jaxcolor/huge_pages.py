"""Large memory pages for the arrays of a training step on a Linux CPU.

XLA takes and returns hundreds of megabytes in every step. In pages of 4 kB the kernel clears and
maps them one by one each time: up to a fifth of the reference step. glibc asks for pages of 2 MB
only if told so before the process starts.
"""

import os
import sys
from pathlib import Path

HUGE_PAGES = "glibc.malloc.hugetlb=1"
# Keeps what a program returns: what it takes next costs nothing, but its memory never shrinks.
KEPT_MEMORY = f"{HUGE_PAGES}:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=4294967296:"
KEPT_MEMORY += "glibc.malloc.arena_max=1"
_VARIABLE = "GLIBC_TUNABLES"
_ON_REQUEST = "[madvise]"
_SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_huge_pages(tunables: str = HUGE_PAGES) -> None:
    """Starts the program anew, in the same process, if that gets it huge pages.

    Call it before anything costly is imported. Does nothing off Linux, where the kernel gives huge
    pages to all or none, or where GLIBC_TUNABLES is set already (to "" to have none).

    Args:
      tunables: what GLIBC_TUNABLES becomes.
    """
    if sys.platform != "linux" or _VARIABLE in os.environ:
        return
    try:
        on_request = _ON_REQUEST in _SWITCH.read_text()
    except OSError:
        return
    if on_request:
        os.environ[_VARIABLE] = tunables
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
