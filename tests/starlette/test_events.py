"""Server-sent events about a run."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette

from owsuper import OpenWorkflow
from owsuper.starlette import events as module
from tests.client.conftest import Rows, eventually
from tests.fixtures.proxy import Proxy
from tests.starlette.asgi import Request, running
from tests.starlette.conftest import make_app


def parse(text: str) -> list[dict[str, Any]]:
    """The events of a stream as a browser reads them, and the comments without a name."""
    events = []
    for block in text.split("\n\n")[:-1]:
        event = dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":")
        if "data" in event:
            event["data"] = json.loads(event["data"])
        events.append(event)
    return events


def test_a_stream_tells_the_status_and_then_the_end(app: Starlette, rows: Rows) -> None:
    run_id = rows.add()

    async def listen() -> Request:
        async with running(app):
            request = Request(app, f"/{run_id}/events")
            await request.wait_for("event: status")
            await asyncio.to_thread(eventually, lambda: rows.waiters(run_id) == 1)
            rows.end(run_id, output={"text": "a\nb"})
            assert (await request.answer())[0] == 200
            return request

    request = asyncio.run(listen())
    assert request.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert request.headers["cache-control"] == "no-store"
    assert "content-length" not in request.headers
    retry, status, end = parse(request.text)
    assert retry == {"retry": "1000"}
    assert (status["event"], status["data"]["status"]) == ("status", "running")
    assert (end["event"], end["id"]) == ("end", "end")
    assert (end["data"]["status"], end["data"]["result"]) == ("completed", {"text": "a\nb"})


def test_the_stream_of_a_run_that_has_ended_has_the_end_alone(app: Starlette, rows: Rows) -> None:
    run_id = rows.add()
    rows.end(run_id, status="canceled")

    async def listen() -> str:
        async with running(app):
            return str((await Request(app, f"/{run_id}/events").answer())[1])

    assert [event.get("event") for event in parse(asyncio.run(listen()))] == [None, "end"]


def test_a_browser_that_connects_again_after_the_end_is_told_to_stop(app: Starlette) -> None:
    async def connect() -> int:
        async with running(app):
            return (await Request(app, "/any/events", last_event_id="end").answer())[0]

    assert asyncio.run(connect()) == 204


def test_a_silent_stream_is_kept_alive_and_ends_after_a_while(
    app: Starlette, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = count(step=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    monkeypatch.setattr(module, "_KEEP_ALIVE", 0.01)
    run_id = rows.add()

    async def listen() -> str:
        async with running(app):
            return str((await Request(app, f"/{run_id}/events").answer())[1])

    text = asyncio.run(listen())
    assert text.count("\n\n: ") == 3  # it ends after 300 s
    assert "event: end" not in text


def test_a_stream_outlasts_a_database_that_is_away(proxy: Proxy, schema: str, rows: Rows) -> None:
    app = make_app(OpenWorkflow(proxy.url, schema=schema))
    run_id = rows.add()

    async def listen() -> str:
        async with running(app):
            request = Request(app, f"/{run_id}/events")
            await asyncio.to_thread(eventually, lambda: rows.waiters(run_id) == 1)
            poll = Request(app, f"/{run_id}/result")
            await asyncio.sleep(0)
            proxy.cut()
            assert (await poll.answer())[0] == 503  # so the outage was noticed
            rows.end(run_id, output="sent")
            proxy.restore()
            return str((await request.answer())[1])

    assert parse(asyncio.run(listen()))[-1]["data"]["result"] == "sent"
