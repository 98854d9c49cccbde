"""Duties that one supervisor of a namespace has for all, for as long as its session lasts.

Such a supervisor holds an advisory lock, in the session that claims. What it does for all goes over
a connection of its own, so that claims never wait for it, with a time limit for each statement.

Behind a connection pooler there is no such lock and no limit of time, and each supervisor has the
duty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from owsuper.db.claims import Call
from owsuper.db.connect import conninfo
from owsuper.db.queue_state import TIME_LIMIT
from owsuper.db.statement import Result
from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor.connection import KeptConnection

# Seconds.
_FIRST: Final = 1.0  # until the first look, and between two while the session is down
_TAKE_OVER: Final = 5.0  # between two looks whether another supervisor still has the duty


class SoleDuty:
    """Takes a duty when no other supervisor has it, and then connects. Begins at once.

    ``lock`` takes the lock on ``session`` and answers whether it is held; ``action`` is what it is
    for, in log lines. ``on_up`` is called after every connect. ``on_down`` is called after every
    loss of the connection, and of the duty. ``name`` is that of the connection.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        session: KeptConnection,
        lock: Call,
        *,
        name: str,
        action: str,
        on_up: Callable[[], None],
        on_down: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._url = settings.database_url or ""
        self._session = session
        self._lock = lock
        self._name = name
        self._action = action
        self._on_up = on_up
        self._on_down = on_down
        self._connection: KeptConnection | None = None  # while this supervisor has the duty
        self._outages = 0  # of ``session`` when the lock was taken: it goes with the session
        self._timer = loop.timers.add(action, self._look)
        self._timer.after(_FIRST)

    def connection(self) -> KeptConnection | None:
        """Return the connection if it is up and the duty still this supervisor's, else None.

        Closes the connection if the duty is another's by now.
        """
        self._check_session()
        return None if self._connection is None or not self._connection.up else self._connection

    def close(self) -> None:
        """Give up the duty; ``on_down`` is not called."""
        self._loop.timers.drop(self._timer)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _check_session(self) -> None:
        """End the duty if the session was lost: another supervisor may have it by now."""
        if self._connection is not None and self._session.outages != self._outages:
            self._connection.close()
            self._connection = None
            self._timer.after(0.0)
            self._on_down()

    def _look(self) -> None:
        self._check_session()
        if self._connection is not None:
            return
        self._timer.after(_FIRST)
        if self._session.up and self._session.pooled:
            self._begin()
        elif self._session.up:
            statement, params = self._lock
            self._session.send(statement, params, self._handle_lock)

    def _handle_lock(self, result: Result) -> None:
        if self._session.refused(self._action, result):
            return
        if result.rows[0][0] == b"true":
            self._begin()
        else:
            self._timer.after(_TAKE_OVER)

    def _begin(self) -> None:
        if self._connection is None:
            self._timer.cancel()
            self._outages = self._session.outages
            self._connection = KeptConnection(
                self._loop,
                conninfo(self._url, application_name=f"owsuper {self._name}"),
                name=self._name,
                on_up=self._handle_up,
                on_down=lambda exc: self._on_down(),
            )
            self._connection.start()

    def _handle_up(self) -> None:
        assert self._connection is not None
        if self._session.outages != self._outages:
            self._timer.after(0.0)  # not from here: that would close what has just connected
            return
        if not self._connection.pooled:
            self._connection.send(TIME_LIMIT, (), lambda result: None)
        self._on_up()
