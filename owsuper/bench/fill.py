"""Tables filled with rows that nobody made one by one, and fit to be measured at once.

Indexes are dropped meanwhile, all but the primary key, and built again at the end, so that
millions of rows take minutes. Ids count up, for the sake of the primary key. At the end the
table is vacuumed and analysed, as autovacuum would have left it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, LiteralString

import psycopg

from owsuper.bench.stage import Stage

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
"""Runs of ``backlog``, the first of them first."""
STRANGE: LiteralString = (
    "'strange-' || n % 1000, 'pending', '{{}}', NULL, 0, NULL, now() - interval '1 day',"
    " NULL, NULL, now(), now()"
)
"""Runs of a thousand workflows that nobody here knows, all due for a day."""
PARKED: LiteralString = (
    "'parked', 'running', '{{}}', NULL, 1, NULL, now() + interval '1 day' + n * interval '1 us',"
    " now(), NULL, now(), now()"
)
"""Runs of ``parked``, which sleep until tomorrow."""
FINISHED: LiteralString = (
    "'backlog', 'completed', '{{}}', to_jsonb(n), 1, 'host:1:bench:' || n, NULL,"
    " now() - interval '1 day', now(), now() - (9e9 - n) * interval '1 us', now()"
)
"""Runs of ``backlog`` that are over."""
STAMPS: LiteralString = (
    "'stamp', 'pending', '{{}}', NULL, 0, NULL, now() - (9e9 - n) * interval '1 us',"
    " NULL, NULL, now(), now()"
)


def fill(stage: Stage, kind: LiteralString, count: int) -> None:
    """Add ``count`` runs of that kind, in a schema where there are none of it yet."""
    first = stage.value("SELECT count(*) FROM {schema}.workflow_runs")
    with _without_indexes(stage):
        for begin in range(first + 1, first + count + 1, CHUNK):
            end = min(begin + CHUNK - 1, first + count)
            stage.execute(insert(kind), begin, end)
    stage.execute("VACUUM (ANALYZE) {schema}.workflow_runs")
    with suppress(psycopg.errors.InsufficientPrivilege):
        stage.execute("CHECKPOINT")  # or it comes in the middle of what is measured


def insert(kind: LiteralString) -> LiteralString:
    """The statement that adds the runs of that kind numbered from $1 to $2."""
    return _INSERT + kind + _FROM


@contextmanager
def _without_indexes(stage: Stage) -> Iterator[None]:
    indexes: list[tuple[Any, ...]] = stage.execute(
        "SELECT format('%I.%I', schemaname, indexname), indexdef FROM pg_indexes"
        " WHERE schemaname = $1 AND tablename = 'workflow_runs'"
        " AND indexname <> 'workflow_runs_pkey'",
        stage.schema,
    )
    for name, _ in indexes:
        stage.conn.execute(f"DROP INDEX {name}".encode())
    yield
    stage.execute("SELECT set_config('maintenance_work_mem', $1, false)", MEMORY)
    for _, definition in indexes:
        stage.conn.execute(definition.encode())
