"""What `owsuper doctor` finds: in a sound database, and in one where this or that is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from owsuper.db import connect
from owsuper.db.presence import STALE, PresenceQueries
from owsuper.doctor.examination import examine
from owsuper.doctor.findings import CheckResult, Level
from owsuper.settings import Settings
from tests.db.announcements import announced
from tests.db.rows import Tables, from_now, perform

Examine = Callable[..., dict[str, list[CheckResult]]]


@pytest.fixture
def examined(database_url: str, schema: str) -> Examine:
    """The findings by subject, with these settings."""

    def run(url: str = database_url, **settings: Any) -> dict[str, list[CheckResult]]:
        given = Settings(**{"schema": schema, "processes": 1, **settings})
        found: dict[str, list[CheckResult]] = {}
        for finding in examine(given, url):
            found.setdefault(finding.subject, []).append(finding)
        return found

    return run


@pytest.fixture
def change(conn: psycopg.Connection, schema: str) -> Callable[[str], None]:
    """Execute SQL on the test's schema; replaces {schema}."""

    def execute(text: str) -> None:
        conn.execute(text.replace("{schema}", f'"{schema}"').encode())

    return execute


def only(findings: list[CheckResult]) -> CheckResult:
    [finding] = findings
    return finding


def messages(findings: list[CheckResult]) -> list[str]:
    return [each.message for each in findings]


def bad(findings: list[CheckResult]) -> list[CheckResult]:
    return [each for each in findings if each.level in (Level.WARNING, Level.PROBLEM)]


def test_in_a_sound_database_all_that_concerns_owsuper_is_ok(examined: Examine) -> None:
    found = examined()
    subjects = ["server", "clock", "connections", "migrations", "privileges", "tables"]
    assert list(found) == [*subjects, "notifications", "workers", "settings", "retention", "vacuum"]
    for subject in ("clock", "migrations", "privileges", "tables", "notifications", "settings"):
        assert [each.level for each in found[subject]] == [Level.OK], found[subject]
    assert "PostgreSQL" in found["server"][0].message


def test_it_leaves_nothing_behind(examined: Examine, conn: psycopg.Connection, schema: str) -> None:
    examined()
    query = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'owsuper_doctor%'"
    assert conn.execute(query.encode()).fetchone() == (0,)
    assert conn.execute(f'SELECT count(*) FROM "{schema}".workflow_runs'.encode()).fetchone() == (
        0,
    )


# --- migrations, privileges --------------------------------------------------------------------


def test_a_schema_without_tables_needs_migrations(examined: Examine) -> None:
    finding = only(examined(schema="nowhere")["migrations"])
    assert finding.level is Level.PROBLEM
    assert "openworkflow migration 0 (start)" in finding.message
    assert finding.mend == "owsuper migrate --schema nowhere"


def test_tables_of_a_newer_version_are_noted(
    examined: Examine, change: Callable[[str], None]
) -> None:
    change("INSERT INTO {schema}.owsuper_migrations VALUES (999)")
    finding = only(examined()["migrations"])
    assert finding.level is Level.NOTE
    assert "owsuper migration 999, which this version does not know" in finding.message


@pytest.fixture
def role(conn: psycopg.Connection, schema: str) -> Iterator[str]:
    """A role that may use the schema, and no more. Its name must be quoted."""
    name = f"{schema}-Role"
    conn.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD 'x'".encode())
    conn.execute(f'GRANT USAGE ON SCHEMA "{schema}" TO "{name}"'.encode())
    yield name
    conn.execute(f'DROP OWNED BY "{name}"'.encode())
    conn.execute(f'DROP ROLE "{name}"'.encode())


