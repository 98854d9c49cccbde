"""How the processes of a run died, as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from owsuper import PostMortem, Run
from owsuper.cli.formatting import Layout, plain, printable, span, wrapped

_STDERR_LINES: Final = 12
_TRACE_LINES: Final = 20
_HEADING: Final = "deaths of its process, by the same time:"


def section(run: Run, deaths: Sequence[PostMortem], layout: Layout) -> Iterator[str]:
    """Yield lines about each death; of all but the last, without what the process wrote.

    If the layout is ``full``, yield all of it.
    """
    if not deaths:
        return
    yield from ("", _HEADING)
    for number, death in enumerate(deaths, start=1):
        offset = span((death.died_at - run.created_at).total_seconds())
        yield from wrapped(f"  +{offset}  {_outcome(death, layout)}", layout.width)
        yield from wrapped(f"    {_process(death)}", layout.width)
        if layout.full or number == len(deaths):
            yield from _texts(death, layout)


def _outcome(death: PostMortem, layout: Layout) -> str:
    words = plain(death.cause, layout.room())
    if death.step is not None:
        took = "" if death.step_seconds is None else f" after {span(death.step_seconds)}"
        words += f" in step {plain(death.step, layout.room())!r}{took}"
    if death.run_seconds is not None:
        words += f", {span(death.run_seconds)} into the run"
    return words if death.counted else f"{words}; not counted as a crash"


def _process(death: PostMortem) -> str:
    """Return a phrase about the process and what it used."""
    words = f"process {death.pid} on {plain(death.host or '?')}"
    if death.process_seconds is not None:
        words += f", lived {span(death.process_seconds)}"
    if death.cpu_seconds is not None:
        words += f", CPU {span(death.cpu_seconds)}"
    if death.peak_memory_bytes is not None:
        words += f", peak memory {death.peak_memory_bytes / 2**20:,.0f} MiB"
    if death.shared_with:
        words += f", other runs in it: {death.shared_with}"
    return words


def _texts(death: PostMortem, layout: Layout) -> Iterator[str]:
    """Yield what the process has left: the end of its standard error, its first stacks."""
    if death.stderr:
        lines = death.stderr.rstrip().splitlines()
        shown = lines if layout.full else lines[-_STDERR_LINES:]
        yield "    the end of its standard error:"
        if len(shown) < len(lines):
            yield f"      ... {len(lines) - len(shown)} more (--full) ..."
        yield from (f"      {printable(line)}".rstrip() for line in shown)
    if death.trace:
        lines = death.trace.rstrip().splitlines()
        shown = lines if layout.full else lines[:_TRACE_LINES]
        yield "    its stacks:"
        yield from (f"      {printable(line)}".rstrip() for line in shown)
        if len(shown) < len(lines):
            yield f"      ... {len(lines) - len(shown)} more (--full) ..."
