"""A database connection that is kept up: reconnected after an outage, dropped when it hangs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from psycopg.errors import OperationalError

from owsuper.db.nonblocking import NonblockingConnection, Param, Result
from owsuper.db.statement import Statement
from owsuper.event_loop import Backoff, Loop

_WATCH_PERIOD: Final = 1.0
_HANGS: Final = 15.0  # seconds after which an answer, or a connection, is not waited for
_RETRY: Final = 0.5  # seconds
# Connection trouble, rollbacks by the server (deadlock, say), no resources, a server shutting
# down: the same statement may succeed a moment later.
_TRANSIENT: Final = ("08", "40", "53", "55", "57")
_UNDEFINED_TABLE: Final = "42P01"
_READ_ONLY: Final = "25006"  # a standby, or a primary no more: somebody else is it, or will be

_log = logging.getLogger("owsuper.supervisor")

OnResult = Callable[[Result], None]


class KeptConnection:
    """Something that a Loop watches. ``name`` says in logs what it is for.

    ``on_up`` is called after every connect, ``on_down`` after every loss or failed attempt, and
    when the server refuses to write, because another may be the primary; statements in flight
    are then forgotten without an answer, except those sent by ``insist``, which are sent again.
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
        self._nonblocking.on_up = self._came_up
        self._nonblocking.on_down = self._went_down
        self._nonblocking.on_notify = on_notify
        self._insisted: dict[int, tuple[Statement, Sequence[Param], OnResult]] = {}
        self._in_flight: set[int] = set()  # of those
        self._numbers = 0
        self._backoff = Backoff(0.1, limit=5.0)
        self._last_refusal: str | None = None
        self._useless = False  # connected, but to a server that takes no writes
        self._reconnect = loop.timers.add(f"reconnect {name}", self._nonblocking.start)
        self._retry = loop.timers.add(f"retry on {name}", self._send_insisted)
        self._watch = loop.timers.add(f"watch {name}", self._drop_if_hung, period=_WATCH_PERIOD)
        self.up = False

    def start(self) -> None:
        self._loop.add(self)
        self._watch.start()
        self._nonblocking.start()

    def close(self) -> None:
        """Hang up for good."""
        self.up = False
        for timer in (self._reconnect, self._retry, self._watch):
            self._loop.timers.drop(timer)
        self._loop.remove(self)
        self._nonblocking.close()

    @property
    def pooled(self) -> bool:
        """A connection pooler is in between: nothing can be heard here."""
        return self._nonblocking.pooled

    # --- what a loop needs ---------------------------------------------------------------

    def fileno(self) -> int:
        return self._nonblocking.fileno()

    @property
    def events(self) -> int:
        return self._nonblocking.events

    def on_ready(self, mask: int) -> None:
        if self._nonblocking.state == "connecting":  # libpq may open another socket of this number
            self._loop.forget_descriptor(self)
        self._nonblocking.on_ready(mask)

    # --- statements ----------------------------------------------------------------------

    def ask(self, statement: Statement, params: Sequence[Param], on_result: OnResult) -> None:
        """Send what may be lost when the connection is; call it only while ``up``."""
        self._nonblocking.send(statement, params, partial(self._answer, on_result))

    def insist(self, statement: Statement, params: Sequence[Param], on_result: OnResult) -> None:
        """Send what must be done, now or when there is a connection again, perhaps twice."""
        self._numbers += 1
        self._insisted[self._numbers] = (statement, params, on_result)
        self._send_insisted()

    @property
    def settled(self) -> bool:
        """Nothing that was insisted on is left to do."""
        return not self._insisted

    def refused(self, action: str, result: Result) -> bool:
        """Return whether the server answered with an error, and log the error.

        An error that repeats is logged once. ``action`` completes "the database refused to".
        """
        if result.sqlstate is None:
            self._last_refusal = None
            return False
        if self._last_refusal != result.message:
            self._last_refusal = result.message
            hint = "; run owsuper migrate" if result.sqlstate == _UNDEFINED_TABLE else ""
            _log.error("the database refused to %s: %s%s", action, result.message, hint)
        return True

    def _send_insisted(self) -> None:
        for number in self._insisted.keys() - self._in_flight:
            if not self.up:
                return
            self._in_flight.add(number)
            statement, params, _ = self._insisted[number]
            on_result = partial(self._answer_insisted, number)
            self._nonblocking.send(statement, params, partial(self._answer, on_result))

    def _answer(self, on_result: OnResult, result: Result) -> None:
        if result.sqlstate == _READ_ONLY:
            self._useless = True
            self._nonblocking.close()
            self._went_down(OperationalError(result.message))
            return
        if self._useless:
            self._useless = False
            self._settle_down()
        on_result(result)

    def _answer_insisted(self, number: int, result: Result) -> None:
        self._in_flight.discard(number)
        if result.sqlstate and result.sqlstate.startswith(_TRANSIENT):
            self._retry.after(_RETRY)
        else:
            _, _, on_result = self._insisted.pop(number)
            on_result(result)

    # --- up and down ---------------------------------------------------------------------

    def _came_up(self) -> None:
        if not self._useless:
            self._settle_down()
        self.up = True
        self._on_up()
        self._send_insisted()

    def _settle_down(self) -> None:
        if self._backoff.failures:
            _log.info("the %s connection is back", self._name)
        self._backoff.reset()

    def _went_down(self, exc: OperationalError) -> None:
        self.up = False
        self._in_flight.clear()
        self._loop.forget_descriptor(self)
        delay = self._backoff.next()
        self._reconnect.after(delay)
        level = logging.WARNING if self._backoff.failures == 1 else logging.DEBUG
        reason = " ".join(str(exc).split())
        _log.log(level, "the %s connection is down, will reconnect: %s", self._name, reason)
        self._on_down(exc)

    def _drop_if_hung(self) -> None:
        since = self._nonblocking.busy_since
        if since is None:
            return
        limit = _HANGS
        if self._nonblocking.state == "connecting" and self._nonblocking.connect_timeout:
            limit = min(limit, self._nonblocking.connect_timeout)
        if time.monotonic() - since > limit:
            self._loop.forget_descriptor(self)
            why = f"no answer for {limit:g} seconds"
            if not self._nonblocking.skip_host(why):
                self._nonblocking.close()
                self._went_down(OperationalError(why))
