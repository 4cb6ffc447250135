"""Where what is made or copied once is kept for later runs."""

import os
from pathlib import Path


def cache_root() -> Path:
    """`jaxcolor` under $JAXCOLOR_CACHE, $XDG_CACHE_HOME or ~/.cache; it may not be there."""
    for variable in ("JAXCOLOR_CACHE", "XDG_CACHE_HOME"):
        if os.environ.get(variable):
            return Path(os.environ[variable], "jaxcolor")
    return Path(os.path.expanduser("~"), ".cache", "jaxcolor")
