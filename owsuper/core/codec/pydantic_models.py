"""The classes of pydantic, and the fields of them that do not survive their own JSON.

pydantic may write a field under another name than it reads, write a secret as asterisks, or leave
a field out. All of that stands in the schema of the class, so it is known before any value is
written. What user code writes or reads by rules of its own is not judged here: ``changes``
compares its values.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

_SCOPES = frozenset({"model", "dataclass", "typed-dict"})
_FIELDS = frozenset({"model-field", "dataclass-field", "typed-dict-field"})
_VALIDATORS = frozenset({"function-before", "function-wrap", "function-plain"})
_NOT_SCHEMAS = frozenset({"metadata", "config", "serialization", "computed_fields", "default"})


def is_pydantic(kind: Any) -> bool:
    """Whether ``kind`` is a pydantic model or dataclass. Does not import pydantic."""
    return (
        "pydantic" in sys.modules
        and isinstance(kind, type)
        and hasattr(kind, "__pydantic_validator__")
    )


@lru_cache(maxsize=1024)
def adapter(kind: Any) -> Any:
    """Return pydantic's TypeAdapter for ``kind``; building one is slow, so it is cached."""
    return sys.modules["pydantic"].TypeAdapter(kind)


@lru_cache(maxsize=1024)
def unwritten(kind: Any) -> str | None:
    """Return which part of ``kind`` pydantic does not write as it is, and what to do, or None."""
    return next(_faults(adapter(kind).core_schema, reading=False), None)


@lru_cache(maxsize=1024)
def unfaithful(kind: Any) -> str | None:
    """Return which part of ``kind`` does not come back as written, and what to do, or None."""
    return next(_faults(adapter(kind).core_schema, reading=True), None)


class _Part(NamedTuple):
    """A part of a schema: of which class and field, and whether pydantic alone reads it."""

    schema: Any
    owner: str
    place: str
    config: dict[str, Any]
    reading: bool


def _faults(schema: Any, *, reading: bool) -> Iterator[str]:
    left = [_Part(schema, "", "it", {}, reading)]
    while left:
        part = left.pop()
        if isinstance(part.schema, dict):
            if fault := _fault(part):
                yield f"{part.place} {fault}"
            left.extend(_parts_of(part))
        elif isinstance(part.schema, (list, tuple)):
            left.extend(part._replace(schema=item) for item in part.schema)


def _parts_of(part: _Part) -> Iterator[_Part]:
    node = part.schema
    if _serializer(node) is not None:
        return  # the parts are what that function makes of them
    if node.get("type") in _SCOPES:
        owner = getattr(node.get("cls"), "__qualname__", part.owner)
        part = part._replace(owner=owner, config=node.get("config") or {})
    elif node.get("type") in _VALIDATORS:
        part = part._replace(reading=False)
    for key, inner in node.items():
        if key == "fields" and isinstance(inner, dict):
            named = ({"name": name, **field} for name, field in inner.items())
            yield from (_field(part, field) for field in named)
        elif key == "fields":
            yield from (_field(part, field) for field in inner if isinstance(field, dict))
        elif key not in _NOT_SCHEMAS:
            yield part._replace(schema=inner)


def _field(part: _Part, field: dict[str, Any]) -> _Part:
    return part._replace(schema=field, place=f"the field {field.get('name')!r} of {part.owner}")


def _fault(part: _Part) -> str | None:
    node = part.schema
    writer = _serializer(node)
    if writer is not None and _is_of_secrets(writer):
        return (
            "is a secret, and pydantic writes asterisks in its place. Store a reference to the"
            " secret, or give the field a serializer of its own."
        )
    if node.get("type") == "generator" and part.reading:
        return "is read as an iterator that is used up when it is read once. Use a list."
    if node.get("type") not in _FIELDS:
        return None
    if node.get("serialization_exclude"):
        return "has exclude=True, and pydantic does not write it. Store value.model_dump() instead."
    if not part.reading:
        return None
    if node.get("init_only"):
        return "is an InitVar, which is not stored. Make it a field."
    written = node.get("serialization_alias") or node["name"]
    read = _read_names(node, part.config)
    if written in read or node.get("init") is False:
        return None
    return (
        f"is written as {written!r} and read as {' or '.join(map(repr, read)) or 'nothing'}. Give"
        " it one alias for both, or set validate_by_name=True and no serialization_alias."
    )


def _read_names(field: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """Return the member names under which pydantic looks for a field."""
    name, alias = field["name"], field.get("validation_alias")
    if alias is None:
        return [name]
    by_name = config.get("validate_by_name", config.get("populate_by_name", False))
    names = [name] if by_name else []
    if not config.get("validate_by_alias", True):
        return names
    if isinstance(alias, str):
        return [alias, *names]
    paths = alias if isinstance(alias[0], list) else [alias]
    return [*(str(path[0]) for path in paths if len(path) == 1), *names]


def _serializer(node: dict[str, Any]) -> Any:
    """Return the function that writes this part of a value, or None if pydantic's core does."""
    serialization = node.get("serialization")
    return serialization.get("function") if isinstance(serialization, dict) else None


def _is_of_secrets(function: Any) -> bool:
    # pydantic has no public name for these; a secret with a serializer of its own has another.
    name = getattr(function, "__name__", "")
    return getattr(function, "__module__", "") == "pydantic.types" and "secret" in name
