"""Upgrades stored values that do not fit the types of today's code, by functions of the user."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from owsuper.core import codec
from owsuper.errors import DataError, InvalidData

Upcast: TypeAlias = Callable[[Any], Any]
"""Takes stored JSON that does not fit a type, and returns what does."""


@dataclass(slots=True)
class Upcasts:
    """The upcasts of one workflow: of its input, of its result, of the results of its steps."""

    input: Upcast | None = None
    result: Upcast | None = None
    steps: dict[str, Upcast] = field(default_factory=dict)


def convert(value: Any, type_: Any, upcast: Upcast | None, *, path: str, owner: str = "") -> Any:
    """Return ``value`` (decoded JSON) as ``type_``; one that does not fit is upgraded first.

    A value that fits is never upgraded: so it is the same on its first use and on every replay.
    Raises InvalidData.
    """
    try:
        return codec.convert(value, type_, path=path, owner=owner)
    except InvalidData as misfit:
        if upcast is None:
            raise
        name = name_of(upcast)
        try:
            upgraded = codec.decode(codec.encode(upcast(deepcopy(value)), path=path, owner=owner))
            return codec.convert(upgraded, type_, path=path, owner=owner)
        except MemoryError:
            raise
        except DataError as exc:
            raise InvalidData(f"{exc} (what its upcast {name} returned)", path=exc.path) from misfit
        except Exception as exc:
            raise InvalidData(
                f"{misfit} (and its upcast {name} raised {type(exc).__name__}: {exc})",
                path=misfit.path,
            ) from exc


def name_of(upcast: Upcast) -> str:
    """Return the name of an upcast for a message; a callable object may have none of its own."""
    return getattr(upcast, "__qualname__", None) or f"{upcast!r:.60}"
