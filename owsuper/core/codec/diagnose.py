"""Find the part of a value that cannot be stored, and the reason.

The search walks the value in Python. It runs only when the encoder refuses the value, or when
the encoded bytes contain something suspicious. It keeps its own stack, because a value may be
nested more deeply than Python's frames allow.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from owsuper.core.codec.expand import UnstorableError, expand
from owsuper.core.names import has_lone_surrogate

MAX_DEPTH = 254
"""Levels of nesting that the encoder writes."""

TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep. Flatten it."

Key = str | int
Members = Iterator[tuple[Key, Any]]

# Types that are always storable, and types that the encoder always checks itself.
NONE_HARMLESS: frozenset[type] = frozenset({bool, type(None)})
TEXT_HARMLESS: frozenset[type] = frozenset({bool, type(None), str, int})


@dataclass(frozen=True, slots=True)
class Fault:
    """A part that cannot be stored: ``keys`` lead to it, ``reason`` says what to do."""

    reason: str
    keys: tuple[Key, ...] = ()

    def path(self, root: str) -> str:
        """Return the path of the fault, such as ``result.items[3].when``."""
        path = root + "".join(map(_shown, self.keys))
        return path if len(path) <= 160 else f"{path[:80]} ... {path[-60:]}"


def named(path: str, owner: str) -> str:
    """Return ``path``, and whose it is if ``owner`` is not empty, for a message."""
    return f"{path} of {owner}" if owner else path


def find_fault(value: Any, harmless: frozenset[type] = NONE_HARMLESS) -> Fault | None:
    """Return the first fault in ``value``, or None. Items of ``harmless`` types are skipped."""
    root: Members = iter([("", value)])
    levels: list[Members] = [root]
    keys: list[Key] = []
    entered: dict[int, Any] = {}  # by id; holding the objects, so that no id is used twice
    try:
        while True:
            key, item = next(levels[-1], (None, None))
            if key is None:
                if levels.pop() is root:
                    return None
                keys.pop()
                entered.popitem()
                continue
            if type(item) in harmless:
                continue
            keys.append(key)
            members = _members(item, harmless)
            if members is None:
                keys.pop()
                continue
            if id(item) in entered:
                raise UnstorableError("it contains itself. Break the cycle.")
            if len(entered) >= MAX_DEPTH:
                raise UnstorableError(TOO_DEEP)
            entered[id(item)] = item
            levels.append(members)
    except UnstorableError as refusal:
        return Fault(str(refusal), tuple(keys[1:]))


def _members(item: Any, harmless: frozenset[type]) -> Members | None:
    """Return the members of ``item`` to check, or None without any. Raises UnstorableError."""
    while (kind := type(item)) not in harmless:
        if kind is dict or isinstance(item, dict):
            if str not in harmless:
                _check_keys(item)
            return None if harmless.issuperset(map(type, item.values())) else iter(item.items())
        if kind is list or isinstance(item, (list, tuple)):
            return None if harmless.issuperset(map(type, item)) else iter(enumerate(item))
        if kind is not float and isinstance(item, enum.Enum):
            item = item.value
        elif isinstance(item, (str, int, float)):
            _check_scalar(item)
            return None
        else:
            item = expand(item)
    return None


def _check_scalar(item: str | int | float) -> None:
    if isinstance(item, str):
        _check_text(item)
    elif isinstance(item, int):
        if not -(2**63) <= item < 2**64:
            raise UnstorableError("the integer needs more than 64 bits. Use a string instead.")
    elif not math.isfinite(item):
        name = "NaN" if math.isnan(item) else "Infinity" if item > 0 else "-Infinity"
        raise UnstorableError(f"{name} is not valid JSON. Use None or a string instead.")


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise UnstorableError("the text contains U+0000, which PostgreSQL cannot store. Remove it.")
    if has_lone_surrogate(text):
        raise UnstorableError(
            "the text contains a lone surrogate, which is not valid Unicode. Remove it."
        )


def _check_keys(members: dict[Any, Any]) -> None:
    for key in members:
        if not isinstance(key, str):
            raise UnstorableError(
                f"its key {key!r:.60} is of type {type(key).__name__}, and JSON keys are text."
                " Use str keys."
            )
        try:
            _check_text(key)
        except UnstorableError as refusal:
            reason = str(refusal).replace("the text", f"its key {ascii(key)[:60]}", 1)
            raise UnstorableError(reason) from None


def _shown(key: Key) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    if key.isidentifier() and len(key) <= 60:
        return f".{key}"
    short = key if len(key) <= 60 else key[:57] + "..."
    return f"[{json.dumps(short, ensure_ascii=not short.isprintable())}]"
