"""Asks the database how many runs are due or wait for limits, for metrics.

One supervisor of a namespace asks for all. It holds an advisory lock, in the session that claims.
The question goes over a connection of its own, so that claims never wait for the answer. The
question is bounded, by the number of runs to count and by time.

Behind a connection pooler there is no such lock and no limit of time, and each supervisor with
metrics asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from owsuper.db.connect import conninfo
from owsuper.db.queue_state import TIME_LIMIT, QueueState, QueueStateQueries, parse_state
from owsuper.db.statement import Result
from owsuper.event_loop import Loop
from owsuper.metrics import catalogue, queue
from owsuper.settings import Settings
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.metering import Measured

# Seconds.
_PERIOD: Final = 15.0
_FIRST: Final = 1.0  # until the first question, and again until it can be asked
_TAKE_OVER: Final = 5.0  # between two looks whether another supervisor still asks


class QueueWatch:
    """The depth of the queues, if this supervisor is the one that asks. Begins at once.

    The lock is held on ``session``. ``served`` returns the names of the workflows of this worker.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        session: KeptConnection,
        *,
        served: Callable[[], Iterable[str]],
    ) -> None:
        self._loop = loop
        self._session = session
        self._served = served
        self._queries = QueueStateQueries(settings.schema, settings.namespace)
        self._url = settings.database_url or ""
        self._connection: KeptConnection | None = None  # while this supervisor is the one
        self._outages = 0  # of ``session`` when the lock was taken: it goes with the session
        self._asking = False
        self._state: QueueState | None = None
        self._asked_at = 0.0  # Unix time
        self._timer = loop.timers.add("ask about the queue", self._tick)
        self._timer.after(_FIRST)

    def measure(self) -> Sequence[Measured]:
        """Return what the database has answered last; nothing if another supervisor asks."""
        if self._state is None:
            return ()
        return [
            *queue.measure(self._state, served=self._served()),
            (catalogue.QUEUE_ASKED, (), self._asked_at),
        ]

    def close(self) -> None:
        """Ask no more."""
        self._loop.timers.drop(self._timer)
        self._end()

    def _tick(self) -> None:
        self._timer.after(_PERIOD if self._state is not None else _FIRST)
        if self._connection is not None and self._session.outages != self._outages:
            self._end()  # another supervisor may be the one by now
        if self._connection is not None:
            self._ask()
        elif self._session.up and self._session.pooled:
            self._begin()
        elif self._session.up:
            statement, params = self._queries.watch()
            self._session.send(statement, params, self._handle_watch)

    def _handle_watch(self, result: Result) -> None:
        if self._session.refused("note who asks about the queue", result):
            return
        if result.rows[0][0] == b"true":
            self._begin()
        else:
            self._timer.after(_TAKE_OVER)

    def _begin(self) -> None:
        if self._connection is None:
            self._outages = self._session.outages
            self._connection = KeptConnection(
                self._loop,
                conninfo(self._url, application_name="owsuper metrics"),
                name="metrics",
                on_up=self._handle_up,
                on_down=lambda exc: self._handle_down(),
            )
            self._connection.start()

    def _end(self) -> None:
        connection, self._connection = self._connection, None
        self._state, self._asking = None, False
        if connection is not None:
            connection.close()

    def _handle_up(self) -> None:
        assert self._connection is not None
        if not self._connection.pooled:
            self._connection.send(TIME_LIMIT, (), lambda result: None)
        self._ask()

    def _handle_down(self) -> None:
        self._state, self._asking = None, False

    def _ask(self) -> None:
        if self._connection is not None and self._connection.up and not self._asking:
            self._asking = True
            statement, params = self._queries.depth()
            self._connection.send(statement, params, self._handle_depth)

    def _handle_depth(self, result: Result) -> None:
        self._asking = False
        if self._connection is None or self._connection.refused("count due runs", result):
            self._state = None
            self._timer.after(_PERIOD)  # the answer may have taken too long
            return
        self._state, self._asked_at = parse_state(result.rows[0]), time.time()
