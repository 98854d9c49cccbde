"""The statements about queues as a whole, for metrics: how many runs are due, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from owsuper.db.claims import Call
from owsuper.db.clients import Operation, Rows
from owsuper.db.statement import Statement, load

MOST_DUE: Final = 10_000
"""The most due runs that are counted of one queue: a workflow and version, new or begun runs."""
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


class QueueStateQueries:
    """The statements for one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._depth = load("queue_depth", schema)
        self._unfinished = load("count_unfinished", schema)
        self._watch = load("watch_queue", schema)

    def depth(self) -> Call:
        """Return the statement for ``parse_depths``."""
        return self._depth, (self._namespace, MOST_DUE, _MOST_QUEUES)

    def watch(self) -> Call:
        """Become the one that asks; the answer is ``b"true"`` or ``b"false"``."""
        return self._watch, (self._namespace,)

    def depths(self) -> Operation[list[QueueDepth]]:
        """Return the depth of the queues of all workflows that have runs in them."""
        return Operation((self.depth(),), lambda answers: parse_depths(_cell(answers)))

    def unfinished(self) -> Operation[dict[str, int]]:
        """Return the number of runs that have not ended by status, up to MOST_UNFINISHED each."""
        call = self._unfinished, (self._namespace, MOST_UNFINISHED)
        return Operation((call,), lambda answers: orjson.loads(_cell(answers)))


def parse_depths(document: bytes | str) -> list[QueueDepth]:
    """Return the depths of the JSON document that ``depth`` returns in its only column."""
    return [QueueDepth(name, due, age) for name, due, age in orjson.loads(document)]


def _cell(answers: list[Rows]) -> Any:
    return answers[0][0][0]
