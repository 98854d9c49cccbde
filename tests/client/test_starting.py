"""Starting runs, reading them and canceling them, sync and async."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from owsuper import AsyncStep, OpenWorkflow, RunHandle, RunNotFound, RunStatus, Step, Workflow
from owsuper.db import migrate
from owsuper.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnreachable,
    InvalidData,
    InvalidDuration,
    MigrationError,
    NotSerializable,
    RunNotCancelable,
)
from tests.client.conftest import Rows
from tests.client.sync_and_async import Call, sync_and_async
from tests.fixtures.proxy import Proxy


@dataclass
class Welcome:
    user_id: int
    tags: list[str] | None = None


@pytest.fixture
def welcome(ow: OpenWorkflow) -> Workflow[Welcome, str]:
    @ow.workflow("welcome", version="2")
    def welcome(step: Step, input: Welcome) -> str:
        return ""

    return welcome


# --- what is stored --------------------------------------------------------------------------


@sync_and_async
def test_a_started_run_is_pending_and_due_at_once(
    welcome: Workflow[Welcome, str], rows: Rows, call: Call
) -> None:
    handle = call(welcome, "run", Welcome(7, ["new"]))
    row = rows.get(handle.id)
    assert (row["workflow_name"], row["version"]) == ("welcome", "2")
    assert row["input"] == {"user_id": 7, "tags": ["new"]}
    assert (row["status"], row["attempts"], row["config"]) == ("pending", 0, {})
    assert row["available_at"] == row["updated_at"]
    assert row["idempotency_key"] is row["deadline_at"] is row["worker_id"] is None
    assert handle.workflow_name == "welcome"
    assert repr(handle) == f"<RunHandle {handle.id} of 'welcome'>"


@sync_and_async
def test_no_input_is_stored_as_null(ow: OpenWorkflow, rows: Rows, call: Call) -> None:
    @ow.workflow
    async def nothing(step: AsyncStep) -> None: ...

    assert rows.get(call(nothing, "run").id)["input"] is None
    assert rows.get(call(nothing, "run", None).id)["input"] is None


@sync_and_async
def test_a_run_may_be_started_by_name_alone(ow: OpenWorkflow, rows: Rows, call: Call) -> None:
    handle = call(ow, "run_workflow", "elsewhere", {"any": ["thing", 1]}, version="7")
    row = rows.get(handle.id)
    assert (row["workflow_name"], row["version"]) == ("elsewhere", "7")
    assert row["input"] == {"any": ["thing", 1]}
    assert handle.workflow_name == "elsewhere"


@sync_and_async
def test_a_run_may_be_started_by_its_workflow(
    ow: OpenWorkflow, welcome: Workflow[Welcome, str], rows: Rows, call: Call
) -> None:
    row = rows.get(call(ow, "run_workflow", welcome, Welcome(7)).id)
    assert (row["workflow_name"], row["version"]) == ("welcome", "2")


@sync_and_async
def test_many_runs_are_started_in_order(
    welcome: Workflow[Welcome, str], rows: Rows, call: Call
) -> None:
    handles = call(welcome, "run_many", (Welcome(n) for n in range(2500)))
    assert rows.count() == 2500
    assert len({handle.id for handle in handles}) == 2500
    for n in (0, 1, 1999, 2000, 2499):
        assert rows.get(handles[n].id)["input"]["user_id"] == n


@sync_and_async
def test_no_runs_are_started_without_asking_the_database(call: Call) -> None:
    unreachable = OpenWorkflow("postgresql://127.0.0.1:1/none")
    assert call(unreachable, "run_many", "name", []) == []


@sync_and_async
def test_many_runs_by_name_share_their_schedule(ow: OpenWorkflow, rows: Rows, call: Call) -> None:
    later = datetime(2999, 1, 2, tzinfo=UTC)
    handles = call(ow, "run_many", "name", [1, 2], version="3", available_at=later)
    assert {rows.get(handle.id)["available_at"] for handle in handles} == {later}
    assert {rows.get(handle.id)["version"] for handle in handles} == {"3"}


# --- idempotency keys ------------------------------------------------------------------------


@sync_and_async
def test_a_key_finds_the_run_that_it_started(
    welcome: Workflow[Welcome, str], rows: Rows, call: Call
) -> None:
    first = call(welcome, "run", Welcome(7), idempotency_key="welcome:7")
    again = call(welcome, "run", Welcome(8), idempotency_key="welcome:7")
    other = call(welcome, "run", Welcome(8), idempotency_key="welcome:8")
    assert first.id == again.id != other.id
    assert rows.get(first.id)["idempotency_key"] == "welcome:7"
    assert rows.get(first.id)["input"]["user_id"] == 7


def test_of_many_starts_with_one_key_at_once_one_wins(
    welcome: Workflow[Welcome, str], rows: Rows
) -> None:
    with ThreadPoolExecutor(8) as threads:
        starts = [
            threads.submit(welcome.run, Welcome(n), idempotency_key="once") for n in range(32)
        ]
    assert len({start.result().id for start in starts}) == 1
    assert rows.count() == 1


@pytest.mark.parametrize(
    ("key", "complaint"),
    [(7, "must be text, such as '7'"), ("x" * 1001, "the key has 1001 char"), ("a\0", "U.0000")],
)
@sync_and_async
def test_keys_that_cannot_be_stored_are_refused(
    welcome: Workflow[Welcome, str], rows: Rows, call: Call, key: Any, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"idempotency_key: .*{complaint}"):
        call(welcome, "run", Welcome(7), idempotency_key=key)
    assert rows.count() == 0


def test_the_empty_key_is_a_key(welcome: Workflow[Welcome, str]) -> None:
    ids = {welcome.run(Welcome(n), idempotency_key="").id for n in range(2)}
    assert len(ids) == 1


# --- times -----------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["5m", timedelta(minutes=5)])
@sync_and_async
def test_a_run_may_start_after_a_while(
    welcome: Workflow[Welcome, str], rows: Rows, call: Call, when: Any
) -> None:
    before = datetime.now(UTC)
    end = when * 2 if isinstance(when, timedelta) else "10m"
    row = rows.get(call(welcome, "run", Welcome(7), available_at=when, deadline_at=end).id)
    for moment, minutes in ((row["available_at"], 5), (row["deadline_at"], 10)):
        assert timedelta(minutes=minutes - 0.1) < moment - before < timedelta(minutes=minutes + 1)


@sync_and_async
def test_times_may_be_in_any_zone(welcome: Workflow[Welcome, str], rows: Rows, call: Call) -> None:
    noon = datetime(2999, 1, 1, 12, 0, 0, 123456, timezone(timedelta(hours=-8)))
    later = noon + timedelta(hours=1)
    row = rows.get(call(welcome, "run", Welcome(7), available_at=noon, deadline_at=later).id)
    assert (row["available_at"], row["deadline_at"]) == (noon, later)


@pytest.mark.parametrize("parameter", ["available_at", "deadline_at"])
@pytest.mark.parametrize(
    ("when", "error", "complaint"),
    [
        (datetime(2999, 1, 1), ConfigurationError, "has no time zone"),
        (
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-3))),
            ConfigurationError,
            r"9999-12-31T23:59:59\.999999-03:00 is outside the years 1 to 9999",
        ),
        ("soon", InvalidDuration, 'Invalid duration format: "soon"'),
        (5, ConfigurationError, "expected an aware datetime, a timedelta or text"),
    ],
)
def test_unusable_times_are_refused(
    welcome: Workflow[Welcome, str],
    rows: Rows,
    parameter: str,
    when: Any,
    error: type[Exception],
    complaint: str,
) -> None:
    with pytest.raises(error, match=f"^{parameter}: .*{complaint}"):
        welcome.run(Welcome(7), **{parameter: when})
    with pytest.raises(error, match=f"^{parameter}: .*{complaint}"):
        welcome.run_many([Welcome(7)], **{parameter: when})
    assert rows.count() == 0


@sync_and_async
@pytest.mark.parametrize("start", ["1h", timedelta(minutes=5), datetime(2999, 1, 1, tzinfo=UTC)])
def test_a_run_that_would_miss_its_deadline_before_it_may_start_is_refused(
    welcome: Workflow[Welcome, str], rows: Rows, call: Call, start: Any
) -> None:
    complaint = r"^deadline_at: the run would fail at .* UTC, before it may start at .* UTC"
    with pytest.raises(ConfigurationError, match=complaint):
        call(welcome, "run", Welcome(7), available_at=start, deadline_at="1m")
    with pytest.raises(ConfigurationError, match=complaint):
        call(welcome, "run_many", [Welcome(7)], available_at=start, deadline_at="1m")
    assert rows.count() == 0


# --- inputs that do not fit ------------------------------------------------------------------


@sync_and_async
def test_an_input_of_the_wrong_type_names_the_field_and_stores_nothing(
    welcome: Workflow[Welcome, str], rows: Rows, call: Call
) -> None:
    wrong: Any = {"user_id": "seven"}
    with pytest.raises(InvalidData, match=r'input.user_id of workflow "welcome"') as e:
        call(welcome, "run", wrong)
    assert e.value.path == "input.user_id"
    with pytest.raises(InvalidData, match=r"inputs\[1\].user_id"):
        call(welcome, "run_many", [Welcome(7), wrong])
    with pytest.raises(InvalidData, match="input"):
        call(welcome, "run")
    assert rows.count() == 0


@sync_and_async
def test_plain_json_of_the_right_shape_is_accepted(
    welcome: Workflow[Welcome, str], rows: Rows, call: Call
) -> None:
    fitting: Any = {"user_id": 7}
    assert rows.get(call(welcome, "run", fitting).id)["input"] == fitting


@sync_and_async
def test_an_input_for_a_workflow_that_takes_none_is_refused(
    ow: OpenWorkflow, rows: Rows, call: Call
) -> None:
    @ow.workflow
    def nothing(step: Step) -> None: ...

    with pytest.raises(InvalidData, match="the workflow takes no input"):
        call(nothing, "run", 7)
    assert rows.count() == 0


@pytest.mark.parametrize("bad", [math.nan, "a\0b", 1 << 70, {1: 2}, {1, 2}, b"x"])
@sync_and_async
def test_an_input_that_json_cannot_hold_names_the_field(
    ow: OpenWorkflow, rows: Rows, call: Call, bad: Any
) -> None:
    with pytest.raises(NotSerializable, match=r"input.items\[1\]") as e:
        call(ow, "run_workflow", "name", {"items": [1, bad]})
    assert e.value.path.startswith("input.items[1]")
    with pytest.raises(NotSerializable, match=r"inputs\[2\]"):
        call(ow, "run_many", "name", [1, 2, bad])
    assert rows.count() == 0


@pytest.mark.parametrize("name", ["", "a\0b", 7, None])
@sync_and_async
def test_a_name_that_no_workflow_can_have_is_refused(
    ow: OpenWorkflow, call: Call, name: Any
) -> None:
    with pytest.raises(ConfigurationError, match="workflow name"):
        call(ow, "run_workflow", name)


def test_a_workflow_is_not_run_as_another_version(
    ow: OpenWorkflow, welcome: Workflow[Welcome, str]
) -> None:
    other: Any = {"version": "1"}
    with pytest.raises(ConfigurationError, match="cannot be run as version '1'"):
        ow.run_workflow(welcome, Welcome(7), **other)


@pytest.mark.parametrize("version", ["a\0b", "\ud800", 7])
def test_a_version_that_cannot_be_stored_is_refused(ow: OpenWorkflow, version: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^version: "):
        ow.run_workflow("welcome", version=version)


# --- reading and canceling -------------------------------------------------------------------


@sync_and_async
def test_the_status_follows_the_run(
    welcome: Workflow[Welcome, str], rows: Rows, call: Call
) -> None:
    handle = call(welcome, "run", Welcome(7))
    assert call(handle, "status") is RunStatus.PENDING
    rows.end(handle.id)
    assert call(handle, "status") is RunStatus.COMPLETED


@sync_and_async
def test_legacy_statuses_read_as_those_of_today(ow: OpenWorkflow, rows: Rows, call: Call) -> None:
    run_id = rows.add()
    for stored, told in (("sleeping", "running"), ("succeeded", "completed")):
        rows.end(run_id, status=stored)
        assert call(ow.get_run(run_id), "status") == told
        assert call(ow.get_run(run_id), "details").status == told


@sync_and_async
def test_details_have_all_that_is_stored(
    welcome: Workflow[Welcome, str], rows: Rows, call: Call
) -> None:
    handle = call(welcome, "run", Welcome(7), idempotency_key="k", deadline_at="1h")
    run = call(handle, "details")
    assert (run.id, run.workflow_name, run.version) == (handle.id, "welcome", "2")
    assert (run.status, run.attempts, run.idempotency_key) == (RunStatus.PENDING, 0, "k")
    assert (run.input, run.output, run.error) == ({"user_id": 7, "tags": None}, None, None)
    assert run.available_at.tzinfo is not None
    assert run.created_at <= run.available_at < run.deadline_at
    assert run.started_at is run.finished_at is run.worker_id is None
    rows.end(handle.id, status="failed", error={"name": "E", "message": "broken"})
    assert call(handle, "details").error.message == "broken"


@sync_and_async
def test_a_canceled_run_is_canceled_for_good(welcome: Workflow[Welcome, str], call: Call) -> None:
    handle = call(welcome, "run", Welcome(7))
    assert call(handle, "cancel") is None
    assert call(handle, "cancel") is None
    assert call(handle, "status") is RunStatus.CANCELED


@sync_and_async
def test_a_finished_run_cannot_be_canceled(ow: OpenWorkflow, rows: Rows, call: Call) -> None:
    run_id = rows.add()
    rows.end(run_id)
    with pytest.raises(
        RunNotCancelable, match=f"Cannot cancel workflow run {run_id} with status completed"
    ):
        call(ow.get_run(run_id), "cancel")


@sync_and_async
def test_an_unknown_run_is_not_found_by_any_method(
    ow: OpenWorkflow, rows: Rows, call: Call
) -> None:
    for run_id in ("unknown", rows.add(namespace="other")):
        handle = ow.get_run(run_id)
        for method in ("status", "details", "cancel", "result"):
            with pytest.raises(RunNotFound, match=f"Workflow run {run_id} does not exist"):
                call(handle, method)


def test_namespaces_do_not_see_each_other(database_url: str, schema: str, ow: OpenWorkflow) -> None:
    other = OpenWorkflow(database_url, schema=schema, namespace="other")
    handle = other.run_workflow("name")
    assert handle.status() is RunStatus.PENDING
    with pytest.raises(RunNotFound):
        ow.get_run(handle.id).status()
    other.close()


# --- databases that are not there ------------------------------------------------------------


@sync_and_async
def test_an_unreachable_server_is_named_with_what_to_check(call: Call) -> None:
    nowhere = OpenWorkflow("postgresql://ada:secret@127.0.0.1:1/db")
    with pytest.raises(DatabaseUnreachable, match=r"127\.0\.0\.1:1.*Connection refused") as e:
        call(nowhere, "run_workflow", "name")
    assert "secret" not in str(e.value)


@sync_and_async
def test_missing_tables_are_an_error_that_says_how_to_make_them(
    database_url: str, call: Call
) -> None:
    ow = OpenWorkflow(database_url, schema="never_made")
    for method, args in (("run_workflow", ["name"]), ("run_many", ["name", [1, 2]])):
        with pytest.raises(MigrationError, match=r"owsuper migrate --schema never_made.*worker"):
            call(ow, method, *args)
    for method in ("status", "details", "cancel", "result"):
        with pytest.raises(MigrationError, match="owsuper migrate --schema never_made"):
            call(ow.get_run("any"), method)
    ow.close()


@sync_and_async
def test_a_role_without_privileges_gets_the_reason(
    limited_url: str, schema: str, call: Call
) -> None:
    ow = OpenWorkflow(make_conninfo(limited_url, password="open sesame"), schema=schema)
    with pytest.raises(DatabaseError, match=r"owsuper_limited.* lacks a privilege: permission"):
        call(ow, "run_workflow", "name")
    ow.close()


@pytest.mark.slow
@sync_and_async
@pytest.mark.parametrize(
    ("place", "blamed"),
    [
        ("ROLE writer", r'the role "writer" is read-only\. Use another role, or let .* ALTER ROLE'),
        ("ROLE writer IN DATABASE {database}", 'the role "writer" is read-only in database'),
        ("DATABASE {database}", r"the database \"\w+\" is read-only\. Let .* ALTER DATABASE"),
    ],
)
def test_a_read_only_role_or_database_is_told_so(
    database_url: str,
    conn: psycopg.Connection,
    schema: str,
    call: Call,
    place: str,
    blamed: str,
) -> None:
    database = f"read_only_{schema}"
    conn.execute(f"CREATE DATABASE {database}".encode())
    conn.execute("CREATE ROLE writer LOGIN SUPERUSER")
    where = make_conninfo(database_url, dbname=database, user="writer")
    place = place.format(database=database)
    ow = OpenWorkflow(where, migrate=True)
    try:
        ow.count_runs()
        ow.close()
        conn.execute(f"ALTER {place} SET default_transaction_read_only = on".encode())
        for method, args in [("run_workflow", ["x"]), ("send_signal", ["x"])]:
            with pytest.raises(DatabaseError, match=f"^PostgreSQL takes no writes: {blamed}"):
                call(ow, method, *args)
        url = make_conninfo(where, target_session_attrs="read-write")
        with pytest.raises(DatabaseUnreachable, match="or the database has default_transaction"):
            call(OpenWorkflow(url), "run_workflow", "x")
    finally:
        ow.close()
        conn.execute(f"DROP DATABASE {database} WITH (FORCE)".encode())
        conn.execute("DROP ROLE writer")


def test_a_read_only_url_is_told_so(database_url: str, schema: str) -> None:
    options = "-c default_transaction_read_only=on"
    ow = OpenWorkflow(make_conninfo(database_url, options=options), schema=schema)
    with pytest.raises(DatabaseError, match=r"the database URL .* makes the connection read-only"):
        ow.run_workflow("x")
    ow.close()


# --- tables that are not there --------------------------------------------------------------


@sync_and_async
def test_a_client_that_may_migrate_makes_the_tables_once(
    database_url: str, conn: psycopg.Connection, call: Call
) -> None:
    schema = f"made_{uuid4().hex}"
    ow = OpenWorkflow(database_url, schema=schema, migrate=True)
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: call(ow, "run_workflow", "x"), range(4)))
        assert call(ow, "count_runs").pending == 4
        assert migrate.check(conn, schema) == []
    finally:
        ow.close()
        conn.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())


def test_tables_of_an_earlier_version_are_updated(
    database_url: str, conn: psycopg.Connection, schema: str
) -> None:
    versions = f'"{schema}".owsuper_migrations'
    newest = f"(SELECT max(version) FROM {versions})"
    conn.execute(f"DELETE FROM {versions} WHERE version = {newest}".encode())
    assert migrate.check(conn, schema) != []
    for migrates in (False, True):
        ow = OpenWorkflow(database_url, schema=schema, migrate=migrates)
        ow.run_workflow("x")
        ow.close()
        assert (migrate.check(conn, schema) == []) is migrates


@sync_and_async
def test_while_one_thread_makes_the_tables_others_keep_their_limit(
    database_url: str, conn: psycopg.Connection, schema: str, call: Call
) -> None:
    ow = OpenWorkflow(database_url, schema=schema, migrate=True, call_timeout="1s")
    session = ow._database.session()
    complaint = "still creates or updates the tables"
    with session._migrating, pytest.raises(DatabaseUnreachable, match=complaint):
        call(ow, "count_runs")
    assert call(ow, "count_runs").pending == 0
    ow.close()


@pytest.fixture
def through_proxy(proxy: Proxy, schema: str) -> Iterator[OpenWorkflow]:
    ow = OpenWorkflow(proxy.url, schema=schema, listen=False)
    yield ow
    ow.close()


@sync_and_async
def test_a_connection_that_died_while_idle_is_replaced(
    through_proxy: OpenWorkflow, proxy: Proxy, rows: Rows, call: Call
) -> None:
    call(through_proxy, "run_workflow", "name")
    proxy.reset_connections()
    call(through_proxy, "run_workflow", "name")
    assert rows.count() == 2


both_halves = pytest.mark.parametrize("lose", [Proxy.lose_answer, Proxy.lose_request])


@both_halves
@pytest.mark.parametrize("key", [None, "once"])
@sync_and_async
def test_a_start_whose_answer_was_lost_is_not_doubled(
    through_proxy: OpenWorkflow,
    proxy: Proxy,
    rows: Rows,
    call: Call,
    key: str | None,
    lose: Callable[[Proxy, bytes], None],
) -> None:
    lose(proxy, b"INSERT INTO")
    handle = call(through_proxy, "run_workflow", "name", 7, idempotency_key=key)
    proxy.wait_for_drop()
    assert rows.count() == 1
    assert rows.get(handle.id)["input"] == 7


@both_halves
@sync_and_async
def test_many_starts_whose_answer_was_lost_are_not_doubled(
    through_proxy: OpenWorkflow,
    proxy: Proxy,
    rows: Rows,
    call: Call,
    lose: Callable[[Proxy, bytes], None],
) -> None:
    lose(proxy, b"INSERT INTO")
    handles = call(through_proxy, "run_many", "name", list(range(5000)))
    proxy.wait_for_drop()
    assert rows.count() == 5000
    assert len(handles) == 5000


@sync_and_async
def test_a_cancellation_whose_answer_was_lost_is_done(
    through_proxy: OpenWorkflow, proxy: Proxy, rows: Rows, call: Call
) -> None:
    handle: RunHandle[Any] = call(through_proxy, "run_workflow", "name")
    proxy.lose_answer(to=b"canceled")
    call(handle, "cancel")
    proxy.wait_for_drop()
    assert rows.get(handle.id)["status"] == "canceled"


@sync_and_async
def test_an_outage_is_an_error_and_passes(
    through_proxy: OpenWorkflow, proxy: Proxy, rows: Rows, call: Call
) -> None:
    call(through_proxy, "run_workflow", "name")
    proxy.cut()
    with pytest.raises(DatabaseUnreachable, match="Cannot reach PostgreSQL"):
        call(through_proxy, "run_workflow", "name")
    proxy.restore()
    call(through_proxy, "run_workflow", "name")
    assert rows.count() == 2


def test_a_server_that_restarts_under_a_query_is_asked_again(
    ow: OpenWorkflow, conn: psycopg.Connection
) -> None:
    ow.run_workflow("name")
    killed = conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE 'owsuper: client%'"
    )
    assert killed.rowcount >= 1
    ow.run_workflow("name")


def test_a_server_that_crashes_in_the_middle_of_a_pipeline_is_asked_again(
    ow: OpenWorkflow,
) -> None:
    """psycopg may then fail to leave the pipeline, although the connection looks intact."""
    session = ow._database.session()
    tried: list[psycopg.Connection] = []

    def work(conn: psycopg.Connection) -> str:
        tried.append(conn)
        if len(tried) == 1:
            conn.pgconn.enter_pipeline_mode()
            raise psycopg.OperationalError("cannot exit pipeline mode while busy")
        return "done"

    assert session.run(work) == "done"
    assert tried[0].closed

    async def run() -> tuple[str, bool]:
        tried.clear()
        session = await ow._database.asession()
        return await session.arun(work), tried[0].closed

    assert asyncio.run(run()) == ("done", True)
