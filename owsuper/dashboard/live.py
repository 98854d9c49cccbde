"""Changes as server-sent events, for the pages of the dashboard.

A page subscribes to topics and gets, at most once a second, the names of those that have changed.
It then asks for itself again. The events hold no data: who may not see a page learns nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from owsuper.dashboard.live_feed import MAX_TOPICS, RUN, RUNS, LiveFeed, Subscription
from owsuper.dashboard.visit import Visit
from owsuper.starlette.closing import closing

MAX_STREAMS: Final = 200
"""The most streams of one process; a browser has one for each page that is open."""

_MAX_ID: Final = 500  # characters of the id of a run
_CONNECT: Final = 10.0  # seconds until the feed must be ready
_PAUSE: Final = 1.0  # seconds from one event to the next, at least
# To all browsers together, each of which then asks for its page. On a busy server nobody can follow
# each change, and what pages cost is missing elsewhere: ten of them take 1 % of two processors, and
# a hundred no more than that.
_EVENTS_A_SECOND: Final = 4.0
_EVENTS_WHILE_BUSY: Final = 1.5
_KEEP_ALIVE: Final = 15.0  # seconds; proxies end connections that are silent for 30 s or longer
_LONGEST: Final = 300.0  # seconds; then the browser connects again, and must still be allowed to
_RECONNECT: Final = b"retry: 2000\n\n"  # milliseconds
_COMMENT: Final = b": still here\n\n"
_MEDIA_TYPE: Final = "text/event-stream"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would hold back


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()


class Live:
    """The door ``/live`` of one application of the dashboard."""

    def __init__(self, feed: LiveFeed) -> None:
        self._feed = feed
        self._open: dict[Subscription, str] = {}  # the session of the browser
        self._noticing = ExitStack()

    async def respond(self, visit: Visit) -> Response:
        """Return a stream of events on the topics of the query.

        400 for topics that are none, 503 if the database is away or too many streams are open.
        """
        topics = visit.request.query_params.getlist("topic")
        if problem := _problem(topics):
            return PlainTextResponse(problem, 400)
        if visit.request.method == "HEAD":  # which would wait for a body that it does not get
            return Response(headers=_HEADERS, media_type=_MEDIA_TYPE)
        if len(self._open) >= MAX_STREAMS:
            return _later("Too many pages are open for live updates.")
        subscription = self._feed.subscribe(topics)
        if not self._open:
            # Else the server, told to stop, would wait for the streams. Mounted in another
            # application, this one gets no lifespan in which to see to that.
            self._noticing.enter_context(closing.noticed())
        self._open[subscription] = visit.session.id
        try:
            async with asyncio.timeout(_CONNECT):
                await subscription.begun()
        except TimeoutError:
            self.end(subscription)
            return _later("The database does not answer.")
        except BaseException:
            self.end(subscription)
            raise
        if subscription.closed:
            self.end(subscription)
            return _later("The database is away.")
        return _Stream(self, subscription)

    @property
    def pause(self) -> float:
        """How many seconds a stream waits after an event: the more streams, the longer."""
        rate = _EVENTS_WHILE_BUSY if self._feed.busy else _EVENTS_A_SECOND
        return max(_PAUSE, len(self._open) / rate)

    def leave(self, session_id: str) -> None:
        """End the streams of a browser that logs out, as far as this process has them."""
        for subscription, of in list(self._open.items()):
            if of == session_id:
                subscription.close()

    def close(self) -> None:
        """Disconnect, which ends all streams. May be called in any thread."""
        self._feed.close()

    def end(self, subscription: Subscription) -> None:
        """Count a stream no longer."""
        del self._open[subscription]
        if not self._open:
            self._noticing.close()
        self._feed.unsubscribe(subscription)


class _Stream(Response):
    """Sends the events of one subscription to one browser."""

    media_type = _MEDIA_TYPE

    def __init__(self, live: Live, subscription: Subscription) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._live = live
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_client_has_gone(receive))
        stop = closing.future()
        try:
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            await _write(send, _RECONNECT + _event("ready", "live"))
            await self._send_events(send, (gone, stop))
            await _write(send, b"", more=False)
        except OSError:  # the client has gone
            pass
        finally:
            for future in (gone, stop):
                future.cancel()
            self._live.end(self._subscription)

    async def _send_events(self, send: Send, ends: Sequence[asyncio.Future[Any]]) -> None:
        subscription = self._subscription
        give_up = time.monotonic() + _LONGEST
        while time.monotonic() < give_up:
            told = asyncio.ensure_future(subscription.wait())
            await _first_of([told, *ends], _KEEP_ALIVE)
            told.cancel()
            if subscription.closed or any(end.done() for end in ends):
                return
            changed = subscription.take()
            events = b"".join(_event("changed", topic) for topic in sorted(changed))
            await _write(send, events or _COMMENT)
            if changed:
                await self._pause(ends)

    async def _pause(self, ends: Sequence[asyncio.Future[Any]]) -> None:
        """Wait until the next event may be sent: sooner, if the server is no longer busy."""
        sent_at = time.monotonic()
        while (left := sent_at + self._live.pause - time.monotonic()) > 0:
            await _first_of(ends, min(left, _PAUSE))
            if any(end.done() for end in ends):
                return


async def _first_of(futures: Sequence[asyncio.Future[Any]], seconds: float) -> None:
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


async def _client_has_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(send: Send, text: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": more})


def _problem(topics: Sequence[str]) -> str:
    """Return what is wrong with the topics of a request; empty if nothing is."""
    if not 1 <= len(topics) <= MAX_TOPICS:
        return f"Give 1 to {MAX_TOPICS} topics, such as ?topic={RUNS} or ?topic={RUN}ID."
    for topic in topics:
        run_id = topic.removeprefix(RUN)
        if topic != RUNS and (run_id == topic or not 1 <= len(run_id) <= _MAX_ID):
            return f"There is no such topic: give {RUNS}, or {RUN} and the id of a run."
        if "\0" in topic or "\n" in topic or "\r" in topic:
            return "A topic has no control characters."
    return ""


def _later(reason: str) -> Response:
    headers = {"Retry-After": "2", "Cache-Control": "no-store"}
    return PlainTextResponse(f"{reason} The page asks again by itself.", 503, headers)
