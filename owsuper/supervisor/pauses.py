"""The workflows that are paused: no run of them is claimed.

They are read after every connect, before the first claim, and when a notification says that they
have changed. Without notifications they are read from time to time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from owsuper.db.statement import NO_TABLE, Result
from owsuper.db.sweeps import SweepQueries, parse_paused
from owsuper.event_loop import Loop
from owsuper.supervisor.connection import KeptConnection

_RETRY: Final = 1.0  # seconds

_log = logging.getLogger("owsuper.supervisor")


class Pauses:
    """The paused workflows of a namespace, read over a shared connection.

    ``names`` are those that are paused. ``known``: they have been read since the latest connect,
    or there is no table of them. ``on_resumed`` is called when the runs of some workflow may be
    claimed again.
    """

    def __init__(
        self,
        loop: Loop,
        connection: KeptConnection,
        queries: SweepQueries,
        *,
        on_resumed: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._queries = queries
        self._on_resumed = on_resumed
        self._reading = self._read_again = False
        self.names: frozenset[str] = frozenset()
        self.known = False
        self._retry = loop.timers.add("read again what is paused", self.read)

    def on_connection_lost(self) -> None:
        """Forget what is in flight, and read again after the next connect."""
        self.known = self._reading = self._read_again = False
        self._retry.cancel()

    def read(self) -> None:
        """Read which workflows are paused, unless the connection is down."""
        if not self._connection.up:
            return
        if self._reading:
            self._read_again = True  # the answer may be older than what has changed
            return
        self._reading = True
        statement, params = self._queries.paused_workflows()
        self._connection.send(statement, params, self._handle)

    def _handle(self, result: Result) -> None:
        self._reading = False
        if not self._connection.refused("read which workflows are paused", result):
            self.known = True
            self._change(parse_paused(result.rows))
        elif result.sqlstate in NO_TABLE:
            self.known = True
        else:
            self._retry.after(_RETRY)
        if self._read_again:
            self._read_again = False
            self.read()

    def _change(self, names: frozenset[str]) -> None:
        before, self.names = self.names, names
        for name in sorted(names - before):
            _log.info("the workflow %s is paused: no run of it is claimed", name)
        for name in sorted(before - names):
            _log.info("the workflow %s is resumed", name)
        if before - names:
            self._on_resumed()
