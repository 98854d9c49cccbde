"""Statements of clients that list runs, or the step attempts of a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from owsuper.core.durations import MAX_TIME, MIN_TIME
from owsuper.core.model import RunStatus
from owsuper.db.clients import Operation, Rows, RunRow, not_found, run_row
from owsuper.db.statement import load

if TYPE_CHECKING:
    from owsuper.core.pages import Window

_EVERY_STATUS: Final = [status.value for status in RunStatus]

_LAST_ID: Final = "\U0010ffff"  # sorts after all ids, in every collation


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """A row of ``step_attempts``; the JSON columns as text."""

    id: str
    step_name: str
    kind: str
    status: str
    context: str | None
    output: str | None
    error: str | None
    child_run_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ListQueries:
    """The lists of one schema and namespace.

    A page has one row more than its limit if there is one. Its rows are in the order of the
    search, which goes backward for a page before a position.
    """

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._runs = load("list_runs", schema)
        self._runs_by_status = load("list_runs_by_status", schema)
        self._runs_of_workflow = load("list_runs_of_workflow", schema)
        self._attempts = load("list_attempts", schema)
        self._counts = load("count_runs", schema)

    def runs(
        self, window: Window, status: str | None, workflow_name: str | None
    ) -> Operation[list[RunRow]]:
        """Return runs, the newest first; of this status and workflow, if given."""
        position = _position(window, newest_first=True)
        if workflow_name is not None:
            statement = self._runs_of_workflow
            filters: tuple[Any, ...] = (
                workflow_name,
                _EVERY_STATUS if status is None else [status],
            )
        elif status is not None:
            statement, filters = self._runs_by_status, (status,)
        else:
            statement, filters = self._runs, ()
        params = (self._namespace, *position, *filters)
        return Operation(
            ((statement, params),), lambda results: [run_row(row) for row in results[0]]
        )

    def attempts(self, run_id: str, window: Window) -> Operation[list[AttemptRow]]:
        """Return the step attempts of a run, the oldest first. Raises RunNotFound."""

        def parse(results: list[Rows]) -> list[AttemptRow]:
            if not results[0]:
                raise not_found(run_id)
            return [AttemptRow(*row) for row in results[0] if row[0] is not None]

        params = (self._namespace, run_id, *_position(window, newest_first=False))
        return Operation(((self._attempts, params),), parse)

    def counts(self) -> Operation[list[tuple[str, int]]]:
        """Return the number of runs of each status, legacy statuses included."""
        return Operation(
            ((self._counts, (self._namespace,)),),
            lambda results: [(status, count) for status, count in results[0]],
        )


def _position(window: Window, *, newest_first: bool) -> tuple[str, str, int, bool]:
    """Return the common parameters: a page next to a position, or the first page."""
    position = window.position
    if position is None:
        created_at, item_id = ("infinity", _LAST_ID) if newest_first else ("-infinity", "")
        return created_at, item_id, window.limit + 1, window.backward
    # Times beyond datetime's range were read as its last time, and must not be found again.
    to_older = newest_first != window.backward
    if to_older and position.created_at == MIN_TIME:
        created_at = "-infinity"
    elif not to_older and position.created_at == MAX_TIME:
        created_at = "infinity"
    else:
        created_at = position.created_at.isoformat()
    return created_at, position.id, window.limit + 1, window.backward
