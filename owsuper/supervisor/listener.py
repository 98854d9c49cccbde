"""The listening connection: notifications of due and canceled runs.

Every supervisor listens on the channel of the workers, for what concerns it whatever it does. On
that of the runs it listens while it is on call (``on_call``).

Notifications do not arrive behind a connection pooler, because LISTEN stays in a session of the
pooler's. The listener detects a pooler when it connects. A self-test detects other obstacles: from
time to time, the listener sends a notification to itself. Polling is always on, so a notification
that does not arrive costs latency only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from owsuper.db.claims import ClaimQueries
from owsuper.db.connect import conninfo
from owsuper.db.listen import (
    CANCELED,
    DRAIN,
    LIMITS,
    PAUSES,
    SCHEDULES,
    STACKS,
    UNDO,
    runs_channel,
    workers_channel,
)
from owsuper.db.statement import Result, Statement
from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.on_call import OnCall
from owsuper.supervisor.turns import passed_on_by

_SELF_TEST_PERIOD: Final = 300.0  # seconds
_SELF_TEST_TIMEOUT: Final = 2.0  # seconds for one notification to arrive

_log = logging.getLogger("owsuper.supervisor")


class Listener:
    """Listens for runs over a connection of its own. ``settings`` must have ``database_url``.

    ``on_runs_due`` is called with the payload of a notification when runs become due, and with an
    empty text when a notification may have been missed. Those of new runs come while ``on_call``.
    ``on_canceled`` is called with the id of a run that was canceled while some worker held it.
    ``on_limits_changed`` is called when limits of workflows have changed, or may have.
    ``on_undone`` is called when a run of another workflow is undone, or may have been.
    ``on_stacks_asked`` is called with the token of a client that asks for stacks, and
    ``on_drain_asked`` with the id of the supervisor that a client asks to drain.
    ``on_schedules_changed`` is called when a client has changed a schedule, and ``on_paused`` when
    a workflow was paused or resumed, or when that may have been missed. ``on_hearing`` is called
    when notifications arrive from now on.
    The self-test sends its notifications over ``sender``, another connection.

    ``attempted``: connecting has succeeded or failed once. ``notifications`` counts those of
    others.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        *,
        on_runs_due: Callable[[str], None],
        on_canceled: Callable[[str], None],
        on_undone: Callable[[], None],
        on_stacks_asked: Callable[[str], None],
        on_drain_asked: Callable[[str], None],
        on_schedules_changed: Callable[[], None],
        on_limits_changed: Callable[[], None],
        on_paused: Callable[[], None],
        on_hearing: Callable[[], None],
        on_call: OnCall,
        sender: KeptConnection,
        queries: ClaimQueries,
    ) -> None:
        self._on_runs_due = on_runs_due
        self._on_canceled = on_canceled
        self._on_undone = on_undone
        self._on_stacks_asked = on_stacks_asked
        self._on_drain_asked = on_drain_asked
        self._on_schedules_changed = on_schedules_changed
        self._on_limits_changed = on_limits_changed
        self._on_paused = on_paused
        self._on_hearing = on_hearing
        self._sender = sender
        self._queries = queries
        self._on_call = on_call
        on_call.on_change = self._follow
        runs = runs_channel(settings.schema, settings.namespace)
        self._listen = Statement("listen", f'LISTEN "{runs}"')
        self._unlisten = Statement("unlisten", f'UNLISTEN "{runs}"')
        self._channel = workers_channel(settings.schema, settings.namespace)
        self._test_channel = f"owsuper-test:{uuid4().hex[:24]}"
        self._self_test_failed = False
        self._closed = False
        self.attempted = False
        self.notifications = 0
        url = settings.listen_url or settings.database_url
        assert url is not None
        self._connection = KeptConnection(
            loop,
            conninfo(url, application_name="owsuper listener"),
            name="listening",
            listen=[runs, self._channel, self._test_channel],
            on_up=self._handle_up,
            on_down=self._handle_down,
            on_notify=self._handle_notification,
        )
        self._test = loop.timers.add("notification self-test", self.test, period=_SELF_TEST_PERIOD)
        self._test_timeout = loop.timers.add("self-test time-out", self._handle_timeout)

    @property
    def connection(self) -> KeptConnection:
        """The connection that listens."""
        return self._connection

    @property
    def hearing(self) -> bool:
        """Whether notifications arrive, as far as is known."""
        return self._connection.up and not self._connection.pooled and not self._self_test_failed

    def start(self) -> None:
        """Begin to connect."""
        self._connection.start()

    def close(self) -> None:
        """Disconnect permanently."""
        self._test.cancel()
        self._test_timeout.cancel()
        if not self._closed:
            self._closed = True
            self._connection.close()

    def test(self) -> None:
        """Send a notification to this listener; the log reports if it does not arrive."""
        if not self._connection.up or not self._sender.up:
            return
        statement, params = self._queries.notify(self._test_channel)
        self._sender.send(statement, params, lambda result: None)
        if self._sender.up:
            self._test.start()
            self._test_timeout.after(_SELF_TEST_TIMEOUT)

    def pass_on(self, payload: str) -> None:
        """Notify all supervisors that runs are due, if this one hears of them itself."""
        if self.hearing:
            statement, params = self._queries.notify(self._channel, payload)
            self._connection.send(statement, params, lambda result: None)

    def _handle_up(self) -> None:
        self.attempted = True
        if self._connection.pooled:
            _log.warning(
                "a connection pooler answers, so LISTEN does not work: runs are found by polling"
                " only and start late. Set --listen-url to the address of the database itself, or"
                " --no-listen if this is intended."
            )
            self.close()
            return
        self._on_call.doubt()  # it listens for all again
        self._on_limits_changed()  # notifications may have been missed
        self._on_undone()
        self._on_paused()
        self._on_runs_due("")
        self._on_hearing()
        self.test()

    def _follow(self, on_call: bool) -> None:
        """Listen for new runs from now on, or no longer."""
        if not self._connection.up:
            return  # it listens for all when it is up again
        if on_call:
            self._connection.send(self._listen, (), self._handle_listening)
        else:
            self._connection.send(self._unlisten, (), lambda result: None)

    def _handle_listening(self, result: Result) -> None:
        if not self._connection.refused("listen for new runs", result):
            self._on_runs_due("")  # nobody on call may have heard of the latest

    def _handle_down(self, _exc: Exception) -> None:
        self.attempted = True
        self._test_timeout.cancel()

    def _handle_notification(self, channel: str, payload: str) -> None:
        if channel != self._test_channel:
            self.notifications += 1
            if payload.startswith(CANCELED):
                self._on_canceled(payload.removeprefix(CANCELED))
            elif payload.startswith(UNDO):
                self._on_undone()
            elif payload.startswith(STACKS):
                self._on_stacks_asked(payload.removeprefix(STACKS))
            elif payload.startswith(DRAIN):
                self._on_drain_asked(payload.removeprefix(DRAIN))
            elif payload == SCHEDULES:
                self._on_schedules_changed()
            elif payload == LIMITS:
                self._on_limits_changed()
            elif payload == PAUSES:
                self._on_paused()
            else:
                if (supervisor := passed_on_by(payload)) is not None:
                    self._on_call.on_passed_on(time.monotonic(), supervisor)
                self._on_runs_due(payload)
            return
        self._test_timeout.cancel()
        if self._self_test_failed:
            self._self_test_failed = False
            _log.info("notifications arrive again")
            self._on_hearing()

    def _handle_timeout(self) -> None:
        if not self._self_test_failed:
            self._self_test_failed = True
            _log.warning(
                "notifications (NOTIFY) do not arrive: runs are found by polling only and start"
                " late. Set --listen-url to an address that leads to the database directly."
            )
