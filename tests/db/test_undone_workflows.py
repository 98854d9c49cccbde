"""Which workflows have runs that are undone, as the transactions note that end these runs."""

from __future__ import annotations

import psycopg

from owsuper import OpenWorkflow
from owsuper.core.undoing import undo_workflow
from owsuper.db import connect
from owsuper.db.claims import ClaimQueries, parse_workflows
from tests.db.rows import Tables, perform


def failed_by(conn: psycopg.Connection, schema: str, run_id: str) -> None:
    conn.execute(
        f"UPDATE \"{schema}\".workflow_runs SET status = 'failed' WHERE id = $1".encode(), (run_id,)
    )


def test_transactions_that_first_end_runs_of_several_workflows_do_not_wait_for_each_other(
    tables: Tables, database_url: str, schema: str
) -> None:
    marked = {"config": {"owsuper": {"undo": True}}}
    runs = [tables.run(workflow_name=name, **marked) for name in ("a", "b", "b", "a")]
    with (
        connect.connect(database_url, application_name="owsuper test") as one,
        connect.connect(database_url, application_name="owsuper test") as other,
    ):
        for each in (one, other):
            each.execute(b"SET lock_timeout = '10s'")
        with one.transaction(), other.transaction():
            for conn, run_id in zip((one, other, one, other), runs, strict=True):
                failed_by(conn, schema, run_id)
    call = ClaimQueries(schema, "default").undone_workflows()
    assert set(parse_workflows(perform(tables.conn, call))) == {("a", None), ("b", None)}


def test_what_is_noted_already_is_noted_once(tables: Tables, client: OpenWorkflow) -> None:
    marked = {"config": {"owsuper": {"undo": True}}}
    for version in (None, "2", None, "2"):
        client.get_run(tables.run(version=version, **marked)).cancel()
    rows = tables.rows("owsuper_undone_workflows")
    assert sorted((row["workflow_name"], row["has_version"]) for row in rows) == [
        ("w", False),
        ("w", True),
    ]
    assert len(tables.rows("workflow_runs", f"workflow_name = '{undo_workflow('w')}'")) == 4
