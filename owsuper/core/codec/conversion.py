"""From JSON values to the types that users declare.

msgspec converts; pydantic takes over for its own classes, and for annotations that msgspec
cannot handle (a union of two dataclasses, say) where the application uses pydantic anyway.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, Never, NoReturn, TypeVar, cast

import msgspec
import orjson

from owsuper.core.codec.diagnose import named
from owsuper.core.codec.fields import declared, members_of, uninitialized
from owsuper.core.codec.pydantic_models import adapter, is_pydantic, unfaithful
from owsuper.core.codec.type_info import classes_in, foreign, pydantic_parts, unstorable
from owsuper.errors import ConfigurationError, InvalidData

Converter = Callable[[Any], Any]

_UNTYPED = (None, Any, object, type(None), NoReturn, Never)


def convert(value: Any, type_: Any, *, path: str, owner: str = "") -> Any:
    """Return ``value`` (decoded JSON) as ``type_``, or unchanged for None, Any and object.

    Conversion is strict: text is not read as a number. Members that the type does not know
    are dropped. ``path`` and ``owner`` are those of ``encode``. Raises InvalidData for every
    failure, also for one of a user's own type.
    """
    if type_ is None:  # most steps declare no type
        return value
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
        raise InvalidData(f"{named(path, owner)}: {reason}", path=path) from error


def check_type(type_: Any, subject: str, *, stored: bool = False) -> None:
    """Raise ConfigurationError if ``convert`` cannot produce ``type_``.

    ``subject`` names the annotation in the message. For a ``stored`` type, a type that JSON
    has no form for (such as a set) is an error too.
    """
    try:
        converter = _cached(_build, type_)
    except _UnsupportedError as error:
        raise ConfigurationError(f"{subject}: {error}") from None
    if stored and converter is not None and (reason := loss(type_)) is not None:
        raise ConfigurationError(f"{subject}: unsupported type {_name(type_)}: {reason}")


def loss(type_: Any) -> str | None:
    """Return why a value of ``type_`` would not come back from the store as it was, or None."""
    reason: str | None = _cached(_loss, type_)
    return reason


def _loss(type_: Any) -> str | None:
    if (kind := unstorable(type_)) is not None:
        return f"{kind} cannot be stored as JSON. Use lists, text, and dicts with str keys."
    faults = (fault for part in pydantic_parts(type_) if (fault := unfaithful(part)) is not None)
    return next(faults, None)


class _UnsupportedError(Exception):
    """No converter exists for an annotation."""


def _converter(type_: Any, path: str) -> Converter | None:
    try:
        converter: Converter | None = _cached(_build, type_)
    except _UnsupportedError as error:
        raise InvalidData(f"{path}: {error}", path=path) from None
    return converter


@lru_cache(maxsize=2048)
def _once(function: Callable[[Any], Any], type_: Any) -> Any:
    return function(type_)


def _cached(function: Callable[[Any], Any], type_: Any) -> Any:
    try:
        hash(type_)
    except TypeError:
        return function(type_)
    return _once(function, type_)


def _build(type_: Any) -> Converter | None:
    converter = _plain_converter(type_)
    if converter is None or not any(map(uninitialized, classes_in(type_))):
        return converter
    return partial(_convert_and_restore, converter)


def _plain_converter(type_: Any) -> Converter | None:
    if any(type_ is untyped for untyped in _UNTYPED):
        return None
    if is_pydantic(type_):
        return partial(_validate, adapter(type_))
    try:
        unknown: Any = next(foreign(msgspec.inspect.type_info(type_)), None)
        reason = f"{_name(unknown)} cannot be made from JSON"
    except Exception as error:  # an annotation that does not resolve may raise anything
        unknown, reason = type_, f"{type(error).__name__}: {error}"
    if unknown is None:
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


def _name(type_: Any) -> str:
    return type_.__qualname__ if isinstance(type_, type) else repr(type_)


def _convert_custom(kind: type, value: Any) -> Any:
    return value if kind is object else _validate(adapter(kind), value)


def _convert_and_restore(converter: Converter, value: Any) -> Any:
    """Convert ``value``, and set the fields that constructors do not take as they were stored."""
    result = converter(value)
    left = [(result, value)]
    while left:
        part, stored = left.pop()
        left.extend(members_of(part, stored))
        if not isinstance(stored, dict):
            continue
        kind: Any = type(part)
        for name in uninitialized(kind):
            types = declared(kind)
            if name in stored and name in types and not _is_open(types[name]):
                field = f"the field {name!r} of {_name(kind)}"
                restored = convert(stored[name], types[name], path=field)
                object.__setattr__(part, name, restored)  # the class may be frozen
    return result


def _is_open(type_: Any) -> bool:
    """Whether a class does not say by itself which type a field has: a generic class may not."""
    return isinstance(type_, TypeVar) or bool(getattr(type_, "__parameters__", ()))


def _validate(model: Any, value: Any) -> Any:
    # From JSON, pydantic reads a datetime from text even in a strict model.
    return model.validate_json(orjson.dumps(value))


# --- messages -----------------------------------------------------------------------------------

_PLACE = re.compile(r" - at `(key` in `)?\$([^`]*)`$")
_FIELD = re.compile(r"^Object (missing required|contains unknown) field `([^`]*)`$")


def _explain(error: Exception) -> tuple[str, str]:
    """Return the fault's path below the value's root, such as ``.user.id``, and the reason."""
    if not isinstance(error, msgspec.ValidationError):
        return _explainforeign(error)
    text, path = str(error), ""
    if place := _PLACE.search(text):
        text, path = text[: place.start()], place[2]
    if error.__cause__ is not None:
        inner, reason = _explainforeign(error.__cause__)
        return path + inner, reason
    if field := _FIELD.match(text):
        reason = "unknown field" if "unknown" in field[1] else "required field is missing"
        return f"{path}.{field[2]}", reason
    reason = text[:1].lower() + text[1:].replace("`", "")
    return path, f"key: {reason}" if place and place[1] else reason


def _explainforeign(error: BaseException) -> tuple[str, str]:
    if "pydantic" in sys.modules and isinstance(error, sys.modules["pydantic"].ValidationError):
        first, *others = cast(Any, error).errors(include_url=False, include_context=False)
        path = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in first["loc"])
        more = f" (and {len(others)} more)" if others else ""
        return path, first["msg"] + more
    return "", str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
