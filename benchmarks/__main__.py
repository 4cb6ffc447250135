"""python -m benchmarks NAME; see suite.py. Starts itself anew with memory pages of 2 MB."""

import sys

from jaxcolor.__main__ import INTERRUPTED
from jaxcolor.huge_pages import HUGE_PAGES, KEPT_MEMORY, restart_with_huge_pages

TAKING_TURNS = ("train_step", "inference", "profile", "conv_lowering")


def main() -> int:
    """Runs the suite; returns the exit status."""
    named = set(sys.argv[1:2])
    if not {"all", "report"} & named:
        # Where contenders take turns, one must not pay for what another returned.
        restart_with_huge_pages(KEPT_MEMORY if set(TAKING_TURNS) & named else HUGE_PAGES)
    from benchmarks import suite

    return suite.main()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # in the seconds of importing
        sys.exit(INTERRUPTED)
