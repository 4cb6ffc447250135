"""Arrays of an .npz or .safetensors file, each read only when asked for and of the shape expected.

Nothing is unpickled, and a file that lies about its sizes costs no memory: the shape in an array's
header is checked before a byte of the array is read.
"""

import contextlib
import io
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import safetensors

from jaxcolor.archives import open_archive
from jaxcolor.errors import UserError

SUFFIXES = (".safetensors", ".npz")
Shape = tuple[int, ...]
_LARGEST_HEADER = 10_000  # bytes of an array's header; ours have 128
_SHOWN = 300  # characters of what a reader says, which may quote the file


class ArrayFile(Protocol):
    """The arrays of an open file."""

    def names(self) -> set[str]:
        """The names of all arrays."""

    def shape(self, name: str) -> Shape:
        """The shape of an array, from its header."""

    def read(self, name: str) -> np.ndarray:
        """An array of floats, as it is stored."""


class _Npz:
    """Members "<name>.npy" of a zip archive."""

    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive

    def names(self):
        members = self._archive.namelist()
        return {name.removesuffix(".npy") for name in members if name.endswith(".npy")}

    def _header(self, name):
        """Shape, whether by columns, type, and the header's own length."""
        with self._archive.open(f"{name}.npy") as file:
            head = io.BytesIO(file.read(_LARGEST_HEADER))
        try:
            version = np.lib.format.read_magic(head)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of files that Python 2 wrote
                found = _HEADERS[version](head)
        except Exception as error:  # it is read as Python's literals: damage makes any error
            raise ValueError(f"array {name} has a damaged header or one of another kind") from error
        return *found, head.tell()

    def shape(self, name):
        return self._header(name)[0]

    def read(self, name):
        shape, by_columns, dtype, start = self._header(name)
        if dtype.kind != "f":
            raise ValueError(f"array {name} holds {dtype}, not floats")
        size = math.prod(shape) * dtype.itemsize
        if self._archive.getinfo(f"{name}.npy").file_size != start + size:
            raise ValueError(f"array {name} has not the {size} bytes that its header states")
        with self._archive.open(f"{name}.npy") as file:
            file.read(start)
            data = file.read(size)
        return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")


_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class _Safetensors:
    def __init__(self, file):
        self._file = file

    def names(self):
        return set(self._file.keys())

    def shape(self, name):
        return tuple(self._file.get_slice(name).get_shape())

    def read(self, name):
        dtype = self._file.get_slice(name).get_dtype()
        if dtype not in ("F16", "BF16", "F32", "F64"):
            raise ValueError(f"array {name} holds {dtype}, not floats")
        return self._file.get_tensor(name)


# What the readers raise for files that are truncated, altered or of another kind.
_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    LookupError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    safetensors.SafetensorError,
)


@contextlib.contextmanager
def open_arrays(path: Path) -> Iterator[ArrayFile]:
    """The arrays of the file at `path`, open while the context lasts.

    Raises:
      UserError: the file, then or on reading from it, is damaged, unreadable or of another kind.
    """
    try:
        if path.suffix == ".npz":
            with path.open("rb") as file, open_archive(file) as archive:
                yield _Npz(archive)
        else:
            with safetensors.safe_open(path, framework="numpy") as file:
                yield _Safetensors(file)
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
        raise UserError(f"{path} cannot be read as {path.suffix}: {reason}") from error
