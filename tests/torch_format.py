"""PyTorch's files, written without PyTorch: pickle does it, with stand-ins for PyTorch's names."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}


class FloatStorage:
    pass


class HalfStorage:
    pass


class LongStorage:
    pass


def _rebuild_tensor_v2(*_):
    raise AssertionError("called")


class StoredTensor:
    """Pickled as a tensor of a storage of its own."""

    def __init__(self, key, array):
        self.key, self.array, self.stored = key, array, array

    def __reduce__(self):
        strides = tuple(x // self.array.itemsize for x in self.array.strides)
        storage = StorageReference(self)
        arguments = (storage, 0, self.array.shape, strides, False, OrderedDict())
        return _rebuild_tensor_v2, arguments


class StorageReference:
    def __init__(self, tensor):
        self.tensor = tensor


class Pickler(pickle.Pickler):
    legacy = False

    def persistent_id(self, thing):
        if not isinstance(thing, StorageReference):
            return None
        array = thing.tensor.stored
        kind = globals()[STORAGES[array.dtype.name]]
        more = (None,) if self.legacy else ()
        return ("storage", kind, thing.tensor.key, "cpu", array.size, *more)


def pickled(thing, *, legacy=False):
    """`thing` as PyTorch pickles it, in protocol 2."""
    stream = io.BytesIO()
    pickler = Pickler(stream, 2)
    pickler.legacy = legacy
    pickler.dump(thing)
    data = stream.getvalue()
    own = f"c{__name__}\n".encode()
    data = data.replace(own + b"_rebuild", b"ctorch._utils\n_rebuild")
    return data.replace(own, b"ctorch\n")


def state_dict(arrays):
    """What to pickle for arrays by name, as a module's state_dict is: with an attribute."""
    found = OrderedDict(
        (name, StoredTensor(str(place), np.array(array, order="C")))
        for place, (name, array) in enumerate(arrays.items())
    )
    found._metadata = OrderedDict({"": {"version": 1}})
    return found


def write_zip(path, description, storages, *, compression=zipfile.ZIP_STORED, extra=()):
    """A zip archive with this data.pkl and the bytes of these storages by key."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", description)
        archive.writestr("archive/byteorder", b"little")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", b"3\n")
        for name, data in extra:
            archive.writestr(name, data)


def save_zip(path, arrays):
    """`torch.save` of a state_dict."""
    tensors = state_dict(arrays)
    storages = {tensor.key: tensor.stored.tobytes() for tensor in tensors.values()}
    write_zip(path, pickled(tensors), storages)


def save_legacy(path, arrays):
    """`torch.save` of a state_dict before PyTorch 1.6."""
    tensors = state_dict(arrays)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2}}
    with open(path, "wb") as file:
        for thing in (0x1950A86A20F9469CFC6C, 1001, system):
            pickle.dump(thing, file, 2)
        file.write(pickled(tensors, legacy=True))
        pickle.dump([tensor.key for tensor in tensors.values()], file, 2)
        for tensor in tensors.values():
            file.write(struct.pack("<q", tensor.stored.size) + tensor.stored.tobytes())
