"""Configurations as dictionaries and back: nested as they are stored, or flat as flags and files give them."""

import dataclasses
import difflib
import json
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from nlp_rnn.config import ConfigError, require

Config = typing.TypeVar("Config")


def to_dict(config: Any) -> dict[str, Any]:
    """Returns a configuration as nested dictionaries that JSON can hold."""
    return dataclasses.asdict(config)


def from_dict(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Builds a configuration from nested or flat keys.

    Args:
        kind: The dataclass to build.
        values: Field names to values. A field of a nested dataclass may stand
            at the top level (as in a configuration file) or under the nested
            field's own name (as `to_dict` writes it).

    Raises:
        ConfigError: An unknown key (the nearest known one is named), a missing
            one, or a value of the wrong type or that the dataclass refuses.
    """
    return _build(kind, flat_values(kind, values))


def flat_values(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values given, by field name, whatever their nesting.

    Keys and types are checked, as in `from_dict`; what only the dataclasses
    themselves can tell (ranges, agreement between fields) is not.

    Raises:
        ConfigError: An unknown key, one given twice, or a value of the wrong type.
    """
    flat: dict[str, Any] = {}
    _flatten(kind, values, flat, _leaf_types(kind))
    return flat


def read_table(path: str) -> dict[str, Any]:
    """Reads a table of settings from a JSON or YAML file.

    Raises:
        ConfigError: The file's name ends otherwise, or it is not well-formed, or holds no table.
        OSError: It cannot be read.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".json", ".yaml", ".yml"):
        raise ConfigError(f"{path}: a configuration file ends in .json, .yaml or .yml, and holds what its name says.")
    try:
        text = Path(path).read_text(encoding="utf-8")
        values = json.loads(text) if suffix == ".json" else yaml.load(text, _Loader)
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not well-formed {suffix[1:].upper()}: {error}") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: must hold a table of settings, not {type(values).__name__}.")
    return dict(values)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3 as text, for want of a point; people mean the number."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns " Did you mean X?" for the known name closest to this one, or ""."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def plain(value: Any) -> Any:
    """Returns a value in the types of JSON: NumPy's become Python's, bytes text, and numbers that JSON lacks None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        return plain(value.tolist())
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _nested(kind: type) -> dict[str, type]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind) if dataclasses.is_dataclass(hints[f.name])}


def _leaf_types(kind: type) -> dict[str, Any]:
    hints, nested = typing.get_type_hints(kind), _nested(kind)
    leaves = {f.name: hints[f.name] for f in dataclasses.fields(kind) if f.name not in nested}
    for child in nested.values():
        leaves |= _leaf_types(child)
    return leaves


def _flatten(kind: type, values: Mapping[str, Any], flat: dict[str, Any], leaves: Mapping[str, Any]) -> None:
    nested = _nested(kind)
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name in nested:
            require(isinstance(value, Mapping), name, value, "a table of settings")
            _flatten(nested[name], value, flat, leaves)
        elif name in flat:
            raise ConfigError(f"{name} is given twice: leave one of them out.")
        elif name in leaves:
            flat[name] = _coerce(name, value, leaves[name])
        else:
            raise ConfigError(f"Unknown configuration key {key!r}.{nearest(name, [*leaves, *nested])}")


def _build(kind: type[Config], flat: Mapping[str, Any]) -> Config:
    nested = _nested(kind)
    arguments: dict[str, Any] = {}
    for item in dataclasses.fields(kind):  # type: ignore[arg-type]
        if item.name in nested:
            arguments[item.name] = _build(nested[item.name], flat)
        elif item.name in flat:
            arguments[item.name] = flat[item.name]
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{item.name} is required.")
    return kind(**arguments)


def _coerce(name: str, value: Any, kind: Any) -> Any:
    """Checks one value against its annotation; lists become tuples, ints floats."""
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        return _coerce(name, value, next(o for o in options if o is not type(None)))
    if origin is Literal:
        require(value in options, name, value, "one of " + ", ".join(map(repr, options)))
        return value
    if origin is tuple:
        items = [value] if isinstance(value, str) else value
        require(isinstance(items, (list, tuple)), name, value, "a list")
        return tuple(_coerce(name, item, options[0]) for item in items)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    matches = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    require(matches, name, value, {int: "an integer", float: "a number", bool: "true or false", str: "text"}[kind])
    return value
