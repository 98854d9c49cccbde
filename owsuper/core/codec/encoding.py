"""From Python values to JSON that jsonb can store, and back to plain values."""

from __future__ import annotations

from typing import Any, NoReturn

import orjson

from owsuper.core.codec.diagnose import TEXT_HARMLESS, TOO_DEEP, Fault, find_fault, named
from owsuper.core.codec.expand import expand
from owsuper.errors import InvalidData, NotSerializable

# orjson's own way with dataclasses drops private fields, and with datetimes takes naive ones.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME

# One jsonb value holds at most 2**28 - 1 bytes.
_MAX_BYTES = 255 * 1024 * 1024


def encode(value: Any, *, path: str, owner: str = "") -> bytes | None:
    """Return ``value`` as JSON, or None for null, which is stored as SQL NULL.

    In messages, ``path`` is the root of the path to a field (``"result"``), and ``owner``
    names the owner of the value (``"step 'charge'"``). Raises NotSerializable for every
    failure, also for one in a user's own code.
    """
    if value is None:
        return None
    try:
        raw = orjson.dumps(value, expand, _OPTIONS)
        # The encoder writes NaN as null and lets U+0000 pass: look closer where it may have.
        if b"\\u0000" in raw:
            fault = find_fault(value)
        elif b"null" in raw:
            fault = find_fault(value, TEXT_HARMLESS)
        else:
            fault = None
    except MemoryError:
        raise
    except Exception:  # the encoder's, or what user code raised in an expansion
        raw, fault = _encode_again(value, path, owner), None
    if len(raw) > _MAX_BYTES:
        fault = Fault(
            f"it takes {len(raw) >> 20} MB as JSON, and PostgreSQL stores at most 255 MB."
            " Store it elsewhere, and a reference to it here."
        )
    if fault is not None:
        _refuse(fault, path, owner)
    return None if raw == b"null" else raw


def decode(raw: bytes | str | None, *, path: str = "value", owner: str = "") -> Any:
    """Return the value of JSON from the database; SQL NULL is None.

    ``path`` and ``owner`` are those of ``encode``. Raises InvalidData for JSON that jsonb can
    hold and Python cannot: a number beyond any float, or a thousand levels of nesting.
    """
    try:
        return None if raw is None else orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        place = named(path, owner)
        raise InvalidData(f"{place}: cannot be read: {error.msg}", path=path) from None


def _encode_again(value: Any, path: str, owner: str) -> bytes:
    """Explain the refusal, unless the encoder only minds that keys are a subclass of str."""
    try:
        if fault := find_fault(value):
            _refuse(fault, path, owner)
        return orjson.dumps(value, expand, _OPTIONS | orjson.OPT_NON_STR_KEYS)
    except (MemoryError, NotSerializable):
        raise
    except Exception as again:
        cause = again.__cause__ or again
        too_deep = isinstance(cause, RecursionError) or "ecursion" in str(again)
        reason = TOO_DEEP if too_deep else f"{type(cause).__name__}: {_message(cause)}"
        _refuse(Fault(reason), path, owner, cause)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a __str__ that raises must not hide the error
        return "(no message)"


def _refuse(fault: Fault, root: str, owner: str, cause: BaseException | None = None) -> NoReturn:
    path = fault.path(root)
    place = named(path, owner)
    raise NotSerializable(f"Cannot store {place}: {fault.reason}", path=path) from cause
