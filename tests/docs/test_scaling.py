"""What docs/scaling.md tells an operator to do works, and what it counts is so."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from owsuper import OpenWorkflow, setting_sources
from owsuper.child import database
from owsuper.db.migrate import migrate
from tests.docs.conftest import Sandbox
from tests.docs.documents import Document
from tests.fixtures.cluster import Servers
from tests.fixtures.pgbouncer import StartPgBouncer
from tests.fixtures.postgres import connect

pytestmark = pytest.mark.slow

SCALING = Document("docs/scaling.md")
README = Document("README.md")
README.covers("flows")


@SCALING.covers("pgbouncer", "listen-url")
def test_the_configuration_of_pgbouncer_works_with_and_without_a_direct_address(
    connected: Sandbox, start_pgbouncer: StartPgBouncer, tmp_path: Path, database_url: str
) -> None:
    ini = configparser.ConfigParser(delimiters=("=",))
    ini.read_string(SCALING["pgbouncer"])
    options = dict(ini["pgbouncer"])
    port, users = options.pop("listen_port"), tmp_path / options.pop("auth_file")
    assert f":{port}/{next(iter(ini['databases']))}" in SCALING["listen-url"]
    users.write_text('"anybody" ""\n')
    for parent in (users.parent, *users.parent.parents[:-2]):
        parent.chmod(parent.stat().st_mode | 0o011)
    users.chmod(0o644)
    pooler = start_pgbouncer(auth_file=str(users), **options)

    connected.write("flows.py", README["flows"])
    connected.env["OWSUPER_DATABASE_URL"] = pooler.url
    for number, listen in enumerate([None, database_url], 7):
        if listen:
            connected.env["OWSUPER_LISTEN_URL"] = listen
        worker = connected.worker("owsuper --processes 1 --module flows.py")
        start = f"from flows import *; print(send_welcome_email.run(Welcome({number})).result())"
        assert f"user-{number}@example.com" in connected.run(f'python -c "{start}"')
        worker.terminate()
        assert worker.wait() == 0
        assert ("connection pooler" in worker.stderr.text) is (listen is None)


@SCALING.covers("shards")
def test_a_program_uses_several_databases(connected: Sandbox, database_url: str) -> None:
    connected.write("shards.py", SCALING["shards"])
    printed = connected.run(f"python shards.py '{database_url}' '{database_url}'")
    assert printed.split() == ["pending", "1"]


@SCALING.covers("failover-url")
@pytest.mark.parametrize("name", ["listen-url", "failover-url"])
def test_the_exported_urls_are_understood(sandbox: Sandbox, name: str) -> None:
    printed = sandbox.run(f"{SCALING[name]}\nenv")
    env = dict(line.split("=", 1) for line in printed.splitlines() if line.startswith("OWSUPER_"))
    read = setting_sources.load(env=env, cwd=sandbox.directory)
    assert read.database_url == env["OWSUPER_DATABASE_URL"]
    assert read.listen_url == env.get("OWSUPER_LISTEN_URL")
    assert read.database_url is not None
    hosts = str(conninfo_to_dict(read.database_url)["host"]).split(",")
    assert len(hosts) == (2 if name == "failover-url" else 1)


@SCALING.covers("namespaces")
def test_what_is_left_in_each_namespace_is_counted(
    database_url: str, conn: psycopg.Connection, schema: str
) -> None:
    for namespace, count in [("north", 1), ("south", 2)]:
        ow = OpenWorkflow(database_url, schema=schema, namespace=namespace)
        for _ in range(count):
            ow.run_workflow("w", None)
        ow.close()
    query = SCALING["namespaces"].replace("openworkflow.", f'"{schema}".')
    assert sorted(conn.execute(query.encode()).fetchall()) == [("north", 1), ("south", 2)]


@SCALING.covers("replica")
def test_a_dashboard_reads_from_a_replica(servers: Servers, sandbox: Sandbox) -> None:
    primary = servers.create("primary")
    replica = servers.standby("replica", primary)
    with connect(primary.url) as conn:
        migrate(conn, "openworkflow")
    ow = OpenWorkflow(primary.url)
    handle = ow.run_workflow("w", None)
    ow.close()
    with replica.connect() as conn, primary.connect() as there:
        [lsn] = there.execute("SELECT pg_current_wal_flush_lsn()").fetchone() or [None]
        while conn.execute("SELECT pg_last_wal_replay_lsn() < %s", [lsn]).fetchone() == (True,):
            pass
    code = SCALING["replica"].replace("postgresql://app@replica.example.com/app", replica.url)
    sandbox.write("dashboard.py", code)
    assert sandbox.run(f"python dashboard.py {handle.id}") == "pending\n"


def test_the_numbers_of_connections_follow_from_the_formula() -> None:
    section = SCALING.text.partition("| processes a host |")[2]
    hosts = [int(each) for each in re.findall(r"(\d+) hosts?", section.splitlines()[0])]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", section, re.M)[:3]
    assert len(rows) == len(hosts) == 3
    for processes, cells in rows:
        counts = [int(cell.replace(",", "")) for cell in cells.split(" | ")]
        a_child = database._CONNECTIONS
        assert counts == [each * (2 + a_child * int(processes)) for each in hosts]
    assert f"idle for {database._IDLE_SECONDS:g} seconds" in SCALING.text


def test_every_block_of_the_document_is_executed() -> None:
    assert SCALING.unexecuted() == []
