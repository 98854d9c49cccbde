"""docs/database.md: its SQL does what it says, and its tables are those that are there."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from owsuper import OpenWorkflow, RunStatus, StepKind
from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

PAGE = Document("docs/database.md")

SHIP = """\
from owsuper import OpenWorkflow, Step

ow = OpenWorkflow()

@ow.workflow("ship")
def ship(step: Step, input: dict[str, int]) -> str:
    return step.run("send", send, input["number"])

def send(number: int) -> str:
    return f"order {number} is on its way"
"""


@pytest.fixture
def block(schema: str) -> Callable[[str], bytes]:
    """A block of SQL, about the tables of this test."""
    return lambda name: PAGE[name].replace("openworkflow.", f'"{schema}".').encode()


@PAGE.covers("insert", "read", "count")
def test_a_run_is_started_by_sql_executed_and_read_by_sql(
    connected: Sandbox,
    conn: psycopg.Connection,
    schema: str,
    database_url: str,
    block: Callable[[str], bytes],
) -> None:
    connected.write("ship.py", SHIP)
    worker = connected.worker("owsuper --processes 1 --poll-interval 1h --module ship.py")
    worker.stderr.wait_for("ready: ")
    conn.execute(f'SET search_path TO "{schema}"'.encode())
    conn.execute(b"CREATE TABLE orders (number integer, item text)")
    conn.execute(block("insert"))
    [(run_id,)] = conn.execute(b"SELECT id FROM workflow_runs").fetchall()
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", run_id
    )

    ow = OpenWorkflow(database_url, schema=schema)
    assert ow.get_run(run_id).result(timeout="30s") == "order 7 is on its way"
    ow.close()
    [(status, output, reason, finished_at)] = conn.execute(block("read"), [run_id]).fetchall()
    assert (status, output, reason) == ("completed", "order 7 is on its way", None)
    assert finished_at is not None
    assert conn.execute(block("count")).fetchall() == [("completed", 1)]


@PAGE.covers("attributes")
def test_attributes_are_written_by_sql(
    conn: psycopg.Connection, schema: str, database_url: str, block: Callable[[str], bytes]
) -> None:
    conn.execute(f'SET search_path TO "{schema}"'.encode())
    conn.execute(b"CREATE TABLE orders (number integer, item text)")
    conn.execute(block("insert"))
    for _ in range(2):
        conn.execute(block("attributes"))
    ow = OpenWorkflow(database_url, schema=schema)
    [run] = ow.list_runs(attributes={"tenant": "7"}).items
    ow.close()
    assert run.attributes == {"tenant": "7"}


def test_whoever_inserts_needs_no_other_privilege(
    conn: psycopg.Connection, schema: str, block: Callable[[str], bytes]
) -> None:
    role = f"role_{uuid4().hex[:16]}"
    conn.execute(f'SET search_path TO "{schema}"'.encode())
    conn.execute(b"CREATE TABLE orders (number integer, item text)")
    conn.execute(f"CREATE ROLE {role}".encode())
    try:
        conn.execute(f'GRANT USAGE ON SCHEMA "{schema}" TO {role}'.encode())
        conn.execute(f"GRANT INSERT ON orders, workflow_runs TO {role}".encode())
        conn.execute(f"SET ROLE {role}".encode())
        conn.execute(block("insert"))
    finally:
        conn.execute(b"RESET ROLE")
        conn.execute(f"DROP OWNED BY {role}".encode())
        conn.execute(f"DROP ROLE {role}".encode())
    assert conn.execute(b"SELECT status FROM workflow_runs").fetchall() == [("pending",)]


def test_the_columns_that_are_named_as_needed_are_needed(
    conn: psycopg.Connection, schema: str
) -> None:
    named = re.search(r"workflow_runs \((.*?)\) VALUES", PAGE["insert"], re.S)
    assert named
    needed = conn.execute(
        b"SELECT column_name FROM information_schema.columns WHERE table_schema = $1"
        b" AND table_name = 'workflow_runs' AND is_nullable = 'NO' AND column_default IS NULL",
        [schema],
    ).fetchall()
    assert set(re.split(r",\s+", named[1].strip())) == {
        "input",
        "available_at",
        *(name for (name,) in needed),
    }


def test_every_column_is_described(conn: psycopg.Connection, schema: str) -> None:
    tables = PAGE.text.partition("## The tables")[2].partition("\n## ")[0]
    parts = re.split(r"^\*\*`(\w+)`\*\*", tables, flags=re.M)[1:]
    described = dict(zip(parts[::2], parts[1::2], strict=True))
    assert set(described) == {"workflow_runs", "step_attempts", "workflow_signals"}
    for table, text in described.items():
        columns = conn.execute(
            b"SELECT column_name FROM information_schema.columns"
            b" WHERE table_schema = $1 AND table_name = $2",
            [schema, table],
        ).fetchall()
        both = {"namespace_id", "id"}  # named before
        assert {name for (name,) in columns} - both <= set(re.findall(r"`(\w+)`", text))


def test_statuses_and_kinds_are_named(conn: psycopg.Connection) -> None:
    for name in (*RunStatus, *StepKind):
        assert f"`{name}`" in PAGE.text


def test_what_owsuper_adds_is_named(conn: psycopg.Connection, schema: str) -> None:
    tables = conn.execute(
        b"SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r'",
        [schema],
    ).fetchall()
    assert [name for (name,) in tables if f"`{name}`" not in PAGE.text] == []
    others = conn.execute(
        b"SELECT tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid"
        b" WHERE relnamespace = to_regnamespace($1) AND NOT tgisinternal"
        b" UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace($1)",
        [schema],
    ).fetchall()
    assert [name for (name,) in others if not name.startswith("owsuper_")] == []


# --- deleting ----------------------------------------------------------------------------------


class Rows:
    """Runs as they may have been left a while ago."""

    def __init__(self, conn: psycopg.Connection, schema: str) -> None:
        conn.execute(f'SET search_path TO "{schema}"'.encode())
        self._conn = conn

    def run(
        self, run_id: str, status: str, days: int, *, parent: str | None = None, **context: str
    ) -> str:
        """A run that ended so many days ago, with a step attempt that has its id."""
        ended = status not in ("pending", "running")
        self._conn.execute(
            b"INSERT INTO workflow_runs (namespace_id, id, workflow_name, status, config, attempts,"
            b" parent_step_attempt_namespace_id, parent_step_attempt_id, finished_at,"
            b" created_at, updated_at, context) SELECT 'default', $1, 'w', $2, '{}', 1,"
            b" CASE WHEN $4::text IS NOT NULL THEN 'default' END, $4,"
            b" CASE WHEN $5 THEN at END, at, at, $6"
            b" FROM (SELECT now() - $3 * interval '1 day' AS at) AS t",
            [run_id, status, days, parent, ended, Jsonb(context)],
        )
        self._conn.execute(
            b"INSERT INTO step_attempts (namespace_id, id, workflow_run_id, step_name, kind,"
            b" status, config, created_at, updated_at)"
            b" VALUES ('default', $1, $1, 's', 'workflow', 'completed', '{}', now(), now())",
            [run_id],
        )
        if parent is not None:
            self._conn.execute(
                b"UPDATE step_attempts SET child_workflow_run_namespace_id = 'default',"
                b" child_workflow_run_id = $1 WHERE id = $2",
                [run_id, parent],
            )
        self._conn.execute(
            b"INSERT INTO workflow_signals (namespace_id, id, signal, workflow_run_id,"
            b" step_attempt_id) VALUES ('default', $1, 'go', $1, $1)",
            [run_id],
        )
        return run_id

    def left(self, table: str) -> list[str]:
        rows = self._conn.execute(f"SELECT id FROM {table} ORDER BY id".encode()).fetchall()
        return [run_id for (run_id,) in rows]


@pytest.fixture
def rows(conn: psycopg.Connection, schema: str) -> Rows:
    return Rows(conn, schema)


@PAGE.covers("delete", "delete-signals", "delete-retries")
def test_old_runs_are_deleted_with_all_that_is_theirs(
    conn: psycopg.Connection, rows: Rows, block: Callable[[str], bytes]
) -> None:
    rows.run("old", "completed", 31)
    rows.run("older", "failed", 400)
    rows.run("child of older", "canceled", 390, parent="older")
    rows.run("recent", "completed", 29)
    rows.run("waiting", "running", 60)
    rows.run("child of waiting", "failed", 50, parent="waiting")
    rows.run("new", "pending", 60)
    rows.run("not undone", "failed", 60, undoneBy="undo")
    rows.run("undo", "pending", 60, undoOf="not undone")
    rows.run("continued", "completed", 60, continuedAs="new")
    conn.execute(
        b"INSERT INTO owsuper_signals (namespace_id, id, signal, created_at)"
        b" VALUES ('default', 'old', 'go', now() - interval '31 days'),"
        b" ('default', 'recent', 'go', now() - interval '29 days')"
    )
    deleted = [conn.execute(block("delete")).rowcount for _ in range(3)]
    assert deleted == [2, 1, 0]
    for run_id in ("old", "recent"):
        conn.execute(
            b"INSERT INTO owsuper_retries (namespace_id, workflow_run_id) VALUES ('default', $1)",
            [run_id],
        )
        conn.execute(
            b"INSERT INTO owsuper_retried_attempts (namespace_id, workflow_run_id, id, step_name,"
            b" kind, created_at) VALUES ('default', $1, $1, 's', 'function', now())",
            [run_id],
        )
        conn.execute(
            b"INSERT INTO owsuper_further_signals (namespace_id, workflow_run_id, step_attempt_id,"
            b" id) VALUES ('default', $1, 's', $1)",
            [run_id],
        )
    conn.execute(block("delete-signals"))
    conn.execute(block("delete-retries"))
    left = ["child of waiting", "continued", "new", "not undone", "recent", "undo", "waiting"]
    for table in ("workflow_runs", "step_attempts", "workflow_signals"):
        assert rows.left(table) == left
    assert rows.left("owsuper_signals") == ["recent"]
    assert rows.left("owsuper_further_signals") == ["recent"]
    assert rows.left("owsuper_retried_attempts") == ["recent"]
    assert conn.execute(b"SELECT workflow_run_id FROM owsuper_retries").fetchall() == [("recent",)]


def test_every_block_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
