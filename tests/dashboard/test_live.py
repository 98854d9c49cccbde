"""Changes as server-sent events: one connection for all browsers, and its end with the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from owsuper.dashboard import live as live_module
from owsuper.dashboard import live_feed
from owsuper.dashboard.live import Live
from owsuper.dashboard.live_feed import LiveFeed
from owsuper.dashboard.sessions import BrowserSession
from owsuper.dashboard.visit import Visit
from owsuper.db import connect
from owsuper.db.migrate import migrate
from owsuper.db.timed import TimedConnection
from tests.client.conftest import Rows, eventually
from tests.fixtures.cluster import Servers
from tests.fixtures.proxy import Proxy
from tests.starlette.asgi import Request

NEVER = 10**9  # transactions a second


@dataclass(frozen=True)
class Source:
    """The database of a test."""

    url: str
    schema: str
    listens: bool = True
    namespace: str = "default"
    name: str = "owsuper test live"

    def connect(self) -> TimedConnection:
        return connect.connect(self.url, application_name=self.name)


def make_live(url: str, schema: str, *, listen: bool = True) -> Live:
    return Live(LiveFeed(Source(url, schema, listen)))


def app_of(live: Live) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = HttpRequest(scope, receive)
        session = request.query_params.get("session", "")
        visit = cast("Visit", SimpleNamespace(request=request, session=BrowserSession(session)))
        response: Response = await live.respond(visit)
        await response(scope, receive, send)

    return app


@pytest.fixture
def name() -> str:
    """What the sessions of this test, and no others, call themselves."""
    return f"owsuper test live {uuid4().hex}"


@pytest.fixture
def live(
    database_url: str, schema: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Live]:
    monkeypatch.setattr(live_feed, "_POLL", 0.05)
    made = Live(LiveFeed(Source(database_url, schema, name=name)))
    yield made
    made.close()


@pytest.fixture
def rows(conn: psycopg.Connection, schema: str) -> Rows:
    return Rows(conn, schema)


@asynccontextmanager
async def streams(live: Live, *queries: str) -> AsyncIterator[list[Request]]:
    """Browsers that are connected."""
    app = app_of(live)
    opened = [Request(app, f"/live?{query}") for query in queries]
    for each in opened:
        await each.wait_for("event: ready")
    try:
        yield opened
    finally:
        for each in opened:
            each.leave()
            with suppress(TimeoutError):
                await each.answer()


def connections(conn: psycopg.Connection, name: str) -> int:
    query = b"SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
    row = conn.execute(query, [name]).fetchone()
    assert row is not None
    return int(str(row[0]))


def test_a_browser_hears_of_a_new_run_and_of_the_end_of_one(live: Live, rows: Rows) -> None:
    run_id = rows.add()

    async def look() -> str:
        async with streams(live, "topic=runs", f"topic=run:{run_id}") as (list_of_runs, page):
            await asyncio.to_thread(rows.add, "other")
            await list_of_runs.wait_for("event: changed\ndata: runs\n\n")
            assert "changed" not in page.text
            await asyncio.to_thread(rows.end, run_id)
            await page.wait_for(f"event: changed\ndata: run:{run_id}\n\n")
            return list_of_runs.headers["content-type"]

    assert asyncio.run(look()) == "text/event-stream; charset=utf-8"


def test_ten_browsers_share_one_connection_which_ends_after_them(
    live: Live, conn: psycopg.Connection, name: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "_LINGER", 0.0)

    async def look() -> None:
        async with streams(live, *["topic=runs"] * 10) as ten:
            assert await asyncio.to_thread(connections, conn, name) == 1
            await asyncio.to_thread(rows.add)
            for each in ten:
                await each.wait_for("event: changed")

    asyncio.run(look())
    eventually(lambda: connections(conn, name) == 0)


def test_the_more_pages_are_open_the_more_rarely_each_is_told(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "_BUSY", NEVER)  # whatever the tests beside this one write

    async def look(count: int) -> float:
        async with streams(live, *["topic=runs"] * count):
            return live.pause

    assert asyncio.run(look(1)) == 1.0
    assert asyncio.run(look(10)) == 2.5


def test_on_a_busy_server_pages_are_told_more_rarely_and_miss_nothing(
    live: Live, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "_BUSY", -1)  # even without a single transaction

    async def look() -> None:
        async with streams(live, *["topic=runs"] * 15) as pages:
            await asyncio.to_thread(eventually, lambda: live.pause == 10.0)
            await asyncio.to_thread(rows.add)
            for page in pages:
                await page.wait_for("event: changed")
            monkeypatch.setattr(live_feed, "_BUSY", NEVER)
            await asyncio.to_thread(eventually, lambda: live.pause == 3.75)

    asyncio.run(look())


def test_many_transactions_make_a_server_busy(live: Live, conn: psycopg.Connection) -> None:
    async def look() -> None:
        async with streams(live, "topic=runs"):
            seen = asyncio.Event()

            def write() -> None:
                while not seen.is_set():
                    conn.execute(b"SELECT pg_current_xact_id()")

            writing = asyncio.create_task(asyncio.to_thread(write))
            await asyncio.to_thread(eventually, lambda: live._feed.busy)
            seen.set()
            await writing

    asyncio.run(look())


def test_a_request_for_the_head_alone_is_answered_and_opens_no_stream(live: Live) -> None:
    async def ask() -> tuple[tuple[int, Any], str]:
        request = Request(app_of(live), "/live?topic=runs", method="HEAD")
        return await request.answer(), request.headers["content-type"]

    assert asyncio.run(ask()) == ((200, ""), "text/event-stream; charset=utf-8")


def test_who_logs_out_has_no_stream_any_more_and_others_have(live: Live, rows: Rows) -> None:
    async def look() -> None:
        async with streams(live, "topic=runs&session=1", "topic=runs&session=2") as (one, other):
            live.leave("1")
            assert (await one.answer())[0] == 200  # ended, in order
            await asyncio.to_thread(rows.add)
            await other.wait_for("event: changed")

    asyncio.run(look())


def test_a_step_attempt_is_a_change_of_its_run(
    live: Live, conn: psycopg.Connection, schema: str, rows: Rows
) -> None:
    run_id = rows.add()
    insert = (
        f'INSERT INTO "{schema}".step_attempts (namespace_id, id, workflow_run_id, step_name, kind,'
        " status, config, created_at, updated_at)"
        " VALUES ('default', 'a', $1, 's', 'function', 'running', '{}', now(), now())"
    )

    async def look() -> None:
        async with streams(live, f"topic=run:{run_id}") as [page]:
            await asyncio.to_thread(conn.execute, insert.encode(), [run_id])
            await page.wait_for(f"data: run:{run_id}")

    asyncio.run(look())


def test_without_notifications_changes_are_found_by_asking(
    database_url: str, schema: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "_POLL", 0.05)
    live = make_live(database_url, schema, listen=False)

    async def look() -> None:
        async with streams(live, "topic=runs") as [page]:
            await asyncio.to_thread(rows.add)
            await page.wait_for("data: runs")

    try:
        asyncio.run(look())
    finally:
        live.close()


def test_streams_end_when_the_connection_does_and_come_back_with_the_database(
    proxy: Proxy, schema: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "_POLL", 0.05)
    live = make_live(proxy.url, schema)
    app = app_of(live)

    async def look() -> None:
        page = Request(app, "/live?topic=runs")
        await page.wait_for("event: ready")
        proxy.cut()
        assert (await page.answer())[0] == 200  # ended, in order
        status, text = await Request(app, "/live?topic=runs").answer()
        assert (status, text) == (503, "The database is away. The page asks again by itself.")
        proxy.restore()
        async with streams(live, "topic=runs") as [again]:
            await asyncio.to_thread(rows.add)
            await again.wait_for("data: runs")

    try:
        asyncio.run(look())
    finally:
        live.close()


def test_a_session_that_the_server_ends_is_replaced(
    live: Live, conn: psycopg.Connection, name: str, rows: Rows
) -> None:
    kill = b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"

    async def look() -> None:
        page = Request(app_of(live), "/live?topic=runs")
        await page.wait_for("event: ready")
        await asyncio.to_thread(conn.execute, kill, [name])
        await page.answer()
        async with streams(live, "topic=runs") as [again]:
            await asyncio.to_thread(rows.add)
            await again.wait_for("data: runs")

    asyncio.run(look())


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "Give 1 to 10 topics"),
        ("&".join(["topic=runs"] * 11), "Give 1 to 10 topics"),
        ("topic=secrets", "There is no such topic"),
        ("topic=run:", "There is no such topic"),
        ("topic=run:" + "x" * 501, "There is no such topic"),
        ("topic=run:a%0Adata:b", "no control characters"),
    ],
)
def test_a_topic_that_is_none_is_refused(live: Live, query: str, reason: str) -> None:
    async def ask() -> tuple[int, Any]:
        return await Request(app_of(live), f"/live?{query}").answer()

    status, text = asyncio.run(ask())
    assert status == 400
    assert reason in text


def test_too_many_streams_are_refused(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("owsuper.dashboard.live.MAX_STREAMS", 1)

    async def ask() -> tuple[int, Any]:
        async with streams(live, "topic=runs"):
            return await Request(app_of(live), "/live?topic=runs").answer()

    status, text = asyncio.run(ask())
    assert (status, text.partition(".")[0]) == (503, "Too many pages are open for live updates")


def test_without_a_thread_a_stream_fails_and_the_next_one_does_not(
    live: Live, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoThread(live_feed.threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    async def look() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(live_feed.threading, "Thread", NoThread)
            with pytest.raises(RuntimeError, match="new thread"):
                await Request(app_of(live), "/live?topic=runs").answer()
        async with streams(live, "topic=runs") as [page]:
            await asyncio.to_thread(rows.add)
            await page.wait_for("event: changed")

    asyncio.run(look())


@pytest.mark.slow
def test_a_replica_tells_of_changes_however_transactions_overlap(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "_POLL", 0.05)
    primary = servers.create("primary")
    replica = servers.standby("replica", primary)
    writes = [connect.connect(primary.url, application_name="test") for _ in range(3)]
    migrate(writes[0], "openworkflow")
    rows = Rows(writes[0], "openworkflow")
    run_id = rows.add()
    for conn in writes[1::-1]:  # both have written, and the older one stays open
        conn.execute(b"BEGIN")
        conn.execute(b"SELECT pg_current_xact_id()")
    rows.end(run_id)
    Rows(writes[2], "openworkflow").add()
    with replica.connect() as there:
        query = b"SELECT count(*) FROM openworkflow.workflow_runs"
        eventually(lambda: there.execute(query).fetchone() == (2,))
    live = make_live(replica.url, "openworkflow")

    async def look() -> None:
        async with streams(live, "topic=runs", f"topic=run:{run_id}") as (every, page):
            await asyncio.to_thread(writes[0].execute, b"COMMIT")
            await every.wait_for("event: changed")
            await page.wait_for(f"event: changed\ndata: run:{run_id}\n\n")

    asyncio.run(look())
    live.close()
    for conn in writes:
        conn.close()


def test_between_two_events_is_a_pause_however_many_changes_come(
    live: Live, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "_PAUSE", 3600.0)

    async def look() -> str:
        async with streams(live, "topic=runs", "topic=runs") as [page, other]:
            await asyncio.to_thread(rows.add)
            await page.wait_for("data: runs")
            await other.wait_for("data: runs")
            for _ in range(20):
                await asyncio.to_thread(rows.add)
            async with streams(live, "topic=runs") as [third]:
                await asyncio.to_thread(rows.add)
                await third.wait_for("data: runs")
            return page.text + other.text

    assert asyncio.run(look()).count("event: changed") == 2


def test_closing_ends_the_streams(live: Live) -> None:
    async def look() -> None:
        page = Request(app_of(live), "/live?topic=runs")
        await page.wait_for("event: ready")
        await asyncio.to_thread(live.close)
        assert (await page.answer())[0] == 200

    asyncio.run(look())
