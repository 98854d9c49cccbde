"""The dashboard inside another application; its connections; a database that is away."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from owsuper import OpenWorkflow
from owsuper.client import page_reads
from owsuper.errors import DatabaseError
from owsuper.starlette import lifespan
from tests.client.conftest import RunProgram, eventually, run_program
from tests.dashboard.test_pages import PATHS
from tests.dashboard.test_security import token_in
from tests.fixtures.proxy import Proxy

__all__ = ["run_program"]


def links_in(page: str) -> list[str]:
    return re.findall(r'(?:href|src|action)="([^"#]+)', page)


def in_starlette(dashboard: Any, ow: OpenWorkflow) -> Any:
    return Starlette(routes=[Mount("/a b/workflows", dashboard)], lifespan=lifespan(ow))


def in_fastapi(dashboard: Any, ow: OpenWorkflow) -> Any:
    app = FastAPI(lifespan=lifespan(ow))
    app.mount("/a b/workflows", dashboard)
    return app


def by_hand(dashboard: Any, ow: OpenWorkflow) -> Any:
    """As in asgi.py of Django: the path as it is, and the prefix beside it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/a b/workflows/"):
            await dashboard({**scope, "root_path": "/a b/workflows"}, receive, send)

    return app


@pytest.mark.parametrize("application", [in_starlette, in_fastapi, by_hand])
@pytest.mark.parametrize("path", PATHS)
def test_every_link_of_a_mounted_page_stays_below_its_prefix(
    ow: OpenWorkflow, application: Any, path: str
) -> None:
    app = application(ow.dashboard(insecure=True), ow)
    browser = TestClient(app, follow_redirects=False)
    page = browser.get(f"/a b/workflows{path}")
    assert page.status_code == 200, page.text
    links = links_in(page.text)
    assert len(links) > 8
    assert [link for link in links if not link.startswith("/a%20b/workflows/")] == []
    assert "Path=/a%20b/workflows/" in page.headers["set-cookie"]


@pytest.mark.parametrize("application", [in_starlette, in_fastapi, by_hand])
def test_files_and_forms_of_a_mounted_dashboard_work(ow: OpenWorkflow, application: Any) -> None:
    browser = TestClient(application(ow.dashboard(insecure=True), ow), follow_redirects=False)
    page = browser.get("/a b/workflows/waiting").text
    files = [link for link in links_in(page) if "/static/" in link]
    for file in files:
        answer = browser.get(file.replace("&amp;", "&"))
        assert answer.status_code == 200, file
        assert "immutable" in answer.headers["cache-control"]
    data = {"theme": "dark", "back": "/a%20b/workflows/runs", "token": token_in(page)}
    answer = browser.post("/a b/workflows/theme", data=data)
    assert (answer.status_code, answer.headers["location"]) == (303, "/a%20b/workflows/runs")


@pytest.mark.slow
def test_it_works_beside_django(run_program: RunProgram) -> None:
    pytest.importorskip("django")
    words = run_program(
        """
        import django
        from django.conf import settings
        from django.core.asgi import get_asgi_application
        from django.http import HttpResponse
        from django.urls import path
        from starlette.applications import Starlette
        from starlette.routing import Mount
        from starlette.testclient import TestClient

        urlpatterns = [path("hello", lambda request: HttpResponse("hello"))]
        settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="x", ALLOWED_HOSTS=["*"])
        site = get_asgi_application()
        app = Starlette(
            routes=[Mount("/workflows", ow.dashboard(insecure=True)), Mount("/", site)]
        )
        browser = TestClient(app)
        print(browser.get("/hello").text)
        page = browser.get("/workflows/waiting").text
        print('href="/workflows/workers"' in page)
        ow.close()
        """
    )
    assert words == ["hello", "True"]


def test_a_mounted_dashboard_connects_when_a_page_is_read_and_closes_with_the_client(
    ow: OpenWorkflow, conn: psycopg.Connection
) -> None:
    def sessions() -> set[int]:
        query = b"SELECT pid FROM pg_stat_activity WHERE application_name = $1"
        return {row[0] for row in conn.execute(query, [f"owsuper: dashboard {os.getpid()}"])}

    before = sessions()  # of other tests, which may still be ending
    app = in_starlette(ow.dashboard(insecure=True), ow)
    with TestClient(app) as browser:
        assert sessions() <= before
        for _ in range(3):
            assert browser.get("/a b/workflows/workers").status_code == 200
        assert 1 <= len(sessions() - before) <= 4
    eventually(lambda: sessions() <= before)


@pytest.mark.slow
def test_a_forked_process_has_connections_of_its_own(run_program: RunProgram) -> None:
    words = run_program(
        """
        from starlette.testclient import TestClient
        app = ow.dashboard(insecure=True)
        browser = TestClient(app)
        print(browser.get("/workers").status_code)
        in_child(lambda: print(TestClient(app).get("/workers").status_code))
        print(browser.get("/workers").status_code)
        ow.close()
        """
    )
    assert words == ["200", "200", "200"]


def test_a_page_writes_nothing_whatever_it_executes(ow: OpenWorkflow) -> None:
    app: Any = ow.dashboard(insecure=True)
    with pytest.raises(Exception, match=r"read-only|takes no writes"):
        app.reader.read(lambda conn: conn.execute("CREATE TABLE x ()"))


