"""The notification path: a run is inserted, its trigger notifies, and a listener waits for that.

The run is deleted in the transaction that inserts it, so no worker ever sees it, and nothing is
left. It is in a namespace of its own, so no worker is woken.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final
from uuid import uuid4

from psycopg import Connection

from owsuper.db.connect import connect, is_pooled
from owsuper.db.listen import runs_channel
from owsuper.db.statement import in_schema
from owsuper.doctor.findings import CheckResult, note, ok, problem, warning
from owsuper.settings import Settings

_TIMEOUT: Final = 2.0  # seconds, as for the self-test of a worker
_SUBJECT: Final = "notifications"
_INSERT: Final = """
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, available_at, created_at,
        updated_at
    )
    VALUES ($1, $2, 'owsuper doctor', 'pending', '{}', 0, now(), now(), now())
"""
_DELETE: Final = "DELETE FROM {schema}.workflow_runs WHERE namespace_id = $1 AND id = $2"
_LISTEN_URL: Final = (
    "Set --listen-url to an address that leads to the database directly; without it workers find"
    " runs by polling (--poll-interval)."
)


def check(conn: Connection[Any], settings: Settings, url: str) -> Iterator[CheckResult]:
    """Check that a run that is inserted wakes a listener."""
    if not settings.listen:
        yield note(_SUBJECT, "not tried, because of --no-listen: workers find runs by polling")
        return
    listen_url = settings.listen_url or url
    with connect(listen_url, application_name="owsuper doctor") as listener:
        if is_pooled(listener):
            yield warning(
                _SUBJECT, "a connection pooler answers, and it does not support LISTEN", _LISTEN_URL
            )
            return
        namespace, plain = f"owsuper-doctor-{uuid4()}", f"owsuper-doctor:{uuid4().hex[:24]}"
        runs = runs_channel(settings.schema, namespace)
        listener.execute(f'LISTEN "{plain}"'.encode())
        listener.execute(f'LISTEN "{runs}"'.encode())
        began = time.monotonic()
        _insert(conn, settings.schema, namespace)
        conn.execute("SELECT pg_notify($1, '')", [plain])
        received = _receive(listener, {plain, runs})
        took = time.monotonic() - began
    if received == {plain, runs}:
        yield ok(_SUBJECT, f"a new run was heard of within {took * 1000:.0f} ms")
    elif plain in received:
        yield problem(
            _SUBJECT,
            "a plain notification arrives, but a new run sends none",
            "See what is said about triggers of the tables, and session_replication_role.",
        )
    else:
        yield problem(
            _SUBJECT,
            f"none arrived within {_TIMEOUT:g} s: something between here and the server drops them,"
            " or --listen-url leads to another database",
            _LISTEN_URL,
        )


def _insert(conn: Connection[Any], schema: str, namespace: str) -> None:
    run_id = str(uuid4())
    with conn.transaction():
        for query in (_INSERT, _DELETE):
            conn.execute(in_schema(query, schema).encode(), [namespace, run_id])


def _receive(listener: Connection[Any], wanted: set[str]) -> set[str]:
    """Return those of these channels of which a notification arrives in time."""
    received: set[str] = set()
    give_up = time.monotonic() + _TIMEOUT
    while received != wanted and (left := give_up - time.monotonic()) > 0:
        received |= {each.channel for each in listener.notifies(timeout=left, stop_after=1)}
    return received & wanted
