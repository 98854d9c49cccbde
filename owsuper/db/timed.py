"""Connections whose waits for the server end at a given time.

PostgreSQL's own time limits do not help when the server hangs, is frozen, or sits behind a network
that swallows its answers. libpq's ``connect_timeout`` bounds neither a look-up of host names nor a
statement.
"""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Generator
from selectors import EVENT_READ
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import OperationalError
from psycopg.pq.abc import PGconn

from owsuper.db.hosts import ConnectAttempt, connect_timeout, needs_lookup, with_addresses

RV = TypeVar("RV")

_SILENT: Final = "timeout expired"  # as libpq has it


class TimeLimitReached(OperationalError):
    """The server has not answered in time. Whether the statement took effect is unknown."""


class TimedConnection(psycopg.Connection[Any]):
    """A connection on which no statement waits for the server beyond ``give_up_at``.

    ``give_up_at`` is a time of time.monotonic(), and infinite at first. A statement that reaches
    it raises TimeLimitReached, at most 0.1 s later, and the connection is lost.
    """

    give_up_at: float = math.inf
    _given_up = False

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """Wait as psycopg does, but not beyond ``give_up_at``."""
        limited = gen if self.give_up_at == math.inf else self._until_given_up(gen)
        try:
            return super().wait(limited, *args, **kwargs)
        except OperationalError as error:
            if self._given_up:
                raise TimeLimitReached(_SILENT) from error
            raise

    def _until_given_up(self, gen: PQGen[RV]) -> Generator[Any, Any, RV]:
        # psycopg resumes the generator when the socket is ready, and every 0.1 s.
        try:
            events = next(gen)
            while True:
                ready = yield events
                events = gen.send(ready)
                if not self._given_up and time.monotonic() >= self.give_up_at:
                    self._disconnect()
        except StopIteration as end:
            answer: RV = end.value
            return answer

    def _disconnect(self) -> None:
        """End the connection as the network would: psycopg finds its end, and leaves in order."""
        self._given_up = True
        borrowed = socket.socket(fileno=self.pgconn.socket)  # takes no new descriptor
        try:
            borrowed.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was faster
        finally:
            borrowed.detach()


def open_connection(conninfo: str, give_up_at: float) -> TimedConnection:
    """Return a new connection to the first host that answers, with this ``give_up_at``.

    Each host has libpq's ``connect_timeout``, which includes the look-up of its name. Raises
    OperationalError, and TimeLimitReached at ``give_up_at``.
    """
    if give_up_at == math.inf and needs_lookup(conninfo):
        conninfo = with_addresses(conninfo)  # blocks, and needs no thread
    attempt = ConnectAttempt(conninfo)
    try:
        attempt.start()
        pgconn = _connected(attempt, connect_timeout(conninfo) or math.inf, give_up_at)
    except BaseException:
        attempt.close()
        raise
    pgconn.nonblocking = 1
    conn = TimedConnection(pgconn)
    conn.give_up_at = give_up_at
    return conn


def _connected(attempt: ConnectAttempt, seconds_per_host: float, give_up_at: float) -> PGconn:
    while True:
        skip_at = attempt.since + seconds_per_host
        if _wait(attempt, min(skip_at, give_up_at)):
            if (pgconn := attempt.poll()) is not None:
                return pgconn
        elif skip_at <= give_up_at:
            attempt.try_next_host(_SILENT)
        else:
            raise TimeLimitReached(_SILENT)


def _wait(attempt: ConnectAttempt, until: float) -> bool:
    """Wait for the socket of ``attempt``; return whether it is ready, and not too late."""
    events = select.POLLIN if attempt.events == EVENT_READ else select.POLLOUT
    ready = select.poll()  # not select(): descriptors may be above 1023
    ready.register(attempt.fileno(), events)
    left = until - time.monotonic()
    if left == math.inf:
        return bool(ready.poll())
    return bool(ready.poll(max(0.0, left) * 1000))
