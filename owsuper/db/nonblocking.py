"""A connection to PostgreSQL that never blocks.

The supervisor must not block on the database: meanwhile it could not handle signals, dead children
and timers. So it drives libpq itself, by the readiness of a socket.

    closed ── start ──→ connecting ──→ idle ⇄ busy
      ↑                     │           │      │
      └── on_disconnect, or close() ────┴──────┘

One statement is in flight at a time; others wait in a queue. A statement that fails has a
result, with an error. A connection that fails calls ``on_disconnect``, once, and drops all
statements in flight and in the queue. Whether the last statement took effect is then unknown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from selectors import EVENT_READ, EVENT_WRITE
from time import monotonic
from typing import Literal

from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.errors import OperationalError

from owsuper.db import pooler
from owsuper.db.hosts import ConnectAttempt, connect_timeout, connection_error
from owsuper.db.statement import UNUSABLE_PLAN, Param, Result, Statement, encode_param, read_result

State = Literal["connecting", "idle", "busy", "closed"]


@dataclass(slots=True)
class _Query:
    statement: Statement
    params: list[bytes | None]
    on_result: Callable[[Result], None]
    preparing: bool = False
    result: Result = field(default_factory=lambda: Result([]))


class NonblockingConnection:
    """A non-blocking connection; for its states see the module.

    The callbacks are attributes: ``on_connect()``, ``on_disconnect(exc)`` and
    ``on_notify(channel, payload)``. ``on_ready`` calls them; ``start`` and ``send`` may call
    ``on_disconnect``, too.

    ``conninfo`` should come from ``connect.conninfo``; ``listen`` holds the channels to listen
    on. If ``pooled``, a connection pooler is in between, and no notification arrives.

    Unregister ``fileno()`` from the selector before each call, and register it for ``events``
    after the call. The events change; and while connecting, libpq may close its socket and open
    another one *with the same number*, which epoll has then silently forgotten.
    """

    def __init__(self, conninfo: str, *, listen: Sequence[str] = ()) -> None:
        self._conninfo = make_conninfo(conninfo, client_encoding="utf8")
        self.connect_timeout = connect_timeout(conninfo)
        self._listen = ";".join(f'LISTEN "{channel}"' for channel in listen).encode()
        self.on_connect: Callable[[], None] = lambda: None
        self.on_notify: Callable[[str, str], None] = lambda channel, payload: None
        self.on_disconnect: Callable[[OperationalError], None] = lambda exc: None
        self.round_trips = 0  # of statements, on this and earlier connections
        self._clear()

    def _clear(self) -> None:
        self.state: State = "closed"
        # Events to register with the selector; 0 when closed.
        self.events = 0
        # time.monotonic() when the statement in flight was sent, or connecting to a host began.
        self.busy_since: float | None = None
        self._attempt: ConnectAttempt | None = None  # while connecting
        self._pgconn: pq.abc.PGconn | None = None
        self.pooled = False
        self._setting_up: deque[bytes] = deque()  # statements; the first is in flight
        self._use_prepared = True
        self._prepared: dict[Statement, bytes] = {}
        self._current: _Query | None = None
        self._queue: deque[_Query] = deque()

    # --- for the owner ----------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect, also again after a disconnect. Raises RuntimeError unless closed."""
        if self.state != "closed":
            raise RuntimeError(f"the connection is {self.state} already")
        self.state, self.busy_since = "connecting", monotonic()
        self._attempt = ConnectAttempt(self._conninfo)
        try:
            self._attempt.start()
            self.events = self._attempt.events
        except OperationalError as exc:
            self._disconnect(exc)

    def skip_host(self, why: str) -> bool:
        """Give up a silent host and try the next one; return False if there is none.

        ``why`` is reported if all hosts fail.
        """
        if self._attempt is None or not self._attempt.has_next_host:
            return False
        self._setting_up.clear()
        self._pgconn = None
        try:
            self._attempt.try_next_host(why)
            self.events, self.busy_since = self._attempt.events, self._attempt.since
        except OperationalError as exc:
            self._disconnect(exc)
        return True

    def fileno(self) -> int:
        """Return the descriptor to wait on; -1 when closed."""
        if self._attempt:
            return self._attempt.fileno()
        return self._pgconn.socket if self._pgconn else -1

    def send(
        self,
        statement: Statement,
        params: Sequence[Param],
        on_result: Callable[[Result], None],
    ) -> None:
        """Execute ``statement`` after those already sent; also while connecting.

        A statement is prepared on its first use on a connection. Raises ValueError for text with
        U+0000, RuntimeError when closed.
        """
        if self.state == "closed":
            raise RuntimeError("the connection is closed")
        self._queue.append(_Query(statement, [encode_param(param) for param in params], on_result))
        try:
            self._send_next()
        except OperationalError as exc:
            self._disconnect(exc)

    def on_ready(self, mask: int) -> None:
        """Continue: ``fileno()`` is ready for ``mask``."""
        if not mask & self.events:
            return
        answered: list[_Query] = []
        notes: list[pq.PGnotify] = []
        was = self.state
        try:
            if self.state == "connecting" and not self._setting_up:
                self._go_on_connecting()
            else:
                notes = self._exchange(answered)
        except OperationalError as exc:
            self._disconnect(exc)
            return
        # Callbacks come last, in a consistent state: they may send, or close.
        if was == "connecting" and self.state != "connecting":
            self.on_connect()
        for query in answered:
            if self.state != "closed":
                query.on_result(query.result)
        for note in notes:
            if self.state != "closed":
                self.on_notify(note.relname.decode(), note.extra.decode())

    def close(self) -> None:
        """Disconnect without a callback; a statement in flight may still take effect."""
        if self._attempt:
            self._attempt.close()
        if self._pgconn:
            self._pgconn.finish()
        self._clear()

    # --- connecting -------------------------------------------------------------------------

    def _go_on_connecting(self) -> None:
        attempt = self._attempt
        assert attempt is not None
        pgconn = self._pgconn = attempt.poll()
        self.events, self.busy_since = attempt.events, attempt.since
        if pgconn is not None:
            pgconn.nonblocking = 1
            self._setting_up.append(pooler.opening(pgconn.backend_pid))
            if self._listen:
                self._setting_up.append(self._listen)
            pgconn.send_query(self._setting_up[0])
            self._flush()

    # --- statements -------------------------------------------------------------------------

    def _exchange(self, answered: list[_Query]) -> list[pq.PGnotify]:
        """Read and write without blocking; fill ``answered`` and return the notifications.

        Notifications are taken from libpq after every read, because a notification that arrived
        with a result is in memory already and does not make the socket readable again.
        """
        pgconn = self._connection()
        pgconn.consume_input()
        self._flush()
        while self.state == "busy" or self._setting_up:
            if pgconn.is_busy():
                break
            result = pgconn.get_result()
            if result is None and pgconn.status == pq.ConnStatus.BAD:
                raise OperationalError(connection_error(pgconn))
            if result is not None and result.status != pq.ExecStatus.PIPELINE_SYNC:
                self._take(result)
            elif result is not None or pgconn.pipeline_status == pq.PipelineStatus.OFF:
                self._finish(answered)
        notes = []
        while (note := pgconn.notifies()) is not None:
            notes.append(note)
        return notes

    def _take(self, raw: pq.abc.PGresult) -> None:
        """Keep a result of the statement in flight, which may be part of the set-up."""
        if raw.status == pq.ExecStatus.PIPELINE_ABORTED:
            return  # the result before this one has the error
        result = read_result(raw)
        if self._current:
            self._current.result = result
        elif result.sqlstate:
            raise OperationalError(result.message)
        elif result.rows:
            self.pooled = pooler.is_pooled(result.rows[0])

    def _go_on_setting_up(self) -> None:
        """Send the next statement of the set-up."""
        self._setting_up.popleft()
        if self.pooled:
            self._setting_up.clear()
            self._connection().enter_pipeline_mode()
        elif self._setting_up:
            self._connection().send_query(self._setting_up[0])
            self._flush()

    def _finish(self, answered: list[_Query]) -> None:
        """Complete the statement in flight, which has no more results."""
        query, self._current = self._current, None
        if self._setting_up:
            self._go_on_setting_up()
            if self._setting_up:
                return
        self.state, self.busy_since, self._attempt = "idle", None, None
        if query and query.result.sqlstate in UNUSABLE_PLAN and self._use_prepared:
            self._use_prepared = False  # until the next connect
            self._queue.appendleft(query)
        elif query and query.preparing and not query.result.sqlstate:
            query.preparing = False
            self._queue.appendleft(query)
        elif query:
            if query.preparing:
                del self._prepared[query.statement]
            answered.append(query)
        self._send_next()

    def _send_next(self) -> None:
        if self.state != "idle" or not self._queue:
            return
        pgconn = self._connection()
        query = self._current = self._queue.popleft()
        self.state, self.busy_since = "busy", monotonic()
        self.round_trips += 1
        text = query.statement.query
        if self.pooled:
            pgconn.send_query_params(pooler.LOCAL, None)
            pgconn.send_query_params(text, query.params)
            pgconn.pipeline_sync()
        elif not self._use_prepared:
            pgconn.send_query_params(text, query.params)
        elif name := self._prepared.get(query.statement):
            pgconn.send_query_prepared(name, query.params)
        else:
            name = f"{query.statement.name}:{len(self._prepared)}".encode()
            self._prepared[query.statement] = name
            query.preparing = True
            pgconn.send_prepare(name, text)
        self._flush()

    def _flush(self) -> None:
        unsent = self._connection().flush()
        self.events = EVENT_READ | EVENT_WRITE if unsent else EVENT_READ

    # --- disconnecting ----------------------------------------------------------------------

    def _connection(self) -> pq.abc.PGconn:
        if self._pgconn is None:
            raise RuntimeError("the connection is closed")
        return self._pgconn

    def _disconnect(self, exc: OperationalError) -> None:
        self.close()
        self.on_disconnect(exc)
