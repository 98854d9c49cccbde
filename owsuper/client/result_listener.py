"""The connection that hears which runs end."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection
from typing import Any, Final
from uuid import uuid4

import psycopg
from psycopg import Connection
from psycopg.pq import ConnStatus

from owsuper.db.connect import is_pooled
from owsuper.db.waits import Waits
from owsuper.errors import OwsuperError

MOST_LOCKS: Final = 500
"""Runs announced at once. Each takes a place in shared memory that holds some thousands."""

_STALE_LOCKS: Final = 50  # locks that nobody needs any more, but that cost a round trip
_PROOF_WITHIN: Final = 5.0  # seconds that a notification may take to come round
_PAUSES: Final = (0.05, 30.0)  # seconds between attempts to connect: first, longest

_log = logging.getLogger("owsuper.client")


class ResultListener:
    """Announces who is waited for, and hears of their ends; used by one thread.

    It gives up for good behind a connection pooler, in whose sessions neither a LISTEN nor a
    lock may be left. And it trusts itself only after it has heard itself, since there may be
    something else that swallows notifications: it has another connection call out.
    """

    def __init__(
        self,
        connect: Callable[[], Connection[Any]],
        waits: Waits,
        call_out: Callable[[str], None],
    ) -> None:
        self._connect = connect
        self._waits = waits
        self._call_out = call_out
        self._token = f"heard? {uuid4()}"
        self._called_at = 0.0
        self._retry_at = 0.0
        self._pause = _PAUSES[0]
        self._conn: Connection[Any] | None = None
        self._locked: set[str] = set()
        self.ending: set[str] = set()
        """Runs that somebody was just ending when we came to announce them: not announced."""
        self.trusted = False
        self.useless = False

    def fileno(self) -> int | None:
        """The socket to watch, if there is one."""
        conn = self._conn
        return conn.pgconn.socket if conn and conn.pgconn.status == ConnStatus.OK else None

    def announce(self, run_ids: Collection[str]) -> set[str]:
        """Have the ends of these runs, and of no others, notified; those newly announced.

        Whoever is newly announced may have ended before, and must be looked at.
        """
        self.ending = set()
        if not self._ready():
            return set()
        assert self._conn is not None
        wanted = set(run_ids)
        try:
            gone, new = self._locked - wanted, wanted - self._locked
            if gone and (not new or len(gone) > _STALE_LOCKS):  # not while somebody waits for us
                self._waits.unlock(self._conn, gone)
                self._locked -= gone
            allowed = list(new)[: max(0, MOST_LOCKS - len(self._locked))]
            locked = self._waits.lock(self._conn, allowed) if allowed else set()
            self.ending = set(allowed) - locked
        except psycopg.Error as error:
            self._lose(error)
            return set()
        self._locked |= locked
        return locked

    def is_sure_of(self, run_id: str) -> bool:
        """Whether the end of this run cannot be missed."""
        return self.trusted and run_id in self._locked

    def hear(self) -> set[str]:
        """The ids of runs that were said to have ended, without waiting for any."""
        if self._conn is None:
            return set()
        try:
            heard = {notify.payload for notify in self._conn.notifies(timeout=0)}
        except psycopg.Error as error:
            self._lose(error)
            return set()
        if self._token in heard:
            self.trusted = True
            self._pause = _PAUSES[0]
        return heard & self._locked

    def close(self) -> None:
        """Hang up; the next ``announce`` connects anew."""
        conn, self._conn, self._locked, self.trusted = self._conn, None, set(), False
        if conn is not None:
            conn.close()

    def _ready(self) -> bool:
        now = time.monotonic()
        if self.useless:
            return False
        if self._conn is None:
            return now >= self._retry_at and self._open(now)
        if not self.trusted and now > self._called_at + _PROOF_WITHIN:
            self._give_up("they do not arrive")
            return False
        return True

    def _open(self, now: float) -> bool:
        try:
            self._conn = self._connect()
            if is_pooled(self._conn):
                self._give_up("there is a connection pooler in between")
                return False
            self._waits.listen(self._conn)
            self._called_at = now
            self._call_out(self._token)
        except (psycopg.Error, OwsuperError) as error:
            self._lose(error)
            return False
        return True

    def _lose(self, error: Exception) -> None:
        _log.info("cannot listen for results, so polling for a while: %s", error)
        self.close()
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, _PAUSES[1])

    def _give_up(self, why: str) -> None:
        _log.warning(
            "no notifications of results, since %s: waiting by polling. Set OWSUPER_LISTEN_URL to"
            " a direct address of the server, or OWSUPER_LISTEN=false to silence this.",
            why,
        )
        with contextlib.suppress(psycopg.Error):
            self.close()
        self.useless = True
