"""Ids that sort by the time of their creation: UUIDs of version 7 (RFC 9562).

Every table has an index of its ids. Random ids would spread new rows over the whole index: the
larger the table, the more index pages are read, written, and copied to the WAL after each
checkpoint. Ascending ids all go to the end of the index. They also order rows with the same
``created_at``, which OpenWorkflow stores in milliseconds.

The first 60 bits are the time: milliseconds since 1970 and a fraction in units of 1/4096 ms. Of
the other 68 bits, 62 are random.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Final

_BATCH: Final = 256  # ids for each system call; 2 KiB of randomness
_RANDOM: Final = 8  # random bytes of an id, of which two bits hold the variant
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


class Ids:
    """Returns a new id at each call, greater than all before. Safe in any thread.

    The randomness of many ids comes from one system call: a call for each id would take longer
    than everything else that a small step does before its commit. Create an instance in the
    process that uses it, because a fork would return the same ids.
    """

    def __init__(self) -> None:
        self._tails: list[str] = []
        self._last = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """Return a new id."""
        with self._lock:
            if not self._tails:
                self._tails = _tails(_BATCH)
            self._last = tick = max(_now(), self._last + 1)
            return _text(tick, self._tails.pop())


def draw(count: int) -> list[str]:
    """Return ``count`` new ids in ascending order."""
    first = _now()
    return [_text(first + n, tail) for n, tail in enumerate(_tails(count))]


def new_id() -> str:
    """Return a new id."""
    return draw(1)[0]


def _now() -> int:
    """Return the time in units of 1/4096 ms."""
    return time.time_ns() * 4096 // 1_000_000


def _tails(count: int) -> list[str]:
    """Return the random part of ``count`` ids, as text."""
    digits = os.urandom(_RANDOM * count).hex()
    each = (digits[at : at + 2 * _RANDOM] for at in range(0, len(digits), 2 * _RANDOM))
    return [f"{_VARIANT[d[0]]}{d[1:4]}-{d[4:]}" for d in each]


def _text(tick: int, tail: str) -> str:
    when = f"{tick:015x}"
    return f"{when[:8]}-{when[8:12]}-7{when[12:]}-{tail}"
