"""The portions of a claim: one for each workflow with a bound, and one for all others. Pure.

Workflows with limits (``limits=``) are claimed by another statement, so they are apart from those
without.

A workflow may bound how many runs of it one worker executes at once (``concurrency=``). One
statement claims runs of several workflows, and cannot count them by name. So each workflow with a
bound has a claim of its own, for as many runs as its bound leaves room for, and is left out while
there is no room. All other workflows are claimed together, as if there were no bounds. The claims
follow each other, and each is the first in turn, so that the runs of none take all the slots.

To the rest of the supervisor these claims are one (``ClaimRound``).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TypeAlias

from owsuper.db.claims import Claimed, ScanResult

Workflow: TypeAlias = tuple[str, str | None]
"""Name and version."""


@dataclass(frozen=True, slots=True)
class Portion:
    """Workflows that one statement claims. ``room``: at most so many runs; None: no bound.

    ``limited``: they have limits.
    """

    workflows: tuple[Workflow, ...]
    room: int | None = None
    limited: bool = False


class Portions:
    """Divides what a supervisor claims.

    ``bounds`` returns the most runs at once of each workflow with a bound, by name: all versions of
    a name share it. ``held`` returns the names of the workflows of all runs that the supervisor and
    its children hold, each as often as it is held. ``paused`` returns the names of workflows that
    are left out.
    """

    def __init__(
        self,
        bounds: Callable[[], Mapping[str, int]],
        held: Callable[[], Iterable[str]],
        *,
        paused: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._paused = paused
        self._bounds = bounds
        self._held = held
        self._turn = 0
        self._full: set[str] = set()  # names whose room the latest claim has filled, or may fill

    def begin(
        self, limit: int, workflows: Sequence[Workflow], limited: Set[str] = frozenset()
    ) -> ClaimRound:
        """Begin a claim of up to ``limit`` runs of these workflows.

        ``limited`` holds the names of those that have limits.
        """
        self._full = set()
        portions = self._divide(tuple(workflows), limited)
        return ClaimRound(limit, portions, self._full, paused=self._paused)

    def awaits(self, workflow_name: str) -> bool:
        """Whether the end of a run of this workflow makes room for which a run may wait."""
        return workflow_name in self._full

    def full(self) -> list[str]:
        """Return the names of workflows of which no further run may be claimed now."""
        if not (bounds := self._bounds()):
            return []
        held = Counter(self._held())
        return sorted(name for name, bound in bounds.items() if held[name] >= bound)

    def _divide(self, workflows: tuple[Workflow, ...], limited: Set[str]) -> list[Portion]:
        """Return the portions in the order of this claim; at least one."""
        bounds = self._bounds()
        if paused := self._paused():
            workflows = tuple(each for each in workflows if each[0] not in paused)
        if not bounds and not limited:
            return [Portion(workflows)]
        held = Counter(self._held())
        room = {name: max(0, bound - held[name]) for name, bound in bounds.items()}
        self._full.update(room)  # a run may end while the claim is in flight
        others = tuple(workflow for workflow in workflows if workflow[0] not in bounds)
        plain = tuple(each for each in others if each[0] not in limited)
        slowed = tuple(each for each in others if each[0] in limited)
        portions = [Portion(plain)] if plain else []
        portions += [Portion(slowed, limited=True)] if slowed else []
        portions += [
            Portion(own, free, name in limited)
            for name, free in room.items()
            if free and (own := tuple(each for each in workflows if each[0] == name))
        ]
        if not portions:
            return [Portion(())]  # it finds nothing, and tells whether to look again
        self._turn += 1
        first = self._turn % len(portions)
        return portions[first:] + portions[:first]


class ClaimRound:
    """One claim of up to ``limit`` runs in portions. Call ``next`` and ``add`` in turn.

    Names of workflows whose room the claim does not fill are removed from ``full``. What ``paused``
    returns is left out, also if it was paused after the claim began.
    """

    def __init__(
        self,
        limit: int,
        portions: Iterable[Portion],
        full: set[str],
        *,
        paused: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.limit = limit
        self._left = limit
        self._portions = deque(portions)
        self._full = full
        self._paused = paused
        self._sent = Portion(())  # the portion in flight
        self._asked = 0
        self._answers: list[Claimed] = []

    @property
    def limited(self) -> bool:
        """Whether the workflows of the latest ``next`` have limits."""
        return self._sent.limited

    def next(self) -> tuple[int, tuple[Workflow, ...]] | None:
        """Return the most runs and the workflows of the next statement; None at the end."""
        while self._portions and self._left:
            self._sent = portion = self._portions.popleft()
            if paused := self._paused():
                left = tuple(each for each in portion.workflows if each[0] not in paused)
                self._sent = replace(portion, workflows=left)
                if portion.workflows and not left:
                    continue
            self._asked += 1
            room = self._left if portion.room is None else min(portion.room, self._left)
            return room, self._sent.workflows
        return None

    def add(self, claimed: Claimed) -> None:
        """The statement was answered."""
        self._left -= len(claimed.runs)
        if self._sent.room is not None and len(claimed.runs) >= self._sent.room:
            claimed = replace(claimed, next_due=None, due=None)  # it has to wait for room
        elif self._sent.room is not None:
            self._full.difference_update(name for name, _ in self._sent.workflows)
        self._answers.append(claimed)

    @property
    def found(self) -> bool:
        """Whether any run was claimed."""
        return any(answer.runs for answer in self._answers)

    def result(self) -> Claimed:
        """Return all answers as one. Without the answer of a statement, they are not complete."""
        answers, whole = self._answers, not self._portions and len(self._answers) == self._asked
        if len(answers) == 1 and whole:
            return answers[0]
        due = [each for each in answers if each.next_due is not None]
        first = min(due, key=lambda each: each.next_due or 0.0, default=None)
        return Claimed(
            [run for each in answers for run in each.runs],
            None if first is None else first.next_due,
            None if first is None else first.due,
            more=any(each.more for each in answers),
            complete=whole and all(each.complete for each in answers),
            quiet=whole and all(each.quiet for each in answers),
            scan=ScanResult((), sum(each.scan.seconds for each in answers)),
            unreadable=tuple(pair for each in answers for pair in each.unreadable),
            waited={run: seconds for each in answers for run, seconds in each.waited.items()},
        )
