"""A database connection that is kept up: dropped when it hangs, reconnected after an outage."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from psycopg.errors import OperationalError

from owsuper.db.nonblocking import NonblockingConnection
from owsuper.db.statement import Param, Result, Statement
from owsuper.event_loop import Backoff, Loop

# Seconds.
_WATCH_PERIOD: Final = 1.0
_ANSWER_TIMEOUT: Final = 15.0  # for a statement or an attempt to connect
_RETRY_DELAY: Final = 0.5
_REFUSAL_PERIOD: Final = 60.0  # between two log lines about refusals of one kind
LONGEST_PAUSE: Final = 5.0
"""The longest pause between two attempts to connect."""
# Classes of SQLSTATE: connection trouble, rollbacks by the server (a deadlock), no resources, a
# server shutting down. The same statement may succeed a moment later.
_TRANSIENT: Final = ("08", "40", "53", "55", "57")
_HINTS: Final = {  # by SQLSTATE
    "42P01": "; run owsuper migrate",
    "42501": "; let a database administrator grant it: owsuper migrate --sql ends with the grants",
}
_READ_ONLY: Final = "25006"  # a standby; another server is or becomes the primary
_WHY_READ_ONLY: Final = (
    "it is a standby, or the role, the database or the server has default_transaction_read_only"
)

_log = logging.getLogger("owsuper.supervisor")

OnResult = Callable[[Result], None]


class KeptConnection:
    """A connection that a Loop watches. ``name`` is its name in log lines.

    ``on_up`` is called after every connect. ``on_down`` is called after every loss and every
    failed attempt, and when the server refuses to write, because another server may be the
    primary. Statements in flight then get no answer; those of ``send_reliably`` are sent again.
    ``outages`` counts the times that the connection went down.
    """

    def __init__(
        self,
        loop: Loop,
        conninfo: str,
        *,
        name: str,
        listen: Sequence[str] = (),
        on_up: Callable[[], None],
        on_down: Callable[[OperationalError], None] = lambda exc: None,
        on_notify: Callable[[str, str], None] = lambda channel, payload: None,
    ) -> None:
        self._loop = loop
        self._name = name
        self._on_up = on_up
        self._on_down = on_down
        self._nonblocking = NonblockingConnection(conninfo, listen=listen)
        self._nonblocking.on_connect = self._handle_up
        self._nonblocking.on_disconnect = self._handle_down
        self._nonblocking.on_notify = on_notify
        self._reliable: dict[int, tuple[Statement, Sequence[Param], OnResult]] = {}
        self._in_flight: set[int] = set()  # keys of ``_reliable``
        self._last_number = 0
        self._backoff = Backoff(0.1, limit=LONGEST_PAUSE)
        self._refusals_logged: dict[tuple[str, str], float] = {}  # time.monotonic() by kind
        # The statement that a server refused because it takes no writes; None if it takes them.
        self._refused_write: Statement | None = None
        self._reconnect = loop.timers.add(f"reconnect {name}", self._nonblocking.start)
        self._retry = loop.timers.add(f"retry on {name}", self._send_waiting)
        self._watch = loop.timers.add(f"watch {name}", self._drop_if_hung, period=_WATCH_PERIOD)
        self.up = False
        self.outages = 0

    def start(self) -> None:
        """Begin to connect."""
        self._loop.add(self)
        self._watch.start()
        self._nonblocking.start()

    def close(self) -> None:
        """Disconnect permanently; ``on_down`` is not called."""
        self.up = False
        for timer in (self._reconnect, self._retry, self._watch):
            self._loop.timers.drop(timer)
        self._loop.remove(self)
        self._nonblocking.close()

    @property
    def pooled(self) -> bool:
        """Whether the connection leads to a pooler, so that notifications do not arrive."""
        return self._nonblocking.pooled

    @property
    def round_trips(self) -> int:
        """The number of statements that were sent so far."""
        return self._nonblocking.round_trips

    # --- for the loop --------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the descriptor to watch; -1 while there is none."""
        return self._nonblocking.fileno()

    @property
    def events(self) -> int:
        """The events to watch for."""
        return self._nonblocking.events

    def on_ready(self, mask: int) -> None:
        """Read and write what is possible."""
        if self._nonblocking.state == "connecting":  # libpq may reuse the number for a new socket
            self._loop.forget_descriptor(self)
        self._nonblocking.on_ready(mask)

    # --- statements ----------------------------------------------------------------------

    def send(self, statement: Statement, params: Sequence[Param], on_result: OnResult) -> None:
        """Send a statement that may be lost with the connection. Call this only while ``up``."""
        self._nonblocking.send(
            statement, params, partial(self._handle_result, statement, on_result)
        )

    def send_reliably(
        self, statement: Statement, params: Sequence[Param], on_result: OnResult
    ) -> None:
        """Send a statement now and after every reconnect, until it has an answer.

        The server may execute the statement more than once. A transient error is no answer.
        """
        self._last_number += 1
        self._reliable[self._last_number] = (statement, params, on_result)
        self._send_waiting()

    @property
    def unanswered(self) -> bool:
        """Whether a statement of ``send_reliably`` has no answer yet."""
        return bool(self._reliable)

    def refused(self, action: str, result: Result) -> bool:
        """Return whether the server answered with an error, and log the error.

        Errors of one kind are logged once a minute for each action. ``action`` completes "the
        database refused to".
        """
        if result.sqlstate is None:
            return False
        now, kind = time.monotonic(), (action, result.sqlstate)
        if now - self._refusals_logged.get(kind, -_REFUSAL_PERIOD) >= _REFUSAL_PERIOD:
            self._refusals_logged[kind] = now
            hint = _HINTS.get(result.sqlstate, "")
            _log.error("the database refused to %s: %s%s", action, result.message, hint)
        return True

    def _send_waiting(self) -> None:
        for number in self._reliable.keys() - self._in_flight:
            if not self.up:
                return
            self._in_flight.add(number)
            statement, params, _ = self._reliable[number]
            on_result = partial(self._handle_reliable_result, number)
            self._nonblocking.send(
                statement, params, partial(self._handle_result, statement, on_result)
            )

    def _handle_result(self, statement: Statement, on_result: OnResult, result: Result) -> None:
        if result.sqlstate == _READ_ONLY:
            self._refused_write = statement
            self._nonblocking.close()
            self._handle_down(OperationalError(f"{result.message} ({_WHY_READ_ONLY})"))
            return
        if statement is self._refused_write:  # others may read only, and succeed anyway
            self._refused_write = None
            self._recovered()
        on_result(result)

    def _handle_reliable_result(self, number: int, result: Result) -> None:
        self._in_flight.discard(number)
        if result.sqlstate and result.sqlstate.startswith(_TRANSIENT):
            self._retry.after(_RETRY_DELAY)
        else:
            _, _, on_result = self._reliable.pop(number)
            on_result(result)

    # --- up and down ---------------------------------------------------------------------

    def _handle_up(self) -> None:
        if self._refused_write is None:
            self._recovered()
        self.up = True
        self._on_up()
        self._send_waiting()

    def _recovered(self) -> None:
        if self._backoff.failures:
            _log.info("the %s connection is back", self._name)
        self._backoff.reset()

    def _handle_down(self, exc: OperationalError) -> None:
        self.up = False
        self._in_flight.clear()
        self._loop.forget_descriptor(self)
        delay = self._backoff.next()
        self.outages += self._backoff.failures == 1
        self._reconnect.after(delay)
        level = logging.WARNING if self._backoff.failures == 1 else logging.DEBUG
        reason = " ".join(str(exc).split())
        _log.log(level, "the %s connection is down; reconnecting: %s", self._name, reason)
        self._on_down(exc)

    def _drop_if_hung(self) -> None:
        since = self._nonblocking.busy_since
        if since is None:
            return
        limit = _ANSWER_TIMEOUT
        if self._nonblocking.state == "connecting" and self._nonblocking.connect_timeout:
            limit = min(limit, self._nonblocking.connect_timeout)
        if time.monotonic() - since > limit:
            self._loop.forget_descriptor(self)
            reason = f"no answer for {limit:g} seconds"
            if not self._nonblocking.skip_host(reason):
                self._nonblocking.close()
                self._handle_down(OperationalError(reason))
