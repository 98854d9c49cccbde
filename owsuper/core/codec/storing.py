"""A value of a declared type on its way into the store."""

from __future__ import annotations

from typing import Any

from owsuper.core.codec.changes import Change, find_change
from owsuper.core.codec.conversion import convert, loss
from owsuper.core.codec.diagnose import Fault, named
from owsuper.core.codec.encoding import decode, encode
from owsuper.core.codec.jsonb import as_stored
from owsuper.errors import InvalidData, NotSerializable

# JSON that does not fit a type is the mistake of a caller; an object that does not, of its class.
_JSON = (dict, str, int, float, type(None))


def encode_as(value: Any, type_: Any, *, path: str, owner: str = "") -> tuple[bytes | None, Any]:
    """Return ``value`` as JSON, and the JSON value that the database will return for it.

    The value comes back as ``type_``, and equal: this converts it and compares. ``path`` and
    ``owner`` are those of ``encode``. Raises NotSerializable for a value that cannot be stored,
    or not without a change, and InvalidData for a value that does not fit the type.
    """
    raw = encode(value, path=path, owner=owner)
    stored = as_stored(decode(raw))
    try:
        back = convert(stored, type_, path=path, owner=owner)
    except InvalidData as exc:
        if isinstance(value, _JSON) or (reason := loss(type_)) is None:
            raise
        place = named(path, owner)
        raise NotSerializable(f"Cannot store {place}: {reason}", path=path) from exc
    if back is not stored and (change := find_change(value, back, type_)) is not None:
        path = Fault("", change.keys).path(path)
        place = named(path, owner)
        raise NotSerializable(f"Cannot store {place}: {_explain(change)}", path=path)
    return raw, stored


def _explain(change: Change) -> str:
    kind, declared = type(change.value), type(change.back)
    if kind is declared and _is_unequal_to_itself(change.value):
        return "it is not equal to itself, so nothing can come back equal. Use None or a string."
    if issubclass(kind, declared) and kind is not declared:
        return (
            f"it is a {kind.__qualname__}, and would come back as a {declared.__qualname__}."
            f" Declare the type {kind.__qualname__}, or store a {declared.__qualname__}."
        )
    return (
        "it would come back changed. Its class writes it as something else than it reads: change"
        " the class, or declare another type."
    )


def _is_unequal_to_itself(value: Any) -> bool:
    """Whether ``value`` is a NaN, such as that of Decimal."""
    try:
        return bool(value != value)
    except Exception:  # __ne__ is user code; a signaling NaN of Decimal refuses some comparisons
        return False
