"""Pausing and resuming a workflow."""

from __future__ import annotations

from functools import partial
from typing import Final

from starlette.responses import Response

from owsuper.client.session import Session
from owsuper.core.names import check_workflow_name
from owsuper.dashboard.actions import performing
from owsuper.dashboard.actions.performing import Action, ActionAnswer
from owsuper.dashboard.visit import Visit, refuse
from owsuper.db.pauses import PauseQueries
from owsuper.errors import ConfigurationError

_LONGEST_REASON: Final = 1000  # characters
_PAUSED: Final = "No worker claims runs of it, in any version, until it is resumed."
_RESUMED: Final = "Workers claim its runs again."
_NOT_PAUSED: Final = "The workflow is not paused. Somebody may have resumed it meanwhile."


async def confirm_pause(visit: Visit) -> Response:
    """Show which workflow is going to be paused, and ask why."""
    performing.permit(visit)
    name = _name(visit.query("workflow"))
    return visit.render("confirm_pause.html", workflow=name, identity=performing.identity(visit))


async def confirm_resume(visit: Visit) -> Response:
    """Show which workflow is going to be resumed."""
    performing.permit(visit)
    name = _name(visit.query("workflow"))
    return visit.render("confirm_resume.html", workflow=name, identity=performing.identity(visit))


async def pause(visit: Visit) -> Response:
    """Let no worker claim runs of a workflow."""
    performing.permit(visit)
    name, reason = _name(visit.field("workflow")), visit.field("reason").strip() or None
    if reason is not None and (len(reason) > _LONGEST_REASON or "\0" in reason):
        raise refuse(f"reason: at most {_LONGEST_REASON:,} characters, without U+0000.")
    action = Action(name="pause-workflow", target={"workflow": name}, arguments={"reason": reason})
    return await performing.perform(visit, action, partial(_pause, name, reason, visit.user))


async def resume(visit: Visit) -> Response:
    """Let workers claim runs of a workflow again."""
    performing.permit(visit)
    name = _name(visit.field("workflow"))
    action = Action(name="resume-workflow", target={"workflow": name})
    return await performing.perform(visit, action, partial(_resume, name))


def _name(given: str | None) -> str:
    try:
        return check_workflow_name(given or "")
    except ConfigurationError as error:
        raise refuse(f"workflow: {error}") from error


def _pause(
    name: str, reason: str | None, user: str | None, session: Session, _key: str
) -> ActionAnswer:
    queries = PauseQueries(session.schema, session.namespace)
    session.run(queries.pause(name, by=user or "the dashboard", reason=reason).run)
    return ActionAnswer(done=1, message=_PAUSED)


def _resume(name: str, session: Session, _key: str) -> ActionAnswer:
    queries = PauseQueries(session.schema, session.namespace)
    if session.run(queries.resume(name).run) is None:
        return ActionAnswer(refused=1, message=_NOT_PAUSED)
    return ActionAnswer(done=1, message=_RESUMED)
