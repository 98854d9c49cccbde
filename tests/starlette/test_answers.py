"""How a run looks in JSON, and the answers to requests about it: now, or by long poll."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from starlette.applications import Starlette

from owsuper import OpenWorkflow
from tests.client.conftest import Rows, eventually
from tests.fixtures.proxy import Proxy
from tests.starlette.asgi import Request, running
from tests.starlette.conftest import make_app


def get(app: Starlette, path: str) -> tuple[int, Any]:
    """Start the application, ask it once, and stop it."""

    async def ask() -> tuple[int, Any]:
        async with running(app):
            return await Request(app, path).answer()

    return asyncio.run(ask())


def let_looks_take(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("answers", "results", "events"):
        monkeypatch.setattr(f"owsuper.starlette.{module}.LOOK_SECONDS", seconds)


# --- now -------------------------------------------------------------------------------------


def test_a_run_that_goes_on_has_neither_result_nor_error(app: Starlette, rows: Rows) -> None:
    run_id = rows.add("order")
    assert get(app, f"/{run_id}") == (
        200,
        {"id": run_id, "workflow": "order", "status": "running", "result": None, "error": None},
    )


@pytest.mark.parametrize("path", ["", "/result"])
def test_a_completed_run_has_its_result(app: Starlette, rows: Rows, path: str) -> None:
    run_id = rows.add()
    rows.end(run_id, output={"total": [1, 2**62, "é"]})
    status, body = get(app, f"/{run_id}{path}")
    assert (status, body["status"], body["error"]) == (200, "completed", None)
    assert body["result"] == {"total": [1, 2**62, "é"]}


def test_a_run_of_an_old_implementation_has_completed(app: Starlette, rows: Rows) -> None:
    run_id = rows.add()
    rows.end(run_id, status="succeeded", output=1)
    assert get(app, f"/{run_id}/result")[1]["status"] == "completed"


@pytest.mark.parametrize("name", ["CardError", "CardExpired"])
def test_a_failed_run_shows_the_message_of_a_public_error(
    app: Starlette, rows: Rows, name: str
) -> None:
    run_id = rows.add()
    error = {"name": name, "message": "card declined", "stack": "at secret.py"}
    rows.end(run_id, status="failed", error=error)
    status, body = get(app, f"/{run_id}")
    assert (status, body["status"], body["result"]) == (200, "failed", None)
    assert body["error"] == {"name": name, "message": "card declined"}


@pytest.mark.parametrize("error", [{"name": "OSError", "message": "10.0.0.3"}, {"message": "x"}])
def test_a_failed_run_hides_all_other_messages(
    app: Starlette, rows: Rows, error: dict[str, str]
) -> None:
    run_id = rows.add()
    rows.end(run_id, status="failed", error=error)
    body = get(app, f"/{run_id}")[1]
    assert body["error"] == {"name": "RunFailed", "message": "The run failed."}


def test_a_canceled_run_has_neither_result_nor_error(app: Starlette, rows: Rows) -> None:
    run_id = rows.add()
    rows.end(run_id, status="canceled")
    status, body = get(app, f"/{run_id}/result")
    assert (status, body["status"], body["result"], body["error"]) == (200, "canceled", None, None)


@pytest.mark.parametrize("path", ["", "/result", "/events"])
def test_an_unknown_run_is_not_found(app: Starlette, path: str) -> None:
    assert get(app, f"/unknown{path}") == (404, {"detail": "There is no such run."})


# --- by long poll ----------------------------------------------------------------------------


def test_a_long_poll_is_answered_when_the_run_ends(app: Starlette, rows: Rows) -> None:
    run_id = rows.add()

    async def ask() -> tuple[int, Any]:
        async with running(app):
            request = Request(app, f"/{run_id}/result")
            await asyncio.to_thread(eventually, lambda: rows.waiters(run_id) == 1)
            await asyncio.to_thread(rows.end, run_id, output="sent")
            return await request.answer()

    status, body = asyncio.run(ask())
    assert (status, body["status"], body["result"]) == (200, "completed", "sent")


@pytest.mark.parametrize("wait", ["0", "0.05"])
def test_at_its_time_limit_a_long_poll_says_that_the_run_goes_on(
    app: Starlette, rows: Rows, wait: str
) -> None:
    status, body = get(app, f"/{rows.add()}/result?wait={wait}")
    assert (status, body["status"]) == (202, "running")


def test_a_run_that_is_deleted_while_someone_waits_is_not_found(
    app: Starlette, rows: Rows, schema: str
) -> None:
    run_id = rows.add()

    async def ask() -> tuple[int, Any]:
        async with running(app):
            request = Request(app, f"/{run_id}/result")
            await asyncio.to_thread(eventually, lambda: rows.waiters(run_id) == 1)
            rows.delete(run_id)
            return await request.answer()

    assert asyncio.run(ask())[0] == 404


def test_a_client_that_leaves_frees_its_waiter(
    app: Starlette, ow: OpenWorkflow, rows: Rows
) -> None:
    run_id = rows.add()

    async def leave() -> None:
        async with running(app):
            for path in ("result", "events"):
                request = Request(app, f"/{run_id}/{path}")
                await asyncio.to_thread(eventually, lambda: rows.waiters(run_id) == 1)
                request.leave()
                await request.answer()
                await asyncio.to_thread(eventually, lambda: rows.waiters(run_id) == 0)

    asyncio.run(leave())


def test_a_thousand_clients_wait_with_a_handful_of_threads_and_connections(
    proxy: Proxy, schema: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_looks_take(60.0, monkeypatch)  # the last of a thousand looks comes late
    ow = OpenWorkflow(proxy.url, schema=schema)
    app = make_app(ow)
    run_id = rows.add()

    async def ask() -> list[tuple[int, Any]]:
        async with running(app):
            before = threading.active_count()
            requests = [Request(app, f"/{run_id}/result") for _ in range(500)]
            streams = [Request(app, f"/{run_id}/events") for _ in range(500)]
            for stream in streams:
                await stream.wait_for("event: status")
            await asyncio.to_thread(eventually, lambda: rows.waiters(run_id) == 1)
            assert threading.active_count() - before <= 12
            assert proxy.connections <= 12
            rows.end(run_id, output="sent")
            return [await each.answer() for each in requests + streams]

    answers = asyncio.run(ask())
    assert all(status == 200 and "sent" in str(body) for status, body in answers)


# --- without the database --------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/result", "/events"])
def test_without_the_database_requests_are_answered_at_once(
    proxy: Proxy, schema: str, rows: Rows, path: str
) -> None:
    app = make_app(OpenWorkflow(proxy.url, schema=schema))
    run_id = rows.add()

    async def ask() -> None:
        async with running(app):
            proxy.cut()
            request = Request(app, f"/{run_id}{path}")
            assert (await request.answer())[0] == 503
            assert request.headers["retry-after"] == "1"
            assert str(proxy.port) not in request.text
            proxy.restore()
            assert (await Request(app, f"/{run_id}").answer())[0] == 200

    asyncio.run(ask())


def test_a_long_poll_is_answered_when_the_database_goes_away(
    proxy: Proxy, schema: str, rows: Rows
) -> None:
    app = make_app(OpenWorkflow(proxy.url, schema=schema))
    run_id = rows.add()

    async def ask() -> int:
        async with running(app):
            request = Request(app, f"/{run_id}/result?wait=3600")
            await asyncio.to_thread(eventually, lambda: rows.waiters(run_id) == 1)
            proxy.cut()
            status, _ = await request.answer()
            proxy.restore()
            return status

    assert asyncio.run(ask()) == 503


def test_a_database_that_is_silent_is_not_waited_for_longer_than_some_seconds(
    proxy: Proxy, schema: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_looks_take(0.5, monkeypatch)
    app = make_app(OpenWorkflow(proxy.url, schema=schema))
    run_id = rows.add()

    async def ask() -> None:
        async with running(app):
            proxy.stall()
            # More than there are threads: the last ones wait for a thread.
            requests = [Request(app, f"/{run_id}") for _ in range(30)]
            began = time.monotonic()
            assert {(await each.answer())[0] for each in requests} == {503}
            assert time.monotonic() - began < 20
            proxy.restore()

    asyncio.run(ask())


def test_without_tables_requests_are_answered_with_503(database_url: str) -> None:
    app = make_app(OpenWorkflow(database_url, schema="owsuper_test_absent"))
    assert get(app, "/unknown")[0] == 503
