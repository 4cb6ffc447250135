"""The numbers of each step on their way to the log: fetched late, checked, and averaged."""

import math
from collections import deque

import jax


class NotFinite(Exception):
    """A number of the training is not finite.

    Attributes:
      step: the step that it belongs to, the first being 1.
      values: what is not finite, by name.
    """

    def __init__(self, step: int, values: dict[str, float]):
        """Of a step, what is not finite."""
        named = ", ".join(f"{name} = {value}" for name, value in sorted(values.items()))
        super().__init__(f"step {step}: {named}")
        self.step, self.values = step, values


class MetricRows:
    """The metrics of the steps that have not been reported."""

    def __init__(self):
        """None as yet."""
        self._on_device: deque[tuple[int, dict[str, jax.Array]]] = deque()
        self._on_host: list[tuple[int, dict[str, float]]] = []

    def add(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Takes the metrics of a step, which may still be computed."""
        self._on_device.append((step, metrics))

    def fetch(self, last: int) -> None:
        """Moves metrics up to step `last` to the host, which waits for them.

        Raises:
          NotFinite: one is not.
        """
        while self._on_device and self._on_device[0][0] <= last:
            step, metrics = self._on_device.popleft()
            values = {name: float(x) for name, x in jax.device_get(metrics).items()}
            bad = {name: value for name, value in values.items() if not math.isfinite(value)}
            if bad:
                raise NotFinite(step, bad)
            self._on_host.append((step, values))

    def take_means(self, last: int) -> dict[str, float]:
        """The means of the steps up to `last` that were not taken yet; {} if there are none.

        Raises:
          NotFinite: a number is not.
        """
        self.fetch(last)
        rows = [values for step, values in self._on_host if step <= last]
        self._on_host = [(step, values) for step, values in self._on_host if step > last]
        names = rows[0] if rows else ()
        return {name: sum(row[name] for row in rows) / len(rows) for name in names}
