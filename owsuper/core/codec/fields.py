"""The fields of a user's classes: their names, their members in JSON, their declared types."""

from __future__ import annotations

import dataclasses
import typing
from functools import lru_cache
from typing import Any

import msgspec

from owsuper.core.codec.pydantic_models import is_pydantic


@lru_cache(maxsize=1024)
def fields_of(kind: Any) -> tuple[str, ...] | None:
    """Return the fields of a class that declares fields, or None for any other class."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    if is_pydantic(kind):
        return tuple(kind.__pydantic_fields__)
    if issubclass(kind, msgspec.Struct):
        return tuple(kind.__struct_fields__)
    attributes = getattr(kind, "__attrs_attrs__", None)
    return None if attributes is None else tuple(field.name for field in attributes)


@lru_cache(maxsize=1024)
def uninitialized(kind: Any) -> tuple[str, ...]:
    """Return the fields of a class that its constructor does not take (``init=False``)."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind) if not field.init)
    attributes = getattr(kind, "__attrs_attrs__", ())
    return tuple(field.name for field in attributes if not field.init)


def members_of(value: Any, stored: Any) -> list[tuple[Any, Any]]:
    """Return each part of ``value`` with the part of its JSON, ``stored``, that it is made of."""
    if isinstance(value, (list, tuple)) and isinstance(stored, list):
        return list(zip(value, stored, strict=False))
    if isinstance(value, dict) and isinstance(stored, dict):
        return [(item, stored[key]) for key, item in value.items() if key in stored]
    kind: Any = type(value)
    names = fields_of(kind)
    if names is None:
        return []
    if getattr(kind, "__pydantic_root_model__", False):
        return [(getattr(value, "root"), stored)]  # noqa: B009 - known to pydantic alone
    if isinstance(stored, list):  # a struct that is written as an array
        items = stored[max(0, len(stored) - len(names)) :]  # without its tag
        return [(getattr(value, name), item) for name, item in zip(names, items, strict=False)]
    if not isinstance(stored, dict):
        return []
    keys = _keys(kind)
    return [(getattr(value, name), stored[keys[name]]) for name in names if keys[name] in stored]


@lru_cache(maxsize=1024)
def _keys(kind: Any) -> dict[str, str]:
    names = fields_of(kind) or ()
    if issubclass(kind, msgspec.Struct):
        return dict(zip(names, kind.__struct_encode_fields__, strict=True))
    known = getattr(kind, "__pydantic_fields__", {})
    return {name: getattr(known.get(name), "serialization_alias", None) or name for name in names}


@lru_cache(maxsize=1024)
def declared(kind: Any) -> dict[str, Any]:
    """Return the types of the fields of a class; empty where an annotation cannot be resolved."""
    if is_pydantic(kind) and not dataclasses.is_dataclass(kind):
        return {name: field.annotation for name, field in kind.__pydantic_fields__.items()}
    try:
        return typing.get_type_hints(kind)
    except Exception:  # an annotation may name something that only type checkers see
        return {}
