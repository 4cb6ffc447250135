"""Records that cannot be read: replaced, named once, counted, and too many of them refused."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxcolor.data.check_report import printable
from jaxcolor.errors import DataError

BAD = "bad"
# Neighbours tried in the place of a bad record.
_MOST_TRIES = 1000


def read_or_replace(source: Any, index: int) -> tuple[dict, bool]:
    """The record at `index`, or the next one that can be read; and whether it was replaced.

    Raises:
      DataError: none of the next ones can be read either.
    """
    first = None
    for place in range(index, index + min(_MOST_TRIES, len(source))):
        try:
            return source[place % len(source)], place != index
        except DataError as error:
            first = first or error
    raise first


class BadRecords:
    """Keeps account of the bad records of a source."""

    def __init__(
        self, source: Any, most: float, say: Callable[[str], None], *, process_count: int = 1
    ):
        """Nothing bad as yet.

        Args:
          source: whose records they are.
          most: largest share of them that may be bad, from 0 to 1.
          say: prints a line.
          process_count: processes that each see as many of the records.
        """
        self._source, self._most, self._say = source, most, say
        self._process_count = process_count
        self._known: set[int] = set()
        self._met = 0

    def note(self, indices: Sequence[int]) -> None:
        """Takes account of bad records met in a batch.

        Raises:
          DataError: there are more of them than may be.
        """
        self._met += len(indices)
        for index in indices:
            if index not in self._known:
                self._known.add(index)
                self._check_share(index)
                self._say(printable(f"left out: {self._reason(index)}"))

    def take_count(self) -> int:
        """How many were met since this was last asked."""
        count, self._met = self._met, 0
        return count

    def _reason(self, index):
        try:
            self._source[index]
        except DataError as error:
            return str(error)
        return f"{self._source.names[index]} could not be read, and now can"

    def _check_share(self, index):
        bad, count = len(self._known) * self._process_count, len(self._source)
        if bad > self._most * count:
            raise DataError(
                f"{self._reason(index)}. With it {bad} of {count} pictures were bad so far, more "
                f"than data.max_bad_fraction {self._most:g} allows: remove them (python -m "
                "jaxcolor check-data, with the same flags, names them all), or raise it"
            )
