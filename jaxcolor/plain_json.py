"""JSON that anybody may have written: plain values that are safe to work with, or a ValueError."""

import json
from collections.abc import Callable
from typing import Any

MOST_LEVELS = 64  # of lists and objects in one another; ours have five
_LARGEST = 2**63


def parse_json(text: str | bytes, *, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """The value in a text, as `json.loads` gives it, and as `check_plain` lets through.

    Args:
      text: JSON.
      parse_constant: of Infinity and NaN, which are no JSON, as `json.loads` takes it.

    Raises:
      ValueError: it is no JSON, or `check_plain` refuses it.
    """
    try:
        value = json.loads(text, parse_constant=parse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return check_plain(value)


def check_plain(value: Any) -> Any:
    """`value` itself, a tree of what JSON has.

    Raises:
      ValueError: it is nested deeper than MOST_LEVELS, on which whoever walks through it would
        stumble, or holds a whole number beyond 64 bits, which arithmetic with floats would.
    """
    level = [value]
    for _ in range(MOST_LEVELS):
        inner = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, int) and not -_LARGEST <= item < _LARGEST:
                raise ValueError("it holds a whole number beyond 64 bits")
        if not inner:
            return value
        level = inner
    raise ValueError("it is nested too deeply")


def require(fits: bool, part: str) -> None:
    """Raises ValueError, naming the part of a value, unless it fits what is read there."""
    if not fits:
        raise ValueError(f"its part {part[:80]} is missing or of another kind")
