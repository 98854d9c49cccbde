"""Tables as after two weeks of work by workers in Python and in TypeScript.

Every other run is one of OpenWorkflow for TypeScript: a random id, a worker id without a host, and
errors with a stack of JavaScript. There are runs of all statuses, of several workflows and
versions, with idempotency keys and deadlines; step attempts that were tried again, sleeps, waits
for signals, child runs; and runs that were given up because they kept killing their process. The
older half of the runs is spread over thirteen days, the newer half over the last one.

A row depends on its number alone, so two fillings with the same number of runs are alike.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Final, LiteralString

import psycopg

from benchmarks.fill import CHUNK, without_indexes
from benchmarks.server import Connection, Server, execute
from owsuper.db.migrate import migrate

# Runs of this view are numbered from $2 to $3, of $1 runs, at the time $4. ``fate`` is what has
# become of one.
# A parent has an odd number, and its child run the next but one.
_RUNS: LiteralString = """
WITH numbers AS (
    SELECT
        n,
        n % 2 = 0 AS typescript,
        n % 100 = 71 AS is_parent,
        n % 100 = 73 AS is_child,
        md5('run ' || n) AS hash,
        date_trunc('milliseconds', $4::timestamptz - CASE
            WHEN n > $1::bigint / 2 THEN ($1 - n) * (interval '2 days' / $1)
            ELSE interval '1 day' + ($1 / 2 - n) * (interval '26 days' / $1)
        END) AS created_at,
        (ARRAY[
            'order', 'order', 'order', 'order', 'send-invoice', 'send-invoice', 'import-contacts',
            'nightly-report', 'resize-image', 'charge-card', 'onboard-user', 'approve-expense'
        ])[1 + n / 3 % 12] AS name,
        (ARRAY[NULL, '1', '2', '2'])[1 + n % 4] AS version,
        CASE
            WHEN n % 100 IN (71, 73) THEN 'completed'
            WHEN n % 1000 < 30 THEN 'failed'
            WHEN n % 1000 = 31 THEN 'crashed'
            WHEN n % 1000 < 45 THEN 'canceled'
            WHEN n % 1000 < 55 THEN 'signal'
            WHEN n % 1000 < 60 THEN 'sleep'
            WHEN n % 1000 < 62 THEN 'due'
            WHEN n % 1000 < 65 THEN 'retry'
            WHEN n > $1 - 500 AND n % 10 = 9 THEN 'running'
            ELSE 'completed'
        END AS fate,
        (0.02 + n * 7919 % 1000 / 400.0 + CASE WHEN n % 97 = 0 THEN 60 ELSE 0 END)
            * interval '1 second' AS took
    FROM generate_series($2::bigint, $3::bigint) AS n
),
runs AS (
    SELECT
        *,
        CASE
            WHEN typescript THEN overlay(hash::uuid::text placing '4' from 15 for 1)
            ELSE overlay(
                lpad(to_hex((extract(epoch FROM created_at) * 1000)::bigint), 12, '0')
                placing '-' from 9 for 0
            ) || '-7' || substr(hash, 1, 3) || '-8' || substr(hash, 4, 3) || '-'
                || substr(hash, 7, 12)
        END AS id,
        fate IN ('completed', 'failed', 'crashed', 'canceled') AS ended
    FROM numbers
)
"""
_FAILURE: LiteralString = """
        CASE
            WHEN fate = 'crashed' THEN
                '{{"name": "WorkerCrashed", "message": "died of SIGSEGV for the third time"}}'
            WHEN fate NOT IN ('failed', 'retry') THEN NULL
            WHEN typescript THEN '{{"name": "Error", "message": "card declined",'
                || '"stack": "Error: card declined\\n    at charge (file:///app/order.ts:12:9)"}}'
            ELSE '{{"name": "ConnectionError", "message": "warehouse: connection refused",'
                || '"stack": "Traceback (most recent call last):\\n'
                || '  File \\"app/order.py\\", line 12\\n'
                || 'ConnectionError: warehouse: connection refused\\n"}}'
        END::jsonb
"""
_INSERT_RUNS: LiteralString = (
    "INSERT INTO {schema}.workflow_runs (namespace_id, id, workflow_name, version, status,"
    " idempotency_key, config, input, output, error, attempts, worker_id, available_at,"
    " deadline_at, started_at, finished_at, created_at, updated_at,"
    " parent_step_attempt_namespace_id, parent_step_attempt_id)"
    + _RUNS
    + """
    SELECT
        'default', id, name, version,
        CASE
            WHEN fate = 'crashed' THEN 'failed'
            WHEN fate IN ('signal', 'sleep', 'running') THEN 'running'
            WHEN fate IN ('due', 'retry') THEN 'pending'
            ELSE fate
        END,
        CASE WHEN n % 10 = 1 THEN name || ':' || n END,
        '{{}}',
        jsonb_build_object('number', n, 'customer', 'customer ' || n % 5000),
        CASE WHEN fate = 'completed' THEN jsonb_build_object('total', n % 977, 'ok', true) END,
