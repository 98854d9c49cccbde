"""What the dashboard's page of a run reads: all facts, and no value that is large."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from owsuper.db import connect
from owsuper.db.dashboard.run_page import ATTEMPT_VALUES, RUN_VALUES, RunPageQueries, ValueLimits
from owsuper.db.timed import TimedConnection
from owsuper.errors import RunNotFound
from tests.db.rows import Tables, from_now

LIMITS = ValueLimits(stored=200_000, text=100_000)


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@pytest.fixture
def queries(schema: str) -> RunPageQueries:
    return RunPageQueries(schema, "default")


@pytest.fixture
def link(database_url: str) -> Iterator[TimedConnection]:
    with connect.connect(database_url, application_name="test") as conn:
        yield conn


def random_text(conn: psycopg.Connection, length: int) -> str:
    """Text that cannot be compressed by much."""
    query = b"SELECT string_agg(md5(random()::text), '') FROM generate_series(1, $1::int)"
    row = conn.execute(query, [length // 32]).fetchone()
    assert row is not None
    return str(row[0])


def test_a_run_is_read_without_input_and_output(
    tables: Tables, queries: RunPageQueries, link: TimedConnection
) -> None:
    run_id = tables.run(input={"a": 1}, output=[2], error={"message": "no"}, version="3")
    row = queries.run(run_id).run(link)
    assert (row.id, row.version, row.input, row.output) == (run_id, "3", None, None)
    assert row.error == '{"message": "no"}'


def test_a_run_of_another_namespace_is_not_found(
    tables: Tables, queries: RunPageQueries, link: TimedConnection
) -> None:
    run_id = tables.run(namespace_id="other")
    with pytest.raises(RunNotFound, match=run_id):
        queries.run(run_id).run(link)
    assert queries.values(run_id, RUN_VALUES, LIMITS).run(link) == {}


def test_attempts_have_no_output_and_no_traceback_but_the_state_of_children(
    tables: Tables, queries: RunPageQueries, link: TimedConnection
) -> None:
    run_id = tables.run()
    error = {"name": "E", "message": "m" * 9000, "stack": "s" * 9000, "final": True}
    failed = tables.step(run_id, status="failed", error=error, created_at=from_now(-50))
    tables.step(run_id, status="failed", error="text", created_at=from_now(-49))
    done = tables.step(run_id, status="completed", output={"big": 1}, created_at=from_now(-40))
    child = tables.child(run_id, workflow_name="below", status="completed")
    found = queries.attempts(run_id, 10).run(link)
    by_id = {row.id: row for row, _ in found}
    assert "s" * 10 not in str(by_id[failed].error)
    assert len(by_id[failed].error or "") < 700
    assert by_id[done].output is None
    assert '"message" : "text"' in str([row.error for row, _ in found])
    [(row, state)] = [(row, state) for row, state in found if state is not None]
    assert (row.child_run_id, state.workflow_name, state.status) == (child, "below", "completed")
    assert [row.id for row, _ in queries.attempts(run_id, 1).run(link)] == [found[0][0].id]


def test_values_are_read_if_they_are_small_and_measured_if_they_are_not(
    tables: Tables, queries: RunPageQueries, link: TimedConnection
) -> None:
    huge = random_text(tables.conn, 1_000_000)
    compressible = "x" * 2_000_000
    run_id = tables.run(input=huge, output=compressible, error={"message": "no"}, context=None)
    found = queries.values(run_id, RUN_VALUES, LIMITS).run(link)
    assert set(found) == {"input", "output", "error", "config"}
    assert (found["input"].text, found["input"].size) == (None, None)
    assert found["input"].stored > 500_000
    assert (found["output"].text, found["output"].size) == (None, 2_000_002)
    assert found["error"].text == '{"message": "no"}'
    beginning = ValueLimits(stored=10_000_000, text=1000, cut=True)
    assert queries.values(run_id, ["input"], beginning).run(link)["input"].text == f'"{huge[:249]}'
    whole = ValueLimits(stored=10_000_000, text=10_000_000)
    read = queries.values(run_id, ["input"], whole).run(link)
    assert list(read) == ["input"]
    assert read["input"].text == f'"{huge}"'


def test_a_large_value_is_measured_without_being_read(
    tables: Tables, queries: RunPageQueries, link: TimedConnection
) -> None:
    run_id = tables.run(input=random_text(tables.conn, 3_000_000))
    [(statement, params)] = queries.values(run_id, ["input"], LIMITS).calls
    explain = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement.query
    row = link.execute(explain, params).fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 50  # the value has some 400


def test_values_of_attempts_are_found_by_attempt_also_of_those_set_aside(
    tables: Tables, queries: RunPageQueries, link: TimedConnection
) -> None:
    run_id, other = tables.run(), tables.run()
    done = tables.step(run_id, status="completed", output={"v": 1})
    foreign = tables.step(other, status="completed", output={"v": 2})
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".owsuper_retried_attempts (namespace_id, workflow_run_id,'
        " id, step_name, kind, error, created_at) VALUES ('default', $1, 'aside', 's', 'function',"
        ' \'{"message": "no"}\', now())'.encode(),
        [run_id],
    )
    ids = [done, foreign, "aside"]
    found = queries.attempt_values(run_id, ids, ATTEMPT_VALUES, LIMITS).run(link)
    assert found[done]["output"].text == '{"v": 1}'
    assert found["aside"]["error"].text == '{"message": "no"}'
    assert foreign not in found
