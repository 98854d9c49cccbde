"""Rows of text in columns, aligned on a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence


def table(rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> list[str]:
    """Rows in columns, two blanks apart; those at the indices in ``right`` end at one edge."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(
            _padded(cell, columns, at_the_right=index in right)
            for index, (cell, columns) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    ]


def width(text: str) -> int:
    """How many columns of a terminal ``text`` takes: two for what is East Asian, or an emoji."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):  # drawn upon the character before
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _padded(cell: str, columns: int, *, at_the_right: bool) -> str:
    blanks = " " * (columns - width(cell))
    return blanks + cell if at_the_right else cell + blanks
