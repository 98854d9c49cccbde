"""Canceling, retrying and starting again: one run, or many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from psycopg import Connection
from starlette.datastructures import QueryParams
from starlette.responses import Response

from owsuper.client.many_runs import FAILED, OPEN, Work, canceling, retrying
from owsuper.client.models import Run
from owsuper.client.session import Session
from owsuper.dashboard.actions import chosen, performing
from owsuper.dashboard.actions.chosen import Chosen
from owsuper.dashboard.actions.performing import Action, ActionAnswer
from owsuper.dashboard.visit import Visit, refuse
from owsuper.db.dashboard.run_lists import RunCount
from owsuper.db.new_runs import Rerun


@dataclass(frozen=True, slots=True)
class _Kind:
    """How an action is called, and the statuses of runs that obey it."""

    name: str
    verb: str
    done: str
    obeys: tuple[str, ...]
    work_of: Callable[[Visit], Work]


def _cancel(visit: Visit) -> Work:
    return canceling(children=bool(visit.field("children")))


_CANCEL: Final = _Kind("cancel", "Cancel", "canceled", OPEN, _cancel)


def _retry(visit: Visit) -> Work:
    return retrying(visit.field("from_step").strip() or None)


_RETRY: Final = _Kind("retry", "Retry", "put back, due now", FAILED, _retry)


def _read(visit: Visit, wanted: Chosen, conn: Connection[Any]) -> tuple[Run | None, RunCount]:
    if wanted.query is not None:
        return None, chosen.count(visit, wanted.search, conn)
    many = RunCount(len(wanted.run_ids), read_all=True)
    if len(wanted.run_ids) == 1:
        return chosen.one_run(visit, wanted.run_ids[0], conn), many
    return None, many


async def _confirm(kind: _Kind, visit: Visit) -> Response:
    performing.permit(visit)
    wanted = chosen.read(visit.request.query_params, undos=kind is not _CANCEL)
    run, count = await visit.read(partial(_read, visit, wanted))
    return visit.render(
        "confirm_runs.html",
        kind=kind,
        chosen=wanted,
        run=run,
        count=count,
        before=await performing.arguments_before(visit, kind.name),
        identity=performing.identity(visit),
    )


async def _perform(kind: _Kind, visit: Visit) -> Response:
    performing.permit(visit)
    wanted = chosen.read(QueryParams(visit.form.multi_items()), undos=kind is not _CANCEL)
    if wanted.query is not None:  # to refuse it here, and not when the action is under way
        await performing.read_first(visit, partial(_read, visit, wanted))
    arguments: dict[str, Any] = {}
    if kind is _CANCEL:
        arguments["children"] = bool(visit.field("children"))
    elif step := visit.field("from_step").strip():
        arguments["from_step"] = step
    work = kind.work_of(visit)
    if wanted.query is None and len(wanted.run_ids) == 1:
        run_id = wanted.run_ids[0]
        action = Action(name=kind.name, target={"id": run_id}, arguments=arguments)
        return await performing.perform(visit, action, partial(_one, kind, work, run_id))
    action = Action(name=kind.name, target=wanted.target, arguments=arguments)
    return await performing.perform_many(visit, action, wanted.ids(visit), work)


def _one(kind: _Kind, work: Work, run_id: str, session: Session, _key: str) -> ActionAnswer:
    obeyed = work.each(session, run_id)
    if work.after is not None:
        work.after(session, [obeyed])
    return ActionAnswer(done=1, message=f"The run is {kind.done}.", runs=(run_id,))


async def confirm_cancel(visit: Visit) -> Response:
    """Show what is going to be canceled."""
    return await _confirm(_CANCEL, visit)


async def cancel(visit: Visit) -> Response:
    """Cancel one run, or many."""
    return await _perform(_CANCEL, visit)


async def confirm_retry(visit: Visit) -> Response:
    """Show what is going to be retried."""
    return await _confirm(_RETRY, visit)


async def retry(visit: Visit) -> Response:
    """Put one failed run back, or many."""
    return await _perform(_RETRY, visit)


# --- starting again ------------------------------------------------------------------------------


async def confirm_rerun(visit: Visit) -> Response:
    """Show which run is going to be started again."""
    performing.permit(visit)
    run_id = _only_run(visit.request.query_params)
    run = await visit.read(partial(chosen.one_run, visit, run_id))
    return visit.render(
        "confirm_rerun.html",
        run=run,
        before=await performing.arguments_before(visit, "rerun"),
        identity=performing.identity(visit),
    )


async def rerun(visit: Visit) -> Response:
    """Start a run with the same input."""
    performing.permit(visit)
    run_id = _only_run(QueryParams(visit.form.multi_items()))
    step = visit.field("from_step").strip() or None
    arguments = {} if step is None else {"from_step": step}
    action = Action(name="rerun", target={"id": run_id}, arguments=arguments)
    return await performing.perform(visit, action, partial(_start_again, run_id, step))


def _only_run(params: QueryParams) -> str:
    run_ids = chosen.read(params).run_ids
    if len(run_ids) != 1:
        raise refuse("id: one run can be started again at a time.")
    return run_ids[0]


def _start_again(run_id: str, step: str | None, session: Session, key: str) -> ActionAnswer:
    """The new run has the key as its id, so it is started once, however often this is called."""
    repeated = session.run(session.queries.rerun(run_id, step, Rerun(id=key)).run)
    return ActionAnswer(
        done=1, message="A new run repeats this one.", runs=(repeated.run_id, run_id)
    )
