"""What docs/deploy.md tells an operator to do works."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from owsuper import setting_sources
from owsuper.supervisor.exit_status import ExitCode
from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

pytestmark = pytest.mark.slow

DEPLOY = Document("docs/deploy.md")
README = Document("README.md")
README.covers("flows")
WELCOME = (
    "from flows import *; print(send_welcome_email.run(Welcome(7)).result(timeout=30).address)"
)


@DEPLOY.covers("url", "listen-url")
@pytest.mark.parametrize("name", ["url", "listen-url"])
def test_the_exported_urls_are_understood(sandbox: Sandbox, name: str) -> None:
    printed = sandbox.run(f"{DEPLOY[name]}\nenv")
    env = dict(line.split("=", 1) for line in printed.splitlines() if line.startswith("OWSUPER_"))
    read = setting_sources.load(env=env, cwd=sandbox.directory)
    assert read.database_url == env["OWSUPER_DATABASE_URL"]
    assert read.listen_url == env.get("OWSUPER_LISTEN_URL")
    for url in env.values():
        assert make_conninfo(url)


@DEPLOY.covers("migrate")
def test_the_tables_are_created_checked_and_printed(
    sandbox: Sandbox, conn: psycopg.Connection, database_url: str
) -> None:
    name = f"test_{uuid4().hex[:16]}"
    sandbox.env |= {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": name}
    try:
        migrate, check, printed = (
            line.partition("#")[0].strip() for line in DEPLOY["migrate"].splitlines()
        )
        before = sandbox.start(check)
        assert before.wait() == ExitCode.ERROR
        assert f'CREATE SCHEMA IF NOT EXISTS "{name}"' in sandbox.run(printed)
        assert sandbox.run(f"{migrate}\n{check}") == ""
    finally:
        drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
        conn.execute(drop.as_string())


@pytest.fixture
def role(conn: psycopg.Connection) -> Iterator[str]:
    name = f"role_{uuid4().hex[:16]}"
    conn.execute(f"CREATE ROLE {name} LOGIN".encode())
    yield name
    conn.execute(f"DROP OWNED BY {name}".encode())
    conn.execute(f"DROP ROLE {name}".encode())


@DEPLOY.covers("grants")
def test_the_privileges_suffice_for_a_worker_that_does_not_migrate(
    connected: Sandbox, conn: psycopg.Connection, database_url: str, schema: str, role: str
) -> None:
    grants = DEPLOY["grants"].replace("openworkflow", schema).replace("TO app;", f"TO {role};")
    for statement in grants.split(";\n"):
        conn.execute(statement.encode())
    connected.env["OWSUPER_DATABASE_URL"] = make_conninfo(database_url, user=role)
    connected.write("flows.py", README["flows"])
    worker = connected.worker("owsuper --processes 1 --no-migrate --module flows.py")
    assert connected.run(f"python -c {shlex.quote(WELCOME)}") == "user-7@example.com\n"
    worker.terminate()
    assert worker.wait() == 0
    assert "permission denied" not in worker.stderr.text


def test_every_block_of_the_document_is_executed() -> None:
    assert DEPLOY.unexecuted() == []
