"""Pausing workflows, and listing those that there are."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

from psycopg import Connection

from owsuper.client.remarks import check_remarks, somebody
from owsuper.client.session import Session
from owsuper.client.workers import worker_from_row
from owsuper.client.workflow_status import (
    PausedWorkflow,
    WorkflowStatus,
    pause_from_row,
    read_pauses,
)
from owsuper.core.names import check_workflow_name, list_names
from owsuper.core.undoing import undone_workflow
from owsuper.db.pauses import PauseQueries
from owsuper.errors import ConfigurationError
from owsuper.workflow.definition import Workflow
from owsuper.workflow.registry import Registry

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase

_MOST_NAMES: Final = 1000  # of workflows that have runs, among which similar ones are looked for


class PausesWorkflows:
    """The methods of OpenWorkflow that pause, resume and list workflows."""

    registry: Registry
    _database: ClientDatabase

    def pause_workflow(
        self,
        workflow: Workflow[Any, Any] | str,
        *,
        reason: str | None = None,
        by: str | None = None,
    ) -> PausedWorkflow:
        """Let no worker of this namespace claim runs of a workflow, until it is resumed.

        This holds for all versions and all hosts, at once and after restarts. Runs that are being
        executed go on; those that wait stay where they are, also if they have begun. ``by`` is who
        pauses: by default user and host of this process. If the workflow is paused already, the
        reason is replaced. Workers of OpenWorkflow for TypeScript know of no pauses.

        Raises ConfigurationError for an argument that cannot be used, or the name of a workflow
        that this program does not define, no worker serves, and no run has; DatabaseUnreachable and
        MigrationError.
        """
        name, by = _checked(workflow, reason, by)
        session = self._database.session()
        if not self._defines(workflow):
            session.run(lambda conn: _check_known(session, name, conn))
        return pause_from_row(session.run(_queries(session).pause(name, by=by, reason=reason).run))

    async def apause_workflow(
        self,
        workflow: Workflow[Any, Any] | str,
        *,
        reason: str | None = None,
        by: str | None = None,
    ) -> PausedWorkflow:
        """Awaitable :meth:`pause_workflow`."""
        name, by = _checked(workflow, reason, by)
        session = await self._database.asession()
        if not self._defines(workflow):
            await session.arun(lambda conn: _check_known(session, name, conn))
        return pause_from_row(
            await session.arun(_queries(session).pause(name, by=by, reason=reason).run)
        )

    def resume_workflow(self, workflow: Workflow[Any, Any] | str) -> PausedWorkflow | None:
        """Let workers claim runs of a workflow again. Returns the pause that ended.

        Returns None if the workflow was not paused. Raises as :meth:`pause_workflow` does.
        """
        name = _name(workflow)
        session = self._database.session()
        ended = session.run(_queries(session).resume(name).run)
        if ended is None and not self._defines(workflow):
            session.run(lambda conn: _check_known(session, name, conn))
        return None if ended is None else pause_from_row(ended)

    async def aresume_workflow(self, workflow: Workflow[Any, Any] | str) -> PausedWorkflow | None:
        """Awaitable :meth:`resume_workflow`."""
        name = _name(workflow)
        session = await self._database.asession()
        ended = await session.arun(_queries(session).resume(name).run)
        if ended is None and not self._defines(workflow):
            await session.arun(lambda conn: _check_known(session, name, conn))
        return None if ended is None else pause_from_row(ended)

    def list_workflows(self) -> list[WorkflowStatus]:
        """Return the workflows that connected workers serve, and those that are paused, by name.

        Raises DatabaseUnreachable and MigrationError.
        """
        session = self._database.session()
        return session.run(lambda conn: _list(session, conn))

    async def alist_workflows(self) -> list[WorkflowStatus]:
        """Awaitable :meth:`list_workflows`."""
        session = await self._database.asession()
        return await session.arun(lambda conn: _list(session, conn))

    def _defines(self, workflow: Workflow[Any, Any] | str) -> bool:
        if isinstance(workflow, Workflow):
            return True
        name = undone_workflow(workflow) or workflow
        return any(each.name == name for each in self.registry)


def _queries(session: Session) -> PauseQueries:
    return PauseQueries(session.schema, session.namespace)


def _list(session: Session, conn: Connection[Any]) -> list[WorkflowStatus]:
    pauses, serving = read_pauses(_queries(session), conn), _serving(session, conn)
    return [
        WorkflowStatus(
            name=name,
            versions=tuple(
                sorted(
                    {version for version, _ in serving.get(name, ())},
                    key=lambda version: (version is not None, version or ""),
                )
            ),
            workers=tuple(dict.fromkeys(worker for _, worker in serving.get(name, ()))),
            pause=pauses.get(name),
        )
        for name in sorted({*pauses, *serving})
    ]


def _serving(session: Session, conn: Connection[Any]) -> dict[str, list[tuple[str | None, str]]]:
    """Return versions and ids of workers, by the names of workflows that are served."""
    found: dict[str, list[tuple[str | None, str]]] = {}
    for row in session.workers.all().run(conn):
        worker = worker_from_row(row)
        for name, version in worker.workflows if worker.here else ():
            found.setdefault(name, []).append((version, worker.id))
    return found


def _check_known(session: Session, name: str, conn: Connection[Any]) -> None:
    """Raise ConfigurationError unless the workflow is served, paused or has runs.

    The workflow that undoes runs of another is as well known as the other.
    """
    name = undone_workflow(name) or name
    queries = _queries(session)
    served = {*_serving(session, conn), *read_pauses(queries, conn)}
    if name in served or queries.has_runs(name).run(conn):
        return
    known = sorted({*served, *queries.names(_MOST_NAMES).run(conn)})
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {list_names(known)}"
    if not known:
        hint = "there is none in this namespace"
    raise ConfigurationError(f"no worker serves a workflow {name!r}, and no run is of it; {hint}")


def _name(workflow: Workflow[Any, Any] | str) -> str:
    return workflow.name if isinstance(workflow, Workflow) else check_workflow_name(workflow)


def _checked(
    workflow: Workflow[Any, Any] | str, reason: str | None, by: str | None
) -> tuple[str, str]:
    """Return the name of the workflow, and who pauses it. Raises ConfigurationError."""
    check_remarks(reason=reason, by=by)
    return _name(workflow), somebody() if by is None else by
