"""Users' pictures while they are needed: files of random names in one temporary folder."""

import io
import secrets
import shutil
import threading
import time
from pathlib import Path
from typing import BinaryIO, NamedTuple

from jaxcolor.errors import DataError

KEEP_SECONDS = 3600
COOKIE = "jaxcolor"  # of a browser: it holds uploads until a page of it takes them, or leaves
MAX_BYTES = 4_000_000_000
_LONGEST_NAME = 120


class Kept(NamedTuple):
    """A picture in the vault.

    Attributes:
      path: its file, whose name says nothing of it.
      name: what its owner calls it; never part of a path.
      size: in bytes.
      since: when it came, as time.monotonic() has it.
    """

    path: Path
    name: str
    size: int
    since: float


class Vault:
    """Pictures by unguessable tokens, and who holds which. Safe in threads.

    A picture goes when its holder takes another of the same kind or leaves, after KEEP_SECONDS,
    or, the oldest first, when there are more than MAX_BYTES.
    """

    def __init__(
        self, folder: Path, *, keep_seconds: float = KEEP_SECONDS, max_bytes: int = MAX_BYTES
    ):
        """An empty vault in a folder of its own."""
        self._folder, self._keep_seconds, self._max_bytes = folder, keep_seconds, max_bytes
        self._kept: dict[str, Kept] = {}
        self._holders: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def put(self, data: bytes | BinaryIO, name: str, suffix: str = "") -> str:
        """Keeps a picture; returns its token.

        Args:
          data: the content of its file, or that file, open.
          name: what its owner calls it, which is cleaned of all that is no name.
          suffix: of the name of the file that is kept.

        Raises:
          DataError: the disk is full.
        """
        token = secrets.token_hex(16)
        path = self._folder / f"{token}{suffix}"
        source = io.BytesIO(data) if isinstance(data, bytes) else data
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(source, file)
                size = file.tell()
        except OSError as error:
            path.unlink(missing_ok=True)
            raise DataError(f"the server cannot keep the picture ({error.strerror})") from error
        with self._lock:
            self._kept[token] = Kept(path, clean_name(name), size, time.monotonic())
        self.sweep()
        return token

    def get(self, token: str) -> Kept:
        """The picture of a token.

        Raises:
          DataError: it is gone, or there never was one.
        """
        with self._lock:
            if token in self._kept:
                return self._kept[token]
        raise DataError("the picture is no longer here: give it again")

    def hold(self, holder: str, kind: str, token: str) -> None:
        """Gives a picture to a holder alone; what it held of that kind is deleted."""
        with self._lock:
            before = self._holders.get((holder, kind))
            if before not in (None, token):
                self._delete(before)
            self._release(token)
            self._holders[holder, kind] = token

    def held(self, holder: str, kind: str) -> str | None:
        """The token that a holder has of a kind, if any."""
        with self._lock:
            return self._holders.get((holder, kind))

    def leave(self, holder: str) -> None:
        """Deletes all that a holder has."""
        with self._lock:
            for place in [place for place in self._holders if place[0] == holder]:
                self._delete(self._holders[place])

    def sweep(self) -> None:
        """Deletes what is too old, and the oldest of what is too much."""
        with self._lock:
            left = sum(kept.size for kept in self._kept.values())
            oldest_first = sorted(self._kept.items(), key=lambda item: item[1].since)
            for token, kept in oldest_first:
                if time.monotonic() - kept.since < self._keep_seconds and left <= self._max_bytes:
                    break
                left -= kept.size
                self._delete(token)

    def _delete(self, token):
        kept = self._kept.pop(token, None)
        if kept is not None:
            kept.path.unlink(missing_ok=True)
        self._release(token)

    def _release(self, token):
        self._holders = {place: held for place, held in self._holders.items() if held != token}


def clean_name(name: str) -> str:
    """What is left of a client's file name: its last part, printable, neither empty nor endless."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(letter for letter in last if letter.isprintable()).strip(" .")
    stem, dot, suffix = plain.rpartition(".")
    if len(plain) > _LONGEST_NAME:
        plain = f"{(stem or suffix)[: _LONGEST_NAME - 10]}{dot if stem else ''}{suffix[:9]}"
    return plain or "picture"
