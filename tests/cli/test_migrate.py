"""``owsuper migrate`` on real databases, willing and unwilling ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cli.running import Run, port
from tests.fixtures.proxy import Proxy


def test_migrate_creates_what_check_then_finds(
    owsuper: Run, database_url: str, empty_schema: str
) -> None:
    where = ["--database-url", database_url, "--schema", empty_schema]

    before = owsuper("migrate", "--check", *where)
    assert (before.code, before.stdout) == (1, "")
    assert "missing: openworkflow migration 0" in before.stderr
    assert "missing: owsuper migration" in before.stderr
    assert f"run: owsuper migrate --schema {empty_schema}" in before.stderr

    migrated = owsuper("migrate", *where)
    assert (migrated.code, migrated.stdout) == (0, "")
    assert f'the tables in schema "{empty_schema}" are up to date' in migrated.stderr

    after = owsuper("migrate", "--check", *where)
    assert (after.code, after.stdout) == (0, "")
    assert "are up to date" in after.stderr


def test_migrating_twice_changes_nothing(owsuper: Run, database_url: str, schema: str) -> None:
    result = owsuper("migrate", "--database-url", database_url, "--schema", schema)
    assert result.code == 0
    assert "are up to date" in result.stderr


def test_check_names_a_missing_index(
    owsuper: Run, database_url: str, schema: str, conn: psycopg.Connection
) -> None:
    conn.execute(f"DROP INDEX {schema}.workflow_runs_parent_step_idx".encode())
    result = owsuper("migrate", "--check", "--database-url", database_url, "--schema", schema)
    assert result.code == 1
    assert "workflow_runs_parent_step_idx" in result.stderr


def test_the_printed_sql_makes_a_complete_database(
    owsuper: Run, database_url: str, empty_schema: str
) -> None:
    printed = owsuper("migrate", "--sql", "--schema", empty_schema)
    assert (printed.code, printed.stderr) == (0, "")
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.pgconn.exec_(printed.stdout.encode())  # the simple protocol, as psql speaks it
    where = ["--database-url", database_url, "--schema", empty_schema]
    assert owsuper("migrate", "--check", *where).code == 0


def test_settings_come_from_the_environment_too(
    owsuper: Run, database_url: str, schema: str
) -> None:
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    assert owsuper("migrate", "--check", env=env).code == 0


@pytest.mark.parametrize("mode", [[], ["--check"]], ids=["migrate", "check"])
def test_a_closed_port_is_exit_code_4(mode: list[str], owsuper: Run) -> None:
    with port(listening=False) as closed:
        url = f"postgresql://app:s3cret@127.0.0.1:{closed}/app"
        result = owsuper("migrate", *mode, "--database-url", url)
    assert result.is_one_error(4), result
    assert f"127.0.0.1:{closed}" in result.stderr
    assert "Connection refused" in result.stderr
    assert "s3cret" not in result.stderr


def test_an_unknown_host_is_exit_code_4(owsuper: Run) -> None:
    result = owsuper("migrate", "--database-url", "postgresql://nowhere.invalid/app")
    assert result.is_one_error(4), result
    assert 'Cannot find the database host "nowhere.invalid"' in result.stderr


@pytest.mark.slow
def test_a_server_that_never_answers_is_exit_code_4(owsuper: Run) -> None:
    with port(listening=True) as silent:
        url = f"postgresql://127.0.0.1:{silent}/app?connect_timeout=2"
        result = owsuper("migrate", "--database-url", url)
    assert result.is_one_error(4), result
    assert "timeout" in result.stderr


def test_an_unknown_database_is_exit_code_4(owsuper: Run, database_url: str) -> None:
    result = owsuper("migrate", "--database-url", make_conninfo(database_url, dbname="nope"))
    assert result.is_one_error(4), result
    assert 'has no database "nope"' in result.stderr


def test_an_unknown_role_is_exit_code_4(owsuper: Run, database_url: str) -> None:
    result = owsuper("migrate", "--database-url", make_conninfo(database_url, user="nobody_here"))
    assert result.is_one_error(4), result
    assert "nobody_here" in result.stderr


@pytest.mark.slow
def test_a_wrong_password_is_exit_code_4(
    owsuper: Run, database_url: str, asks_password: str
) -> None:
    wrong = make_conninfo(database_url, user=asks_password, password="wr0ng-one")
    result = owsuper("migrate", "--database-url", wrong)
    assert result.is_one_error(4), result
    assert "password authentication failed" in result.stderr
    assert "Check user name and password" in result.stderr
    assert "wr0ng-one" not in result.stderr

    right = make_conninfo(database_url, user=asks_password, password="right")
    assert owsuper("migrate", "--check", "--database-url", right).code == 1  # it got in


def test_a_role_that_may_not_create_schemas_gets_advice(
    owsuper: Run, database_url: str, role: str, empty_schema: str
) -> None:
    url = make_conninfo(database_url, user=role, password="right")
    result = owsuper("migrate", "--database-url", url, "--schema", empty_schema)
    assert result.is_one_error(1), result
    assert f'The role "{role}" may not create' in result.stderr
    assert f"owsuper migrate --sql --schema {empty_schema}" in result.stderr


@pytest.mark.parametrize("mode", [[], ["--check"]], ids=["migrate", "check"])
def test_a_role_without_rights_on_the_tables_gets_advice(
    mode: list[str], owsuper: Run, database_url: str, role: str, schema: str
) -> None:
    url = make_conninfo(database_url, user=role, password="right")
    result = owsuper("migrate", *mode, "--database-url", url, "--schema", schema)
    assert result.is_one_error(1), result
    assert f'The role "{role}" may not' in result.stderr


def test_a_foreign_table_with_our_name_is_an_error_without_traceback(
    owsuper: Run, database_url: str, empty_schema: str, conn: psycopg.Connection
) -> None:
    conn.execute(f"CREATE SCHEMA {empty_schema}".encode())
    conn.execute(f"CREATE TABLE {empty_schema}.workflow_runs (color text)".encode())
    result = owsuper("migrate", "--database-url", database_url, "--schema", empty_schema)
    assert result.is_one_error(1), result
    assert "Look into the schema" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("count", [1_000, 3_000, 9_000], ids=lambda count: f"after {count} bytes")
def test_a_connection_that_breaks_on_the_way_is_exit_code_4_and_may_be_tried_again(
    count: int, owsuper: Run, proxy: Proxy, empty_schema: str
) -> None:
    where = ["--database-url", proxy.url, "--schema", empty_schema]
    proxy.drop_after(count)
    result = owsuper("migrate", *where)
    proxy.wait_for_drop()
    assert result.is_one_error(4), result
    assert f"127.0.0.1:{proxy.port}" in result.stderr

    assert owsuper("migrate", *where).code == 0
    assert owsuper("migrate", "--check", *where).code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["migrate"],
        ["migrate", "--check"],
        ["--module", "anything.py"],
        ["--module", "anything.py", "--no-migrate"],
        ["start", "anything"],
    ],
    ids=" ".join,
)
def test_a_database_that_is_not_in_utf8_is_refused_by_name(
    command: list[str], owsuper: Run, tmp_path: Path, latin_url: str
) -> None:
    (tmp_path / "anything.py").write_text(
        "from owsuper import OpenWorkflow, Step\n"
        "ow = OpenWorkflow()\n"
        "@ow.workflow\n"
        "def anything(step: Step) -> None: ...\n"
    )
    result = owsuper(*command, "--database-url", latin_url)
    assert result.is_one_error(2), result
    assert "is LATIN1, and owsuper needs UTF8" in result.stderr


@pytest.fixture
def latin_url(database_url: str, conn: psycopg.Connection) -> Iterator[str]:
    """The URL of an empty database in LATIN1."""
    name = f"test_{uuid4().hex[:16]}"
    options = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    conn.execute(f"CREATE DATABASE {name} {options}".encode())
    yield make_conninfo(database_url, dbname=name)
    conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
