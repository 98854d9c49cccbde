"""What runs have to do with one another: the children they start, the signals they send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson
from psycopg import Connection

from owsuper.core import codec
from owsuper.core.model import ChildRunState, DeliveredSignal, NewChildRun, RecordedAttempt
from owsuper.db import prepared
from owsuper.db.statement import load
from owsuper.db.write_documents import child_document
from owsuper.ids import new_id

_PATIENTLY: Final = "30s"  # for the lock on a signal: a sender keeps no other run waiting


class RelatedStore:
    """The statements of one schema and namespace; holds no connection.

    Connections should come from ``db.connect``. Every method may raise psycopg.Error.
    """

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._look = load("look", schema)
        self._adopt_lock = load("start_lock", schema)
        self._adopt = load("adopt_child", schema)
        self._signal_lock = load("signal_lock", schema)
        self._lock_waits = load("lock_signal_waits", schema)
        self._send = load("send_signal", schema)

    def look(
        self, conn: Connection[Any], attempt_id: str
    ) -> ChildRunState | DeliveredSignal | None:
        """What has come of that which a running step attempt waits for."""
        params = (self._namespace, attempt_id)
        rows = conn.execute(self._look.query, params, prepare=True).fetchall()
        return answer(rows[0]) if rows else None

    def adopt(
        self,
        conn: Connection[Any],
        run_id: str,
        worker_id: str,
        attempt_id: str,
        child: NewChildRun,
    ) -> ChildRunState | None:
        """The child of a ``workflow`` attempt that has no link to one: the run that names it as
        its parent or, when there is none, ``child``. They are linked then. None if the fence
        does not hold, or the attempt is over.
        """
        key = child_key(self._namespace, attempt_id)
        lock = lock_text(self._namespace, child.workflow_name, key)
        document = orjson.dumps([child_document(child)])
        with prepared.transaction(conn):
            conn.execute(self._adopt_lock.query, (lock,))
            params = (self._namespace, run_id, worker_id, attempt_id, document.decode(), key)
            rows = conn.execute(self._adopt.query, params).fetchall()
        found = answer(rows[0]) if rows else None
        return found if isinstance(found, ChildRunState) else None

    def send(
        self,
        conn: Connection[Any],
        signal: str,
        data: bytes | None,
        sender_key: str | None,
        *,
        keep: bool,
    ) -> list[str]:
        """Send a signal; the ids of the runs that it reached, now or when it was sent with this
        key before. ``keep`` it for the next to wait, if it reached none.
        """
        lock, waits, send = signal_calls(self._namespace, signal, data, sender_key, keep=keep)
        with prepared.transaction(conn):
            conn.execute(self._signal_lock.query, lock)
            conn.execute(self._lock_waits.query, waits)
            return [row[0] for row in conn.execute(self._send.query, send).fetchall()]


def child_key(namespace: str, attempt_id: str) -> str:
    """The idempotency key of the run that a step attempt starts, as in OpenWorkflow."""
    return f"__workflow:{namespace}:{attempt_id}"


def lock_text(namespace: str, workflow_name: str, key: str | None) -> str:
    """What is hashed for the lock on an idempotency key: the same text in every language."""
    members = {"namespaceId": namespace, "workflowName": workflow_name, "idempotencyKey": key}
    return orjson.dumps(members).decode()


def signal_calls(
    namespace: str, signal: str, data: bytes | None, sender_key: str | None, *, keep: bool
) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """The parameters of signal_lock, lock_signal_waits and send_signal, which follow on each other
    in one transaction.
    """
    lock = (namespace, orjson.dumps([signal]).decode(), _PATIENTLY)
    text = None if data is None or data == b"null" else data.decode()
    return lock, (namespace, signal), (namespace, signal, text, sender_key, keep, new_id())


def step_attempt(row: Sequence[Any]) -> RecordedAttempt:
    """A StepAttempt of its columns, the JSON ones as text. Raises InvalidData."""
    attempt_id, name, kind, status, context, output, error, created, started, finished = row[:10]
    owner = f"step {name!r}"
    return RecordedAttempt(
        attempt_id,
        name,
        kind,
        status,
        codec.decode(context, path="context", owner=owner),
        codec.decode(output, path="output", owner=owner),
        codec.decode(error, path="error", owner=owner),
        created,
        started,
        finished,
        answer(row[10:]),
    )


def answer(row: Sequence[Any]) -> ChildRunState | DeliveredSignal | None:
    """Of the columns that ``load`` and ``look`` return for what an attempt waits for.

    Raises InvalidData.
    """
    child_id, status, output, error, finished, delivered, data = row
    if child_id is not None:
        owner = f"run {child_id}"
        return ChildRunState(
            child_id,
            status,
            codec.decode(output, path="output", owner=owner),
            codec.decode(error, path="error", owner=owner),
            finished,
        )
    return (
        DeliveredSignal(codec.decode(data, path="data", owner="the signal")) if delivered else None
    )
