"""Plain values become frozen ones: types and ranges are checked, and an error names the setting."""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")

SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name}={value}: choose one of {', '.join(choices)}")


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in a line; the first few of many, and how many more there are."""
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def counted(number: int, one: str, several: str = "") -> str:
    """`1 run`, `1,001 runs`; several: the plural that is not made by an s."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def first_line(error: BaseException) -> str:
    """What an exception says first, or what it is."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def within(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raises ValueError unless low <= value <= high (so for NaN too)."""
    if not low <= value <= high:
        limits = f"at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        raise ValueError(f"{name}={value}: must be {limits}")


def build(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """A frozen dataclass from plain values with types checked; errors name `prefix.field=value` and the type
    expected."""
    if not isinstance(values, Mapping):
        raise ValueError(
            f"{prefix or 'this'}={values}: expected settings by name, not {_kind(values)}"
        )
    hints = _hints(cls)
    dotted = f"{prefix}." if prefix else ""
    unknown = [name for name in values if name not in hints]
    if unknown:
        raise ValueError(f"{dotted}{unknown[0]}: no such setting; there are {', '.join(hints)}")
    missing = [name for name in _required(cls) if not _given(values, name, hints[name])]
    if missing:
        raise ValueError(f"{dotted}{missing[0]} is not set: give {dotted}{missing[0]}=...")
    return cls(
        **{name: typed(f"{dotted}{name}", value, hints[name]) for name, value in values.items()}
    )


@lru_cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@lru_cache
def _required(cls: Any) -> tuple[str, ...]:
    """Fields without a default."""
    absent = dataclasses.MISSING
    return tuple(
        field.name
        for field in dataclasses.fields(cls)
        if field.default is absent and field.default_factory is absent
    )


def _given(values: Mapping[str, Any], name: str, hint: Any) -> bool:
    """Whether there is a value, or a None where that is one."""
    return values.get(name) is not None or (name in values and type(None) in typing.get_args(hint))


def typed(name: str, value: Any, hint: Any) -> Any:
    """`value` as the type `hint` (bool, int, float, str, a mapping, a tuple, or one of these or None); raises
    ValueError naming both. 1e-5 is a number, although YAML 1.1, which wants 1.0e-5, reads a word; infinity
    and NaN are none."""
    kind, optional, inside = _taken_apart(hint)
    if value is None and optional:
        return None
    if kind is tuple and isinstance(value, list | tuple):
        return tuple(typed(name, item, inside) for item in value)
    if kind in (int, float) and isinstance(value, str) and SCIENTIFIC.fullmatch(value):
        value = float(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number and math.isfinite(value):
        return float(value)
    if kind is int and number and (isinstance(value, int) or value.is_integer()):
        return int(value)
    if kind is str and number:
        return str(value)
    if isinstance(value, kind) and kind not in (int, float):
        return value
    raise ValueError(f"{name}={value}: expected {WORDS.get(kind, kind.__name__)}")


@lru_cache
def _taken_apart(hint: Any) -> tuple[Any, bool, Any]:
    """The class that a value must have, whether None will do, and what a tuple holds."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    wanted = next(option for option in options if option is not type(None))
    inside = next(iter(typing.get_args(wanted)), None)
    return typing.get_origin(wanted) or wanted, type(None) in options, inside


WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    tuple: "a list",
    list: "a list",
    Mapping: "settings by name",
}


def _kind(value: Any) -> str:
    """What a value is that is no mapping."""
    return "a list" if isinstance(value, list | tuple) else f"{type(value).__name__}"
