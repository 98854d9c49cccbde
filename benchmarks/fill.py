"""Tables filled with many generated rows, ready to be measured.

All indexes but the primary key are dropped first and built again at the end, so that millions of
rows take minutes. Ids count up, which suits the primary key. At the end the table is vacuumed and
analyzed, as autovacuum would have left it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import LiteralString

import psycopg

from benchmarks.environment import Environment
from benchmarks.server import Connection

CHUNK = 200_000  # rows to a transaction
MEMORY = "512MB"  # to build an index

_ID: LiteralString = "lpad(to_hex(n), 8, '0') || '-0000-4000-8000-' || substr(md5(n::text), 1, 12)"
_FROM: LiteralString = " FROM generate_series($1::bigint, $2::bigint) AS n"
IDS: LiteralString = "SELECT " + _ID + _FROM
"""The ids of the runs numbered from $1 to $2."""
_INSERT: LiteralString = (
    "INSERT INTO {schema}.workflow_runs (namespace_id, id, workflow_name, status, config, output,"
    " attempts, worker_id, available_at, started_at, finished_at, created_at, updated_at)"
    " SELECT 'default', " + _ID + ", "
)

DUE: LiteralString = (
    "'backlog', 'pending', '{{}}', NULL, 0, NULL, now() - (9e9 - n) * interval '1 us',"
    " NULL, NULL, now(), now()"
)
"""Due runs of ``backlog``, in the order of their numbers."""
UNREGISTERED: LiteralString = (
    "'unregistered-' || n % 1000, 'pending', '{{}}', NULL, 0, NULL, now() - interval '1 day',"
    " NULL, NULL, now(), now()"
)
"""Runs of a thousand workflows that no worker has registered, all due for a day."""
PARKED: LiteralString = (
    "'parked', 'running', '{{}}', NULL, 1, NULL, now() + interval '1 day' + n * interval '1 us',"
    " now(), NULL, now(), now()"
)
"""Runs of ``parked`` that sleep until tomorrow."""
FINISHED: LiteralString = (
    "'backlog', 'completed', '{{}}', to_jsonb(n), 1, 'host:1:bench:' || n, NULL,"
    " now() - interval '1 day', now(), now() - (9e9 - n) * interval '1 us', now()"
)
"""Finished runs of ``backlog``."""
REPORT_TIMES: LiteralString = (
    "'report-time', 'pending', '{{}}', NULL, 0, NULL, now() - (9e9 - n) * interval '1 us',"
    " NULL, NULL, now(), now()"
)


def fill(env: Environment, kind: LiteralString, count: int) -> None:
    """Add ``count`` runs of this kind to a schema that has none of that kind."""
    first = env.value("SELECT count(*) FROM {schema}.workflow_runs")
    with without_indexes(env.conn, env.schema, ("workflow_runs",)):
        for begin in range(first + 1, first + count + 1, CHUNK):
            end = min(begin + CHUNK - 1, first + count)
            env.execute(insert(kind), begin, end)
    env.execute("VACUUM (ANALYZE) {schema}.workflow_runs")
    with suppress(psycopg.errors.InsufficientPrivilege):
        env.execute("CHECKPOINT")  # which would otherwise come during the measurement


def insert(kind: LiteralString) -> LiteralString:
    """The statement that adds runs of this kind, numbered from $1 to $2."""
    return _INSERT + kind + _FROM


@contextmanager
def without_indexes(conn: Connection, schema: str, tables: Sequence[str]) -> Iterator[None]:
    """Do without all indexes of these tables but their primary keys meanwhile."""
    indexes = conn.execute(
        "SELECT format('%I.%I', i.schemaname, i.indexname), i.indexdef FROM pg_indexes AS i"
        " WHERE i.schemaname = $1 AND i.tablename = ANY ($2)"
        " AND i.indexname <> i.tablename || '_pkey'",
        (schema, list(tables)),
    ).fetchall()
    for name, _ in indexes:
        conn.execute(f"DROP INDEX {name}".encode())
    yield
    conn.execute("SELECT set_config('maintenance_work_mem', $1, false)", (MEMORY,))
    for _, definition in indexes:
        conn.execute(definition.encode())
