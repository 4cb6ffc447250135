"""The tensors of a PyTorch file, read without PyTorch and without executing its pickle.

Two formats: the zip archive of PyTorch 1.6 and later, and the stream of pickles and storages before
it. The tar archive of before 2017 is refused. Every size that a file states is compared with the
file before anything of that size is read.
"""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxcolor.archives import open_archive
from jaxcolor.errors import UserError
from jaxcolor.torch_pickle import Storage, Tensor, read_pickle

LARGEST_FILE = 2**31  # bytes; the reference's largest generator has 218 MB
LARGEST_PICKLE = 2**20  # bytes; that of a state_dict has about 150 a tensor
_MOST_SHARED = 2  # times the file: what is made of tensors of the same numbers is larger
_SHOWN = 300  # characters of what a reader says, which may quote the file
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_START = b"\x80\x02\x8a\x0a" + _LEGACY_MAGIC.to_bytes(10, "little")
_LEGACY_PROTOCOL = 1001
_RESAVE = "load it in PyTorch where it came from and torch.save its state_dict() again"
_DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, OverflowError, RuntimeError),
    *(NotImplementedError, struct.error, zipfile.BadZipFile, zlib.error),
)


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a saved state_dict by name, in the types that they are stored in.

    They are views of the file's storages: what is held is no more than the file.

    Raises:
      UserError: there is no such file, or it is damaged, too large, of another kind, or asks for
        code to be run.
    """
    path = Path(path).expanduser()
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise UserError(f"it has {size} bytes, more than {LARGEST_FILE}")
        with path.open("rb") as file:
            found, storages, order = _read(file, size)
        arrays = {name: _view(x, storages, order) for name, x in _tensors_of(found).items()}
        if sum(array.nbytes for array in arrays.values()) > _MOST_SHARED * size:
            raise UserError("its tensors share one another's numbers, as those of a network do not")
        return arrays
    except UserError as error:
        raise UserError(f"{path} cannot be read as weights of PyTorch: {error}") from error
    except _DAMAGE as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:_SHOWN]
        raise UserError(
            f"{path} cannot be read as weights of PyTorch: {reason or type(error).__name__}"
        ) from error


def _read(file, size):
    """What was saved, bytes of the storages by key, and their byte order."""
    start = file.read(len(_LEGACY_START))
    file.seek(0)
    if start.startswith(b"PK"):
        return _read_zip(file, size)
    if start == _LEGACY_START:
        return _read_legacy(file, size)
    raise UserError(f"it is neither of PyTorch's formats since 2017; if it is older, {_RESAVE}")


def _read_zip(file, size):
    with open_archive(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise UserError("it is compressed, as PyTorch never does")
        # Entries may lie on top of one another, and duplicates too.
        if sum(entry.file_size for entry in archive.infolist()) > size:
            raise UserError("it states more bytes than it has")
        roots = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(roots) != 1:
            raise UserError("it holds no data.pkl, where PyTorch describes the tensors")
        root = roots[0].removesuffix("data.pkl")
        if entries[roots[0]].file_size > LARGEST_PICKLE:
            raise UserError(f"its data.pkl has more than {LARGEST_PICKLE} bytes")
        found = read_pickle(io.BytesIO(archive.read(roots[0])))
        order = ">" if f"{root}byteorder" in entries and _is_big(archive, root) else "<"
        storages = {}
        for storage in _storages_of(found):
            name = f"{root}data/{storage.key}"
            stated = storage.count * storage.dtype.itemsize
            if name not in entries or entries[name].file_size != stated:
                raise UserError(f"{name[:80]!r} has not the {stated} bytes that its pickle states")
            storages[storage.key] = archive.read(name)
    return found, storages, order


def _is_big(archive, root):
    return archive.getinfo(f"{root}byteorder").file_size < 99 and (
        archive.read(f"{root}byteorder") == b"big"
    )


def _read_legacy(file, size):
    head = io.BytesIO(file.read(LARGEST_PICKLE))
    magic, protocol, system, found, keys = (read_pickle(head) for _ in range(5))
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL or type(system) is not dict:
        raise UserError("its header is not PyTorch's")
    if system.get("little_endian") is not True:
        raise UserError(f"its numbers are big-endian: {_RESAVE}")
    wanted = {storage.key: storage for storage in _storages_of(found)}
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise UserError("its list of storages is none")
    file.seek(head.tell())
    storages = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        if key not in wanted or key in storages or count != wanted[key].count:
            raise UserError(f"storage {key[:80]!r} has not the length that its pickle states")
        length = count * wanted[key].dtype.itemsize
        if length > size - file.tell():
            raise UserError("it is truncated")
        storages[key] = file.read(length)
    return found, storages, "<"


def _tensors_of(found: Any) -> dict[str, Tensor]:
    """`found` itself, if it is a state_dict."""
    if type(found) is not dict or not found:
        kind = "an empty dict" if found == {} else f"a {type(found).__name__.lower()}"
        raise UserError(f"it holds {kind}, not a state_dict of tensors by name")
    for name, tensor in found.items():
        if type(name) is not str or type(tensor) is not Tensor:
            raise UserError(
                f"its entry {str(name)[:80]!r} is no tensor: give the file of one network's "
                "state_dict"
            )
    return found


def _storages_of(found: Any) -> list[Storage]:
    """Each storage once; UserError if two tensors disagree on one."""
    by_key = {}
    for tensor in _tensors_of(found).values():
        if by_key.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise UserError(f"storage {tensor.storage.key[:80]!r} is given two lengths or types")
    return list(by_key.values())


def _view(tensor: Tensor, storages: dict[str, bytes], order: str) -> np.ndarray:
    dtype = tensor.storage.dtype.newbyteorder(order)
    step = dtype.itemsize
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, dtype)
    return np.ndarray(
        tensor.shape,
        dtype,
        storages[tensor.storage.key],
        tensor.offset * step,
        [stride * step for stride in tensor.strides],
    )
