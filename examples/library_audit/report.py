"""The report: the measurements of the library, and the cost of the crash."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from examples.library_audit import audit, crash
from examples.library_audit.crash import Crash
from examples.library_audit.journal import Execution
from examples.library_audit.workflows import Summary

ROWS = 8  # of each table


@dataclass(frozen=True)
class Audit:
    """The outcome of an audit. ``stored`` is the number of completed steps in the database."""

    summaries: Sequence[Summary]
    executions: Sequence[Execution]
    stored: int
    seconds: float
    crash: Crash | None


def lines(audited: Audit) -> Iterator[str]:
    """Yield the report, line by line."""
    yield from _totals(audited.summaries)
    yield from _slowest(audited.summaries)
    yield from _most_complex(audited.summaries)
    yield from _most_imported(audited.summaries)
    yield from _crash(audited)
    yield ""
    yield _proof(audited)


def _totals(summaries: Sequence[Summary]) -> Iterator[str]:
    total: Counter[str] = Counter()
    for each in summaries:
        total.update(
            size=each.file.size,
            lines=each.lines,
            code=each.code,
            comments=each.comments,
            classes=each.classes,
            functions=each.functions,
        )
    yield f"The standard library of Python {platform.python_version()} in {audit.library()}"
    yield (
        f"  {len(summaries):,} modules, {total['size'] / 1e6:.1f} MB, {total['lines']:,} lines:"
        f" {total['code']:,} of code, {total['comments']:,} of comment"
    )
    yield f"  {total['functions']:,} functions and methods in {total['classes']:,} classes"
    for each in summaries:
        if each.error:
            yield f"  {each.file.path} is not valid Python: {each.error}"


def _slowest(summaries: Sequence[Summary]) -> Iterator[str]:
    yield from _heading("Slowest modules to analyze", "CPU ms     lines  functions")
    for each in sorted(summaries, key=lambda each: each.seconds, reverse=True)[:ROWS]:
        figures = f"{each.seconds * 1000:7.0f}  {each.lines:8,}  {each.functions:9,}"
        yield _row(each.file.path, figures)


def _most_complex(summaries: Sequence[Summary]) -> Iterator[str]:
    yield from _heading("Most complex functions", "complexity   nesting   line")
    found = [(function, each.file.path) for each in summaries for function in each.most_complex]
    for function, path in sorted(found, key=lambda pair: -pair[0].complexity)[:ROWS]:
        figures = f"{function.complexity:10}  {function.nesting:8}  {function.line:5}"
        yield _row(f"{function.name}  {path}", figures)


def _most_imported(summaries: Sequence[Summary]) -> Iterator[str]:
    importers = Counter(name for each in summaries for name in each.imports)
    yield from _heading("Most imported", "by modules")
    for name, count in importers.most_common(ROWS):
        yield _row(name, f"{count:10}")


def _heading(title: str, columns: str) -> Iterable[str]:
    return "", _row(title, columns, indent="")


def _row(name: str, figures: str, indent: str = "  ") -> str:
    left = f"{indent}{name}"
    return f"{left[:54]:<54} {figures:>30}"


# --- the crash -----------------------------------------------------------------------------


def _crash(audited: Audit) -> Iterator[str]:
    if audited.crash is None:
        return
    interrupted = audited.crash.interrupted
    cost = crash.cost(audited.crash, audited.executions)
    yield ""
    yield "The crash"
    yield (
        f"  Process {interrupted.pid} was killed {_ms(cost.repeated)} into step"
        f" {interrupted.step!r} of {interrupted.path}."
    )
    if cost.resumed is not None:
        yield f"  {_ms(cost.resumed)} later, the step began again in another process."
    if cost.idle is not None:
        yield f"  {_ms(cost.idle)} after the kill, a new process began its first step."


def _proof(audited: Audit) -> str:
    executed = len(audited.executions)
    twice = crash.repeats(audited.executions)
    line = (
        f"{len(audited.summaries):,} runs completed in {audited.seconds:.1f} s; "
        f"{audited.stored:,} steps stored, {executed:,} executed; executed twice: {len(twice)}"
    )
    if twice:
        line += f" ({', '.join(f'{step} of {path}' for step, path in sorted(twice))})"
    if audited.crash is not None:
        lost = crash.cost(audited.crash, audited.executions).lost
        line += f"; lost to the crash: {_ms(lost)}"
    return line + "."


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
