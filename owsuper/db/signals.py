"""The statements that send signals, for children and clients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import orjson
from psycopg import Connection

from owsuper.db.statement import Statement, load
from owsuper.ids import new_id

Call: TypeAlias = tuple[Statement, tuple[Any, ...]]
Reached: TypeAlias = tuple[str, bool, bool]
"""A run that a signal reached: its id, whether it may have parked without seeing the signal, and
whether this sender has reached it, not an earlier one with the same key."""

_LOCK_TIMEOUT: Final = "30s"  # a sender that waits for a lock delays no other run


class SignalQueries:
    """The statements for one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._lock = load("signal_lock", schema)
        self._lock_waits = load("lock_signal_waits", schema)
        self._send = load("send_signal", schema)
        self._parked_unaware = load("parked_unaware", schema)
        self._wake_signaled = load("wake_signaled", schema)
        self._note_unaware = load("note_unaware", schema)

    def lock(self, signal: str) -> Call:
        """Return the statement that keeps others from sending and awaiting the signal.

        It lasts to the end of the transaction.
        """
        return self._lock, (self._namespace, orjson.dumps([signal]).decode(), _LOCK_TIMEOUT)

    def send(
        self, signal: str, data: bytes | None, sender_key: str | None, *, keep: bool
    ) -> tuple[Call, Call, Call]:
        """Return the statements that send a signal, for one transaction, in this order.

        The rows of the last one are ``Reached``. For the parameters see ``RelatedStore.send``.
        """
        text = None if data is None or data == b"null" else data.decode()
        params = (self._namespace, signal, text, sender_key, keep, new_id())
        waits = (self._namespace, signal)
        return self.lock(signal), (self._lock_waits, waits), (self._send, params)

    def wake_unaware(self, conn: Connection[Any], signal: str, reached: Iterable[Reached]) -> None:
        """Wake the runs that parked while the signal was being sent. For after the commit.

        Executes each statement in a transaction of its own. May be repeated. Raises psycopg.Error.
        """
        may_park = [(run_id, is_new) for run_id, may_park, is_new in reached if may_park]
        if not may_park:
            return
        run_ids = orjson.dumps([run_id for run_id, _ in may_park]).decode()
        new_ids = orjson.dumps([run_id for run_id, is_new in may_park if is_new]).decode()
        params = (self._namespace, signal, run_ids, new_ids)
        for (run_id,) in conn.execute(self._parked_unaware.query, params).fetchall():
            conn.execute(self._wake_signaled.query, (self._namespace, run_id, _LOCK_TIMEOUT))

    def note_unaware(self, reached: Iterable[Reached]) -> Call | None:
        """Return the statement that wakes, at the commit of this transaction, the runs that park.

        Return None if none of them may. For the transaction of ``send``, in place of
        ``wake_unaware``. An earlier sender with the same key wakes the runs that it has reached.
        """
        run_ids = [run_id for run_id, may_park, is_new in reached if may_park and is_new]
        if not run_ids:
            return None
        return self._note_unaware, (self._namespace, orjson.dumps(run_ids).decode())
