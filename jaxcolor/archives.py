"""Zip archives that anybody may have written, opened at a cost that the file cannot raise."""

import io
import zipfile
from typing import Any, BinaryIO

LARGEST_DIRECTORY = 2**22  # bytes; an entry has about 100, and costs Python six times as much
_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """The archive in an open file.

    Raises:
      zipfile.BadZipFile: it is none, its directory is longer than LARGEST_DIRECTORY, or an entry is
        compressed otherwise than by deflate: Python unpacks the other kinds without a limit.
      Exception: `zipfile` meets damage with OSError, ValueError, NotImplementedError,
        struct.error and others, then or on reading.
    """
    bounded = _Bounded(file)
    archive = zipfile.ZipFile(bounded)
    bounded.most = None
    if any(entry.compress_type not in _KINDS for entry in archive.infolist()):
        raise zipfile.BadZipFile("it is compressed in a way that is not read here")
    return archive


class _Bounded:
    """A file of which no more than `most` bytes are read at once, unless that is None."""

    def __init__(self, file: BinaryIO):
        self._file, self.most = file, LARGEST_DIRECTORY

    def read(self, count: int = -1) -> bytes:
        if self.most is not None:
            place = self._file.tell()
            left = max(0, self._file.seek(0, io.SEEK_END) - place)
            self._file.seek(place)
            if (left if count < 0 else min(count, left)) > self.most:
                raise zipfile.BadZipFile(f"its directory has more than {self.most} bytes")
        return self._file.read(count)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
