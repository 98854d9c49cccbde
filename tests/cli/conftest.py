"""The real command in an empty directory, and databases that refuse it in various ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.cli.running import Result, Run
from tests.fixtures.processes import Spawn


@pytest.fixture
def owsuper(spawn_owsuper: Spawn, tmp_path: Path) -> Run:
    """Run ``owsuper`` with these arguments to its end, in ``tmp_path``."""

    def run(*argv: str, env: Mapping[str, str | None] | None = None) -> Result:
        program = spawn_owsuper(*argv, env=env, cwd=tmp_path)
        code = program.wait()
        program.end()  # so that both transcripts are complete
        return Result(code, program.stdout.text, program.stderr.text)

    return run


@pytest.fixture
def empty_schema(conn: psycopg.Connection) -> Iterator[str]:
    """A schema name that nobody else uses; what a test makes of it is dropped."""
    name = f"test_{uuid4().hex[:16]}"
    yield name
    drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
    conn.execute(drop.as_string())


@pytest.fixture
def role(conn: psycopg.Connection, database_url: str) -> Iterator[str]:
    """A role without any privilege, password ``right``."""
    name = f"role_{uuid4().hex[:16]}"
    conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right'".encode())
    yield name
    conn.execute(f"DROP OWNED BY {name}".encode())
    conn.execute(f"DROP ROLE {name}".encode())


@pytest.fixture
def asks_password(conn: psycopg.Connection, database_url: str, role: str) -> Iterator[str]:
    """``role``, whom the server asks for the password even if it trusts everybody else."""
    before = _hba(conn)
    _write_hba(conn, f"local all {role} scram-sha-256\nhost all {role} all scram-sha-256\n{before}")
    wrong = make_conninfo(database_url, user=role, password="wrong", connect_timeout=10)
    for _ in range(1000):  # the reload is a signal to the server; it says nowhere when it is done
        try:
            psycopg.connect(wrong).close()
        except psycopg.OperationalError:
            break
    else:
        raise AssertionError("the server goes on trusting whoever asks")
    yield role
    _write_hba(conn, before)


def _hba(conn: psycopg.Connection) -> str:
    row = conn.execute("SELECT pg_read_file(current_setting('hba_file'))").fetchone()
    assert row
    return str(row[0])


def _write_hba(conn: psycopg.Connection, text: str) -> None:
    row = conn.execute("SHOW hba_file").fetchone()
    assert row
    copy = sql.SQL("COPY (SELECT unnest(string_to_array({}, chr(10)))) TO {}").format(
        sql.Literal(text.rstrip("\n")), sql.Literal(row[0])
    )
    conn.execute(copy.as_string(conn).encode())
    conn.execute("SELECT pg_reload_conf()")
