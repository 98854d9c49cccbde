"""A relay in front of PostgreSQL that counts round trips.

A round trip begins when a client speaks after the server did, so that a pipeline of statements
is one. The relay does not look into what it passes on, which may be encrypted; it costs time,
so nothing else is measured through it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from owsuper.bench.figures import BenchmarkError

START_SECONDS = 10.0


class RelayUnavailable(BenchmarkError):
    """Round trips to this server cannot be counted."""


class Relay:
    """``url`` leads to the server of ``target`` through here; ``trips`` is the count so far."""

    def __init__(self, target: str) -> None:
        parts = conninfo_to_dict(target)
        self._host = str(parts.get("hostaddr") or parts.get("host") or "/var/run/postgresql")
        self._port = int(parts.get("port") or 5432)
        self._target = target
        self._loop = asyncio.new_event_loop()
        self.trips = 0
        self.url = ""

    async def listen(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        local = self._host.startswith(("/", "@"))
        # Kept, the host's name is still what a certificate is checked against.
        plain = {"host": "localhost", "sslmode": "disable"} if local else {}
        self.url = make_conninfo(
            self._target, **plain, hostaddr="127.0.0.1", port=port, gssencmode="disable"
        )

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._host.startswith("/"):
            opening = asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            opening = asyncio.open_connection(self._host, self._port)
        with suppress(OSError):  # either side may go away at any time
            answers, questions = await opening
            turns = _Turns(self)
            await asyncio.gather(
                _pass_on(reader, questions, turns.client_spoke),
                _pass_on(answers, writer, turns.server_spoke),
            )

    def run(self) -> None:
        """In a thread of its own, until ``stop``."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    def start(self) -> None:
        asyncio.run_coroutine_threadsafe(self.listen(), self._loop).result(START_SECONDS)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


class _Turns:
    """Whose turn it is on one connection."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._answered = True

    def client_spoke(self) -> None:
        self._relay.trips += self._answered
        self._answered = False

    def server_spoke(self) -> None:
        self._answered = True


async def _pass_on(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, spoke: Callable[[], None]
) -> None:
    try:
        while data := await source.read(1 << 16):
            spoke()
            sink.write(data)
            await sink.drain()
    finally:
        sink.close()


@contextmanager
def relay(target: str) -> Iterator[Relay]:
    """A relay to the server of ``target``. Raises RelayUnavailable if that names several hosts."""
    if "," in str(conninfo_to_dict(target).get("host") or ""):
        raise RelayUnavailable("round trips cannot be counted when the database URL has many hosts")
    running = Relay(target)
    thread = threading.Thread(target=running.run, name="relay", daemon=True)
    thread.start()
    try:
        running.start()
        yield running
    finally:
        running.stop()
        thread.join()
