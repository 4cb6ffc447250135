"""What a prepared cache would gain, said once when training waits for its pictures."""

import time
from typing import Any

import numpy as np

from jaxcolor.data.bad_records import read_or_replace

# Share of the training time spent waiting from which on it is worth a word.
_NOTICEABLE = 0.05
_RECORDS = 8


class Advice:
    """Tells, when called with the share of time spent waiting for data, what would help."""

    def __init__(self, source: Any, transform: Any, *, prepared: bool):
        """Advice on reading `source` through `transform`; `prepared` says it is a cache."""
        self._source, self._transform = source, transform
        self._said = prepared

    def __call__(self, waited: float) -> str:
        """A line, or "" where there is nothing new to say."""
        if self._said or waited < _NOTICEABLE:
            return ""
        self._said = True
        gain = self._measure()
        if gain < 1.1:
            return f"waiting for data {waited:.0%}: more loader.num_threads may help"
        return (
            f"waiting for data {waited:.0%}: a prepared cache would make the loader about "
            f"{gain:.1f} times as fast; python -m jaxcolor prepare makes one"
        )

    def _measure(self) -> float:
        """Time to read, fit and transform some records, by the time to transform them alone."""
        count = min(_RECORDS, len(self._source))
        read, transformed = [], []
        for index in np.linspace(0, len(self._source) - 1, count).astype(int):
            started = time.perf_counter()
            fitted = self._transform.fit_record(read_or_replace(self._source, int(index))[0])
            read.append(time.perf_counter() - started)
            started = time.perf_counter()
            self._transform(fitted, np.random.default_rng(0))
            transformed.append(time.perf_counter() - started)
        return (np.median(read) + np.median(transformed)) / np.median(transformed)
