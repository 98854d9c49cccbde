"""The status and the end of a run as server-sent events."""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from owsuper.client.handle import RunHandle
from owsuper.client.watching import look
from owsuper.db.waits import Progress
from owsuper.errors import OwsuperError
from owsuper.starlette.answers import LOOK_SECONDS, NO_STORE, PublicErrors, body
from owsuper.starlette.waiting import Waiting, waiting

_KEEP_ALIVE: Final = 15.0  # seconds; proxies end connections that are silent for 30 s or longer
# Seconds. Browsers connect again by themselves, and a server that stops without a signal, as
# after its maximum of requests, waits for its streams.
_LONGEST: Final = 300.0
_RECONNECT: Final = b"retry: 1000\n\n"  # milliseconds
_COMMENT: Final = b": the run goes on\n\n"
_HEADERS: Final = {**NO_STORE, "X-Accel-Buffering": "no"}  # nginx would hold events back
_END: Final = "end"

_log = logging.getLogger("owsuper.starlette")


async def events_response(
    request: Request, run: RunHandle[Any], *, public_errors: PublicErrors = ()
) -> Response:
    """Return a stream of server-sent events: ``status`` now, and ``end`` when ``run`` has ended.

    The data of both is the JSON of :func:`status_response`. The stream ends after ``end``, after
    five minutes, when the client goes away, and when the server is about to stop. An EventSource
    connects again by itself. If it does so after ``end``, the answer is 204, which stops it. The
    stream outlasts a database that is away.

    Raises RunNotFound, and DatabaseError with its subclasses.
    """
    if request.headers.get("last-event-id") == _END:
        return Response(status_code=204)
    return _EventStream(run, await look(run, LOOK_SECONDS), public_errors)


class _EventStream(Response):
    """Sends the events of one run to one client."""

    media_type = "text/event-stream"

    def __init__(self, run: RunHandle[Any], now: Progress, public_errors: PublicErrors) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._run = run
        self._now = now
        self._public_errors = public_errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        try:
            await self._send_events(receive, send)
        except OSError:  # the client has gone
            return
        except OwsuperError as error:  # the client connects again, and gets an answer that fits
            _log.warning("a stream of events of run %s ends early: %s", self._run.id, error)
        await _write(send, b"", more=False)
        if self.background is not None:
            await self.background()

    async def _send_events(self, receive: Receive, send: Send) -> None:
        await _write(send, _RECONNECT)
        if self._now.ended:
            await _write(send, self._event(_END, self._now))
            return
        await _write(send, self._event("status", self._now))
        async with waiting(self._run, receive, patient=True) as watch:
            if (end := await self._end(watch, send)) is not None:
                await _write(send, self._event(_END, end))

    async def _end(self, watch: Waiting, send: Send) -> Progress | None:
        """Return the end of the run, if that is before the end of the stream."""
        give_up = time.monotonic() + _LONGEST
        while True:
            end = await watch.wait(_KEEP_ALIVE)
            if end is not None or watch.over or time.monotonic() > give_up:
                return end
            await _write(send, _COMMENT)

    def _event(self, name: str, run: Progress) -> bytes:
        data = json.dumps(body(run, self._public_errors), allow_nan=False)
        return f"event: {name}\nid: {name}\ndata: {data}\n\n".encode()


async def _write(send: Send, text: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": more})
