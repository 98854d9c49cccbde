"""Asks the database how many runs are due or wait for limits, for metrics.

One supervisor of a namespace asks for all (``sole_duty``). The question is bounded, by the number
of runs to count and by time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from owsuper.db.queue_state import QueueState, QueueStateQueries, parse_state
from owsuper.db.statement import Result
from owsuper.event_loop import Loop
from owsuper.metrics import catalogue, queue
from owsuper.settings import Settings
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.metering import Measured
from owsuper.supervisor.sole_duty import SoleDuty

_PERIOD: Final = 15.0  # seconds between two questions


class QueueWatch:
    """The depth of the queues, if this supervisor is the one that asks. Begins at once.

    ``session`` is the connection that claims. ``served`` returns the names of the workflows of this
    worker.
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
        self._served = served
        self._queries = QueueStateQueries(settings.schema, settings.namespace)
        self._duty = SoleDuty(
            loop,
            settings,
            session,
            self._queries.watch(),
            name="metrics",
            action="note who asks about the queue",
            on_up=self._ask,
            on_down=self._forget,
        )
        self._asking = False
        self._state: QueueState | None = None
        self._asked_at = 0.0  # Unix time
        self._timer = loop.timers.add("ask about the queue", self._ask)

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
        self._duty.close()
        self._state = None

    def _ask(self) -> None:
        self._timer.after(_PERIOD)
        connection = self._duty.connection()
        if connection is not None and not self._asking:
            self._asking = True
            statement, params = self._queries.depth()
            connection.send(statement, params, partial(self._handle_depth, connection))

    def _handle_depth(self, connection: KeptConnection, result: Result) -> None:
        self._asking = False
        if connection.refused("count due runs", result):
            self._state = None
            self._timer.after(_PERIOD)  # the answer may have taken too long
            return
        self._state, self._asked_at = parse_state(result.rows[0]), time.time()

    def _forget(self) -> None:
        """Forget the answer, and the question in flight: another supervisor may ask by now."""
        self._state, self._asking = None, False
        self._timer.cancel()
