"""Records that cannot be read: replaced, named once, counted, and too many of them refused."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

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


class News(NamedTuple):
    """What became known of the bad records of a source since this was last asked.

    Attributes:
      replaced: how often one was met, and another taken in its place.
      found: those that had not been met before.
    """

    replaced: int
    found: list[int]


class BadRecords:
    """Keeps account of the bad records of a source.

    Of hosts that train together each meets those of its rows; told of the others' news now and
    then, all know the same ones, and refuse the same.
    """

    def __init__(self, source: Any, most: float, say: Callable[[str], None]):
        """Nothing bad as yet.

        Args:
          source: whose records they are.
          most: largest share of them that may be bad, from 0 to 1.
          say: prints a line.
        """
        self._source, self._most, self._say = source, most, say
        self._known: set[int] = set()
        self._news = News(0, [])

    def note(self, indices: Sequence[int]) -> None:
        """Takes account of bad records met in a batch.

        Raises:
          DataError: there are more of them than may be.
        """
        self._news = self._news._replace(replaced=self._news.replaced + len(indices))
        for index in indices:
            if index not in self._known:
                self._known.add(index)
                self._news.found.append(index)
                reason = self._reason(index)
                self._check_share(f"{reason}. With it")
                self._say(printable(f"left out: {reason}"))

    def learn(self, indices: Iterable[int]) -> None:
        """Takes account of bad records that any of the hosts met, and has named.

        Raises:
          DataError: there are more of them than may be.
        """
        self._known.update(indices)
        self._check_share("On all hosts together")

    def take_news(self) -> News:
        """What `note` took account of since this was last asked."""
        news, self._news = self._news, News(0, [])
        return news

    def _reason(self, index):
        try:
            self._source[index]
        except DataError as error:
            return str(error)
        return f"{self._source.names[index]} could not be read, and now can"

    def _check_share(self, introduction):
        bad, count = len(self._known), len(self._source)
        if bad > self._most * count:
            raise DataError(
                f"{introduction} {bad} of {count} pictures were bad so far, more than "
                f"data.max_bad_fraction {self._most:g} allows: remove them (python -m jaxcolor "
                "check-data, with the same flags, names them all), or raise it"
            )
