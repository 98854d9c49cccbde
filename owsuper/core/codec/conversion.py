"""From JSON values to the types that users declare.

msgspec converts; pydantic takes over for its own classes, and for annotations that msgspec
cannot handle (a union of two dataclasses, say) where the application uses pydantic anyway.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, Never, NoReturn, cast

import msgspec
import orjson

from owsuper.core.codec.expand import adapter, is_pydantic
from owsuper.errors import ConfigurationError, InvalidData

Converter = Callable[[Any], Any]

_UNTYPED = (None, Any, object, type(None), NoReturn, Never)


def convert(value: Any, type_: Any, *, path: str, owner: str = "") -> Any:
    """Return ``value`` (decoded JSON) as ``type_``, or unchanged for None, Any and object.

    Conversion is strict: text is not read as a number. Members that the type does not know
    are dropped. ``path`` and ``owner`` are those of ``encode``. Raises InvalidData for every
    failure, also for one of a user's own type.
    """
    converter = _converter(type_, path)
    if converter is None:
        return value
    try:
        return converter(value)
    except MemoryError:
        raise
    except Exception as error:
        place, reason = _explain(error)
        path += place
        of_owner = f" of {owner}" if owner else ""
        raise InvalidData(f"{path}{of_owner}: {reason}", path=path) from error


def check_type(type_: Any, subject: str, *, stored: bool = False) -> None:
    """Raise ConfigurationError if ``convert`` cannot produce ``type_``.

    ``subject`` names the annotation in the message. For a ``stored`` type, a type that JSON
    has no form for (such as a set) is an error too.
    """
    try:
        converter = _build(type_)
    except _UnsupportedError as error:
        raise ConfigurationError(f"{subject}: {error}") from None
    if stored and converter is not None and (kind := _unstorable(type_)) is not None:
        raise ConfigurationError(
            f"{subject}: unsupported type {_name(type_)}: {kind} cannot be stored as JSON."
            " Use lists, text, and dicts with str keys."
        )


class _UnsupportedError(Exception):
    """No converter exists for an annotation."""


def _converter(type_: Any, path: str) -> Converter | None:
    try:
        hash(type_)
    except TypeError:
        build: Callable[[Any], Converter | None] = _build
    else:
        build = _build_once
    try:
        return build(type_)
    except _UnsupportedError as error:
        raise InvalidData(f"{path}: {error}", path=path) from None


def _build(type_: Any) -> Converter | None:
    if any(type_ is untyped for untyped in _UNTYPED):
        return None
    if is_pydantic(type_):
        return partial(_validate, adapter(type_))
    try:
        foreign = next(_foreign(msgspec.inspect.type_info(type_)), None)
        reason = f"{_name(foreign)} cannot be made from JSON"
    except Exception as error:  # an annotation that does not resolve may raise anything
        foreign, reason = type_, f"{type(error).__name__}: {error}"
    if foreign is None:
        return partial(
            msgspec.convert, type=type_, strict=True, str_keys=True, dec_hook=_convert_custom
        )
    if "pydantic" in sys.modules:
        with suppress(Exception):  # if pydantic fails too, msgspec's reason is reported
            model = adapter(type_)
            model.json_schema()  # raises where JSON has no form for the type, or it is unresolved
            return partial(_validate, model)
    raise _UnsupportedError(
        f"unsupported type {_name(type_)}: {reason}. Use plain JSON types, dataclasses, TypedDicts,"
        " msgspec Structs or pydantic models."
    )


_build_once = lru_cache(maxsize=1024)(_build)


def _foreign(info: Any) -> Iterator[type]:
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


def _unstorable(type_: Any) -> str | None:
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


def _name(type_: Any) -> str:
    return type_.__qualname__ if isinstance(type_, type) else repr(type_)


def _convert_custom(kind: type, value: Any) -> Any:
    return value if kind is object else _validate(adapter(kind), value)


def _validate(model: Any, value: Any) -> Any:
    # From JSON, pydantic reads a datetime from text even in a strict model.
    return model.validate_json(orjson.dumps(value))


# --- messages -----------------------------------------------------------------------------------

_PLACE = re.compile(r" - at `(key` in `)?\$([^`]*)`$")
_FIELD = re.compile(r"^Object (missing required|contains unknown) field `([^`]*)`$")


def _explain(error: Exception) -> tuple[str, str]:
    """Return the fault's path below the value's root, such as ``.user.id``, and the reason."""
    if not isinstance(error, msgspec.ValidationError):
        return _explain_foreign(error)
    text, path = str(error), ""
    if place := _PLACE.search(text):
        text, path = text[: place.start()], place[2]
    if error.__cause__ is not None:
        inner, reason = _explain_foreign(error.__cause__)
        return path + inner, reason
    if field := _FIELD.match(text):
        reason = "unknown field" if "unknown" in field[1] else "required field is missing"
        return f"{path}.{field[2]}", reason
    reason = text[:1].lower() + text[1:].replace("`", "")
    return path, f"key: {reason}" if place and place[1] else reason


def _explain_foreign(error: BaseException) -> tuple[str, str]:
    if "pydantic" in sys.modules and isinstance(error, sys.modules["pydantic"].ValidationError):
        first, *others = cast(Any, error).errors(include_url=False, include_context=False)
        path = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in first["loc"])
        more = f" (and {len(others)} more)" if others else ""
        return path, first["msg"] + more
    return "", str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
