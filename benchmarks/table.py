"""The table of figures, as Markdown for terminals and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.figures import Figure
from benchmarks.limits import Limits, clients_text
from benchmarks.machine import Machine
from owsuper.cli.bench import number

HEAD = ("measured", "median", "spread", "unit", "database's own limit")
RIGHT = frozenset({"median", "spread"})  # columns of numbers

LEGEND = """\
Median and spread (lowest to highest) are of the repetitions; where there is only one, it is the
figure. The database's own limit is the median of what pgbench does at the given number of
clients, one-row INSERTs, each a transaction, in the same session: the commits a second, beside a
latency the mean duration of a commit. CPU, ours: supervisor, template and children; PostgreSQL's:
all of its processes. Commits include transactions that only read; WAL flushes are all of the
server's. Round trips are those of supervisor and children, counted by a proxy in a separate
run. A ratio is that of the medians, its spread that of the pairs, which were measured in turn."""

Columns = Mapping[str, Callable[[Figure], str]]
"""Further columns: their heads, and functions from a figure to its cell."""


def lines(
    machine: Machine, figures: Sequence[Figure], limits: Limits, further: Columns | None = None
) -> Iterable[str]:
    """The lines of the table, with the machine's facts above and the legend below."""
    for warning in machine.warnings:
        yield from (f"**{warning}**", "")
    width = max(len(what) for what, _ in machine.facts)
    yield from (f"    {what:<{width}}  {which}" for what, which in machine.facts)
    yield ""
    columns = further or {}
    rates = limits.medians()
    rows = [(figure, _limit(figure, rates)) for figure in figures]
    rows += [(figure, "") for figure in limits.figures()]
    yield from _table(
        (*HEAD, *columns),
        [
            (*_cells(figure), limit, *(cell(figure) for cell in columns.values()))
            for figure, limit in rows
        ],
    )
    yield from ("", LEGEND)


def _cells(figure: Figure) -> tuple[str, ...]:
    low, high = figure.spread
    spread = f"{number(low)} – {number(high)}" if len(figure.values) > 1 else ""  # noqa: RUF001 - a dash, as in tables
    return figure.name, number(figure.median), spread, figure.unit


def _limit(figure: Figure, rates: Mapping[int, float]) -> str:
    if figure.clients is None:
        return ""
    rate, clients = rates[figure.clients], clients_text(figure.clients)
    if figure.unit == "ms":
        return f"{number(figure.clients * 1e3 / rate)} ms/commit ({clients})"
    return f"{number(rate)} commits/s ({clients})"


def _table(head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    right = [name in RIGHT for name in head]
    yield _line(head, widths, [False] * len(head))
    rules = [f"{'-' * (w - 1)}:" if r else "-" * w for w, r in zip(widths, right, strict=True)]
    yield _line(rules, widths, right)
    yield from (_line(row, widths, right) for row in rows)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (
        f"{cell:>{width}}" if flush else f"{cell:<{width}}"
        for cell, width, flush in zip(cells, widths, right, strict=True)
    )
    return f"| {' | '.join(padded)} |"
