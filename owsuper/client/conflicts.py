"""Starts of runs under a limit with ``on_conflict``: dropped, replacing or debounced ones."""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar

from psycopg import Connection

from owsuper.client import joining
from owsuper.client.joining import Work, once
from owsuper.client.session import Session
from owsuper.db.conflicts import ConflictQueries
from owsuper.db.new_runs import NewRun
from owsuper.errors import RunNotCancelable

T = TypeVar("T")


def start(session: Session, new: NewRun) -> Work[str]:
    """Start the run, unless its limit says otherwise; return its id, or that of the run there is.

    To be done in one transaction, of the level READ COMMITTED. May be repeated.
    """
    conflict = new.conflict
    assert conflict is not None
    queries = ConflictQueries(session.schema, session.namespace)
    yield from once(queries.lock(conflict))
    unfinished = yield from once(queries.find(conflict))
    if any(each.run_id == new.id for each in unfinished):
        return new.id  # the answer to the first call was lost
    amount = next((each.amount for each in unfinished if each.amount), conflict.amount)
    match conflict.policy:
        case "drop" if len(unfinished) >= amount:
            return unfinished[-1].run_id
        case "replace":
            for each in unfinished[: max(0, len(unfinished) - amount + 1)]:
                with contextlib.suppress(RunNotCancelable):  # it has ended in the meantime
                    yield from joining.cancel(session, each.run_id, children=False)
        case "debounce":
            for each in unfinished:
                # Other code, which another version has, may not know the input.
                same = (each.workflow_name, each.version) == (new.workflow_name, new.version)
                if (
                    same
                    and not each.began
                    and (yield from once(queries.debounce(each.run_id, conflict.delay, new)))
                ):
                    return each.run_id
    yield from once(session.queries.start(new))
    yield from once(queries.note(conflict, new.id))
    if conflict.policy == "debounce":
        yield from once(queries.debounce(new.id, conflict.delay, new))
    return new.id


def perform(conn: Connection[Any], work: Work[T]) -> T:
    """Return the result of ``work``, done in a transaction of its own."""
    with conn.transaction():
        try:
            statement, params = next(work)
            while True:
                cursor = conn.execute(statement.query, params)
                rows = cursor.fetchall() if cursor.description else []
                statement, params = work.send(rows)
        except StopIteration as end:
            result: T = end.value
            return result
