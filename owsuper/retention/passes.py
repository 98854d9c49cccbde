"""One pass over the runs of a namespace: finds those that are old enough, and deletes them.

A pass is a generator that performs nothing. It yields ``Ask`` for each statement, and gets the
answers; and ``Copy`` before runs are deleted of which copies are wanted. A supervisor drives it
without blocking, a client with blocking calls.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from owsuper.core.model import RunStatus
from owsuper.core.retention import ENDED
from owsuper.db.claims import Call
from owsuper.db.pruning import (
    Candidate,
    Doomed,
    PruneQueries,
    Range,
    parse_deleted,
    parse_found,
    parse_workflows,
)

Keep: TypeAlias = Callable[[str, RunStatus], float | None]
"""Returns for how many seconds to keep the runs of a workflow that ended so; None: for ever."""

_FIRST_SIZE: Final = 50
_MOST: Final = 500  # runs in one statement
_RANGES: Final = 100  # in one statement
_COPIED: Final = 100  # runs of which copies are in memory; fewer if they are large
_TARGET: Final = 0.1  # seconds that a statement may take
_LONGEST_PAUSE: Final = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Ask:
    """Execute a statement; send the texts of its only column.

    ``of_few``: send None if the server has given it up, because of a lock or of time. Then it is
    about fewer runs the next time, or its only run is left where it is.
    """

    call: Call
    of_few: bool = False


@dataclass(frozen=True, slots=True)
class Copy:
    """Keep these lines, each of which is a run as JSON, before the runs are deleted."""

    lines: Sequence[str]


Answer: TypeAlias = Sequence[str | bytes] | None
Pass: TypeAlias = Generator[Ask | Copy, Answer, None]


@dataclass(slots=True)
class Pace:
    """How many runs a statement looks at, and how long to pause after it.

    Call ``took`` after each statement. ``pauses`` is how much longer than a statement a pause is:
    with 4, the server works a fifth of the time.
    """

    pauses: float
    size: int = _FIRST_SIZE
    pause: float = 0.0

    def took(self, seconds: float) -> None:
        """Note how long a statement took."""
        self.pause = min(_LONGEST_PAUSE, self.pauses * seconds)
        if seconds > 2 * _TARGET:
            self.shrink()
        elif seconds < _TARGET / 2:
            self.size = min(_MOST, self.size * 2)

    def shrink(self) -> None:
        """Look at fewer runs."""
        self.size = max(1, self.size // 4)


@dataclass(slots=True)
class Pruned:
    """What a pass has deleted so far, by workflow and status."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """The number of runs."""
        return sum(self.counts.values())

    def add(self, of: Range, count: int) -> None:
        """Count deleted runs."""
        if count:
            key = of.workflow, of.status
            self.counts[key] = self.counts.get(key, 0) + count


def prune(
    queries: PruneQueries,
    keep: Keep,
    pace: Pace,
    pruned: Pruned,
    *,
    copies: bool = False,
    only_count: bool = False,
) -> Pass:
    """Delete all runs that have ended longer ago than ``keep`` says; count them in ``pruned``.

    With ``only_count``, delete nothing.
    """
    last, more = "", True
    while more:
        names, more = parse_workflows(_texts((yield Ask(queries.workflows(last)))))
        if names:
            last = names[-1]
            ranges = list(_ranges(names, keep))
            for first in range(0, len(ranges), _RANGES):
                some = ranges[first : first + _RANGES]
                yield from _prune_ranges(queries, some, pace, pruned, copies, only_count)


def _ranges(names: Sequence[str], keep: Keep) -> Iterator[Range]:
    for name in names:
        for status in ENDED:
            seconds = keep(name, status)
            if seconds is not None:
                yield Range(name, status, seconds)


def _prune_ranges(
    queries: PruneQueries,
    ranges: Sequence[Range],
    pace: Pace,
    pruned: Pruned,
    copies: bool,
    only_count: bool,
) -> Pass:
    more = bool(ranges)
    while more:
        size = min(pace.size, _COPIED) if copies else pace.size
        found, more = parse_found(_texts((yield Ask(queries.find(ranges, size)))))
        doomed = [each for run in found if run.doomed for each in _with_chain(run, ranges)]
        deleted: set[str] | None = set()
        if only_count:
            deleted = {each.id for each in doomed}
        elif doomed:
            deleted = yield from _delete(queries, doomed, copies)
            if deleted is None and len(doomed) > 1 and size > 1:
                pace.shrink()
                more = True
                continue
        deleted = deleted or set()
        for run in found:
            if run.doomed:
                pruned.add(ranges[run.range], len({run.id, *run.predecessors} & deleted))
        gone = set() if only_count else deleted
        rest = list(_rest([run for run in found if run.id in gone], ranges))
        ranges = rest + (_after(ranges, found, gone) if more else [])
        more = bool(ranges)


def _delete(
    queries: PruneQueries, doomed: Sequence[Doomed], copies: bool
) -> Generator[Ask | Copy, Answer, set[str] | None]:
    """Delete runs; return the ids of those that are gone, or None if the server has given it up."""
    if copies:
        lines = yield Ask(queries.documents([each.id for each in doomed]), of_few=True)
        if lines is None:
            return None
        yield Copy([each if isinstance(each, str) else each.decode() for each in lines])
    answer = yield Ask(queries.delete(doomed), of_few=True)
    return None if answer is None else parse_deleted(answer)


def _with_chain(run: Candidate, ranges: Sequence[Range]) -> Iterator[Doomed]:
    for run_id in (run.id, *run.predecessors):
        yield Doomed(run_id, run.id, ranges[run.range].keep)


def _rest(deleted: Sequence[Candidate], ranges: Sequence[Range]) -> Iterator[Range]:
    """Return where the next predecessors of deleted runs are, each of which is the last one now."""
    for run in deleted:
        if run.rest is not None:
            workflow, status, at, run_id = run.rest
            keep = ranges[run.range].keep
            yield Range(workflow, status, keep, since=at, until=at, run=run_id)


def _after(ranges: Sequence[Range], found: Sequence[Candidate], gone: set[str]) -> list[Range]:
    """Return what is left of the ranges after those that were found."""
    if not found:
        return []
    last = found[-1]
    left = list(ranges[last.range :])
    until = last.created_at
    skipped = sum(
        run.range == last.range and run.created_at == until and run.id not in gone for run in found
    )
    if left[0].since == until:
        skipped += left[0].skip
    left[0] = replace(left[0], since=until, skip=skipped)
    return left


def _texts(answer: Answer) -> Sequence[str | bytes]:
    assert answer is not None, "only a statement about some runs is given up"
    return answer
