"""Client work that takes several statements, or interprets an error. It blocks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from psycopg import Connection

from owsuper.client.session import Session
from owsuper.core.model import RunStatus
from owsuper.db.clients import Canceled
from owsuper.errors import RunNotCancelable, RunNotRetryable, RunNotWakeable
from owsuper.ids import new_id

_RETRIED: Final = frozenset({RunStatus.PENDING, RunStatus.RUNNING})


def cancel(session: Session, run_id: str, *, children: bool) -> Canceled:
    """Cancel a run and, with ``children``, its open child runs and their open child runs.

    Returns the run that was canceled.

    The run is canceled first, because a canceled run starts no more child runs. Of a chain of runs
    that continue as new, the last is canceled. Raises RunNotFound, RunNotCancelable, and as
    ``Session.run`` does.
    """
    queries = session.queries
    canceled = session.run(queries.cancel(run_id).run)
    while canceled.successor is not None:
        canceled = session.run(queries.cancel(canceled.successor).run)
    if children:
        cancel_children(session, [canceled.run_id])
    return canceled


def cancel_children(session: Session, run_ids: Sequence[str]) -> None:
    """Cancel the open child runs of runs that are canceled, and their open child runs.

    Raises as ``Session.run`` does.
    """
    queries = session.queries
    parents = list(run_ids)
    while parents:
        parents = session.run(queries.open_children(parents).run)
        for child_run_id in parents:
            last: str | None = child_run_id
            with suppress(RunNotCancelable):  # the child run has ended in the meantime
                while last is not None:
                    last = session.run(queries.cancel(last).run).successor


def retry(session: Session, run_id: str, step: str | None = None) -> None:
    """Put a failed run back, or with ``step`` an ended one.

    Raises RunNotFound, RunNotRetryable, and as ``Session.run`` does.

    If a connection breaks before the answer arrives, the session sends the statement again. The
    second statement may find that the first one has put the run back, which is no error. If the
    run has already ended again, the caller gets the error.
    """
    operation = session.queries.retry(run_id, step)
    sent = 0

    def send(conn: Connection[Any]) -> None:
        nonlocal sent
        sent += 1
        operation.run(conn)

    try:
        session.run(send)
    except RunNotRetryable as refused:
        if sent == 1 or refused.status not in _RETRIED:
            raise


def skip_undo(session: Session, run_id: str, step: str, remark: dict[str, Any]) -> None:
    """Leave out the undo of ``step``, and put the failed run back that was to execute it.

    Raises RunNotFound, RunNotRetryable, and as ``Session.run`` does.
    """
    skip = session.queries.skip_undo(run_id, step, attempt_id=new_id(), remark=remark)
    session.run(skip.run)
    try:
        retry(session, run_id)
    except RunNotRetryable as refused:
        if refused.status not in _RETRIED:  # somebody else has retried it meanwhile
            raise


def wake(session: Session, run_id: str, step: str | None) -> None:
    """End the waits of a run. Raises RunNotFound, RunNotWakeable, and as ``Session.run`` does.

    A repeated statement may find that the first one has woken the run, and a worker executes it.
    """
    operation = session.queries.wake(run_id, step)
    sent = 0

    def send(conn: Connection[Any]) -> None:
        nonlocal sent
        sent += 1
        operation.run(conn)

    try:
        session.run(send)
    except RunNotWakeable:
        if sent == 1:
            raise