def test_missing_privileges_are_named_with_the_grant(
    examined: Examine, change: Callable[[str], None], role: str, database_url: str, schema: str
) -> None:
    change(f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {{schema}} TO "{role}"')
    change(f'REVOKE INSERT, DELETE ON {{schema}}.owsuper_crashes FROM "{role}"')
    found = examined(make_conninfo(database_url, user=role, password="x"))
    finding = only(found["privileges"])
    assert finding.level is Level.PROBLEM
    assert finding.message == f'the role "{role}" lacks INSERT, DELETE on owsuper_crashes'
    assert finding.mend is not None
    change(finding.mend.replace(f'"{schema}"', "{schema}"))
    found = examined(make_conninfo(database_url, user=role, password="x"))
    assert only(found["privileges"]).level is Level.OK
    tables = only(found["tables"])  # this role may not create the schema to compare with
    assert tables.level is Level.NOTE


# --- drift -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "message", "mend"),
    [
        (
            "ALTER TABLE {schema}.workflow_runs DISABLE TRIGGER owsuper_bell_again",
            "trigger owsuper_bell_again of workflow_runs is disabled",
            "ENABLE TRIGGER owsuper_bell_again",
        ),
        (
            "ALTER TABLE {schema}.workflow_runs ALTER COLUMN attempts TYPE bigint",
            "column workflow_runs.attempts is bigint NOT NULL, and should be integer NOT NULL",
            "ALTER TABLE",
        ),
        (
            "DROP INDEX {schema}.owsuper_runs_deadline_idx;\n"
            "CREATE INDEX owsuper_runs_deadline_idx ON {schema}.workflow_runs (deadline_at)",
            "index owsuper_runs_deadline_idx is CREATE INDEX",
            "Drop it, and then owsuper migrate --sql",
        ),
        (
            "CREATE OR REPLACE FUNCTION {schema}.owsuper_ring_bell() RETURNS trigger"
            " LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "function owsuper_ring_bell is not that of the migrations",
            "owsuper migrate --sql",
        ),
        (
            "ALTER TABLE {schema}.owsuper_crashes SET UNLOGGED",
            "table owsuper_crashes is unlogged, and should be logged",
            "ALTER TABLE",
        ),
        (
            "ALTER TABLE {schema}.owsuper_crashes DROP COLUMN alone",
            "column owsuper_crashes.alone is missing: boolean NOT NULL",
            "owsuper migrate --sql",
        ),
    ],
)
def test_what_is_not_as_the_migrations_made_it_is_named(
    examined: Examine, change: Callable[[str], None], harm: str, message: str, mend: str
) -> None:
    for statement in harm.split(";\n"):
        change(statement)
    finding = only(examined()["tables"])
    assert finding.level is Level.PROBLEM
    assert finding.message.startswith(message)
    assert mend in (finding.mend or "")


def test_more_columns_and_indexes_of_others_are_no_drift(
    examined: Examine, change: Callable[[str], None]
) -> None:
    change("ALTER TABLE {schema}.workflow_runs ADD COLUMN theirs text")
    change("CREATE INDEX theirs ON {schema}.workflow_runs (theirs)")
    assert only(examined()["tables"]).level is Level.OK


def test_an_index_that_is_lost_is_a_missing_migration_and_drift(
    examined: Examine, change: Callable[[str], None]
) -> None:
    change("DROP INDEX {schema}.owsuper_runs_queue_idx")
    found = examined()
    assert "index owsuper_runs_queue_idx" in only(found["migrations"]).message
    assert only(found["tables"]).message.startswith("index owsuper_runs_queue_idx is missing: ")


# --- notifications -----------------------------------------------------------------------------


def test_a_trigger_that_does_not_ring_is_told_from_a_path_that_is_cut(
    examined: Examine, change: Callable[[str], None], database_url: str, conn: psycopg.Connection
) -> None:
    change("ALTER TABLE {schema}.workflow_runs DISABLE TRIGGER owsuper_bell")
    finding = only(examined()["notifications"])
    assert finding.level is Level.PROBLEM
    assert "a plain notification arrives, but a new run sends none" in finding.message
    elsewhere = make_conninfo(database_url, dbname="postgres")
    if conn.info.dbname != "postgres":
        finding = only(examined(listen_url=_url(elsewhere))["notifications"])
        assert finding.level is Level.PROBLEM
        assert "--listen-url leads to another database" in finding.message


def _url(conninfo: str) -> str:
    info = psycopg.conninfo.conninfo_to_dict(conninfo)
    words = {key: value for key, value in info.items() if key != "dbname"}
    query = "&".join(f"{key}={value}" for key, value in words.items())
    return f"postgresql:///{info['dbname']}?{query}"


def test_without_listening_the_path_is_not_tried(examined: Examine) -> None:
    finding = only(examined(listen=False)["notifications"])
    assert finding.level is Level.NOTE


# --- settings, connections ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lease": 5.0}, "--lease 5s is shorter than the 15 s"),
        ({"listen": False, "listen_url": "postgresql://x/y"}, "--listen-url has no effect"),
        ({"listen": False, "poll_interval": 120.0}, "workers only poll, every 120 s"),
        ({"durable_claims": True, "poll_interval": 0.05}, "--durable-claims with --poll-interval"),
        ({"hang_timeout": 5.0}, "--hang-timeout 5s: a child process is killed"),
        ({"graceful_timeout": 3600.0}, "Kubernetes and Docker kill a worker"),
    ],
)
def test_settings_that_fight_each_other_are_warned_of(
    examined: Examine, settings: dict[str, Any], message: str
) -> None:
    finding = only(examined(**settings)["settings"])
    assert finding.level is Level.WARNING
    assert message in finding.message
    assert finding.mend


def test_limits_of_the_role_that_break_workers_are_warned_of(
    examined: Examine, database_url: str, role: str, conn: psycopg.Connection
) -> None:
    conn.execute(f"ALTER ROLE \"{role}\" SET idle_session_timeout = '10s'".encode())
    conn.execute(f'ALTER ROLE "{role}" SET synchronous_commit = off'.encode())
    found = examined(make_conninfo(database_url, user=role, password="x"))
    finding = only(found["settings"])
    assert finding.message.startswith("idle_session_timeout is 10 s (from user)")
    assert f'ALTER ROLE "{role}" SET idle_session_timeout = 0' in (finding.mend or "")
    assert any("synchronous_commit is off" in each.message for each in bad(found["server"]))


