from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import RawCursor, sql
from psycopg.conninfo import make_conninfo

from owsuper.core.names import check_schema_name
from owsuper.db import migrate
from owsuper.db.statement import in_schema
from owsuper.errors import InvalidSchemaName, MigrationError
from tests.db.catalogue import describe, identities, names, other_constraints
from tests.fixtures.postgres import wait_until_it_blocks

VECTORS = Path(__file__).parents[1] / "vectors"
EXPECTED = json.loads((VECTORS / "schema.json").read_text())
SCHEMA_NAMES = json.loads((VECTORS / "schema_names.json").read_text())["cases"]
OPENWORKFLOW = [each for each in migrate.migrations() if each.series == "openworkflow"]


@pytest.fixture
def empty(conn: psycopg.Connection) -> Iterator[str]:
    """The name of a schema that does not exist, and will not."""
    name = f"Test_{uuid4().hex[:16]}"
    yield name
    drop(conn, name)


# --- what comes out -------------------------------------------------------------------------


def test_the_catalogue_is_openworkflows(empty: str, conn: psycopg.Connection) -> None:
    migrate.migrate(conn, empty)
    assert catalogue(conn, empty) == EXPECTED["tables"]
    assert versions(conn, empty, "openworkflow") == EXPECTED["migration_versions"]


def test_what_is_added_stands_beside_it(empty: str, conn: psycopg.Connection) -> None:
    migrate.migrate(conn, empty)
    ours = names(conn, empty) - {
        *EXPECTED["tables"],
        *(table["primary_key"]["name"] for table in EXPECTED["tables"].values()),
        *(each["name"] for table in EXPECTED["tables"].values() for each in table["indexes"]),
    }
    assert all(name.startswith("owsuper_") for name in ours)
    # A deferred trigger is a constraint of the kind "t".
    deferred = ["owsuper_bell", "owsuper_bell_again", "owsuper_unaware"]
    checks = ["owsuper_run_attributes_name_check", "owsuper_run_attributes_value_check"]
    assert sorted(other_constraints(conn, empty)) == sorted(
        [*((name, "t") for name in deferred), *((name, "c") for name in checks)]
    )
    unique = conn.execute(
        "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid"
        " WHERE relnamespace = $1::regnamespace AND indisunique AND NOT indisprimary",
        [f'"{empty}"'],
    ).fetchall()
    assert unique == [("workflow_signals_step_attempt_idx",)]


def test_the_migrations_of_a_series_are_numbered_one_after_the_other() -> None:
    for series in ("openworkflow", "owsuper"):
        versions = [each.version for each in migrate.migrations() if each.series == series]
        first = versions[0]
        assert versions == list(range(first, first + len(versions)))


def test_migrating_again_touches_nothing(schema: str, conn: psycopg.Connection) -> None:
    before = identities(conn, schema)
    assert migrate.check(conn, schema) == []
    migrate.migrate(conn, schema)
    assert identities(conn, schema) == before


# --- beside another implementation ----------------------------------------------------------


@pytest.mark.parametrize("level", [each.version for each in OPENWORKFLOW])
def test_what_another_implementation_created_is_left_as_it_is(
    empty: str, conn: psycopg.Connection, level: int
) -> None:
    apply(conn, empty, OPENWORKFLOW[: level + 1])
    if level:
        insert_run(conn, empty, "old")
    before = identities(conn, empty)
    migrate.migrate(conn, empty)
    assert before.items() <= identities(conn, empty).items()
    assert catalogue(conn, empty) == EXPECTED["tables"]
    assert versions(conn, empty, "openworkflow") == EXPECTED["migration_versions"]
    if level:
        assert count(conn, empty, "workflow_runs") == 1


def test_later_versions_of_another_implementation_are_ignored(
    empty: str, conn: psycopg.Connection
) -> None:
    apply(conn, empty, OPENWORKFLOW)
    conn.execute(f'INSERT INTO "{empty}".openworkflow_migrations VALUES (6), (7)')
    migrate.migrate(conn, empty)
    assert versions(conn, empty, "openworkflow") == [*range(8)]
    assert migrate.check(conn, empty) == []


@pytest.mark.parametrize("version", [each.version for each in OPENWORKFLOW])
def test_a_race_against_one_who_takes_no_lock_is_survived(
    empty: str, conn: psycopg.Connection, database_url: str, version: int
) -> None:
    apply(conn, empty, OPENWORKFLOW[:version])
    with psycopg.connect(database_url, cursor_factory=RawCursor) as other:
        other.execute(script(OPENWORKFLOW[version], empty))  # not committed yet
        migrating = Background(database_url, empty)
        wait_until_it_blocks(other, conn)
        other.commit()
        migrating.join()
    assert catalogue(conn, empty) == EXPECTED["tables"]
    assert migrate.check(conn, empty) == []


