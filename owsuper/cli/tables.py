"""Tables whose columns give way by importance where a terminal is narrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final

from owsuper.cli.formatting import columns_of, cut

GAP: Final = 2
"""Blanks between columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table. ``cells`` do not include the heading.

    ``rank`` is its importance, 1 the highest: columns are left out from the other end. Before
    that, columns are cut to ``least`` columns of the terminal: those with the lowest ``yields``
    first, and of equal ones the widest. ``shorten`` cuts a cell to a width.
    """

    heading: str = ""
    cells: Sequence[str]
    rank: int
    least: int
    yields: int = 0
    right: bool = False
    shorten: Callable[[str, int], str] = field(default=cut)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", max(map(columns_of, (self.heading, *self.cells))))

    def limited(self, limit: int) -> int:
        """Return the width under this limit, which ``least`` overrides."""
        return min(self.width, max(limit, self.least))

    def fit(self, limit: int) -> Column:
        """Return the column with its cells cut to this limit."""
        width = self.limited(limit)
        if width == self.width:
            return self
        return replace(self, cells=[self.shorten(cell, width) for cell in self.cells])


def table(rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> list[str]:
    """Return a line for each row, with aligned columns two blanks apart.

    The columns at the indices in ``right`` are aligned to the right.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    columns = list(zip(*texts, strict=True))
    widths = [max(map(columns_of, column)) for column in columns]
    return _lines(columns, widths, [index in right for index in range(len(columns))])


def fitted(columns: Sequence[Column], width: int | None) -> list[str]:
    """Return a line for each row, in at most ``width`` columns of the terminal if that is possible.

    A heading line comes first if there are headings. Empty columns are left out.
    """
    columns = [column for column in columns if column.width]
    if width is not None:
        columns = _cut(_most_important(columns, width), width)
    headings = any(column.heading for column in columns)
    texts = [[*([column.heading] if headings else ()), *column.cells] for column in columns]
    return _lines(texts, [column.width for column in columns], [each.right for each in columns])


def with_folds(lines: Iterable[str], folds: Mapping[int, str]) -> list[str]:
    """Return ``lines``, each line that has a text in ``folds`` after that text."""
    return [text for index, line in enumerate(lines) for text in (folds.get(index), line) if text]


def _most_important(columns: Sequence[Column], width: int) -> list[Column]:
    """Return the columns that fit when all are cut: the most important one, and others by rank."""
    chosen: list[Column] = []
    used = -GAP
    for column in sorted(columns, key=lambda each: each.rank):
        needed = GAP + min(column.width, column.least)
        if not chosen or used + needed <= width:
            chosen.append(column)
            used += needed
    return [column for column in columns if column in chosen]


def _cut(columns: Sequence[Column], width: int) -> list[Column]:
    """Return the columns cut as far as necessary for all of them to fit.

    Of columns with the same ``yields``, the widest is cut first.
    """
    fitting = list(columns)
    by_yields = sorted(range(len(columns)), key=lambda index: columns[index].yields)
    for _, indices in groupby(by_yields, lambda index: columns[index].yields):
        group = list(indices)
        room = width - _total(fitting) + sum(columns[index].width for index in group)
        limit = max(columns[index].width for index in group)
        while limit and sum(columns[index].limited(limit) for index in group) > room:
            limit -= 1
        for index in group:
            fitting[index] = columns[index].fit(limit)
    return fitting


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width + GAP for column in columns) - GAP


def _lines(
    columns: Sequence[Sequence[str]], widths: Sequence[int], right: Sequence[bool]
) -> list[str]:
    return [
        (" " * GAP)
        .join(
            _padded(cell, width, align_right=align_right)
            for cell, width, align_right in zip(row, widths, right, strict=True)
        )
        .rstrip()
        for row in zip(*columns, strict=True)
    ]


def _padded(cell: str, width: int, *, align_right: bool) -> str:
    blanks = " " * (width - columns_of(cell))
    return blanks + cell if align_right else cell + blanks
