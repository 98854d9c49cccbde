"""The connections of an application, from its start to its stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette

from owsuper import OpenWorkflow
from owsuper.errors import ConfigurationError
from owsuper.starlette import lifespan
from owsuper.starlette.closing import Closing, closing
from tests.client.conftest import Rows, eventually
from tests.fixtures.proxy import Proxy
from tests.starlette.asgi import Request, running


def test_connections_are_open_from_the_start_to_the_stop(proxy: Proxy, schema: str) -> None:
    ow = OpenWorkflow(proxy.url, schema=schema)

    async def run() -> None:
        async with running(Starlette(lifespan=lifespan(ow))):
            assert proxy.connections == 1
        assert await asyncio.to_thread(eventually, lambda: proxy.connections == 0) is None

    for _ in range(2):  # and it can be started again
        asyncio.run(run())


def test_several_clients_share_a_lifespan_which_stands_in_one_of_your_own(
    proxy: Proxy, schema: str
) -> None:
    clients = [OpenWorkflow(proxy.url, schema=schema) for _ in range(2)]
    seen: list[str] = []

    @asynccontextmanager
    async def own(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with lifespan(*clients)(app):
            seen.append("started")
            yield {"mine": 1}
            seen.append("stopped")

    async def run() -> None:
        async with running(Starlette(lifespan=own)):
            assert proxy.connections == 2

    asyncio.run(run())
    assert seen == ["started", "stopped"]


def test_an_application_starts_without_its_database_and_says_so(
    proxy: Proxy, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.cut()

    async def run() -> None:
        async with running(Starlette(lifespan=lifespan(OpenWorkflow(proxy.url, schema=schema)))):
            pass

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert "the application starts without its database" in caplog.text


def test_a_setting_that_cannot_be_used_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWSUPER_SCHEMA", "not a schema")
    ow = OpenWorkflow()

    async def start() -> None:
        async with lifespan(ow)(None):
            raise AssertionError("it has started")

    with pytest.raises(ConfigurationError):
        asyncio.run(start())


def test_a_lifespan_that_was_not_given_its_client_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"Starlette object .* is no OpenWorkflow. .*\(ow"):
        lifespan(Starlette())  # type: ignore[arg-type]


# --- signals ---------------------------------------------------------------------------------


def test_a_signal_ends_waiting_and_goes_on_to_the_server(app: Starlette, rows: Rows) -> None:
    run_id = rows.add()
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))

    async def stop() -> None:
        async with running(app):
            poll = Request(app, f"/{run_id}/result")
            stream = Request(app, f"/{run_id}/events")
            await stream.wait_for("event: status")
            await asyncio.to_thread(eventually, lambda: rows.waiters(run_id) == 1)
            signal.raise_signal(signal.SIGTERM)
            status, body = await poll.answer()
            assert (status, body["status"]) == (202, "running")
            assert "event: end" not in (await stream.answer())[1]
            # What comes later does not wait either.
            assert (await Request(app, f"/{run_id}/result").answer())[0] == 202

    try:
        mine = signal.getsignal(signal.SIGTERM)
        asyncio.run(stop())
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_a_process_that_goes_on_after_a_signal_may_start_the_application_again(
    app: Starlette, rows: Rows
) -> None:
    test_a_signal_ends_waiting_and_goes_on_to_the_server(app, rows)

    async def start() -> None:
        async with running(app):
            assert not closing.future().done()

    asyncio.run(start())


def test_signals_without_a_handler_and_handlers_of_others_are_left_alone() -> None:
    async def run() -> None:
        with Closing().noticed():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

            def theirs(number: int, frame: object) -> None: ...

            signal.signal(signal.SIGINT, theirs)
        assert signal.getsignal(signal.SIGINT) is theirs

    before = signal.getsignal(signal.SIGINT), signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        asyncio.run(run())
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_an_application_in_another_thread_is_not_told(app: Starlette) -> None:
    async def run() -> None:
        async with running(app):
            pass

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
