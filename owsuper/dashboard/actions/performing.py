"""One action after the other: confirmed, logged, performed once, answered.

The page that confirms an action draws an id, and its form brings the id back. The entry of the
audit table has this id as its key, so whoever sends a form twice, or two browsers that show the
same page, perform it once: the second one is shown the answer of the first.

If the database goes away between the entry and the answer, nobody knows what was done. The entry
then offers the action again, with the same *key*: with it, a signal is not sent twice, and no
second run is started.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from psycopg import Connection
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction
from starlette.exceptions import HTTPException
from starlette.responses import Response

from owsuper.client.many_runs import Work, do_batch, until_database
from owsuper.client.session import Session
from owsuper.dashboard.visit import Visit, refuse
from owsuper.db.audit import AuditQueries, Intent
from owsuper.errors import DatabaseError, OwsuperError
from owsuper.ids import new_id

T = TypeVar("T")

_log = logging.getLogger("owsuper.dashboard")

_ID: Final = re.compile(r"[0-9a-f-]{36}")
_LONGEST_ARGUMENTS: Final = 20_000  # characters of a value that is kept in the audit table
_SHOWN_REFUSALS: Final = 20  # of each part
_READ_ONLY: Final = (
    "This dashboard is read-only. Whoever runs it can permit actions by --allow-actions."
)
_NOTHING_DONE: Final = (
    "The database does not answer, so nothing was done. Go back and send the form again: it is"
    " performed once, however often you send it."
)
_WRITE_REFUSED: Final = (InsufficientPrivilege, ReadOnlySqlTransaction)
_MAY_NOT_WRITE: Final = (
    "The database does not let this dashboard write, so nothing was done. The log of the dashboard"
    " says why."
)


@dataclass(frozen=True, slots=True)
class ActionAnswer:
    """What came of an action, or of a part of it: how many runs obeyed and refused, and why.

    ``runs`` are the runs to look at. ``refusals`` are ids with reasons, perhaps not all.
    """

    done: int = 0
    refused: int = 0
    message: str = ""
    runs: tuple[str, ...] = ()
    refusals: tuple[tuple[str, str], ...] = ()

    @property
    def details(self) -> dict[str, Any]:
        """What the audit table keeps beside the numbers."""
        refusals = [[run_id, reason] for run_id, reason in self.refusals[:_SHOWN_REFUSALS]]
        return {"message": self.message, "runs": list(self.runs), "refusals": refusals}


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """An action to perform. ``target`` is the query of the page that confirms it."""

    name: str
    target: Mapping[str, Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)


def permit(visit: Visit) -> None:
    """Raise HTTPException unless this dashboard may change anything."""
    if not visit.options.allow_actions:
        raise HTTPException(403, _READ_ONLY)


def identity(visit: Visit) -> dict[str, str]:
    """Return the hidden fields of a form: the id of the action, and its key; see the module."""
    action_id = visit.field("action_id") or new_id()
    return {"action_id": action_id, "key": visit.field("key") or visit.query("key") or action_id}


def kept_value(visit: Visit, value: Any, text: str) -> Any:
    """Return a value as the audit table keeps it: not at all if values are hidden."""
    if visit.options.hide_values:
        return {"hidden": True}
    return value if len(text) <= _LONGEST_ARGUMENTS else {"characters": len(text)}


def was_kept(visit: Visit, kept: Any) -> bool:
    """Return whether ``kept`` is what was given to ``kept_value``, and may be shown."""
    stands_for_another = isinstance(kept, dict) and list(kept) in (["hidden"], ["characters"])
    return not visit.options.hide_values and not stands_for_another


async def read_first(visit: Visit, work: Callable[[Connection[Any]], T]) -> T:
    """Read what an action has to know before it begins.

    Raises HTTPException, which says that nothing was done, and what ``work`` raises.
    """
    try:
        return await visit.read(work)
    except DatabaseError as error:
        _log.warning("an action was not performed: %s", error)
        raise HTTPException(503, _NOTHING_DONE) from error


async def arguments_before(visit: Visit, name: str) -> Mapping[str, Any]:
    """Return what was given to the action that is asked for again; nothing if it is a new one."""
    key = visit.query("key")
    if key is None or not _ID.fullmatch(key):
        return {}
    entry = await visit.read(_audit(visit).entry(key).run)
    return {} if entry is None or entry.action != name else entry.arguments or {}


async def perform(
    visit: Visit, action: Action, work: Callable[[Session, str], ActionAnswer]
) -> Response:
    """Perform an action once, and lead to the page with its answer.

    ``work`` gets the key of the action, and is called in another thread.
    """
    entry_id, key = await _identity(visit, action)
    session = await visit.ow._database.asession()
    if await _intend(visit, session, entry_id, key, action):
        with _under_way(entry_id):
            await _answer(visit, session, entry_id, lambda: work(session, key))
    return visit.redirect(f"/audit/{entry_id}")


async def perform_many(
    visit: Visit,
    action: Action,
    run_ids: AsyncIterator[list[str]],
    work: Work,
) -> Response:
    """Do ``work`` for each of many runs, in a task of its own; lead to the page that follows it."""
    entry_id, key = await _identity(visit, action)
    session = await visit.ow._database.asession()
    if await _intend(visit, session, entry_id, key, action):
        _begin(_many(visit, session, entry_id, run_ids, work))
    return visit.redirect(f"/audit/{entry_id}")


def is_under_way(entry_id: str) -> bool:
    """Whether this process performs the action now."""
    return entry_id in _ids_under_way


# --- the steps of an action ----------------------------------------------------------------------

_ids_under_way: set[str] = set()
_tasks: set[asyncio.Task[None]] = set()


@contextmanager
def _under_way(entry_id: str) -> Iterator[None]:
    _ids_under_way.add(entry_id)
    try:
        yield
    finally:
        _ids_under_way.discard(entry_id)


def _begin(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    _tasks.add(task)  # the loop keeps no task alive
    task.add_done_callback(_tasks.discard)


async def _identity(visit: Visit, action: Action) -> tuple[str, str]:
    """Return the id of the action, and its key: the id of the one that it repeats, or its own.

    A key comes in an address, so it may be made up. That of a run that exists, or of a signal that
    was sent, would do nothing and say that all is done.
    """
    permit(visit)
    entry_id, key = visit.field("action_id"), visit.field("key")
    if not (_ID.fullmatch(entry_id) and _ID.fullmatch(key)):
        raise refuse("This form has no id of its action. Open the page again, and send its form.")
    if key != entry_id:
        repeated = await read_first(visit, _audit(visit).entry(key).run)
        if repeated is None or repeated.action != action.name:
            raise refuse("key: no such action was asked for before. Open the page without it.")
    return entry_id, key


async def _intend(visit: Visit, session: Session, entry_id: str, key: str, action: Action) -> bool:
    """Write the entry; return whether it is new. Raises HTTPException if that is impossible."""
    target = dict(action.target) if key == entry_id else {**action.target, "key": key}
    intent = Intent(
        id=entry_id,
        user=visit.user,
        address=visit.sender.address or None,
        action=action.name,
        target=target,
        arguments=action.arguments or None,
    )
    try:
        is_new = await session.arun(_audit(visit).intend(intent).run)
    except DatabaseError as error:
        _log.warning("an action was not performed: %s", error)
        may_write = not isinstance(error.__cause__, _WRITE_REFUSED)
        raise HTTPException(503, _NOTHING_DONE if may_write else _MAY_NOT_WRITE) from error
    if is_new:
        by = f"user {visit.user!r}" if visit.user else "nobody in particular"
        _log.info("action %s by %s, audit id %s", action.name, by, entry_id)
    return is_new


async def _answer(
    visit: Visit, session: Session, entry_id: str, work: Callable[[], ActionAnswer]
) -> None:
    try:
        answer = await session.acall(lambda: _performed(work))
        await session.arun(
            _audit(visit)
            .answer(entry_id, done=answer.done, refused=answer.refused, details=answer.details)
            .run
        )
    except DatabaseError as error:  # its page says that no answer was recorded
        _log.warning("action %s has no answer: %s", entry_id, error)


def _performed(work: Callable[[], ActionAnswer]) -> ActionAnswer:
    try:
        return work()
    except DatabaseError:
        raise
    except OwsuperError as error:
        return ActionAnswer(refused=1, message=str(error))


async def _many(
    visit: Visit,
    session: Session,
    entry_id: str,
    run_ids: AsyncIterator[list[str]],
    work: Work,
) -> None:
    """Perform an action on many runs, and write a part of its answer for each batch."""
    number = 0
    audit = _audit(visit)
    try:
        with _under_way(entry_id):
            async for batch in run_ids:
                if batch:
                    answer = await session.acall(partial(_batch, session, batch, work))
                    await _write(session, audit, entry_id, answer, number, is_last=False)
                    number += 1
            await _write(session, audit, entry_id, ActionAnswer(), number, is_last=True)
    except DatabaseError as error:  # its page says that it was not finished
        _log.warning("action %s was given up after %d lists of runs: %s", entry_id, number, error)
    except Exception:  # nobody awaits this task
        _log.exception("action %s has failed after %d lists of runs", entry_id, number)


def _batch(session: Session, batch: list[str], work: Work) -> ActionAnswer:
    worked_on = do_batch(session, batch, work)
    refusals = tuple(worked_on.refusals)
    return ActionAnswer(done=len(worked_on.obeyed), refused=len(refusals), refusals=refusals)


async def _write(
    session: Session,
    audit: AuditQueries,
    entry_id: str,
    answer: ActionAnswer,
    number: int,
    *,
    is_last: bool,
) -> None:
    operation = audit.answer(
        entry_id,
        done=answer.done,
        refused=answer.refused,
        details=answer.details,
        number=number,
        is_last=is_last,
    )
    await session.acall(lambda: until_database(lambda: session.run(operation.run)))


def _audit(visit: Visit) -> AuditQueries:
    return AuditQueries(visit.schema, visit.namespace)
