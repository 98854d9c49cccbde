"""Hearing the bell: the connection that listens, and whether notifications get through at all.

It rings when runs become due, and says which run was canceled under its worker. Behind a
connection pooler nobody listens: the LISTEN would stay in a session that is not ours. Should
there be something else that delivers nothing, a notification that is sent to ourselves from time
to time will tell. Polling is always on behind the bell; a deaf one costs latency only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from owsuper.db.claims import ClaimQueries
from owsuper.db.listen import CANCELED
from owsuper.event_loop import Loop
from owsuper.supervisor.connection import KeptConnection

_PERIOD: Final = 300.0  # seconds between self-tests
_PATIENCE: Final = 2.0  # seconds for one notification to arrive

_log = logging.getLogger("owsuper.supervisor")


class Listener:
    """``on_ring`` is called when the bell rings, and when it may have rung unheard;
    ``on_canceled`` with the id of a run that some worker owned when it was canceled.

    The self-test sends its notifications over ``sender``, another connection.
    """

    def __init__(
        self,
        loop: Loop,
        conninfo: str,
        channel: str,
        *,
        on_ring: Callable[[], None],
        on_canceled: Callable[[str], None],
        sender: KeptConnection,
        queries: ClaimQueries,
    ) -> None:
        self._on_ring = on_ring
        self._on_canceled = on_canceled
        self._sender = sender
        self._queries = queries
        self._test_channel = f"owsuper-test:{uuid4().hex[:24]}"
        self._deaf = False
        self._closed = False
        self.tried = False  # connected once, or failed to
        self._connection = KeptConnection(
            loop,
            conninfo,
            name="listening",
            listen=[channel, self._test_channel],
            on_up=self._came_up,
            on_down=self._went_down,
            on_notify=self._heard,
        )
        self._test = loop.timers.add("notification self-test", self.test, period=_PERIOD)
        self._verdict = loop.timers.add("notification did not arrive", self._fell_silent)

    def start(self) -> None:
        self._connection.start()

    def close(self) -> None:
        self._test.cancel()
        self._verdict.cancel()
        if not self._closed:
            self._closed = True
            self._connection.close()

    def test(self) -> None:
        """Send ourselves a notification."""
        if not self._connection.up or not self._sender.up:
            return
        statement, params = self._queries.self_test(self._test_channel)
        self._sender.ask(statement, params, lambda result: None)
        if self._sender.up:
            self._test.start()
            self._verdict.after(_PATIENCE)

    def _came_up(self) -> None:
        self.tried = True
        if self._connection.pooled:
            _log.warning(
                "there is a connection pooler in between, so nobody can LISTEN: runs are found by"
                " polling only, and start late. Give --listen-url the address of the database"
                " itself, or --no-listen if this is meant."
            )
            self.close()
            return
        self._on_ring()  # whatever rang while nobody listened
        self.test()

    def _went_down(self, _exc: Exception) -> None:
        self.tried = True
        self._verdict.cancel()

    def _heard(self, channel: str, payload: str) -> None:
        if channel != self._test_channel:
            if payload.startswith(CANCELED):
                self._on_canceled(payload.removeprefix(CANCELED))
            else:
                self._on_ring()
            return
        self._verdict.cancel()
        if self._deaf:
            self._deaf = False
            _log.info("notifications arrive again")

    def _fell_silent(self) -> None:
        if not self._deaf:
            self._deaf = True
            _log.warning(
                "NOTIFY does not reach us: runs are found by polling only, so they start late."
                " Something between us and the database swallows them; give --listen-url an address"
                " of the database that leads there directly."
            )
