"""Ids that sort by the time at which they were made: UUIDs of version 7, as RFC 9562 has them.

Every table has an index of its ids. Where these are random, each new row goes to another place in
it, so the larger a table is the more pages of the index are read, written, and copied to the log
after each checkpoint; ids that ascend all go to the end. They also put rows into an order that
have the same ``created_at``, which OpenWorkflow stores in milliseconds.

The first 60 bits say when: milliseconds since 1970, and a fraction of a millisecond in steps of
1/4096. Of the rest 62 are random.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Final

_BATCH: Final = 256
_RANDOM: Final = 8  # bytes for each id; two bits of them are the variant's
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


class Ids:
    """One id at each call, greater than all before. Safe to call from any thread.

    A system call for randomness takes longer than all the rest of what a small step costs before
    its commit, so that of a few hundred is drawn at once. Must be made in the process that uses
    it: a fork would get the same ones.
    """

    def __init__(self) -> None:
        self._tails: list[str] = []
        self._last = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            if not self._tails:
                self._tails = _tails(_BATCH)
            self._last = tick = max(_now(), self._last + 1)
            return _text(tick, self._tails.pop())


def draw(count: int) -> list[str]:
    """So many ids, in ascending order."""
    first = _now()
    return [_text(first + n, tail) for n, tail in enumerate(_tails(count))]


def new_id() -> str:
    """One id."""
    return draw(1)[0]


def _now() -> int:
    """The time in units of 1/4096 ms."""
    return time.time_ns() * 4096 // 1_000_000


def _tails(count: int) -> list[str]:
    """The random part of so many ids, as it is written."""
    digits = os.urandom(_RANDOM * count).hex()
    each = (digits[at : at + 2 * _RANDOM] for at in range(0, len(digits), 2 * _RANDOM))
    return [f"{_VARIANT[d[0]]}{d[1:4]}-{d[4:]}" for d in each]


def _text(tick: int, tail: str) -> str:
    when = f"{tick:015x}"
    return f"{when[:8]}-{when[8:12]}-7{when[12:]}-{tail}"
