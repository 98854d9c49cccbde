"""What children read and write about the runs they own.

Every write stands behind the fence: it counts only while the run is ``running`` under the
worker id of the claim it belongs to. Each operation is one statement and one round trip, but
that of loading a history of thousands of step attempts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, Final, TypeAlias

import orjson
from psycopg import Connection

from owsuper.core.model import (
    ChildState,
    Complete,
    Delivery,
    Fail,
    NewChild,
    Outcome,
    Park,
    Release,
    Retry,
    StepAttempt,
    StepKind,
    StepStatus,
    StepWrite,
    WriteSet,
)
from owsuper.db import prepared
from owsuper.db.result import Param
from owsuper.db.statement import Statement, load
from owsuper.ids import new_id

Document: TypeAlias = dict[str, Any]

MOST_ATTEMPTS_LOADED: Final = 2000
"""Step attempts that one statement reads at most; few runs have half as many."""


# How long to wait for the lock on a signal: other runs wait for what a child commits.
_BRIEFLY: Final = "1s"
_PATIENTLY: Final = "30s"


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """The history of a run in the order of its attempts, and its retried failures so far."""

    history: list[StepAttempt]
    failures: int


class RunStore:
    """The statements of one schema and namespace; holds no connection.

    Connections should come from ``db.connect``. Every method may raise psycopg.Error.
    """

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._commit = load("commit", schema)
        self._commit_related = load("commit_related", schema)
        self._load = load("load", schema)
        self._load_more = load("load_more", schema)
        self._load_input = load("load_input", schema)
        self._extend = load("extend", schema)
        self._outcome = load("outcome", schema)
        self._look = load("look", schema)
        self._adopt_lock = load("start_lock", schema)
        self._adopt = load("adopt_child", schema)
        self._signal_lock = load("signal_lock", schema)
        self._send = load("send_signal", schema)

    def commit(self, conn: Connection[Any], writes: Sequence[WriteSet]) -> set[str]:
        """Make ``writes`` durable; the worker ids whose fence held. Of the others, nothing is.

        May be repeated when the answer was lost: an attempt that left ``running`` stays as it
        is. But a run that the first try parked, retried, released or ended is no longer ours;
        for what happened to it see ``outcome_of``.
        """
        return self._write(conn, writes, relaxed=False)

    def mark_running(self, conn: Connection[Any], writes: Sequence[WriteSet]) -> set[str]:
        """As ``commit``, for what a server crash may forget."""
        return self._write(conn, writes, relaxed=True)

    def _write(
        self, conn: Connection[Any], writes: Sequence[WriteSet], *, relaxed: bool
    ) -> set[str]:
        if signals := _awaited_signals(writes):
            # Whoever keeps a signal for the next to wait must see this wait, or be seen by it.
            with conn.transaction():
                self._execute_text(conn, self._signal_lock, signals, _BRIEFLY)
                return self._write_all(conn, writes, relaxed=relaxed)
        return self._write_all(conn, writes, relaxed=relaxed)

    def _write_all(
        self, conn: Connection[Any], writes: Sequence[WriteSet], *, relaxed: bool
    ) -> set[str]:
        claims = _claims(writes)
        statement = self._commit_related if any(map(_is_related, writes)) else self._commit
        rows = self._execute_text(conn, statement, *_arrays(claims, writes), relaxed)
        held = {worker for worker, related in rows if related != "true"}
        related = {worker for worker, related in rows if related == "true"}
        if related:
            arrays = _arrays({worker: claims[worker] for worker in related}, writes)
            rows = self._execute_text(conn, self._commit_related, *arrays, relaxed)
            held.update(worker for worker, _ in rows)
        return held

    def load(
        self, conn: Connection[Any], run_id: str, *, enough: int = MOST_ATTEMPTS_LOADED
    ) -> LoadedRun:
        """History and failures of a run, MOST_ATTEMPTS_LOADED attempts a statement.

        Of attempts that are not abandoned the history has all or, where there are more than
        ``enough``, more than that. Those that are abandoned may be missing.
        """
        rows = self._execute(conn, self._load, run_id, MOST_ATTEMPTS_LOADED)
        page = [step_attempt(row[1:]) for row in rows if row[1] is not None]
        history = page[:]
        counted = _count(page)
        while len(page) == MOST_ATTEMPTS_LOADED and counted <= enough:
            # Nobody else adds to the history of a run that is claimed, so its order stays.
            since = page[-1].created_at
            read = _count(_at_the_end(history, since))
            more = self._execute(conn, self._load_more, run_id, MOST_ATTEMPTS_LOADED, since, read)
            page = [step_attempt(row) for row in more]
            history.extend(page)
            counted += len(page)
        return LoadedRun(history, failures=rows[0][0])

    def look(self, conn: Connection[Any], attempt_id: str) -> ChildState | Delivery | None:
        """What has come of that which a running step attempt waits for."""
        rows = self._execute(conn, self._look, attempt_id)
        return _answer(rows[0]) if rows else None

    def adopt(
        self, conn: Connection[Any], run_id: str, worker_id: str, attempt_id: str, child: NewChild
    ) -> ChildState | None:
        """The child of a ``workflow`` attempt that has no link to one: the run that names it as
        its parent or, when there is none, ``child``. They are linked then. None if the fence
        does not hold, or the attempt is over.
        """
        key = child_key(self._namespace, attempt_id)
        lock = lock_text(self._namespace, child.workflow_name, key)
        document = orjson.dumps([_child(child)])
        with conn.transaction():
            conn.execute(self._adopt_lock.query, (lock,))
            params = (self._namespace, run_id, worker_id, attempt_id, document.decode(), key)
            rows = conn.execute(self._adopt.query, params).fetchall()
        answer = _answer(rows[0]) if rows else None
        return answer if isinstance(answer, ChildState) else None

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
        lock, send = signal_calls(self._namespace, signal, data, sender_key, keep=keep)
        with conn.transaction():
            conn.execute(self._signal_lock.query, lock)
            return [row[0] for row in conn.execute(self._send.query, send).fetchall()]

    def load_input(self, conn: Connection[Any], run_id: str) -> bytes | None:
        """The input as JSON; None if it is SQL NULL, or if there is no such run."""
        rows = self._execute(conn, self._load_input, run_id)
        return rows[0][0].encode() if rows and rows[0][0] is not None else None

    def extend(
        self, conn: Connection[Any], leases: Sequence[tuple[str, str]], lease_seconds: float
    ) -> dict[str, bool]:
        """Renew leases, given as (run id, worker id).

        The worker ids of the claims that are good, and whether they could be renewed: not while
        somebody else has the run's row locked.
        """
        rows = self._execute_text(conn, self._extend, leases_json(leases), lease_seconds)
        return {worker: renewed == "true" for worker, renewed in rows}

    def outcome_of(self, conn: Connection[Any], run_id: str) -> tuple[str, str | None] | None:
        """Status and owner of a run, None if there is no such run.

        A completed run keeps its owner: (``"completed"``, my worker id) says that it was me.
        """
        rows = self._execute(conn, self._outcome, run_id)
        return (rows[0][0], rows[0][1]) if rows else None

    def _execute(
        self, conn: Connection[Any], statement: Statement, *params: Any
    ) -> list[tuple[Any, ...]]:
        return conn.execute(statement.query, (self._namespace, *params), prepare=True).fetchall()

    def _execute_text(
        self, conn: Connection[Any], statement: Statement, *params: Param
    ) -> list[tuple[str, ...]]:
        return prepared.execute(conn, statement, (self._namespace, *params))


def _at_the_end(history: Sequence[StepAttempt], moment: datetime) -> Iterator[StepAttempt]:
    """The last of ``history``, as far back as they were created at ``moment``."""
    return takewhile(lambda each: each.created_at == moment, reversed(history))


def _count(attempts: Iterable[StepAttempt]) -> int:
    return sum(not each.is_abandoned for each in attempts)


def step_attempt(row: Sequence[Any]) -> StepAttempt:
    """A StepAttempt of its columns, the JSON ones as text."""
    attempt_id, name, kind, status, context, output, error, created, started, finished = row[:10]
    return StepAttempt(
        attempt_id,
        name,
        kind,
        status,
        _parsed(context),
        _parsed(output),
        _parsed(error),
        created,
        started,
        finished,
        _answer(row[10:]),
    )


def _answer(row: Sequence[Any]) -> ChildState | Delivery | None:
    """Of the columns that ``load`` and ``look`` return for what an attempt waits for."""
    child_id, status, output, error, finished, delivered, data = row
    if child_id is not None:
        return ChildState(child_id, status, _parsed(output), _parsed(error), finished)
    return Delivery(_parsed(data)) if delivered else None


def child_key(namespace: str, attempt_id: str) -> str:
    """The idempotency key of the run that a step attempt starts, as in OpenWorkflow."""
    return f"__workflow:{namespace}:{attempt_id}"


def lock_text(namespace: str, workflow_name: str, key: str | None) -> str:
    """What is hashed for the lock on an idempotency key: the same text in every language."""
    members = {"namespaceId": namespace, "workflowName": workflow_name, "idempotencyKey": key}
    return orjson.dumps(members).decode()


def signal_calls(
    namespace: str, signal: str, data: bytes | None, sender_key: str | None, *, keep: bool
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The parameters of signal_lock and of send_signal, which follows it in one transaction."""
    lock = (namespace, orjson.dumps([signal]).decode(), _PATIENTLY)
    text = None if data is None or data == b"null" else data.decode()
    return lock, (namespace, signal, text, sender_key, keep, new_id())


