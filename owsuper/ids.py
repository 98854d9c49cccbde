"""Random ids, several at a time: each draw of randomness is a system call."""

from __future__ import annotations

import os
from typing import Final

_BATCH: Final = 256
_DIGITS: Final = 32  # of a UUID, hexadecimal
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))  # as RFC 9562 has it


class Ids:
    """One id at each call. Safe to call from any thread.

    The system call takes longer than all the rest of what a small step costs before its
    commit, so a few hundred are drawn at once. Must be made in the process that uses it: a
    fork would get the same ones.
    """

    def __init__(self) -> None:
        self._ready: list[str] = []

    def __call__(self) -> str:
        while True:
            try:
                return self._ready.pop()
            except IndexError:
                self._ready += draw(_BATCH)


def draw(count: int) -> list[str]:
    """So many UUIDs of version 4 as text: what ``str(uuid4())`` gives, at a tenth of the cost."""
    digits = os.urandom(_DIGITS // 2 * count).hex()
    return [_text(digits[at : at + _DIGITS]) for at in range(0, len(digits), _DIGITS)]


def _text(d: str) -> str:
    return f"{d[:8]}-{d[8:12]}-4{d[13:16]}-{_VARIANT[d[16]]}{d[17:20]}-{d[20:]}"
