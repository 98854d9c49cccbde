"""The changes that jsonb makes to a JSON value.

The execution that runs a step must see the value that a later execution reads back, without a
round trip to the database. jsonb keeps text and most numbers as they are, but

* it sorts the keys of objects, shorter ones first (by their UTF-8 bytes);
* it has no minus zero;
* it writes numbers without an exponent, so that ``1e+16`` comes back as an integer.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson

_CHANGEABLE = frozenset({dict, list, float})

# No number below this is written with an exponent, unless it has a fraction.
_EXPONENT_FROM = 1e15

_LEAST, _GREATEST = -(2**63), 2**64 - 1


def as_stored(value: Any) -> Any:
    """Return what the database returns for ``value``, a decoded JSON value.

    ``value`` is not changed, but the result may share parts with it.
    """
    # One frame a level, hence the loops: a value may be nested more deeply than Python has
    # frames to spare for comprehensions.
    kind = type(value)
    if kind is dict:
        members = {}
        for key in _order(value):
            item = value[key]
            members[key] = as_stored(item) if type(item) in _CHANGEABLE else item
        return members
    if kind is list:
        if _CHANGEABLE.isdisjoint(map(type, value)):
            return value
        items = []
        for item in value:
            items.append(as_stored(item) if type(item) in _CHANGEABLE else item)
        return items
    if kind is float:
        return _stored_float(value)
    return value


def _order(members: dict[str, Any]) -> Iterable[str]:
    # Small objects are mostly records: the same few keys over and over.
    return _order_of_record(tuple(members)) if len(members) <= 16 else _stored_order(members)


def _stored_order(keys: Iterable[str]) -> list[str]:
    # By code point and then, stably, by length: both at the speed of C. The order of code
    # points is that of UTF-8 bytes; the number of them is not, outside ASCII.
    order = sorted(keys)
    order.sort(key=len if all(map(str.isascii, order)) else _utf8_length)
    return order


@lru_cache(maxsize=1024)
def _order_of_record(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_stored_order(keys))


def _stored_float(number: float) -> float | int:
    if -_EXPONENT_FROM < number < _EXPONENT_FROM:
        return number or 0.0
    text = orjson.dumps(number)
    if b"e" not in text:
        return number
    # The integer of the digits that were written, which need not be that of the float. Where
    # it takes more than 64 bits, it reads as a float again.
    whole = int(Decimal(text.decode()))
    return whole if _LEAST <= whole <= _GREATEST else number


def _utf8_length(text: str) -> int:
    return len(text.encode())
