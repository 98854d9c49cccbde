"""What the template does for the runs of a supervisor that is dead.

The children hold some of them, and finish their steps. The others were claimed and not handed out,
and would wait for their leases. The supervisor has written into each flight recorder which claims
the child gets, so whatever is not there is released.

As long as children live, the template holds the dead supervisor's lock (see ``db.presence``), so
that no other supervisor takes the children's runs from them. A child that dies now is not replaced,
and what it held is released, too.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Collection
from queue import SimpleQueue
from typing import Final

import psycopg

from owsuper.db import presence
from owsuper.errors import OwsuperError
from owsuper.ipc import flight_recorder
from owsuper.ipc.messages import Fork
from owsuper.settings import Settings

_LAST_RELEASE: Final = 2.0  # seconds that the last release may take

# Seconds. A supervisor that dies may not have reported a child that died so shortly before. The
# template may hear of that child first, because a process does not close all its files at once.
_JUST_BEFORE: Final = 1.0
_MOST_TRACES: Final = 8

_NOT_RELEASED: Final = (
    "the supervisor is dead, and the runs that it had not handed out could not be released; other"
    " workers release them after some seconds, or their leases end: %s"
)

_log = logging.getLogger("owsuper.template")


class OrphanedClaims:
    """Knows which claims the children hold, and releases the others when the supervisor is dead.

    It works in a thread of its own, because the database may not answer. So this is for a process
    that forks no more once the supervisor is dead.
    """

    def __init__(self) -> None:
        self._flight_recorders: dict[int, int] = {}  # descriptors by pid of the child
        self._slots = 0  # of each child
        self._supervisor_exited = False
        self._traces: deque[tuple[float, int, bytes]] = deque(maxlen=_MOST_TRACES)
        self._last_fork: Fork | None = None
        self._supervisor_id: str | None = None  # None if there is nothing to release
        self._thread: threading.Thread | None = None  # while the supervisor is dead
        self._requests: SimpleQueue[list[str] | None] = SimpleQueue()  # known claims; None ends
        self._conn: psycopg.Connection | None = None

    @property
    def descriptors(self) -> Collection[int]:
        """The descriptors that a forked process must close."""
        return self._flight_recorders.values()

    def on_forked(self, pid: int, fork: Fork, flight_fd: int) -> None:
        """Note a child; ``flight_fd`` is closed when the child is reaped."""
        self._flight_recorders[pid] = flight_fd
        self._slots = fork.settings.concurrency
        self._last_fork = fork

    def on_reaped(self, pid: int) -> None:
        """Forget a child. If the supervisor is dead, release what the child held."""
        if (flight_fd := self._flight_recorders.pop(pid, None)) is not None:
            self._report(pid, flight_recorder.read_trace(flight_fd, self._slots))
            os.close(flight_fd)
            if self._thread is not None:
                self._requests.put(self._known())

    def _report(self, pid: int, trace: bytes) -> None:
        """Log the stacks of a child that died of a signal, unless its supervisor does so."""
        if trace and self._supervisor_exited:
            _log.error("stacks of process %d:\n%s", pid, trace.decode("utf-8", "replace").rstrip())
        elif trace:
            self._traces.append((time.monotonic(), pid, trace))

    def on_release_orphans(self, supervisor_id: str | None) -> None:
        """Release the claims of this supervisor when it is dead; None: release nothing."""
        self._supervisor_id = supervisor_id

    def on_supervisor_exited(self) -> None:
        """Release the claims that no child got."""
        self._supervisor_exited = True
        for died_at, pid, trace in self._traces:
            if died_at > time.monotonic() - _JUST_BEFORE:
                self._report(pid, trace)
        fork = self._last_fork
        if fork is not None and self._supervisor_id is not None:
            self._requests.put(self._known())
            thread = threading.Thread(
                target=self._run,
                args=(fork.settings, self._supervisor_id),
                name="owsuper-orphans",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError as exc:  # this process can have no more threads
                _log.warning(_NOT_RELEASED, exc)
            else:
                self._thread = thread

    def finish(self) -> None:
        """Wait for the last release, for some seconds."""
        if self._thread is not None:
            self._requests.put(None)
            self._thread.join(_LAST_RELEASE)

    def _known(self) -> list[str]:
        read = flight_recorder.read_claims
        return [claim for fd in self.descriptors for claim in read(fd, self._slots)]

    def _run(self, settings: Settings, supervisor_id: str) -> None:
        while (known := self._requests.get()) is not None:
            try:
                count = self._release(settings, supervisor_id, known)
            except (psycopg.Error, OwsuperError) as exc:
                _log.warning(_NOT_RELEASED, " ".join(str(exc).split()))
                if self._conn is not None:
                    self._conn.close()
                    self._conn = None
                continue
            if count:
                _log.warning("released runs that the dead supervisor had not handed out: %d", count)

    def _release(self, settings: Settings, supervisor_id: str, known: list[str]) -> int:
        assert settings.database_url is not None
        if self._conn is None:
            self._conn = presence.lock_supervisor(
                settings.database_url, settings.schema, supervisor_id
            )
        return presence.release_orphans(
            self._conn,
            settings.schema,
            settings.namespace,
            supervisor_id,
            known=known,
            lease_seconds=settings.lease,
        )
