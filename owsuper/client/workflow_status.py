"""Workflows as programs see them: who serves them, and whether they are paused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection

from owsuper.db.pauses import PauseQueries, PauseRow


@dataclass(frozen=True, slots=True, kw_only=True)
class PausedWorkflow:
    """A workflow is paused since a time, by somebody and for a reason, if they were given."""

    workflow_name: str
    since: datetime
    by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowStatus:
    """A workflow that workers serve, or that is paused.

    ``versions`` are those that are served, and ``workers`` the ids of the connected workers that
    serve any of them. ``pause`` is None if the workflow is not paused.
    """

    name: str
    versions: tuple[str | None, ...]
    workers: tuple[str, ...]
    pause: PausedWorkflow | None


def read_pauses(queries: PauseQueries, conn: Connection[Any]) -> dict[str, PausedWorkflow]:
    """Return the pauses of a namespace, by name of the workflow."""
    return {row.workflow_name: pause_from_row(row) for row in queries.all().run(conn)}


def pause_from_row(row: PauseRow) -> PausedWorkflow:
    """Return the pause of a row."""
    return PausedWorkflow(
        workflow_name=row.workflow_name, since=row.since, by=row.by, reason=row.reason
    )
