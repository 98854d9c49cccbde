"""Statements of child runs and signals, and the rows of step attempts that wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from psycopg import Connection

from owsuper.core import codec
from owsuper.core.model import ChildRunState, DeliveredSignal, NewChildRun, RecordedAttempt
from owsuper.db import prepared
from owsuper.db.signals import SignalQueries
from owsuper.db.statement import load
from owsuper.db.write_documents import child_document, new_attributes


@dataclass(frozen=True, slots=True)
class Skipped:
    """A signal was skipped; ``next`` is the signal that was delivered in its place, if any."""

    next: DeliveredSignal | None


@dataclass(frozen=True, slots=True)
class Turn:
    """What a step with a limit may do; ``verdict`` is as the statement ``take_turn`` says.

    With "begin", ``seconds`` are left until then. With "wait", the turn is ``at``. ``others`` are
    the turns of other steps of the run by their keys, if they were asked for.
    """

    verdict: str
    at: datetime | None
    seconds: float
    others: dict[str, datetime]


class RelatedStore:
    """The statements of one schema and namespace; holds no connection.

    Connections should come from ``db.connect``. Every method may raise psycopg.Error.
    """

    def __init__(self, schema: str, namespace: str) -> None:
        self._schema, self._namespace = schema, namespace
        self._look = load("look", schema)
        self._adopt_lock = load("start_lock", schema)
        self._adopt = load("adopt_child", schema)
        self._set_attributes = load("set_attributes", schema)
        self._signals = SignalQueries(schema, namespace)
        self._lock_step = load("lock_waits", schema)
        self._skip = load("skip_signal", schema)
        self._next = load("next_signal", schema)

    def look(
        self, conn: Connection[Any], attempt_id: str
    ) -> ChildRunState | DeliveredSignal | None:
        """Return the state of the child run or the signal that a running step attempt waits for."""
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
        """Return the child run of a ``workflow`` attempt without a link to one, and link both.

        The child run is the run that names the attempt as its parent or, if there is none,
        ``child``, which is stored. Returns None if the fence does not hold, or if the attempt has
        ended.
        """
        key = child_key(self._namespace, attempt_id)
        lock = lock_text(self._namespace, child.workflow_name, key)
        document = orjson.dumps([child_document(child)])
        with prepared.transaction(conn):
            conn.execute(self._adopt_lock.query, (lock,))
            params = (self._namespace, run_id, worker_id, attempt_id, document.decode(), key)
            rows = conn.execute(self._adopt.query, params).fetchall()
            if rows and child.attributes:
                attributes = orjson.dumps(new_attributes(child)).decode()
                conn.execute(self._set_attributes.query, (self._namespace, attributes))
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
        """Send a signal; return the ids of the runs that it reached.

        A signal that was sent with ``sender_key`` before is not sent again; the ids are those of
        the first time. If it reached no run, ``keep`` stores it for the next run that waits.
        """
        calls = self._signals.send(signal, data, sender_key, keep=keep)
        with prepared.transaction(conn):
            *_, sent = [conn.execute(statement.query, params) for statement, params in calls]
            reached = sent.fetchall()
        self._signals.wake_unaware(conn, signal, reached)
        return [run_id for run_id, *_ in reached]

    def skip(
        self,
        conn: Connection[Any],
        run_id: str,
        worker_id: str,
        attempt_id: str,
        signal: str,
        delivery: tuple[str, str],
    ) -> Skipped | None:
        """Set aside a signal that was delivered to a step, and deliver the next one, if any.

        ``delivery`` is the id of the delivery, and the reason why it is skipped.
        Senders wait meanwhile, so none takes the place of the signal unseen. A signal that was
        skipped before is not skipped again. Returns None if the fence does not hold, or if the
        attempt has ended.
        """
        namespace = self._namespace
        lock, params = self._signals.lock(signal)
        waits = (namespace, orjson.dumps([attempt_id]).decode())
        skipped = (namespace, run_id, worker_id, attempt_id, *delivery)
        with prepared.transaction(conn):
            conn.execute(lock.query, params)
            conn.execute(self._lock_step.query, waits)
            if not conn.execute(self._skip.query, skipped).fetchall():
                return None
            conn.execute(self._next.query, (namespace, run_id, attempt_id, signal))
            rows = conn.execute(self._look.query, (namespace, attempt_id)).fetchall()
        found = answer(rows[0]) if rows else None
        return Skipped(found if isinstance(found, DeliveredSignal) else None)

    def take_turn(
        self,
        conn: Connection[Any],
        run: tuple[str, str, str],
        step: str,
        limit: tuple[str, str, str],
        soon: float,
        *,
        with_others: bool,
    ) -> Turn:
        """Take a token for a step, or a turn to wait for.

        ``run`` is run id, worker id and workflow, ``limit`` its definition as JSON, the key, and
        when its code was loaded. A token that comes within ``soon`` seconds is taken.
        """
        statement = load("take_turn", self._schema)
        params = (self._namespace, *run, step, *limit, soon, with_others)
        rows = conn.execute(statement.query, params, prepare=True).fetchall()
        (_, at, verdict, seconds), *others = rows
        return Turn(verdict, at, seconds or 0.0, {name: other for name, other, *_ in others})


def child_key(namespace: str, attempt_id: str) -> str:
    """Return the idempotency key of the run that a step attempt starts, as in OpenWorkflow."""
    return f"__workflow:{namespace}:{attempt_id}"


def lock_text(namespace: str, workflow_name: str, key: str | None) -> str:
    """Return the text to hash for the lock on an idempotency key, as in OpenWorkflow."""
    members = {"namespaceId": namespace, "workflowName": workflow_name, "idempotencyKey": key}
    return orjson.dumps(members).decode()


def step_attempt(row: Sequence[Any]) -> RecordedAttempt:
    """Return the step attempt in a row; JSON columns are text. Raises InvalidData."""
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
    """Return the child run or the signal in the last columns of ``load`` and ``look``.

    Raises InvalidData.
    """
    child_id, status, output, error, finished, delivery_id, data = row
    if child_id is not None:
        owner = f"run {child_id}"
        return ChildRunState(
            child_id,
            status,
            codec.decode(output, path="output", owner=owner),
            codec.decode(error, path="error", owner=owner),
            finished,
        )
    if delivery_id is None:
        return None
    return DeliveredSignal(codec.decode(data, path="data", owner="the signal"), delivery_id)
