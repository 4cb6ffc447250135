"""Checks and merges of config sections, each of which holds the arguments of one constructor."""

import difflib
import inspect
import math
import typing
from collections.abc import Callable, Iterable
from typing import Any

from jaxcolor.errors import ConfigError

_FLAX_FIELDS = ("parent", "name")


def arguments(
    section: str, values: dict[str, Any], constructor: Callable, *, supplied: Iterable[str] = ()
) -> dict[str, Any]:
    """`values` as keyword arguments of `constructor`: tuples for lists, floats for whole numbers.

    Args:
      section: the section's name, for messages.
      values: its keys and values.
      constructor: a function, NamedTuple or Flax module with annotated parameters.
      supplied: parameters that the caller passes itself, so that the section may not.

    Raises:
      ConfigError: a key that is no parameter, one that is missing, or a value of the wrong type.
    """
    parameters = dict(inspect.signature(constructor).parameters)
    for name in (*_FLAX_FIELDS, *supplied):
        parameters.pop(name, None)
    unknown_key(section, values, parameters)
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in values:
            raise ConfigError(f"config key {section}.{name} is missing")
    return {
        name: _converted(f"{section}.{name}", value, parameters[name].annotation)
        for name, value in values.items()
    }


def unknown_key(section: str, values: Iterable[str], known: Iterable[str]) -> None:
    """Raises ConfigError for the first of `values` that is not in `known`, naming its likeness."""
    known = list(known)
    for name in values:
        if name not in known:
            where = f"{section}.{name}" if section else name
            raise ConfigError(f"config key {where} is unknown; {likeness(name, sorted(known))}")


def likeness(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the known one most like it, or else all there are."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"


def _converted(key: str, value: Any, hint: Any) -> Any:
    """`value` as the type `hint`, where that loses nothing."""
    if hint is inspect.Parameter.empty:
        return value
    if typing.get_origin(hint) is tuple:
        if isinstance(value, (tuple, list)):
            inner = typing.get_args(hint)[0]
            return tuple(_converted(key, item, inner) for item in value)
        if isinstance(value, str):
            words = [word.strip() for word in value.strip("()[]").split(",") if word.strip()]
            example = f"({', '.join(repr(word) for word in words)},)" if words else "()"
            raise ConfigError(f"config key {key} must be a tuple, as {example}, not {value!r}")
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(f"config key {key} must be finite, not {value!r}")
        return float(value)
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    wanted = str(hint) if typing.get_origin(hint) else hint.__name__
    raise ConfigError(f"config key {key} must be of type {wanted}, not {value!r}")


def overlay(
    config: dict[str, Any], changes: dict[str, Any], fixed: Iterable[str]
) -> dict[str, Any]:
    """Sets in `config` every leaf of `changes`, except the keys in `fixed`; {key: value} it set.

    Args:
      config: changed in place.
      changes: nested sections with some of its keys.
      fixed: "section.key" names that stay as they are: those the user gave.

    Raises:
      ConfigError: `changes` has a section or key that `config` lacks.
    """
    fixed, done = set(fixed), {}
    for section, values in changes.items():
        unknown_key("", [section], config)
        unknown_key(section, values, config[section])
        for name, value in values.items():
            if f"{section}.{name}" not in fixed:
                config[section][name] = value
                done[f"{section}.{name}"] = value
    return done
