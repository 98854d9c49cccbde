"""The difference between a value and what comes back for it from the store.

A value is converted to its declared type on the way, such as a list to a tuple, or a dict to a
dataclass; and what is not declared comes back as plain JSON. Neither is a difference. An object
that comes back with another class, or with another value in a field, is one.
"""

from __future__ import annotations

import datetime as dt
import enum
import typing
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple, cast

from owsuper.core.codec.fields import declared, fields_of

_SCALARS = (str, int, float)

Key = str | int
_Pair = tuple[Any, Any, frozenset[Any], tuple[Key, ...]]


class Change(NamedTuple):
    """The first part of a value that comes back as another one, and the keys to it."""

    keys: tuple[Key, ...]
    value: Any
    back: Any


def find_change(value: Any, back: Any, type_: Any) -> Change | None:
    """Return the first part of ``value`` that differs in ``back``, or None."""
    left: list[_Pair] = [(value, back, _types_in(type_), ())]
    while left:
        value, back, types, keys = left.pop()
        if _is_same(value, back):
            continue
        parts = _parts(value, back, types, keys)
        if parts is None:
            return Change(keys, value, back)
        left.extend(reversed(parts))
    return None


def _is_same(value: Any, back: Any) -> bool:
    if value is back:
        return True
    try:
        return type(value) is type(back) and bool(value == back)
    except Exception:  # __eq__ is user code; the fields decide
        return False


def _parts(
    value: Any, back: Any, types: frozenset[Any], keys: tuple[Key, ...]
) -> list[_Pair] | None:
    """Return the parts to compare of two values that are not equal; None if they differ."""
    if (value is None) is not (back is None):
        return None
    kind: Any = type(value)
    fields = fields_of(kind)
    if fields is not None and fields_of(cast(Any, type(back))) is not None:
        return _fields(value, back, fields, keys) if _is_one_class(value, back) else None
    if isinstance(value, dict) and isinstance(back, dict):
        if not back.keys() <= value.keys():  # a TypedDict drops what it does not know
            return None
        return [(value[key], back[key], types, (*keys, str(key))) for key in back]
    if isinstance(value, (list, tuple)) and isinstance(back, (list, tuple)):
        if len(value) != len(back):
            return None
        return [
            (*pair, types, (*keys, at)) for at, pair in enumerate(zip(value, back, strict=True))
        ]
    if isinstance(value, enum.Enum) and type(value) not in types:
        return [] if _is_same(value.value, back) else None
    return [] if _is_converted(value, back, types) else None


def _is_converted(value: Any, back: Any, types: frozenset[Any]) -> bool:
    """Whether ``back`` is only another form of ``value``, or the two cannot be compared."""
    if isinstance(value, dt.datetime) and isinstance(back, dt.datetime):
        # Two times in the hour that a change of the clocks repeats are never equal (PEP 495).
        aware = value.utcoffset() is not None and back.utcoffset() is not None
        return aware and value.astimezone(dt.UTC) == back.astimezone(dt.UTC)
    if type(value) is not type(back):
        if isinstance(value, _SCALARS) and isinstance(back, _SCALARS) and value == back:
            return True
        return type(value) not in types
    return not _defines_equality(type(value))


def _defines_equality(kind: type) -> bool:
    return any("__eq__" in base.__dict__ for base in kind.__mro__[:-1])


def _is_one_class(value: Any, back: Any) -> bool:
    return type(value) is type(back) or _generic(type(value)) is _generic(type(back))


def _generic(kind: Any) -> Any:
    metadata = getattr(kind, "__pydantic_generic_metadata__", None) or {}
    return metadata.get("origin") or kind


def _fields(value: Any, back: Any, fields: tuple[str, ...], keys: tuple[Key, ...]) -> list[_Pair]:
    types = _types_of_fields(cast(Any, type(back)))
    nothing: frozenset[Any] = frozenset()
    extra = getattr(value, "__pydantic_extra__", None) or {}
    more = getattr(back, "__pydantic_extra__", None) or {}
    return [
        *(
            (
                getattr(value, name, None),
                getattr(back, name, None),
                types.get(name, nothing),
                (*keys, name),
            )
            for name in fields
        ),
        (extra, more, nothing, keys),
    ]


@lru_cache(maxsize=1024)
def _types_of_fields(kind: Any) -> dict[str, frozenset[Any]]:
    return {name: _types_in(hint) for name, hint in declared(kind).items()}


def _types_in(hint: Any) -> frozenset[Any]:
    """Return the classes that an annotation mentions."""
    return frozenset(_mentioned(hint))


def _mentioned(hint: Any) -> Iterator[Any]:
    kind = typing.get_origin(hint) or hint
    if isinstance(kind, type):
        yield kind
    for part in typing.get_args(hint):
        yield from _mentioned(part)
