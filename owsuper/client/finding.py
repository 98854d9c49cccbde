"""Handles of runs that exist: by id, or by the idempotency key that started them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from owsuper.client.handle import RunHandle
from owsuper.client.listing import check_run_id
from owsuper.client.new_run import check_key
from owsuper.core.names import check_workflow_name
from owsuper.core.pages import Window
from owsuper.db.clients import Operation, Rows
from owsuper.db.lists import ListQueries, RunFilter
from owsuper.errors import ConfigurationError, RunNotFound
from owsuper.workflow.definition import Workflow

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase

O = TypeVar("O")  # noqa: E741 - as in Workflow[I, O]


class Finding:
    """The methods of OpenWorkflow that find a run."""

    _database: ClientDatabase

    @overload
    def get_run(self, run_id: str, /) -> RunHandle[Any]: ...
    @overload
    def get_run(self, workflow: Workflow[Any, O], /, *, run_id: str) -> RunHandle[O]: ...
    @overload
    def get_run(self, workflow: Workflow[Any, O], /, *, key: str) -> RunHandle[O]: ...
    @overload
    def get_run(self, workflow: str, /, *, key: str) -> RunHandle[Any]: ...
    def get_run(
        self,
        of: Workflow[Any, Any] | str,
        /,
        *,
        key: str | None = None,
        run_id: str | None = None,
    ) -> RunHandle[Any]:
        """Return a handle of the run with this id, or of a workflow's run with this key.

        With an id, this method does not ask the database: the methods of the handle do, and raise
        RunNotFound if there is no such run. Raises ConfigurationError if no run can have this id.
        With a workflow and a ``run_id``, results have the type that the workflow declares. Whether
        the run is one of this workflow is not checked.

        With a workflow, given itself or by name, and the idempotency ``key`` of a run, this method
        asks the database, and returns the newest run with this key. Raises RunNotFound if there is
        none, ConfigurationError, DatabaseUnreachable and MigrationError.
        """
        if run_id is not None:
            if key is not None or not isinstance(of, Workflow):
                raise ConfigurationError("get_run: run_id= goes with a workflow, and without key=")
            return self._handle_of(of, check_run_id(run_id))
        if key is None:
            if isinstance(of, Workflow):
                raise ConfigurationError(
                    "get_run: pass the run_id= or the key= of the run with the workflow"
                )
            return RunHandle(self._database, check_run_id(of))
        operation = _with_key(of, key)
        session = self._database.session()
        return self._handle_of(of, session.run(operation(session.lists).run))

    @overload
    async def aget_run(self, workflow: Workflow[Any, O], /, *, key: str) -> RunHandle[O]: ...
    @overload
    async def aget_run(self, workflow: str, /, *, key: str) -> RunHandle[Any]: ...
    async def aget_run(self, workflow: Workflow[Any, Any] | str, /, *, key: str) -> RunHandle[Any]:
        """Awaitable :meth:`get_run` by key. (By id, :meth:`get_run` itself never blocks.)"""
        operation = _with_key(workflow, key)
        session = await self._database.asession()
        return self._handle_of(workflow, await session.arun(operation(session.lists).run))

    def _handle_of(
        self, workflow: Workflow[Any, Any] | str, run_id: str, *, new: bool = False
    ) -> RunHandle[Any]:
        if isinstance(workflow, Workflow):
            return RunHandle(
                self._database,
                run_id,
                workflow_name=workflow.name,
                output_type=workflow.output_type,
                upcast=workflow.upcasts.result,
                new=new,
            )
        return RunHandle(self._database, run_id, workflow_name=workflow, new=new)


def _with_key(
    workflow: Workflow[Any, Any] | str, key: str
) -> Callable[[ListQueries], Operation[str]]:
    """Check the arguments and make the query for the id of the newest run with this key.

    Raises ConfigurationError.
    """
    name = check_workflow_name(workflow.name if isinstance(workflow, Workflow) else workflow)
    wanted = RunFilter(workflow=name, key=check_key(key))

    def query(lists: ListQueries) -> Operation[str]:
        rows = lists.runs(Window(1), wanted)

        def parse(results: list[Rows]) -> str:
            found = rows.parse(results)
            if not found:
                raise RunNotFound(
                    f"Workflow {name} has no run with the idempotency key {key!r}", run_id=""
                )
            return found[0].id

        return Operation(rows.calls, parse)

    return query
