"""The statements about queues as a whole, for metrics: how many runs are due or wait for limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from owsuper.db.claims import Call
from owsuper.db.clients import Operation, Rows
from owsuper.db.statement import Statement, load

MOST_DUE: Final = 10_000
"""The most runs that are counted of one limit, or of one queue: the runs of a workflow and version,
new or begun."""
MOST_UNFINISHED: Final = 100_000
"""The most runs that are counted of one status."""
_MOST_QUEUES: Final = 1000
# Bounds what a statement may cost a database in trouble.
TIME_LIMIT: Final = Statement("limit time", "SET statement_timeout = 5000")


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The runs of a workflow that are due and that nobody has claimed.

    ``oldest_seconds`` is for how long the oldest of them has been due, 0 if there is none.
    """

    workflow: str
    due: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class LimitWaits:
    """The runs that are due and wait for a limit. They are in no queue.

    ``oldest_seconds`` is for how long the oldest of them has been due, 0 if there is none.
    """

    limit: str
    waiting: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class QueueState:
    """The queues of workflows that have runs in them, and all limits."""

    queues: Sequence[QueueDepth] = ()
    limits: Sequence[LimitWaits] = ()


class QueueStateQueries:
    """The statements for one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._depth = load("queue_depth", schema)
        self._unfinished = load("count_unfinished", schema)
        self._watch = load("watch_queue", schema)

    def depth(self) -> Call:
        """Return the statement for ``parse_state``."""
        return self._depth, (self._namespace, MOST_DUE, _MOST_QUEUES)

    def watch(self) -> Call:
        """Become the one that asks; the answer is ``b"true"`` or ``b"false"``."""
        return self._watch, (self._namespace,)

    def state(self) -> Operation[QueueState]:
        """Return the depth of the queues, and what waits for limits."""
        return Operation((self.depth(),), lambda answers: parse_state(answers[0][0]))

    def unfinished(self) -> Operation[dict[str, int]]:
        """Return the number of runs that have not ended by status, up to MOST_UNFINISHED each."""
        call = self._unfinished, (self._namespace, MOST_UNFINISHED)
        return Operation((call,), _unfinished)


def parse_state(row: Sequence[Any]) -> QueueState:
    """Return what the only row of ``depth`` says: two documents of JSON."""
    queues, limits = (orjson.loads(document) for document in row)
    return QueueState(
        [QueueDepth(*each) for each in queues], [LimitWaits(*each) for each in limits]
    )


def _unfinished(answers: list[Rows]) -> dict[str, int]:
    counted: dict[str, int] = orjson.loads(answers[0][0][0])
    return counted
