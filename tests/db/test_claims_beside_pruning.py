"""A claim reads as little beside 200,000 ended runs that are being deleted as without them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from owsuper import OpenWorkflow
from owsuper.db import connect
from owsuper.db.statement import load
from tests.db.rows import Tables
from tests.db.test_plans import FULL, Use, explained, nodes

ENDED = 200_000
DELETED = 40_000  # in the meantime
WORKFLOWS = '[{"name": "w", "version": null}]'
CLAIM = Use("claim", ("default", WORKFLOWS, 10, "host:", 30, "false", "false", *FULL), 0)


def cost(conn: psycopg.Connection) -> tuple[float, int]:
    """The rows that all nodes of a claim returned or dropped, and the pages that it touched."""
    plan = explained(conn, CLAIM)
    rows = 0.0
    for node in nodes(plan):
        dropped = sum(node[key] for key in node if key.startswith("Rows Removed by"))
        rows += (node["Actual Rows"] + dropped) * node["Actual Loops"]
    return rows, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@pytest.fixture
def claiming(database_url: str, schema: str, tables: Tables) -> Iterator[psycopg.Connection]:
    for _ in range(30):
        tables.pending()
    with connect.connect(database_url, application_name="owsuper test") as conn:
        conn.execute(f'SET search_path = "{schema}"'.encode())
        conn.execute(f"PREPARE claim AS {load('claim', schema).text}".encode())
        yield conn


@pytest.mark.slow
def test_a_claim_reads_no_more_rows_while_old_runs_are_deleted(
    claiming: psycopg.Connection, schema: str, database_url: str
) -> None:
    rows, _ = cost(claiming)
    claiming.execute(
        "INSERT INTO workflow_runs (namespace_id, id, workflow_name, status, config, attempts,"
        " created_at, finished_at, updated_at) SELECT 'default', 'old ' || n,"
        f" CASE WHEN n <= {DELETED} THEN 'gone' ELSE 'w' END, 'completed', '{{}}', 1,"
        " now() - interval '50 d' + n * interval '1 ms', now() - interval '40 d', now()"
        f" FROM generate_series(1, {ENDED}) AS n".encode()
    )
    _, pages = cost(claiming)  # indexes are deeper now
    ow = OpenWorkflow(database_url, schema=schema)
    deleted: list[int] = []
    pruning = threading.Thread(
        target=lambda: deleted.append(ow.prune_runs("30d", workflow="gone")), daemon=True
    )
    pruning.start()
    looks = 0
    while pruning.is_alive() or not looks:
        read, touched = cost(claiming)
        assert read == rows
        assert touched <= pages + 100
        looks += 1
    pruning.join()
    ow.close()
    assert deleted == [DELETED]
