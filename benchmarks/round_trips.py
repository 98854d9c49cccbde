"""A proxy in front of PostgreSQL that counts round trips.

A round trip begins when the client sends after the server did, so a pipeline of statements is
one. The proxy does not parse what it forwards, which may be encrypted. It costs time, so nothing
else is measured through it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from owsuper.bench.samples import BenchmarkError

START_SECONDS = 10.0


class RoundTripsUnavailable(BenchmarkError):
    """Round trips to this server cannot be counted."""


class CountingProxy:
    """``url`` leads through the proxy to the server of ``target``; ``trips`` counts so far."""

    def __init__(self, target: str) -> None:
        parts = conninfo_to_dict(target)
        self._host = str(parts.get("hostaddr") or parts.get("host") or "/var/run/postgresql")
        self._port = int(parts.get("port") or 5432)
        self._target = target
        self._loop = asyncio.new_event_loop()
        self.trips = 0
        self.url = ""

    def run(self) -> None:
        """Serve until ``stop``, in a thread of its own."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    def start(self) -> None:
        """Wait until the proxy listens."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(START_SECONDS)

    def stop(self) -> None:
        """Let ``run`` return."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        local = self._host.startswith(("/", "@"))
        # The host's name stays in the URL: certificates are checked against it.
        plain = {"host": "localhost", "sslmode": "disable"} if local else {}
        self.url = make_conninfo(
            self._target, **plain, hostaddr="127.0.0.1", port=port, gssencmode="disable"
        )

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._host.startswith("/"):
            connecting = asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            connecting = asyncio.open_connection(self._host, self._port)
        with suppress(OSError):  # either side may disconnect at any time
            from_server, to_server = await connecting
            turns = _Turns(self)
            await asyncio.gather(
                _forward(reader, to_server, turns.client_sent),
                _forward(from_server, writer, turns.server_sent),
            )


class _Turns:
    """Which side of one connection sent last."""

    def __init__(self, proxy: CountingProxy) -> None:
        self._proxy = proxy
        self._answered = True

    def client_sent(self) -> None:
        self._proxy.trips += self._answered
        self._answered = False

    def server_sent(self) -> None:
        self._answered = True


async def _forward(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, sent: Callable[[], None]
) -> None:
    try:
        while data := await source.read(1 << 16):
            sent()
            sink.write(data)
            await sink.drain()
    finally:
        sink.close()


@contextmanager
def counting_proxy(target: str) -> Iterator[CountingProxy]:
    """A proxy to the server of ``target``.

    Raises RoundTripsUnavailable if ``target`` names several hosts.
    """
    if "," in str(conninfo_to_dict(target).get("host") or ""):
        raise RoundTripsUnavailable("cannot count round trips: the database URL has several hosts")
    proxy = CountingProxy(target)
    thread = threading.Thread(target=proxy.run, name="counting-proxy", daemon=True)
    thread.start()
    try:
        proxy.start()
        yield proxy
    finally:
        proxy.stop()
        thread.join()
