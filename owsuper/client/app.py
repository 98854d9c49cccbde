"""OpenWorkflow: where a program defines its workflows, starts runs and finds them again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, Unpack, overload

from owsuper.client import new_run
from owsuper.client.database import ClientDatabase, ExplicitSettings
from owsuper.client.handle import RunHandle
from owsuper.client.listing import Listing, check_run_id
from owsuper.client.registration import Registration
from owsuper.client.worker import Worker, WorkerSettings, environment, modules_of
from owsuper.core import codec
from owsuper.core.names import check_signal
from owsuper.workflow.definition import Schedule, Start, Workflow

I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741


class OpenWorkflow(Registration, Listing):
    """The workflows of a program, and its way to the database that holds their runs.

    Without ``database_url``, ``namespace`` or ``schema``, these come from the environment
    (``OWSUPER_DATABASE_URL`` …), then from ``[tool.owsuper]`` in ./pyproject.toml; without any
    database URL an embedded PostgreSQL in ./.owsuper is used. ``listen=False`` waits for
    results by polling alone.

    Nothing is read or connected before the first run is started or looked up. One instance
    serves all threads, event loops and forked children of a program.

    Raises ConfigurationError for a setting that cannot be used.
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        namespace: str | None = None,
        schema: str | None = None,
        listen: bool | None = None,
    ) -> None:
        super().__init__()
        self.explicit = ExplicitSettings(database_url, namespace, schema, listen)
        self._database = ClientDatabase(self.explicit)

    # --- starting and finding runs -------------------------------------------------------

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
        self,
        workflow: Workflow[Any, Any] | str,
        input: Any = None,
        *,
        version: str | None = None,
        **start: Unpack[Start],
    ) -> RunHandle[Any]:
        """Start a run of a workflow, or of the name of one that need not be known here.

        For a name, ``version`` says which one is meant, the input is stored as it is, unchecked,
        and the result comes back as plain JSON. All else is as for :meth:`Workflow.run`.
        """
        new = new_run.prepare(workflow, version, input, **start)
        session = self._database.session()
        run_id = session.start(new)
        return self._handle(workflow, run_id)

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
        self,
        workflow: Workflow[Any, Any] | str,
        input: Any = None,
        *,
        version: str | None = None,
        **start: Unpack[Start],
    ) -> RunHandle[Any]:
        """Awaitable :meth:`run_workflow`."""
        new = new_run.prepare(workflow, version, input, **start)
        session = await self._database.asession()
        run_id = await session.astart(new)
        return self._handle(workflow, run_id)

    @overload
    def run_many(
        self, workflow: Workflow[I, O], inputs: Iterable[I], **schedule: Unpack[Schedule]
    ) -> list[RunHandle[O]]: ...
    @overload
    def run_many(
        self,
        workflow: str,
        inputs: Iterable[Any],
        *,
        version: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> list[RunHandle[Any]]: ...
    def run_many(
        self,
        workflow: Workflow[Any, Any] | str,
        inputs: Iterable[Any],
        *,
        version: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> list[RunHandle[Any]]:
        """Start a run for each input, in one transaction; see :meth:`Workflow.run_many`."""
        new = new_run.prepare_many(workflow, version, inputs, **schedule)
        session = self._database.session()
        run_ids = session.run(session.queries.start_many(new).run) if new else []
        return [self._handle(workflow, run_id) for run_id in run_ids]

    @overload
    async def arun_many(
        self, workflow: Workflow[I, O], inputs: Iterable[I], **schedule: Unpack[Schedule]
    ) -> list[RunHandle[O]]: ...
    @overload
    async def arun_many(
        self,
        workflow: str,
        inputs: Iterable[Any],
        *,
        version: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> list[RunHandle[Any]]: ...
    async def arun_many(
        self,
        workflow: Workflow[Any, Any] | str,
        inputs: Iterable[Any],
        *,
        version: str | None = None,
        **schedule: Unpack[Schedule],
    ) -> list[RunHandle[Any]]:
        """Awaitable :meth:`run_many`."""
        new = new_run.prepare_many(workflow, version, inputs, **schedule)
        session = await self._database.asession()
        run_ids = await session.arun(session.queries.start_many(new).arun) if new else []
        return [self._handle(workflow, run_id) for run_id in run_ids]

    def get_run(self, run_id: str) -> RunHandle[Any]:
        """A handle on the run of this id. It asks the database nothing; its methods do."""
        return RunHandle(self._database, check_run_id(run_id))

    # --- signals -------------------------------------------------------------------------

    def send_signal(
        self,
        signal: str,
        data: Any = None,
        *,
        idempotency_key: str | None = None,
        buffer: bool = False,
    ) -> list[str]:
        """Send ``signal`` to all runs that wait for it now; the ids of the runs that it reached.

        With an ``idempotency_key`` it is sent once, however often this is called with the same
        key; the answer is that of the first time. With ``buffer`` a signal that reaches nobody is
        kept, and delivered to the first run that comes to wait for it; without, it is dropped.

        Raises NotSerializable, ConfigurationError, DatabaseUnreachable and MigrationError. A
        connection that breaks meanwhile is an error unless there is a key: the signal may have
        been sent, so it is not sent again.
        """
        raw = _signal_data(signal, data)
        key = new_run.checked_key(idempotency_key)
        session = self._database.session()
        send = session.queries.send_signal(signal, raw, key, keep=buffer)
        return session.run(send.run, again=key is not None)

    async def asend_signal(
        self,
        signal: str,
        data: Any = None,
        *,
        idempotency_key: str | None = None,
        buffer: bool = False,
    ) -> list[str]:
        """Awaitable :meth:`send_signal`."""
        raw = _signal_data(signal, data)
        key = new_run.checked_key(idempotency_key)
        session = await self._database.asession()
        send = session.queries.send_signal(signal, raw, key, keep=buffer)
        return await session.arun(send.arun, again=key is not None)

    # --- workers and the end -------------------------------------------------------------

    def new_worker(
        self,
        *,
        processes: int | None = None,
        concurrency: int | None = None,
        modules: Sequence[str] | None = None,
        **settings: Unpack[WorkerSettings],
    ) -> Worker:
        """A worker for the workflows registered here, in processes of its own.

        It imports the modules that define them, or ``modules`` (``"app.workflows"``,
        ``"app.workflows:ow"``, ``"flows.py"``), and uses the same database, namespace and
        schema. ``settings`` are the options of the ``owsuper`` command. Call ``start``.

        Raises ConfigurationError, RegistrationError when there is no workflow.
        """
        chosen = self._database.settings
        given = {
            **settings,
            "processes": processes,
            "concurrency": concurrency,
            "database_url": chosen.database_url,
            "namespace": chosen.namespace,
            "schema": chosen.schema,
        }
        if modules is None:
            modules = modules_of(self.registry, self)
        return Worker(modules, environment(given), self._database.directory)

    def close(self) -> None:
        """Close this process's connections and release the embedded server.

        Not needed at the end of a program. Whoever uses the instance again reconnects.
        """
        self._database.close()

    async def aclose(self) -> None:
        """Awaitable :meth:`close`."""
        await asyncio.to_thread(self._database.close)

    def _handle(self, workflow: Workflow[Any, Any] | str, run_id: str) -> RunHandle[Any]:
        if isinstance(workflow, Workflow):
            return RunHandle(
                self._database,
                run_id,
                workflow_name=workflow.name,
                output_type=workflow.output_type,
            )
        return RunHandle(self._database, run_id, workflow_name=workflow)


def _signal_data(signal: str, data: Any) -> bytes | None:
    return codec.encode(data, path="data", owner=f"signal {check_signal(signal)!r}")
