"""A server for tests: it calls an application of ASGI as servers do, on the loop of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp, Message


class Request:
    """A request to ``app``. It is answered in a task of its own, while the test goes on."""

    def __init__(self, app: ASGIApp, path: str, *, method: str = "GET", **headers: str) -> None:
        path, _, query = path.partition("?")
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self._changed = asyncio.Event()
        self._status = 0
        self.headers: dict[str, str] = {}
        self.text = ""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [
                (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        self._task = asyncio.ensure_future(app(scope, self._messages.get, self._send))

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.text += message.get("body", b"").decode()
        self._changed.set()

    def leave(self) -> None:
        """Let the client go away."""
        self._messages.put_nowait({"type": "http.disconnect"})

    async def wait_for(self, text: str) -> None:
        """Wait until the answer has ``text``."""
        async with asyncio.timeout(30):
            while text not in self.text:
                self._changed.clear()
                await self._changed.wait()

    async def answer(self) -> tuple[int, Any]:
        """Wait for the whole answer; return the status code and the JSON, or text, of the body."""
        await asyncio.wait_for(self._task, 30)
        is_json = self.headers.get("content-type") == "application/json"
        return self._status, json.loads(self.text) if is_json else self.text


@asynccontextmanager
async def running(app: ASGIApp) -> AsyncIterator[None]:
    """Start the application, and stop it at the end."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    task = asyncio.ensure_future(app(scope, to_app.get, from_app.put))
    for step in ("startup", "shutdown"):
        await to_app.put({"type": f"lifespan.{step}"})
        answer = await asyncio.wait_for(from_app.get(), 30)
        assert answer["type"] == f"lifespan.{step}.complete", answer
        if step == "startup":
            yield
    await task