def test_however_many_pages_are_open_they_share_four_connections(ow: OpenWorkflow) -> None:
    app: Any = ow.dashboard(insecure=True)
    used: list[int] = []
    four = threading.Event()

    def work(conn: Any) -> None:
        used.append(conn.info.backend_pid)
        if len(used) == 4:
            four.set()
        assert four.wait(60)

    async def look() -> None:
        await asyncio.gather(*(app.reader.aread(work) for _ in range(12)))

    asyncio.run(look())
    assert len(used) == 12
    assert len(set(used)) == 4


def test_statements_of_a_page_end_after_two_seconds(ow: OpenWorkflow) -> None:
    app: Any = ow.dashboard(insecure=True)
    limit = app.reader.read(lambda conn: conn.execute("SHOW statement_timeout").fetchone())
    assert limit == ("2s",)


def test_a_statement_that_takes_too_long_is_stopped_and_the_page_says_so(
    ow: OpenWorkflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "owsuper.client.page_reads._BEGIN",
        b"BEGIN READ ONLY; SET LOCAL statement_timeout = 50",
    )
    app: Any = ow.dashboard(insecure=True)
    read = app.reader.aread

    async def slow(work: Any) -> Any:
        return await read(lambda conn: conn.execute("SELECT pg_sleep(60)"))

    monkeypatch.setattr(app.reader, "aread", slow)
    monkeypatch.setattr(app.reader, "akept", lambda key, seconds, work: slow(work))
    page = TestClient(app).get("/workers")
    assert page.status_code == 503
    assert "This page takes too long" in page.text
    assert "retry-after" not in page.headers


def test_a_page_comes_back_by_itself_when_the_database_does(
    proxy: Proxy, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    ow = OpenWorkflow(proxy.url, schema=schema)
    browser = TestClient(ow.dashboard(insecure=True))
    try:
        assert browser.get("/workers").status_code == 200
        proxy.cut()
        page = browser.get("/?x=1")
        assert page.status_code == 503
        assert "The database does not answer" in page.text
        assert page.headers["retry-after"] == "5"
        assert '<meta http-equiv="refresh" content="5">' in page.text
        assert "127.0.0.1" not in page.text
        assert "a page cannot be shown" in caplog.text
        proxy.restore()
        assert browser.get("/?x=1").status_code == 200
    finally:
        ow.close()


def test_missing_tables_are_a_page_that_says_what_makes_them(database_url: str) -> None:
    ow = OpenWorkflow(database_url, schema="not_there")
    try:
        page = TestClient(ow.dashboard(insecure=True)).get("/workers")
    finally:
        ow.close()
    assert page.status_code == 503
    assert "owsuper migrate" in page.text


def test_pages_of_one_moment_share_a_read(ow: OpenWorkflow) -> None:
    app: Any = ow.dashboard(insecure=True)
    reads = []

    async def both() -> None:
        def work(conn: Any) -> int:
            reads.append(1)
            return len(reads)

        kept = [app.reader.akept("key", 60.0, work) for _ in range(10)]
        assert set(await asyncio.gather(*kept)) == {1}

    asyncio.run(both())
    assert len(reads) == 1


@pytest.mark.parametrize(
    ("took", "age", "reads"),
    [
        (0.001, 2.9, 1),
        (0.001, 3.1, 2),
        (0.5, 9.9, 1),
        (0.5, 10.1, 2),
        (1.9, 14.9, 1),
        (1.9, 15.1, 2),
    ],
)
def test_what_took_long_to_read_is_used_for_longer(
    ow: OpenWorkflow, monkeypatch: pytest.MonkeyPatch, took: float, age: float, reads: int
) -> None:
    app: Any = ow.dashboard(insecure=True)
    clock, read = [0.0], []
    monkeypatch.setattr(page_reads, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(app.reader, "read", lambda work: work(None))

    def work(conn: Any) -> int:
        clock[0] += took
        read.append(1)
        return len(read)

    async def twice() -> None:
        await app.reader.akept("key", 3.0, work)
        clock[0] += age
        assert await app.reader.akept("key", 3.0, work) == reads

    asyncio.run(twice())


def test_pages_that_wait_for_a_read_that_fails_share_its_error(ow: OpenWorkflow) -> None:
    app: Any = ow.dashboard(insecure=True)
    begun, go_on, reads = threading.Event(), threading.Event(), []

    def work(conn: Any) -> int:
        reads.append(1)
        begun.set()
        go_on.wait(60)
        raise DatabaseError("too slow")

    def one_more_waits() -> bool:
        frames: list[Any] = []
        for frame in sys._current_frames().values():
            while frame is not None:
                frames.append(frame)
                frame = frame.f_back
        waiting = [each for each in frames if each.f_code.co_name == "refresh"]
        return sum("came" in each.f_locals for each in waiting) == 2

    async def both() -> None:
        first = asyncio.ensure_future(app.reader.akept("key", 60.0, work))
        await asyncio.to_thread(begun.wait, 60)
        other = asyncio.ensure_future(app.reader.akept("key", 60.0, work))
        while not one_more_waits():
            await asyncio.sleep(0.01)
        go_on.set()
        found = await asyncio.gather(first, other, return_exceptions=True)
        assert [str(each) for each in found] == ["too slow"] * 2

    asyncio.run(both())
    assert len(reads) == 1


def test_a_plain_client_imports_nothing_of_the_dashboard() -> None:
    script = (
        "import sys, owsuper; owsuper.OpenWorkflow()\n"
        "names = ('owsuper.dashboard', 'starlette', 'jinja2', 'itsdangerous', 'uvicorn')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
