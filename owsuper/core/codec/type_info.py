"""What a declared type is made of, before any value of it is seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from owsuper.core.codec.pydantic_models import adapter, is_pydantic


def foreign(info: Any) -> Iterator[type]:
    """Return the classes within ``info`` that neither msgspec nor pydantic makes from JSON."""
    for node in _nodes(info):
        if (
            isinstance(node, msgspec.inspect.CustomType)
            and node.cls is not object
            and not is_pydantic(node.cls)
        ):
            yield node.cls


_WITHOUT_JSON: dict[type, str] = {
    msgspec.inspect.BytesType: "bytes",
    msgspec.inspect.ByteArrayType: "bytearray",
    msgspec.inspect.MemoryViewType: "memoryview",
    msgspec.inspect.SetType: "a set",
    msgspec.inspect.FrozenSetType: "a frozenset",
}
_NO_KEYS = (
    msgspec.inspect.IntType,
    msgspec.inspect.FloatType,
    msgspec.inspect.BoolType,
    msgspec.inspect.UUIDType,
    msgspec.inspect.DecimalType,
    msgspec.inspect.DateTimeType,
    msgspec.inspect.DateType,
    msgspec.inspect.TimeType,
)


def unstorable(type_: Any) -> str | None:
    """Return the kind within ``type_`` that never has a JSON form; unions are not searched."""
    try:
        info = msgspec.inspect.type_info(type_)
    except Exception:  # pydantic's, with rules of its own
        return None
    for node in _nodes(info, past=msgspec.inspect.UnionType):
        if (kind := _WITHOUT_JSON.get(type(node))) is not None:
            return kind
        if isinstance(node, msgspec.inspect.DictType) and isinstance(node.key_type, _NO_KEYS):
            return "a dict whose keys are not text"
    return None


def _nodes(info: Any, past: type | tuple[()] = ()) -> Iterator[Any]:
    """``info`` and the nodes within it, except within custom types and nodes of kind ``past``."""
    seen: set[int] = set()
    left = [info]
    while left:
        node = left.pop()
        if isinstance(node, tuple):
            left.extend(node)
        elif isinstance(node, msgspec.Struct) and id(node) not in seen:
            seen.add(id(node))
            yield node
            if not isinstance(node, msgspec.inspect.CustomType) and not isinstance(node, past):
                left.extend(getattr(node, name) for name in node.__struct_fields__)


def pydantic_parts(type_: Any) -> list[Any]:
    """Return the types within ``type_`` that pydantic reads: perhaps ``type_`` itself."""
    if is_pydantic(type_):
        return [type_]
    nodes = _info_nodes(type_)
    if nodes is None:
        return [type_]
    return [
        node.cls
        for node in nodes
        if isinstance(node, msgspec.inspect.CustomType) and is_pydantic(node.cls)
    ]


def classes_in(type_: Any) -> set[type]:
    """Return the dataclasses and attrs classes within ``type_``."""
    found = {
        node.cls
        for node in _info_nodes(type_) or ()
        if isinstance(node, msgspec.inspect.DataclassType)
    }
    for part in pydantic_parts(type_):
        left = [adapter(part).core_schema]
        while left:
            node = left.pop()
            if isinstance(node, dict):
                left.extend(node.values())
                if node.get("type") == "dataclass":
                    found.add(node["cls"])
            elif isinstance(node, (list, tuple)):
                left.extend(node)
    return found


def _info_nodes(type_: Any) -> list[Any] | None:
    """Return the nodes of what msgspec says of ``type_``, or None where pydantic reads it all."""
    try:
        info = msgspec.inspect.type_info(type_)
    except Exception:
        return None
    return None if next(foreign(info), None) is not None else list(_nodes(info))
