"""Several databases, each with the runs of some customers or regions, behind one object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, Unpack, overload

from owsuper.client.app import OpenWorkflow
from owsuper.client.handle import RunHandle
from owsuper.core.durations import Duration
from owsuper.errors import ConfigurationError, DatabaseUnreachable, RunNotFound
from owsuper.workflow.definition import Workflow
from owsuper.workflow.start_options import Start

I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741 - likewise


class Shards(Mapping[str, OpenWorkflow]):
    """Starts runs in one of several databases, and finds them in whichever they are.

    ``urls`` holds the URL of each database by a name. ``by`` is called with the input of a new run,
    and returns the name of the database in which to start the run. It must always return the same
    for the same input: idempotency keys hold within one database. As a mapping, this holds an
    OpenWorkflow for each name, for all other calls: ``shards["eu"].list_runs()``. The other
    arguments are as for OpenWorkflow, and hold for all databases.

    Each database has workers of its own. Raises ConfigurationError.
    """

    def __init__(
        self,
        urls: Mapping[str, str],
        *,
        by: Callable[[Any], str],
        namespace: str | None = None,
        schema: str | None = None,
        listen: bool | None = None,
        call_timeout: Duration | None = None,
        migrate: bool = False,
    ) -> None:
        if not urls:
            raise ConfigurationError("urls: pass the URL of one database at least, by its name")
        self._by = by
        self._databases = {
            name: OpenWorkflow(
                url,
                namespace=namespace,
                schema=schema,
                listen=listen,
                call_timeout=call_timeout,
                migrate=migrate,
            )
            for name, url in urls.items()
        }

    def __getitem__(self, name: str) -> OpenWorkflow:
        return self._databases[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._databases)

    def __len__(self) -> int:
        return len(self._databases)

    def of(self, input: Any) -> OpenWorkflow:
        """Return the database of runs with this input. Raises ConfigurationError."""
        name = self._by(input)
        try:
            return self._databases[name]
        except (KeyError, TypeError):
            raise ConfigurationError(
                f"by: {name!r:.80} is none of the databases, which are {', '.join(self)}"
            ) from None

    @overload
    def run_workflow(
        self, workflow: Workflow[None, O], input: None = None, **start: Unpack[Start]
    ) -> RunHandle[O]: ...
    @overload
    def run_workflow(
        self, workflow: Workflow[I, O], input: I, **start: Unpack[Start]
    ) -> RunHandle[O]: ...
    @overload
    def run_workflow(
        self,
        workflow: str,
        input: Any = None,
        *,
        version: str | None = None,
        **start: Unpack[Start],
    ) -> RunHandle[Any]: ...
    def run_workflow(
        self, workflow: Workflow[Any, Any] | str, input: Any = None, **start: Any
    ) -> RunHandle[Any]:
        """Start a run in the database of its input; see :meth:`OpenWorkflow.run_workflow`.

        Raises as that does, and ConfigurationError if there is no such database.
        """
        return self.of(input).run_workflow(workflow, input, **start)

    @overload
    async def arun_workflow(
        self, workflow: Workflow[None, O], input: None = None, **start: Unpack[Start]
    ) -> RunHandle[O]: ...
    @overload
    async def arun_workflow(
        self, workflow: Workflow[I, O], input: I, **start: Unpack[Start]
    ) -> RunHandle[O]: ...
    @overload
    async def arun_workflow(
        self,
        workflow: str,
        input: Any = None,
        *,
        version: str | None = None,
        **start: Unpack[Start],
    ) -> RunHandle[Any]: ...
    async def arun_workflow(
        self, workflow: Workflow[Any, Any] | str, input: Any = None, **start: Any
    ) -> RunHandle[Any]:
        """Awaitable :meth:`run_workflow`."""
        return await self.of(input).arun_workflow(workflow, input, **start)

    @overload
    def find_run(self, run_id: str, /) -> RunHandle[Any]: ...
    @overload
    def find_run(self, workflow: Workflow[Any, O], /, *, run_id: str) -> RunHandle[O]: ...
    @overload
    def find_run(self, workflow: Workflow[Any, O], /, *, key: str) -> RunHandle[O]: ...
    @overload
    def find_run(self, workflow: str, /, *, key: str) -> RunHandle[Any]: ...
    def find_run(
        self,
        of: Any,
        /,
        *,
        key: str | None = None,
        run_id: str | None = None,
    ) -> RunHandle[Any]:
        """Return the handle of a run, by its id or its key, from the first database that has it.

        The arguments are those of :meth:`OpenWorkflow.get_run`. Each database is asked, one after
        the other. Raises RunNotFound if none has the run; DatabaseUnreachable if one that could
        not be asked may have it; ConfigurationError and MigrationError.
        """
        unreachable: DatabaseUnreachable | None = None
        missing: RunNotFound | None = None
        for database in self._databases.values():
            try:
                handle: RunHandle[Any] = database.get_run(of, **_given(key, run_id))
                if key is None:
                    handle.status()
            except RunNotFound as error:
                missing = error
            except DatabaseUnreachable as error:
                unreachable = error
            else:
                return handle
        raise _nowhere(missing, unreachable)

    @overload
    async def afind_run(self, run_id: str, /) -> RunHandle[Any]: ...
    @overload
    async def afind_run(self, workflow: Workflow[Any, O], /, *, run_id: str) -> RunHandle[O]: ...
    @overload
    async def afind_run(self, workflow: Workflow[Any, O], /, *, key: str) -> RunHandle[O]: ...
    @overload
    async def afind_run(self, workflow: str, /, *, key: str) -> RunHandle[Any]: ...
    async def afind_run(
        self,
        of: Any,
        /,
        *,
        key: str | None = None,
        run_id: str | None = None,
    ) -> RunHandle[Any]:
        """Awaitable :meth:`find_run`."""
        unreachable: DatabaseUnreachable | None = None
        missing: RunNotFound | None = None
        for database in self._databases.values():
            try:
                handle: RunHandle[Any]
                if key is not None and run_id is None:
                    handle = await database.aget_run(of, key=key)
                else:
                    handle = database.get_run(of, **_given(key, run_id))
                    await handle.astatus()
            except RunNotFound as error:
                missing = error
            except DatabaseUnreachable as error:
                unreachable = error
            else:
                return handle
        raise _nowhere(missing, unreachable)

    def close(self) -> None:
        """Close the connections of this process to all databases."""
        for database in self._databases.values():
            database.close()

    async def aclose(self) -> None:
        """Awaitable :meth:`close`."""
        for database in self._databases.values():
            await database.aclose()


def _given(key: str | None, run_id: str | None) -> dict[str, Any]:
    """Return the arguments that were given, which ``get_run`` checks."""
    given = {"key": key, "run_id": run_id}
    return {name: value for name, value in given.items() if value is not None}


def _nowhere(
    missing: RunNotFound | None, unreachable: DatabaseUnreachable | None
) -> RunNotFound | DatabaseUnreachable:
    """Return the error for a run that no database has shown."""
    if unreachable is not None:
        return unreachable
    assert missing is not None, "there is one database at least"
    return missing
