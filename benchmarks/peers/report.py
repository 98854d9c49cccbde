"""The table of peers and figures, made of records, which is a section of RESULTS.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.peers.records import Conditions, Measured, Record, Skipped
from benchmarks.peers.roster import PEERS
from owsuper.cli.bench import number, quantile

NONE = "–"  # noqa: RUF001 - a dash, as in tables


@dataclass(frozen=True, slots=True)
class Row:
    """One line: ``figure`` of all values of ``key`` by repetition, times ``scale``."""

    name: str
    key: str
    figure: Callable[[Sequence[Sequence[float]]], float]
    scale: float = 1.0


def _median(repetitions: Sequence[Sequence[float]]) -> float:
    return statistics.median(value for each in repetitions for value in each)


def _part(part: float) -> Callable[[Sequence[Sequence[float]]], float]:
    return lambda repetitions: quantile([value for each in repetitions for value in each], part)


ROWS = (
    Row("1-step runs/s (queues: jobs)", "rate.1", _median),
    Row("steps/s, 10-step runs", "rate.10", _median),
    Row("commits a run, 1 step", "commits.1", _median),
    Row("commits a run, 10 steps", "commits.10", _median),
    Row("WAL bytes a run, 1 step", "wal.1", _median),
    Row("WAL bytes a run, 10 steps", "wal.10", _median),
    Row("pickup p50, ms", "pickup", _part(0.50), 1e3),
    Row("pickup p99, ms", "pickup", _part(0.99), 1e3),
    Row("start and wait for the result p50, ms", "result", _part(0.50), 1e3),
    Row("start and wait for the result p99, ms", "result", _part(0.99), 1e3),
    Row("enqueues/s, 16 callers in a process", "enqueue", _median),
    Row("SIGKILL of a step's process to that step again, s", "recovery", _median),
)

LEGEND = """\
Rates, commits and WAL are medians of the repetitions, the spread (lowest to highest) in brackets;
quantiles are of the samples of all repetitions together. Workers: two processes."""


def lines(records: Iterable[Record]) -> Iterator[str]:
    """The report as Markdown, from the records alone."""
    kept = list(records)
    measured = [each for each in kept if isinstance(each, Measured)]
    conditions = [each for each in kept if isinstance(each, Conditions)]
    yield from _header(conditions)
    yield from table(measured)
    yield from ("", LEGEND, "")
    yield from _limits(conditions)
    yield from _notes(measured, [each for each in kept if isinstance(each, Skipped)])


def table(measured: Sequence[Measured]) -> Iterator[str]:
    """A row for each figure, a column for each peer, in the roster's order."""
    seen = list(dict.fromkeys(each.peer for each in measured))
    order = [peer.title for peer in PEERS]
    peers = sorted(seen, key=lambda name: order.index(name) if name in order else len(order))
    rows = [("", *peers)]
    for row in ROWS:
        cells = [
            _cell(row, [m for m in measured if (m.peer, m.key) == (p, row.key)]) for p in peers
        ]
        if any(cell != NONE for cell in cells):
            rows.append((row.name, *cells))
    widths = [max(len(row[column]) for row in rows) for column in range(len(peers) + 1)]
    rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    for row_cells in (rows[0], tuple(rules), *rows[1:]):
        first, *others = zip(row_cells, widths, strict=True)
        padded = [f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]
        yield f"| {' | '.join(padded)} |"


def _cell(row: Row, measured: Sequence[Measured]) -> str:
    repetitions = [each.values for each in measured if each.values]
    if not repetitions:
        return next((each.text for each in measured if each.text), NONE)
    text = number(row.figure(repetitions) * row.scale)
    if row.figure is _median and len(repetitions) > 1:
        values = [value for each in repetitions for value in each]
        text += f" ({number(min(values))} – {number(max(values))})"  # noqa: RUF001 - as above
    return text


def _header(conditions: Sequence[Conditions]) -> Iterator[str]:
    """Facts and warnings of the first call: the load before the others is the session's own."""
    if conditions:
        for warning in conditions[0].warnings:
            yield from (f"**{warning}**", "")
        facts = conditions[0].facts
        width = max(len(what) for what, _ in facts)
        yield from (f"    {what:<{width}}  {which}" for what, which in facts)
        yield ""


def _limits(conditions: Sequence[Conditions]) -> Iterator[str]:
    rates: dict[str, list[float]] = {}
    for each in conditions:
        for clients, taken in each.limits.items():
            rates.setdefault(clients, []).extend(taken)
    texts = [
        f"{number(statistics.median(taken))} with {clients} client{'s' if clients != '1' else ''}"
        for clients, taken in rates.items()
        if taken
    ]
    if texts:
        yield f"The database's own limit, one-row commits a second: {', '.join(texts)}."
        yield ""


def _notes(measured: Sequence[Measured], skipped: Sequence[Skipped]) -> Iterator[str]:
    """The settings of the peers in the table, and why others are not there."""
    seen = {each.peer for each in measured}
    reasons: dict[str, list[str]] = {}
    for each in skipped:
        reasons.setdefault(each.peer, []).append(each.reason)
    for peer in PEERS:
        if peer.title in seen:
            again = (
                f". A step killed with its worker runs again {peer.recovers}"
                if peer.recovers
                else ""
            )
            yield f"- {peer.title}: {peer.settings}{again}."
    for name, texts in reasons.items():
        for text in dict.fromkeys(texts):
            what = "incomplete" if name in seen else "skipped"
            yield f"- {name}: {what}: {text}"
