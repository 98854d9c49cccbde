"""The trace carrier of a run: the headers in its ``context`` that name the span which started it.

Carriers are written by any program that starts runs. What is no carrier is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import orjson

from owsuper.core.names import is_storable

Carrier: TypeAlias = dict[str, str]

MEMBER: Final = "traceContext"
"""The member of a run's ``context`` that holds its carrier."""

_MOST: Final = 16_384  # bytes; the statement ``claim`` reads no larger carrier
_IDENTITY: Final = ("traceparent", "tracestate")


def read(value: Any) -> Carrier | None:
    """Return the carrier in a JSON value; None for one that is no object of texts, or is empty."""
    if not isinstance(value, dict) or not value:
        return None
    if not all(isinstance(text, str) for text in value.values()):
        return None
    return value


def context_of(headers: Mapping[Any, Any]) -> dict[str, Carrier] | None:
    """Return the ``context`` of a run with these headers; None if there is nothing to store.

    Headers that jsonb does not take are left out. If all are too long together, only those of the
    trace itself are kept, and no baggage.
    """
    carrier = {
        name: value
        for name, value in headers.items()
        if isinstance(name, str)
        and isinstance(value, str)
        and is_storable(name)
        and is_storable(value)
    }
    if _size(carrier) > _MOST:
        carrier = {name: carrier[name] for name in _IDENTITY if name in carrier}
    return {MEMBER: carrier} if carrier and _size(carrier) <= _MOST else None


def _size(carrier: Carrier) -> int:
    """Return how many bytes the carrier has as PostgreSQL prints it, or more."""
    return len(orjson.dumps(carrier)) + 2 * len(carrier)  # spaces
