"""Post-mortems are kept as long as the run, whoever deletes it, and know what was given up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from owsuper.db import connect
from owsuper.db.clients import ClientQueries
from owsuper.db.crashes import CrashedRun, CrashQueries
from owsuper.db.sweeps import SweepQueries
from tests.db.rows import ME, OTHER, Tables, perform

EVIDENCE = {"cause": "signal SIGSEGV", "step": "resize"}
DETAILS = {"stderr": "ouch\n", "cpuSeconds": 1.5}


@pytest.fixture
def tables(database_url: str, schema: str) -> Iterator[Tables]:
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield Tables(conn, schema)


def record(tables: Tables, *runs: str, worker: str = ME, crash: str = "", most: int = 3) -> None:
    crashed = [CrashedRun(run, worker, EVIDENCE, DETAILS) for run in runs]
    queries = CrashQueries(tables.schema, "default")
    perform(tables.conn, queries.record_crash(crash or str(uuid4()), crashed, max_crashes=most))


def keep(tables: Tables, *runs: str, death: str = "") -> None:
    crashed = [CrashedRun(run, ME, EVIDENCE, DETAILS) for run in runs]
    queries = CrashQueries(tables.schema, "default")
    perform(tables.conn, queries.keep_post_mortems(death or str(uuid4()), crashed))


def kept(tables: Tables) -> list[dict[str, Any]]:
    return tables.rows("owsuper_post_mortems")


def delete(tables: Tables, run: str) -> None:
    statement = f'DELETE FROM "{tables.schema}".workflow_runs WHERE id = $1'
    tables.conn.execute(statement.encode(), (run,))


def test_a_crash_leaves_all_that_is_known_and_the_count_only_the_cause(tables: Tables) -> None:
    run = tables.run()
    record(tables, run)
    [death] = kept(tables)
    assert (death["workflow_run_id"], death["counted"], death["given_up"]) == (run, True, False)
    assert death["evidence"] == EVIDENCE | DETAILS
    assert death["run_created_at"] == tables.fetch(run)["created_at"]
    assert [row["evidence"] for row in tables.rows("owsuper_crashes")] == [EVIDENCE]


def test_it_stays_when_the_count_is_forgotten(tables: Tables) -> None:
    run = tables.run()
    record(tables, run)
    tables.update("workflow_runs", run, status="completed")
    perform(tables.conn, SweepQueries(tables.schema, "default").forget_ended())
    assert tables.rows("owsuper_crashes") == []
    assert len(kept(tables)) == 1


def test_the_crash_that_gives_a_run_up_is_marked_until_a_retry(tables: Tables) -> None:
    run = tables.run()
    record(tables, run)
    tables.update("workflow_runs", run, worker_id=ME)
    record(tables, run, most=2)
    assert tables.fetch(run)["status"] == "failed"
    assert sorted(death["given_up"] for death in kept(tables)) == [False, True]
    assert "stderr" not in tables.fetch(run)["error"]["crashes"][0]
    ClientQueries(tables.schema, "default").retry(run).run(tables.conn)
    assert [death["given_up"] for death in kept(tables)] == [False, False]


def test_a_run_that_was_lost_before_keeps_it_uncounted(tables: Tables) -> None:
    lost, canceled = tables.run(worker_id=OTHER), tables.run(status="canceled", worker_id=None)
    record(tables, lost, canceled)
    assert {(death["workflow_run_id"], death["counted"]) for death in kept(tables)} == {
        (lost, False),
        (canceled, False),
    }
    assert tables.rows("owsuper_crashes") == []
    assert tables.fetch(lost)["worker_id"] == OTHER


def test_a_death_that_is_recorded_again_after_a_lost_answer_is_one(tables: Tables) -> None:
    run, other = tables.run(), tables.run()
    for _ in range(2):
        record(tables, run, crash="c")
        keep(tables, other, death="d")
    assert sorted(death["counted"] for death in kept(tables)) == [False, True]


def test_a_death_that_counts_as_no_crash_changes_nothing_but_is_kept(tables: Tables) -> None:
    run = tables.run()
    before = tables.fetch(run)
    keep(tables, run, "unknown run")
    assert tables.fetch(run) == before
    [death] = kept(tables)
    assert (death["workflow_run_id"], death["counted"]) == (run, False)
    assert death["evidence"] == EVIDENCE | DETAILS


def test_of_deaths_that_count_as_no_crash_the_last_twenty_are_kept(tables: Tables) -> None:
    run, other = tables.run(), tables.run()
    record(tables, run)
    keep(tables, other, death="of another run")
    for number in range(25):
        keep(tables, run, death=f"{number:02}")
    keep(tables, run, death="24")  # again, after a lost answer
    rows = [row for row in kept(tables) if row["workflow_run_id"] == run]
    uncounted = sorted(row["crash_id"] for row in rows if not row["counted"])
    assert uncounted == [f"{number:02}" for number in range(5, 25)]
    assert len(rows) == 21
    assert len(kept(tables)) == 22


def test_they_are_deleted_with_their_run(tables: Tables) -> None:
    run, other = tables.run(), tables.run()
    record(tables, run)
    record(tables, other)
    delete(tables, run)
    assert [death["workflow_run_id"] for death in kept(tables)] == [other]


def test_who_deletes_a_run_needs_no_rights_on_them(tables: Tables) -> None:
    run = tables.run()
    record(tables, run)
    role = f"role_{uuid4().hex[:16]}"
    names = {"role": sql.Identifier(role), "schema": sql.Identifier(tables.schema)}

    def execute(text: str) -> None:
        tables.conn.execute(sql.SQL(text).format(**names).as_string().encode())

    execute("CREATE ROLE {role}")
    try:
        execute("GRANT USAGE ON SCHEMA {schema} TO {role}")
        execute("GRANT SELECT, DELETE ON {schema}.workflow_runs TO {role}")
        execute("SET ROLE {role}")
        delete(tables, run)
        execute("RESET ROLE")
        assert kept(tables) == []
    finally:
        execute("RESET ROLE")
        execute("DROP OWNED BY {role}")
        execute("DROP ROLE {role}")


def test_they_go_when_all_runs_are_truncated(tables: Tables) -> None:
    record(tables, tables.run())
    tables.conn.execute(f'TRUNCATE "{tables.schema}".workflow_runs CASCADE'.encode())
    assert kept(tables) == []


def test_a_deletion_that_comes_first_leaves_none_behind(tables: Tables, database_url: str) -> None:
    run = tables.run()
    with psycopg.connect(database_url) as other:
        other.execute(f'DELETE FROM "{tables.schema}".workflow_runs WHERE id = %s'.encode(), (run,))
        with pytest.raises(psycopg.DatabaseError, match="lock timeout"):
            keep(tables, run)  # the supervisor repeats it
        other.commit()
    keep(tables, run)
    assert kept(tables) == []