def test_a_race_against_one_who_gives_up_is_survived(
    empty: str, conn: psycopg.Connection, database_url: str
) -> None:
    apply(conn, empty, OPENWORKFLOW[:1])
    with psycopg.connect(database_url, cursor_factory=RawCursor) as other:
        other.execute(script(OPENWORKFLOW[1], empty))
        migrating = Background(database_url, empty)
        wait_until_it_blocks(other, conn)
        other.rollback()
        migrating.join()
    assert catalogue(conn, empty) == EXPECTED["tables"]


@pytest.mark.slow
def test_eight_processes_migrate_at_once(
    empty: str, conn: psycopg.Connection, database_url: str
) -> None:
    program = (
        "import sys, psycopg; from owsuper.db.migrate import migrate\n"
        "conn = psycopg.connect(sys.argv[1], autocommit=True)\n"
        "conn.execute('SELECT pg_advisory_lock_shared(20250101)')\n"  # the starting gun
        "migrate(conn, sys.argv[2])"
    )
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    conn.execute("SELECT pg_advisory_lock(20250101)")
    command = [sys.executable, "-c", program, database_url, empty]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(8)]
    while conn.execute(waiting).fetchone() != (8,):
        assert all(process.poll() is None for process in processes)
    conn.execute("SELECT pg_advisory_unlock(20250101)")
    errors = [process.communicate(timeout=60)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, errors
    assert catalogue(conn, empty) == EXPECTED["tables"]
    assert migrate.check(conn, empty) == []


# --- names, privileges, scripts -------------------------------------------------------------


@pytest.mark.parametrize("case", SCHEMA_NAMES, ids=lambda case: repr(case["name"]))
def test_schema_names_follow_the_contract(case: dict[str, Any]) -> None:
    if case["ok"]:
        check_schema_name(case["name"])
        return
    with pytest.raises(InvalidSchemaName) as caught:
        check_schema_name(case["name"])
    assert str(caught.value) == case["error_message"]


@pytest.mark.parametrize("name", ["user", "SELECT", "_", "x" * 63])
def test_any_valid_name_can_be_migrated(conn: psycopg.Connection, name: str) -> None:
    try:
        migrate.migrate(conn, name)
        insert_run(conn, name, "id")
        assert migrate.check(conn, name) == []
        assert catalogue(conn, name) == EXPECTED["tables"]
    finally:
        drop(conn, name)


def test_an_invalid_name_reaches_no_sql(conn: psycopg.Connection) -> None:
    bad = 'x"; DROP SCHEMA public; --'
    for refused in (migrate.migrate, migrate.check):
        with pytest.raises(InvalidSchemaName):
            refused(conn, bad)
    with pytest.raises(InvalidSchemaName):
        migrate.sql(bad)


def test_check_names_what_is_missing(empty: str, conn: psycopg.Connection) -> None:
    assert migrate.check(conn, empty)[0] == "openworkflow migration 0 (start)"
    apply(conn, empty, OPENWORKFLOW)
    assert migrate.check(conn, empty)[0] == "owsuper migration 1 (tables)"
    migrate.migrate(conn, empty)
    conn.execute(f'DROP TRIGGER owsuper_bell ON "{empty}".workflow_runs')
    conn.execute(f'DROP INDEX "{empty}".step_attempts_signal_wait_idx')
    assert migrate.check(conn, empty) == [
        "index step_attempts_signal_wait_idx",
        "trigger owsuper_bell",
    ]


def test_the_script_does_what_migrating_does(empty: str, conn: psycopg.Connection) -> None:
    conn.execute(migrate.sql(empty))
    assert catalogue(conn, empty) == EXPECTED["tables"]
    assert migrate.check(conn, empty) == []


def test_the_script_can_be_run_again_and_mends_what_was_lost(
    schema: str, conn: psycopg.Connection
) -> None:
    insert_run(conn, schema, "old")
    conn.execute(f'DROP TRIGGER owsuper_bell ON "{schema}".workflow_runs')
    conn.execute(migrate.sql(schema))
    assert migrate.check(conn, schema) == []
    assert count(conn, schema, "workflow_runs") == 1


def test_a_role_that_may_not_create_schemas_is_told_what_to_do(
    empty: str, conn: psycopg.Connection, limited_url: str
) -> None:
    with connect(limited_url) as limited, pytest.raises(MigrationError) as caught:
        migrate.migrate(limited, empty)
    message = str(caught.value)
    assert 'The role "owsuper_limited" may not create' in message
    assert "permission denied for database" in message
    assert f"`owsuper migrate --sql --schema {empty}`" in message
    assert migrate.check(conn, empty)[0] == "openworkflow migration 0 (start)"


def test_a_role_without_grants_is_told_what_to_do(schema: str, limited_url: str) -> None:
    for ask in (migrate.migrate, migrate.check):
        with connect(limited_url) as limited, pytest.raises(MigrationError, match="--sql"):
            ask(limited, schema)


def test_a_role_can_fill_a_schema_that_was_made_for_it(
    empty: str, conn: psycopg.Connection, limited_url: str
) -> None:
    conn.execute(f'CREATE SCHEMA "{empty}" AUTHORIZATION owsuper_limited')
    with connect(limited_url) as limited:
        migrate.migrate(limited, empty)
        assert migrate.check(limited, empty) == []


def test_the_grants_of_the_script_suffice(
    empty: str, conn: psycopg.Connection, limited_url: str
) -> None:
    script = migrate.sql(empty)
    grants = [line[3:].strip() for line in script.splitlines() if line.startswith("--   GRANT")]
    assert len(grants) == 2
    conn.execute(script)
    conn.execute("\n".join(grants).replace("TO app;", "TO owsuper_limited;"))
    with connect(limited_url) as limited:
        migrate.migrate(limited, empty)
        assert migrate.check(limited, empty) == []
        insert_run(limited, empty, "id")
        limited.execute(f"UPDATE \"{empty}\".workflow_runs SET status = 'canceled'")


def test_what_makes_a_session_read_only_is_named(empty: str, database_url: str) -> None:
    url = make_conninfo(database_url, options="-c default_transaction_read_only=on")
    told = "Cannot create .* the database URL .* makes the connection read-only"
    with connect(url) as conn, pytest.raises(MigrationError, match=told):
        migrate.migrate(conn, empty)


def test_a_strangers_table_in_the_way_is_told_and_left_alone(
    empty: str, conn: psycopg.Connection
) -> None:
    conn.execute(f'CREATE SCHEMA "{empty}"; CREATE TABLE "{empty}".workflow_runs (mine text)')
    with pytest.raises(MigrationError, match="Other objects with these names"):
        migrate.migrate(conn, empty)
    assert count(conn, empty, "workflow_runs") == 0


def test_a_server_that_is_too_old_is_refused(
    empty: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "MINIMUM_SERVER_VERSION", 99)
    with pytest.raises(MigrationError, match="owsuper needs 99 or newer"):
        migrate.migrate(conn, empty)


def test_a_table_that_stays_in_use_is_not_waited_for_without_end(
    empty: str, conn: psycopg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(migrate, "_ATTEMPTS", 2)
    apply(conn, empty, OPENWORKFLOW)
    with psycopg.connect(database_url) as other:
        other.execute(sql.SQL("LOCK TABLE {}.workflow_runs").format(sql.Identifier(empty)))
        with pytest.raises(MigrationError, match="other transactions keep them in use"):
            migrate.migrate(conn, empty)


# --- how to look ----------------------------------------------------------------------------


class Background:
    """Migrates in a thread; ``join`` raises what it raised."""

    def __init__(self, url: str, schema: str) -> None:
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(url, schema))
        self._thread.start()

    def _run(self, url: str, schema: str) -> None:
        try:
            with connect(url) as conn:
                migrate.migrate(conn, schema)
        except BaseException as exc:
            self._failure = exc

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self._failure:
            raise self._failure


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(make_conninfo(url), autocommit=True, cursor_factory=RawCursor)


def script(migration: migrate.Migration, schema: str) -> bytes:
    return in_schema(f"{migration.text}\n{migration.record}", schema).encode()


def apply(conn: psycopg.Connection, schema: str, migrations: list[migrate.Migration]) -> None:
    for migration in migrations:
        conn.execute(script(migration, schema))


def drop(conn: psycopg.Connection, schema: str) -> None:
    conn.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


def insert_run(conn: psycopg.Connection, schema: str, id_: str) -> None:
    conn.execute(
        f'INSERT INTO "{schema}".workflow_runs (namespace_id, id, workflow_name, status, config,'
        " attempts, available_at, created_at, updated_at)"
        " VALUES ('default', $1, 'w', 'pending', '{}', 0, now(), now(), now())",
        [id_],
    )


def count(conn: psycopg.Connection, schema: str, table: str) -> int:
    row = conn.execute(f'SELECT count(*) FROM "{schema}".{table}').fetchone()
    assert row is not None
    return int(row[0])


def versions(conn: psycopg.Connection, schema: str, series: str) -> list[int]:
    query = f'SELECT version FROM "{schema}".{series}_migrations ORDER BY version'
    return [row[0] for row in conn.execute(query)]


def catalogue(conn: psycopg.Connection, schema: str) -> dict[str, Any]:
    return {table: describe(conn, schema, table) for table in EXPECTED["tables"]}
