"""Objects without a JSON form of their own, and the plain values that replace them.

orjson calls ``expand`` for such an object, one level at a time: the result may again hold such
objects. (orjson writes UUIDs and enums by itself, in the same form.)
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Awaitable, Callable, Iterator, Set
from functools import lru_cache
from typing import Any

import msgspec

from owsuper.core.codec.pydantic_models import adapter, is_pydantic, unwritten

AWARE = "the datetime has no time zone. Use an aware one, such as datetime.now(UTC)."

Expander = Callable[[Any], Any]


class UnstorableError(Exception):
    """An object without a plain value; the message says why, and what to do."""


def expand(value: Any) -> Any:
    """Return the plain value that replaces ``value``. Raises UnstorableError."""
    kind: Any = type(value)  # mypy does not take a type for hashable
    return _expander(kind)(value)


@lru_cache(maxsize=1024)
def _expander(kind: Any) -> Expander:
    if is_pydantic(kind):
        fault = unwritten(kind)
        return _expand_pydantic if fault is None else _refuse(fault)
    if issubclass(kind, msgspec.Struct):
        return _struct_expander(kind)
    if (names := _field_names(kind)) is not None:
        return _fields_expander(kind, names)
    for base, expander in _EXPANDERS.items():
        if issubclass(kind, base):
            return expander
    return _refuse(_advice(kind))


def _field_names(kind: type) -> tuple[str, ...] | None:
    """Return the fields of a dataclass or attrs class, private ones too: all rebuild the object."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    attributes = getattr(kind, "__attrs_attrs__", None)
    return None if attributes is None else tuple(field.name for field in attributes)


def _fields_expander(kind: type, names: tuple[str, ...]) -> Expander:
    def expand_fields(value: Any) -> dict[str, Any]:
        return {name: getattr(value, name) for name in names}

    if not kind.__dictoffset__:
        return expand_fields
    wanted = frozenset(names)

    def expand_whole(value: Any) -> dict[str, Any]:
        members: dict[str, Any] = value.__dict__  # usually just the fields; no copy needed
        return members if members.keys() == wanted else expand_fields(value)

    return expand_whole


def _struct_expander(kind: type[msgspec.Struct]) -> Expander:
    config = kind.__struct_config__
    fields = tuple(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    if config.array_like:
        tag = () if config.tag is None else (config.tag,)
        return lambda value: [*tag, *(getattr(value, name) for name, _ in fields)]
    head = {} if config.tag_field is None else {config.tag_field: config.tag}

    def expand_struct(value: Any) -> dict[str, Any]:
        members = {key: getattr(value, name) for name, key in fields}
        return head | {key: item for key, item in members.items() if item is not msgspec.UNSET}

    return expand_struct


def _expand_pydantic(value: Any) -> Any:
    # All levels at once: only pydantic knows the types and serializers of its fields.
    kind: Any = type(value)
    return adapter(kind).dump_python(value, mode="json", by_alias=True, round_trip=True)


def _expand_datetime(value: dt.datetime) -> str:
    offset = value.utcoffset()
    if offset is None:
        raise UnstorableError(AWARE)
    if offset % dt.timedelta(minutes=1):
        value = value.astimezone(dt.UTC)  # RFC 3339 has no seconds in its offsets
    return value.isoformat()


def _refuse(reason: str) -> Expander:
    def refuse(value: Any) -> Any:
        raise UnstorableError(reason)

    return refuse


# In order: a datetime is a date.
_EXPANDERS: dict[type, Expander] = {
    dt.datetime: _expand_datetime,
    dt.date: dt.date.isoformat,
    dt.time: dt.time.isoformat,
    dt.timedelta: msgspec.to_builtins,
    decimal.Decimal: str,
    uuid.UUID: str,
    enum.Enum: lambda value: value.value,
    tuple: list,
    float: float.__float__,
    Set: _refuse("a set has no order and is not valid JSON. Use a list, such as sorted(value)."),
}


def _advice(kind: type) -> str:
    if issubclass(kind, (bytes, bytearray, memoryview)):
        return "bytes are not valid JSON. Use text, such as base64.b64encode(value).decode()."
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if issubclass(kind, Awaitable):
        return f"an object of type {name} is not valid JSON. Is an await missing?"
    if issubclass(kind, Iterator) or kind is range:
        return f"an object of type {name} is not valid JSON. Use a list, such as list(value)."
    if hasattr(kind, "tolist"):  # numpy, pandas and their like
        return f"an object of type {name} is not valid JSON. Use value.tolist()."
    return (
        f"an object of type {name} is not valid JSON. Use dict, list, str, int, float, bool or"
        " None, a dataclass, a msgspec Struct or a pydantic model."
    )