"""
    + _FAILURE
    + """,
        1 + (n % 7 = 0)::integer,
        CASE
            WHEN fate NOT IN ('completed', 'running') THEN NULL
            WHEN typescript THEN md5('worker ' || n % 3)::uuid::text
            ELSE 'host-' || n % 4 || ':4711:' || substr(hash, 1, 8) || ':' || n
        END,
        CASE
            WHEN fate = 'signal' THEN created_at + interval '365 days'
            WHEN fate = 'sleep' THEN $4::timestamptz + interval '2 days'
            WHEN fate = 'retry' THEN $4::timestamptz + n % 600 * interval '1 second'
            WHEN fate = 'running' THEN $4::timestamptz + interval '30 seconds'
            WHEN fate = 'due' THEN created_at
        END,
        CASE WHEN n % 40 = 3 THEN created_at + interval '400 days' END,
        CASE WHEN fate NOT IN ('failed', 'retry', 'due') THEN created_at + interval '4 ms' END,
        CASE WHEN ended THEN created_at + interval '4 ms' + took END,
        created_at,
        created_at + CASE WHEN ended THEN interval '4 ms' + took ELSE interval '4 ms' END,
        CASE WHEN is_child THEN 'default' END,
        CASE WHEN is_child THEN 'step-1-' || n - 2 END
    FROM runs
"""
)
_INSERT_STEPS: LiteralString = (
    "INSERT INTO {schema}.step_attempts (namespace_id, id, workflow_run_id, step_name, kind,"
    " status, config, context, output, error, started_at, finished_at, created_at, updated_at)"
    + _RUNS
    + """
    SELECT
        'default', 'step-' || k || '-' || n, id,
        CASE k
            WHEN 0 THEN 'reserve'
            WHEN 2 THEN 'reserve'
            ELSE CASE
                WHEN fate = 'signal' THEN 'approval' WHEN fate = 'sleep' THEN 'cool down'
                WHEN is_parent THEN 'ship' ELSE 'charge'
            END
        END,
        CASE
            WHEN k <> 1 THEN 'function' WHEN fate = 'signal' THEN 'signal-wait'
            WHEN fate = 'sleep' THEN 'sleep' WHEN is_parent THEN 'workflow' ELSE 'function'
        END,
        CASE
            WHEN k = 2 THEN 'failed' WHEN k = 0 OR fate = 'completed' THEN 'completed'
            WHEN fate IN ('failed', 'retry') THEN 'failed' ELSE 'running'
        END,
        '{{}}',
        CASE
            WHEN k <> 1 THEN NULL
            WHEN fate = 'signal' THEN jsonb_build_object(
                'kind', 'signal-wait',
                'signal', (ARRAY['approve', 'paid', 'documents-received'])[1 + n % 3]
                    || CASE WHEN n % 4 = 0 THEN ':' || n ELSE '' END,
                'timeoutAt', to_char(
                    (created_at + interval '365 days') AT TIME ZONE 'UTC',
                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                )
            )
            WHEN fate = 'sleep' THEN jsonb_build_object(
                'kind', 'sleep', 'resumeAt', to_char(
                    ($4::timestamptz + interval '2 days') AT TIME ZONE 'UTC',
                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
                )
            )
            WHEN is_parent THEN jsonb_build_object('kind', 'workflow', 'timeoutAt', NULL)
        END,
        CASE WHEN k < 2 AND (k = 0 OR fate = 'completed') THEN to_jsonb(n % 977) END,
        CASE
            WHEN k = 2 THEN '{{"name": "TimeoutError", "message": "warehouse took 5 s"}}'
            WHEN k = 1 THEN """
    + _FAILURE
    + """
        END,
        created_at + interval '5 ms' + k * took / 3,
        CASE
            WHEN k <> 1 OR fate IN ('completed', 'failed', 'retry')
                THEN created_at + interval '5 ms' + (k + 0.8) * took / 3
        END,
        date_trunc('milliseconds', created_at + interval '5 ms' + k * took / 3), created_at + took
    FROM runs, generate_series(0, 2) AS k
    WHERE fate <> 'due' AND (k < 2 OR n % 7 = 0)
"""
)
_LINK_CHILDREN: LiteralString = """
    UPDATE {schema}.step_attempts AS s
    SET child_workflow_run_namespace_id = 'default', child_workflow_run_id = r.id
    FROM {schema}.workflow_runs AS r
    WHERE r.parent_step_attempt_id = s.id AND s.namespace_id = 'default'
"""
_CRASHES: LiteralString = (
    "INSERT INTO {schema}.owsuper_post_mortems (namespace_id, workflow_run_id, crash_id, died_at,"
    " run_created_at, counted, given_up, evidence)"
    + _RUNS
    + """
    SELECT
        'default', id, 'crash ' || k, created_at + k * interval '1 second', created_at, true,
        k = 3, '{{"signal": 11}}'
    FROM runs, generate_series(1, 3) AS k
    WHERE fate = 'crashed'
"""
)
TABLES: Final = ("workflow_runs", "step_attempts")


def populate(conn: Connection, schema: str, count: int) -> None:
    """Fill the empty tables of ``schema`` with ``count`` runs and some two step attempts for each.

    A million runs take about two minutes.
    """
    with suppress(psycopg.errors.InsufficientPrivilege):
        conn.execute("SET session_replication_role = replica")  # no triggers: only the rows matter
    [(now,)] = execute(conn, "SELECT now()", schema)
    with without_indexes(conn, schema, TABLES):
        for begin in range(1, count + 1, CHUNK):
            end = min(begin + CHUNK - 1, count)
            for statement in (_INSERT_RUNS, _INSERT_STEPS, _CRASHES):
                execute(conn, statement, schema, count, begin, end, now)
    execute(conn, _LINK_CHILDREN, schema)
    conn.execute("RESET session_replication_role")
    for table in (*TABLES, "owsuper_post_mortems"):
        conn.execute(f'VACUUM (ANALYZE) "{schema}".{table}'.encode())


def main() -> None:
    """Fill the tables of a schema: arguments are a URL, a schema and the number of runs."""
    url, schema, count = sys.argv[1:]
    with Server(url, "").connect() as conn:
        migrate(conn, schema)
        populate(conn, schema, int(count))


if __name__ == "__main__":
    main()
