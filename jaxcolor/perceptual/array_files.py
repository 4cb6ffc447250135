"""Arrays of an .npz or .safetensors file, each read only when asked for and of the shape expected.

Nothing is unpickled, and a file that lies about its sizes costs no memory: the shape in an array's
header is checked before a byte of the array is read.
"""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import safetensors

from jaxcolor.errors import UserError

SUFFIXES = (".safetensors", ".npz")
Shape = tuple[int, ...]


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
        with self._archive.open(f"{name}.npy") as file:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(file)
            if version == (2, 0):
                return np.lib.format.read_array_header_2_0(file)
        raise ValueError(f"array {name} is stored in version {version} of the npy format")

    def shape(self, name):
        return self._header(name)[0]

    def read(self, name):
        dtype = self._header(name)[2]
        if dtype.kind != "f":
            raise ValueError(f"array {name} holds {dtype}, not floats")
        with self._archive.open(f"{name}.npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)


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
    NotImplementedError,
    RuntimeError,
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
            with zipfile.ZipFile(path) as archive:
                yield _Npz(archive)
        else:
            with safetensors.safe_open(path, framework="numpy") as file:
                yield _Safetensors(file)
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} cannot be read as {path.suffix}: {reason}") from error
