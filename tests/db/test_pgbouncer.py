"""Connections through a transaction pooler: known as such, and leaving nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from owsuper.core.pages import Position, Window
from owsuper.db import connect
from owsuper.db.clients import ClientQueries
from owsuper.db.lists import ListQueries, RunFilter
from owsuper.db.new_runs import NewRun
from owsuper.db.nonblocking import NonblockingConnection
from owsuper.db.statement import Statement
from owsuper.errors import ConfigurationError, DatabaseUnreachable
from tests.db.rows import Tables
from tests.db.test_nonblocking import ECHO, Owner
from tests.fixtures.pgbouncer import POOL_SIZE, PgBouncer, StartPgBouncer

SETTING = Statement("setting", "SELECT current_setting($1)")


@pytest.fixture
def pooled(pgbouncer: PgBouncer) -> Iterator[psycopg.Connection]:
    with closing(connect.connect(pgbouncer.url, application_name="app")) as conn:
        yield conn


def test_a_pooler_in_between_is_noticed(database_url: str, pgbouncer: PgBouncer) -> None:
    for url, expected in [(database_url, False), (pgbouncer.url, True)]:
        with closing(connect.connect(url, application_name="app")) as conn:
            assert connect.is_pooled(conn) is expected


def test_nothing_is_left_in_the_poolers_sessions(
    pooled: psycopg.Connection, pgbouncer: PgBouncer
) -> None:
    for _ in range(10):  # psycopg prepares what it sees the fifth time
        pooled.execute("SELECT $1::int", [1], prepare=True)
    assert pgbouncer.leftovers() == []


def test_statements_are_planned_as_on_a_direct_connection(pooled: psycopg.Connection) -> None:
    for name in ("enable_seqscan", "jit"):
        row = pooled.execute("SELECT current_setting($1)", [name]).fetchone()
        assert row == ("off",)


def test_an_error_is_that_of_the_statement_and_the_connection_goes_on(
    pooled: psycopg.Connection,
) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        pooled.execute("SELECT 1 / $1::int", [0])
    assert pooled.execute("SELECT $1::int", [1]).fetchone() == (1,)


def test_a_transaction_is_one_through_a_pooler_too(pooled: psycopg.Connection, schema: str) -> None:
    queries = ClientQueries(schema, "default")
    key = uuid4().hex
    ids = {
        queries.start(NewRun(workflow_name="w", idempotency_key=key)).run(pooled) for _ in range(3)
    }
    assert len(ids) == 1
    with pytest.raises(psycopg.Error), pooled.transaction():  # noqa: PT012 - the second fails
        pooled.execute(f'DELETE FROM "{schema}".workflow_runs'.encode())
        pooled.execute("SELECT 1/0")
    count = pooled.execute(f'SELECT count(*) FROM "{schema}".workflow_runs'.encode())
    assert count.fetchone() == (1,)


def test_the_same_statement_name_means_our_statement_whoever_else_uses_it(
    pgbouncer: PgBouncer,
) -> None:
    """Two programs that prepared different statements under one name, in each other's session."""
    wrong: list[object] = []

    def ask(number: int) -> None:
        statement = f"SELECT {number} + $1::int".encode()
        with closing(connect.connect(pgbouncer.url, application_name="app")) as conn:
            for _ in range(100):
                if (row := conn.execute(statement, [0], prepare=True).fetchone()) != (number,):
                    wrong.append(row)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(2 * POOL_SIZE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_times_are_in_utc_whatever_the_servers_time_zone(
    start_pgbouncer: StartPgBouncer, conn: psycopg.Connection, schema: str
) -> None:
    role = f"role_{uuid4().hex[:16]}"
    conn.execute(f"CREATE ROLE {role} LOGIN SUPERUSER".encode())
    try:
        conn.execute(f"ALTER ROLE {role} SET TimeZone = 'Asia/Kathmandu'".encode())
        queries = ClientQueries(schema, "default")
        url = start_pgbouncer(user=role).url
        with closing(connect.connect(url, application_name="app")) as pooled:
            run_id = queries.start(NewRun(workflow_name="w")).run(pooled)
            created = queries.get_run(run_id).run(pooled).created_at
            lists = ListQueries(schema, "default")
            [listed] = lists.runs(Window(), RunFilter()).run(pooled)
            Tables(conn, schema).step(run_id)
            [attempt] = lists.attempts(run_id, Window()).run(pooled)
            position = Position(created - timedelta(milliseconds=1), "")
            assert lists.runs(Window(position=position, backward=True), RunFilter()).run(pooled)
            assert not lists.runs(Window(position=position), RunFilter()).run(pooled)
        assert created.utcoffset() == attempt.created_at.utcoffset() == timedelta(0)
        assert created == listed.created_at
        [at] = conn.execute("SELECT now()").fetchone() or [None]
        assert timedelta(0) <= at - created < timedelta(minutes=1)
    finally:
        conn.execute(f"DROP ROLE {role}".encode())


# --- links -----------------------------------------------------------------------------------


@pytest.fixture
def owner(pgbouncer: PgBouncer) -> Iterator[Owner]:
    info = connect.conninfo(pgbouncer.url, application_name="link")
    with closing(NonblockingConnection(info, listen=["bell"])) as link:
        yield Owner(link)


def test_a_link_knows_whether_it_is_pooled(database_url: str, owner: Owner) -> None:
    assert owner.up().link.pooled
    with closing(
        NonblockingConnection(connect.conninfo(database_url, application_name="link"))
    ) as link:
        assert not Owner(link).up().link.pooled


def test_a_link_leaves_nothing_behind_and_listens_to_nothing(
    owner: Owner, pgbouncer: PgBouncer
) -> None:
    owner.up()
    for number in range(10):
        assert owner.ask(ECHO, "x", number, None).rows == [(b"x", str(number + 1).encode(), None)]
    assert owner.ask(SETTING, "enable_seqscan").rows == [(b"off",)]
    assert pgbouncer.leftovers() == []


def test_an_error_is_an_answer_on_a_pooled_link(owner: Owner) -> None:
    owner.up()
    assert owner.ask(ECHO, "x", "no number", None).sqlstate == "22P02"
    assert owner.ask(Statement("no", "no sql"), "x").sqlstate == "42601"
    assert owner.ask(ECHO, "x", 1, None).rows == [(b"x", b"2", None)]


def test_a_pooled_link_goes_down_with_the_pooler_and_comes_up_again(
    owner: Owner, pgbouncer: PgBouncer
) -> None:
    owner.up().ask(ECHO, "x", 1, None)
    pgbouncer.kill()
    owner.until(lambda: owner.downs)
    owner.downs.clear()
    pgbouncer.start()
    owner.ups = 0
    assert owner.up().ask(ECHO, "x", 1, None).rows == [(b"x", b"2", None)]


# --- what cannot work ------------------------------------------------------------------------


def test_defaults_that_do_not_fit_are_refused_with_what_mends_them(
    start_pgbouncer: StartPgBouncer, conn: psycopg.Connection
) -> None:
    role = f"role_{uuid4().hex[:16]}"
    conn.execute(f"CREATE ROLE {role} LOGIN".encode())
    try:
        conn.execute(f"ALTER ROLE {role} SET default_transaction_isolation = serializable".encode())
        pgbouncer = start_pgbouncer(user=role)
        with pytest.raises(ConfigurationError, match=r"ALTER ROLE .* 'read committed'") as refused:
            connect.connect(pgbouncer.url, application_name="app")
        advice = str(refused.value).partition("run: ")[2]
        conn.execute(advice.replace("anybody", role).encode())
        pgbouncer.kill()
        pgbouncer.start()
        connect.connect(pgbouncer.url, application_name="app").close()
    finally:
        conn.execute(f"DROP ROLE {role}".encode())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"options": "-c jit=off"}, "does not accept a setting in the database URL.*options"),
        ({"dbname": "nowhere"}, 'pooler at .* does not let .* into database "nowhere"'),
    ],
)
def test_what_the_pooler_refuses_is_explained(
    pgbouncer: PgBouncer, change: dict[str, str], says: str
) -> None:
    with pytest.raises(DatabaseUnreachable, match=says):
        connect.connect(make_conninfo(pgbouncer.url, **change), application_name="app")


def test_a_pooler_without_a_server_is_explained(start_pgbouncer: StartPgBouncer) -> None:
    pgbouncer = start_pgbouncer(user="nobody_of_this_name")
    with pytest.raises(DatabaseUnreachable, match="nobody_of_this_name"):
        connect.connect(pgbouncer.url, application_name="app")
