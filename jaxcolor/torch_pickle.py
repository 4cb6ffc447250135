"""The pickles in PyTorch's files, read as data: nothing that they name is imported or called.

A pickle is a program for a stack machine. This machine knows the instructions and the names with
which PyTorch writes dicts of tensors, and refuses all others. What it holds never exceeds a small
multiple of the pickle's own length.
"""

import pickletools
import struct
import warnings
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from jaxcolor.errors import UserError

STORAGES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_DICT = "collections.OrderedDict"
_TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
_PARAMETER = "torch._utils._rebuild_parameter"
_NAMES = {_DICT, *_TENSORS, _PARAMETER, *(f"torch.{name}" for name in STORAGES)}
_SHOWN = 80  # characters of a name from the file
_MOST_AXES = 8

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
)
_COLLECTIONS = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

# What hostile bytes make of the machine or of pickletools.
_DAMAGE = (ValueError, LookupError, TypeError, OverflowError, AssertionError, struct.error)


class Storage(NamedTuple):
    """The numbers of one tensor or several: their name in the file, type and count."""

    key: str
    dtype: np.dtype
    count: int


class Tensor(NamedTuple):
    """A view of a storage: offset, shape and strides in elements, all within it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Name(NamedTuple):
    """A global that the pickle names: a word, no object."""

    text: str


def read_pickle(stream: BinaryIO) -> Any:
    """What the pickle at the stream's position describes; the stream is left behind its end.

    Dicts, lists, tuples, text and numbers are themselves, ordered dicts are dicts, tensors are
    `Tensor`.

    Args:
      stream: in memory, so that a length that lies costs nothing.

    Raises:
      UserError: it names anything else, uses another instruction, or is damaged.
    """
    try:
        with warnings.catch_warnings():  # pickletools warns of escapes in damaged names
            warnings.simplefilter("ignore")
            return _Machine().run(stream)
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
        raise UserError(f"its pickle is damaged ({reason})") from error


class _Machine:
    def __init__(self):
        self.stack, self.marks, self.memo = [], [], {}

    def run(self, stream):
        for code, value, _ in pickletools.genops(stream):
            if code.name == "STOP":
                return self.stack.pop()
            self._do(code.name, value)
        raise ValueError("it has no end")

    def _do(self, name, value):
        stack = self.stack
        if name in _VALUES:
            stack.append(value)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _COLLECTIONS:
            stack.append(_COLLECTIONS[name]())
        elif name in _TUPLES:
            stack.append(self._pop(_TUPLES[name]))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[value] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[value])
        elif name not in ("PROTO", "FRAME"):
            self._compose(name, value)

    def _compose(self, name, value):
        stack = self.stack
        if name == "MARK":
            self.marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(self._pop_mark())
        elif name == "APPEND":
            _extend(stack[-2], self._pop(1))
        elif name == "APPENDS":
            items = self._pop_mark()
            _extend(stack[-1], items)
        elif name == "SETITEM":
            _update(stack[-3], self._pop(2))
        elif name == "SETITEMS":
            items = self._pop_mark()
            _update(stack[-1], items)
        elif name == "GLOBAL":
            stack.append(_known(value.replace(" ", ".", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(_known(".".join(self._pop(2))))
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name == "REDUCE":
            stack.append(_call(*self._pop(2)))
        elif name == "BUILD":
            self._pop(1)  # the attributes of a state_dict: versions of its modules
            if type(stack[-1]) is not dict:
                raise ValueError("attributes of what has none")
        else:
            raise UserError(f"its pickle uses the instruction {name}, which no weights need")

    def _pop(self, count):
        if len(self.stack) < count:
            raise ValueError("its stack is empty")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def _pop_mark(self):
        start = self.marks.pop()
        items = tuple(self.stack[start:])
        del self.stack[start:]
        return items


def _known(text):
    if text not in _NAMES:
        raise UserError(
            f"it names {text[:_SHOWN]!r}, which is no part of a state_dict of tensors; nothing of "
            "it was run"
        )
    return _Name(text)


def _extend(found, items):
    if type(found) is not list:
        raise ValueError("items of what is no list")
    found.extend(items)


def _update(found, items):
    if type(found) is not dict or len(items) % 2:
        raise ValueError("items of what is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Not tuples: hashing a tuple of tuples of one another takes exponential time.
        if type(key) not in (str, int):
            raise ValueError("a key that is neither text nor a number")
        found[key] = value


def _storage(fields):
    kind, name, key, _, count, *more = fields
    if type(fields) is not tuple or kind != "storage" or any(x is not None for x in more):
        raise ValueError("a reference that is no storage")
    if type(name) is not _Name or type(key) is not str or type(count) is not int or count < 0:
        raise ValueError("a storage without type, name or count")
    return Storage(key, STORAGES[name.text.removeprefix("torch.")], count)


def _call(function, arguments):
    if type(function) is not _Name or type(arguments) is not tuple:
        raise ValueError("a call of what is no function")
    if function.text == _DICT:
        return _ordered_dict(*arguments)
    if function.text in _TENSORS:
        return _tensor(*arguments[:4])
    if function.text == _PARAMETER and type(arguments[0]) is Tensor:
        return arguments[0]
    raise ValueError(f"a call of {function.text}")


def _ordered_dict(pairs=()):
    """A dict; Python 2 wrote its items as a list of pairs."""
    found = {}
    if type(pairs) not in (list, tuple):
        raise ValueError("a dict of what are no pairs")
    for pair in pairs:
        _update(found, tuple(pair))
    return found


def _tensor(storage, offset, shape, strides):
    if type(storage) is not Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise ValueError("a tensor without storage, shape or strides")
    numbers = (offset, *shape, *strides)
    if any(type(x) is not int or x < 0 for x in numbers) or len(shape) != len(strides):
        raise ValueError("a tensor whose shape is not of whole numbers")
    if len(shape) > _MOST_AXES:
        raise ValueError(f"a tensor of {len(shape)} axes")
    size = int(np.prod([1, *shape], dtype=object))
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    # By its size too: a stride of 0 would make a tensor of any size of a single number.
    if size > storage.count or (size and last >= storage.count):
        raise ValueError(f"a tensor of {size} numbers in a storage of {storage.count}")
    return Tensor(storage, offset, shape, strides)