def leases_json(leases: Sequence[tuple[str, str]]) -> str:
    """(run id, worker id) pairs as the statements take them."""
    return orjson.dumps([{"run": run, "worker": worker} for run, worker in leases]).decode()


def _parsed(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


def _claims(writes: Sequence[WriteSet]) -> dict[str, Document]:
    """One document per claim, which may have several write sets: parallel steps of one run."""
    claims: dict[str, Document] = {}
    for write in writes:
        claim = claims.setdefault(write.worker_id, {"worker": write.worker_id, "run": write.run_id})
        if write.outcome is not None:
            claim.update(_outcome(write.outcome), first=write.first)
    return claims


def _outcome(outcome: Outcome) -> Document:
    match outcome:
        case Complete(output_json):
            return {"outcome": "complete", "output": _raw(output_json)}
        case Park(until, awaits):
            return {"outcome": "park", "at": until, "awaits": awaits}
        case Retry(at, error, counts):
            return {"outcome": "retry", "at": at, "error": error.to_json(), "counts": counts}
        case Fail(error):
            return {"outcome": "fail", "error": error}
        case Release():
            return {"outcome": "release"}


def _step(worker_id: str, step: StepWrite) -> Document:
    return {
        "id": step.attempt_id,
        "worker": worker_id,
        "name": step.step_name,
        "kind": step.kind,
        "status": step.status,
        "context": step.context,
        "output": _raw(step.output_json),
        "error": None if step.error is None else step.error.to_json(),
        "started": step.started_at,
        "finished": step.finished_at,
        "child": None if step.child is None else _child(step.child),
    }


def _child(child: NewChild) -> Document:
    return {
        "id": child.run_id,
        "name": child.workflow_name,
        "version": child.version,
        "input": _raw(child.input_json),
    }


def _is_related(write: WriteSet) -> bool:
    """Whether it touches more than one run and its own step attempts, or may."""
    return isinstance(write.outcome, Park) or any(
        step.child is not None or _begins_to_wait(step) for step in write.steps
    )


def _begins_to_wait(step: StepWrite) -> bool:
    return step.kind == StepKind.SIGNAL_WAIT and step.status == StepStatus.RUNNING


def _awaited_signals(writes: Sequence[WriteSet]) -> bytes | None:
    """The signals that somebody begins to wait for, as JSON."""
    steps = [step for write in writes for step in write.steps if _begins_to_wait(step)]
    signals = sorted({step.context["signal"] for step in steps if step.context})
    return orjson.dumps(signals) if signals else None


def _raw(json: bytes | None) -> orjson.Fragment | None:
    return None if json is None else orjson.Fragment(json)


def _arrays(claims: Mapping[str, Document], writes: Sequence[WriteSet]) -> tuple[bytes, bytes]:
    """The two JSON parameters of the commit statements."""
    steps = [
        _step(write.worker_id, step)
        for write in writes
        if write.worker_id in claims
        for step in write.steps
    ]
    return orjson.dumps(list(claims.values())), orjson.dumps(steps)