def test_too_few_connections_are_warned_of(examined: Examine) -> None:
    finding = only(examined(processes=1000)["connections"])
    assert finding.level is Level.WARNING
    assert "a worker with 1000 processes needs up to 2002" in finding.message
    more = only(examined(processes=1000, keep_logs=60.0, metrics_port=9464)["connections"])
    assert "needs up to 3003" in more.message


def test_a_limit_of_the_role_counts(
    examined: Examine, database_url: str, role: str, conn: psycopg.Connection
) -> None:
    conn.execute(f'ALTER ROLE "{role}" CONNECTION LIMIT 3'.encode())
    finding = only(examined(make_conninfo(database_url, user=role, password="x"))["connections"])
    assert finding.level is Level.WARNING
    assert finding.message.startswith("2 of ")


# --- workers -----------------------------------------------------------------------------------


def test_workers_that_are_not_well_are_warned_of(
    examined: Examine, conn: psycopg.Connection, database_url: str, schema: str
) -> None:
    assert only(examined()["workers"]).message == 'none is connected in namespace "default"'
    with connect.connect(database_url, application_name="test") as session:
        here, gone, silent = (
            PresenceQueries(schema, "default", f"shop:{number}:x") for number in (1, 2, 3)
        )
        for queries, pid in ((here, 1), (silent, 3)):
            perform(session, queries.register(30, "shop", pid))
            perform(session, announced(queries, pid=pid))
        perform(session, announced(gone, pid=2))  # and holds no lock
        tables = Tables(conn, schema)
        tables.update("owsuper_supervisors", "shop:3:x", announced_at=from_now(-STALE - 1))
        tables.update("owsuper_supervisors", "shop:3:x", version="0.0.1")
        found = examined()["workers"]
    assert [(each.level, each.message.split()[0]) for each in found] == [
        (Level.OK, "1"),
        (Level.WARNING, "shop:2"),
        (Level.WARNING, "shop:3"),
    ]
    assert "is dead, or cut off from the database" in found[1].message
    assert "announces nothing any more" in found[2].message


# --- vacuum ------------------------------------------------------------------------------------


def test_a_table_without_autovacuum_is_a_problem_with_the_mend(
    examined: Examine, change: Callable[[str], None], schema: str
) -> None:
    change("ALTER TABLE {schema}.step_attempts SET (autovacuum_enabled = off)")
    [finding] = [each for each in examined()["vacuum"] if "step_attempts" in each.message]
    assert finding.level is Level.PROBLEM
    assert finding.mend == f'ALTER TABLE "{schema}".step_attempts RESET (autovacuum_enabled)'


def test_dead_rows_that_nobody_has_removed_are_warned_of(
    examined: Examine, change: Callable[[str], None], conn: psycopg.Connection, schema: str
) -> None:
    change("CREATE TABLE {schema}.full_of_dead (n integer) WITH (autovacuum_enabled = off)")
    change("INSERT INTO {schema}.full_of_dead SELECT generate_series(1, 60000)")
    change("DELETE FROM {schema}.full_of_dead")
    give_up_at = time.monotonic() + 30
    while "full_of_dead has 60,000 dead rows beside 0 others" not in messages(examined()["vacuum"]):
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
        conn.execute(b"SELECT 1")  # the server counts at the end of a transaction, once a second


@pytest.mark.slow
def test_a_sparse_table_is_warned_of_and_one_with_long_values_is_not(
    examined: Examine, change: Callable[[str], None]
) -> None:
    # Pages that are nine tenths empty are like those of which most rows were deleted.
    for name, fillfactor, length, count in (
        ("sparse", 10, 100, 80_000),
        ("long_values", 100, 20_000, 4_000),
    ):
        change(
            f"CREATE TABLE {{schema}}.{name} (n integer, text text)"
            f" WITH (fillfactor = {fillfactor})"
        )
        change(f"ALTER TABLE {{schema}}.{name} ALTER text SET STORAGE EXTERNAL")  # not compressed
        change(
            f"INSERT INTO {{schema}}.{name} SELECT n, repeat('x', {length})"
            f" FROM generate_series(1, {count}) AS n"
        )
        change(f"ANALYZE {{schema}}.{name}")
    found = examined()["vacuum"]
    assert "empty or dead" in found[-1].message
    warned = [each for each in found if "what its rows need" in each.message]
    assert [each.message.split()[0] for each in warned] == ["sparse"]
    assert "VACUUM FULL" in (warned[0].mend or "")


# --- what cannot be examined -------------------------------------------------------------------


def test_a_check_that_fails_is_a_problem_and_the_others_go_on(
    examined: Examine, change: Callable[[str], None], role: str, database_url: str
) -> None:
    change(f'REVOKE USAGE ON SCHEMA {{schema}} FROM "{role}"')
    found = examined(make_conninfo(database_url, user=role, password="x"))
    assert found["migrations"][0].level is Level.PROBLEM
    assert "vacuum" in found
