"""The workers of a namespace: whether there are any, and whether all of them are well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import Connection

from owsuper.db.pauses import PauseQueries
from owsuper.db.workers import SupervisorRow, WorkerQueries
from owsuper.doctor.findings import CheckResult, note, ok, warning
from owsuper.settings import Settings

_SUBJECT = "workers"


def check(conn: Connection[Any], settings: Settings) -> Iterator[CheckResult]:
    """Check who is connected in the namespace."""
    rows = WorkerQueries(settings.schema, settings.namespace).all().run(conn)
    here = [row for row in rows if row.connected and not row.silent]
    if not here:
        yield note(_SUBJECT, f'none is connected in namespace "{settings.namespace}"')
    else:
        yield ok(_SUBJECT, f"{len(here)} connected; owsuper ps lists them")
    yield from _unwell(rows)
    versions = sorted({row.version for row in here if row.version is not None})
    if len(versions) > 1:
        yield note(_SUBJECT, f"they are of different versions: {', '.join(versions)}")
    for pause in PauseQueries(settings.schema, settings.namespace).all().run(conn):
        why = f" ({pause.reason})" if pause.reason else ""
        yield note(
            _SUBJECT,
            f"the workflow {pause.workflow_name} is paused since {pause.since:%Y-%m-%d %H:%M} by"
            f" {pause.by or 'somebody'}{why}: no run of it is claimed",
        )


def _unwell(rows: Sequence[SupervisorRow]) -> Iterator[CheckResult]:
    for row in rows:
        place = f"{row.id.split(':')[0]}:{row.pid}"
        if not row.connected:
            yield warning(
                _SUBJECT,
                f"{place} is dead, or cut off from the database; its runs wait for their leases if"
                " no other worker is connected",
                "Start a worker; it releases what no child process has begun, and forgets the row.",
            )
        elif row.silent:
            yield warning(
                _SUBJECT,
                f"{place} has a session, but announces nothing any more: its supervisor is dead and"
                " its processes finish their steps, or it hangs",
                "Look at its log. If the process still exists and hangs: kill -QUIT, then -KILL.",
            )
