"""The statements of clients about workflows that are paused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from owsuper.db.clients import Operation, Rows
from owsuper.db.listen import PAUSES, workers_channel
from owsuper.db.signals import Call
from owsuper.db.statement import load


@dataclass(frozen=True, slots=True)
class PauseRow:
    """A workflow that is paused since a time."""

    workflow_name: str
    since: datetime
    by: str | None
    reason: str | None


class PauseQueries:
    """The statements for one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._channel = workers_channel(schema, namespace)
        self._pause = load("pause_workflow", schema)
        self._resume = load("resume_workflow", schema)
        self._paused = load("paused_workflows", schema)
        self._has_runs = load("workflow_has_runs", schema)
        self._names = load("dashboard_workflow_names", schema)

    def pause(self, name: str, *, by: str | None, reason: str | None) -> Operation[PauseRow]:
        """Pause a workflow; return its pause, which may have begun before."""
        params = (self._namespace, name, by, reason, self._channel, PAUSES)
        return Operation(((self._pause, params),), lambda results: _row(results[0][0]))

    def resume(self, name: str) -> Operation[PauseRow | None]:
        """End the pause of a workflow; return it, or None if there was none."""
        params = (self._namespace, name, self._channel, PAUSES)
        return Operation(
            ((self._resume, params),),
            lambda results: _row(results[0][0]) if results[0] else None,
        )

    def all(self) -> Operation[list[PauseRow]]:
        """Return the workflows that are paused, by name."""
        return Operation(
            ((self._paused, (self._namespace,)),),
            lambda results: [_row(row) for row in results[0]],
        )

    def has_runs(self, name: str) -> Operation[bool]:
        """Return whether any run is of this workflow."""
        call = (self._has_runs, (self._namespace, name))
        return Operation((call,), lambda results: bool(results[0]))

    def names(self, limit: int, *, after: str = "") -> Operation[list[str]]:
        """Return names of workflows that have runs: the first ``after`` one."""
        call: Call = (self._names, (self._namespace, after, limit, []))

        def parse(results: list[Rows]) -> list[str]:
            return [name for (name,) in results[0]]

        return Operation((call,), parse)


def _row(columns: tuple[object, ...]) -> PauseRow:
    name, since, by, reason, *_ = columns
    assert isinstance(name, str)
    assert isinstance(since, datetime)
    return PauseRow(
        name,
        since,
        by if isinstance(by, str) else None,
        reason if isinstance(reason, str) else None,
    )
