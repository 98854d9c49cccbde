"""OpenWorkflow: a program defines its workflows with it, starts runs and finds them again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from owsuper.client import joining, new_run, traces
from owsuper.client.dashboards import ShowsDashboard
from owsuper.client.database import ClientDatabase, ExplicitSettings
from owsuper.client.finding import Finding
from owsuper.client.handle import RunHandle
from owsuper.client.limits import ChangesLimits
from owsuper.client.list_workers import ListsWorkers
from owsuper.client.listing import Listing
from owsuper.client.many_results import AwaitsRuns
from owsuper.client.pauses import PausesWorkflows
from owsuper.client.plural import ChangesRuns
from owsuper.client.pruning import Prunes
from owsuper.client.registration import Registration
from owsuper.client.run_history import RunHistory
from owsuper.client.send_signals import SendsSignals
from owsuper.client.session import Session
from owsuper.client.worker import Worker, WorkerSettings, environment, modules_of
from owsuper.core.durations import Duration
from owsuper.db.new_runs import NewRun
from owsuper.workflow.definition import Workflow
from owsuper.workflow.start_options import Schedule, Start

if TYPE_CHECKING:
    from owsuper.client.schedules import Schedules

I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741 - likewise


class OpenWorkflow(
    Registration,
    SendsSignals,
    Finding,
    Listing,
    RunHistory,
    ChangesRuns,
    ListsWorkers,
    PausesWorkflows,
    ChangesLimits,
    AwaitsRuns,
    Prunes,
    ShowsDashboard,
):
    """The workflows of a program, and the connection to the database that holds their runs.

    A ``database_url``, ``namespace`` or ``schema`` that is not given comes from the environment
    (``OWSUPER_DATABASE_URL`` …), then from ``[tool.owsuper]`` in ./pyproject.toml, then from
    ``OPENWORKFLOW_POSTGRES_URL``, ``DATABASE_URL`` and their like. Without a database URL,
    owsuper uses an embedded PostgreSQL in ./.owsuper. With ``listen=False``, waiting for results
    polls and uses no notifications. ``call_timeout`` is the longest time that a call may take,
    apart from waiting for a result: seconds, a timedelta or text such as ``"5s"``; by default
    30 seconds. With ``migrate``, the first call creates or updates the tables if necessary, as a
    worker does.

    Settings are read and connections opened when the first run is started or looked up. One
    instance serves all threads, event loops and forked processes of a program.

    Raises ConfigurationError for a setting that cannot be used.
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        namespace: str | None = None,
        schema: str | None = None,
        listen: bool | None = None,
        call_timeout: Duration | None = None,
        migrate: bool = False,
    ) -> None:
        super().__init__()
        given = ExplicitSettings(database_url, namespace, schema, listen, call_timeout)
        self._given = given
        self._database = ClientDatabase(lambda: given, migrates=migrate)

    @property
    def explicit(self) -> ExplicitSettings:
        """The settings that were passed to this object."""
        return self._given

    @property
    def database_url(self) -> str:
        """The address of the database, for other libraries that use it, such as SQLAlchemy.

        Without a configured one, this is that of the embedded server, which starts if necessary.
        Raises ConfigurationError, EmbeddedUnavailable.
        """
        return self._database.session().url

    @property
    def schedules(self) -> Schedules:
        """The schedules of this namespace: to list, make, pause, resume, trigger, delete them."""
        from owsuper.client.schedules import Schedules  # few programs need it

        return Schedules(self._database, self._handle_of)

    # --- starting runs -------------------------------------------------------------------

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
        connection: object = None,
        **start: Any,
    ) -> RunHandle[Any]:
        """Start a run of a workflow, given itself or by name, and return the handle of the run.

        This program need not define a workflow that is given by name. ``version`` selects its
        version, the input is stored without a check, and the result is plain JSON. All else is
        as in :meth:`Workflow.run`.
        """
        new = new_run.prepare(workflow, version, input, **start)
        session = self._database.session()
        with traces.start(session, new.workflow_name) as trace:
            new = trace.carry(new)
            if new.conflict is not None:
                run_id = _start_alone(session, new, connection)
            elif connection is None:
                run_id = session.start(new)
            else:
                work = joining.start(session, new)
                run_id = joining.perform(session, connection, work)
            trace.started(run_id, new.workflow_name, new.version)
        return self._handle_of(workflow, run_id, new=connection is None and not new.may_exist)

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
        connection: object = None,
        **start: Any,
    ) -> RunHandle[Any]:
        """Awaitable :meth:`run_workflow`."""
        new = new_run.prepare(workflow, version, input, **start)
        session = await self._database.asession()
        with traces.start(session, new.workflow_name) as trace:
            new = trace.carry(new)
            if new.conflict is not None:
                run_id = await _astart_alone(session, new, connection)
            elif connection is None:
                run_id = await session.astart(new)
            else:
                work = joining.start(session, new)
                run_id = await joining.aperform(session, connection, work)
            trace.started(run_id, new.workflow_name, new.version)
        return self._handle_of(workflow, run_id, new=connection is None and not new.may_exist)

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
        connection: object = None,
        **schedule: Any,
    ) -> list[RunHandle[Any]]:
        """Start a run for each input in one transaction, and return the handles in order.

        See :meth:`Workflow.run_many`, and :meth:`run_workflow` for a workflow given by name.
        """
        prepared = new_run.prepare_many(workflow, version, inputs, **schedule)
        session = self._database.session()
        with traces.start_many(session, prepared) as trace:
            new = trace.carry(prepared)
            if connection is None:
                run_ids = session.start_many(new) if new else []
            else:
                work = joining.once(session.queries.start_many(new))
                run_ids = joining.perform(session, connection, work)
            trace.started(new)
        return [self._handle_of(workflow, run_id) for run_id in run_ids]

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
        connection: object = None,
        **schedule: Any,
    ) -> list[RunHandle[Any]]:
        """Awaitable :meth:`run_many`."""
        prepared = new_run.prepare_many(workflow, version, inputs, **schedule)
        session = await self._database.asession()
        with traces.start_many(session, prepared) as trace:
            new = trace.carry(prepared)
            if connection is None:
                run_ids = await session.astart_many(new) if new else []
            else:
                work = joining.once(session.queries.start_many(new))
                run_ids = await joining.aperform(session, connection, work)
            trace.started(new)
        return [self._handle_of(workflow, run_id) for run_id in run_ids]

    # --- workers and the end -------------------------------------------------------------

    def new_worker(
        self,
        *,
        processes: int | None = None,
        concurrency: int | None = None,
        modules: Sequence[str] | None = None,
        **settings: Unpack[WorkerSettings],
    ) -> Worker:
        """Return a worker for the workflows registered here. Its ``start`` starts the processes.

        The worker imports the modules that define the workflows, or ``modules``
        (``"app.workflows"``, ``"app.workflows:ow"``, ``"flows.py"``), and uses the database,
        namespace and schema of this instance. ``processes`` is the number of child processes,
        ``concurrency`` the number of runs that each executes at once, and ``settings`` are the
        other options of the ``owsuper`` command.

        Raises ConfigurationError, and RegistrationError if no workflow is registered.
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
        """Close the connections of this process and release the embedded server.

        A program need not do this at its end. The next use of the instance reconnects.
        """
        self._database.close()

    async def aclose(self) -> None:
        """Awaitable :meth:`close`."""
        await self._database.aclose()


def _start_alone(session: Session, new: NewRun, connection: object) -> str:
    """Start a run whose limit decides about starts."""
    from owsuper.client import conflicts  # few programs need it

    if connection is not None:
        return joining.perform(session, connection, joining.alone(session, conflicts.start, new))
    return session.run(lambda conn: conflicts.perform(conn, conflicts.start(session, new)))


async def _astart_alone(session: Session, new: NewRun, connection: object) -> str:
    from owsuper.client import conflicts

    if connection is not None:
        work = joining.alone(session, conflicts.start, new)
        return await joining.aperform(session, connection, work)
    return await session.arun(lambda conn: conflicts.perform(conn, conflicts.start(session, new)))
