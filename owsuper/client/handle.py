"""The handle of a run: its result, its status, canceling and retrying it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from owsuper.client import joining, models, operations, reports, results, traces, why
from owsuper.core import codec
from owsuper.core.durations import Duration
from owsuper.core.model import RunStatus
from owsuper.core.names import check_step_key
from owsuper.core.upcasts import Upcast
from owsuper.db.new_runs import Rerun
from owsuper.errors import ConfigurationError

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase
    from owsuper.client.models import Run
    from owsuper.client.reasons import Reason
    from owsuper.client.reports import LogLine, RunProgress
    from owsuper.db.waits import Progress

O = TypeVar("O", covariant=True)  # noqa: E741 - as in Workflow[I, O]

_SAME: Final[Any] = object()
"""Stands for the input that the run had."""


_NEW: Final = 0.01  # seconds during which a new run has hardly ended: reading it is a waste


class RunHandle(Generic[O]):
    """A run with a result of type ``O``.

    ``id`` is the run's id. ``workflow_name`` is None for a handle from ``get_run``. Every method
    asks the database, and takes at most the client's ``call_timeout``, apart from waiting for a
    result. Every method raises RunNotFound if this namespace has no such run, and DatabaseError
    with its subclasses DatabaseUnreachable and MigrationError.
    """

    def __init__(
        self,
        database: ClientDatabase,
        run_id: str,
        *,
        workflow_name: str | None = None,
        output_type: Any = None,
        upcast: Upcast | None = None,
        new: bool = False,
    ) -> None:
        self._database = database
        self._new_until = time.monotonic() + _NEW if new else 0.0
        self._output_type = output_type
        self._upcast = upcast
        self.id = run_id
        self.workflow_name = workflow_name

    def __repr__(self) -> str:
        name = f" of {self.workflow_name!r}" if self.workflow_name else ""
        return f"<RunHandle {self.id}{name}>"

    def result(self, timeout: Duration | None = None) -> O:
        """Wait until the run ends, and return its result as the workflow's declared type.

        ``timeout`` is seconds, a timedelta or text such as ``"5m"``; None means no limit. The
        timeout does not affect the run. For a run started by name or found by id, the result is
        plain JSON. If the database becomes unreachable later, waiting goes on.

        Raises RunFailed, RunCanceled, ResultTimeout, InvalidDuration, and InvalidData if the
        result does not fit the declared type.
        """
        limit = results.limit(timeout)
        try:
            end = self._database.session().outcome(self.id, limit, new=self._new)
        except TimeoutError:
            raise results.timed_out(self.id) from None
        return self._value(end)

    async def aresult(self, timeout: Duration | None = None) -> O:
        """Awaitable :meth:`result`."""
        limit = results.limit(timeout)
        try:
            session = await self._database.asession()
            end = await session.aoutcome(self.id, limit, new=self._new)
        except TimeoutError:
            raise results.timed_out(self.id) from None
        return self._value(end)

    def status(self) -> RunStatus:
        """Return the current status of the run."""
        session = self._database.session()
        return models.current_status(session.run(session.queries.status(self.id).run))

    async def astatus(self) -> RunStatus:
        """Awaitable :meth:`status`."""
        session = await self._database.asession()
        return models.current_status(await session.arun(session.queries.status(self.id).run))

    def details(self) -> Run:
        """Return all that is stored about the run."""
        session = self._database.session()
        return models.run_from_row(session.run(session.queries.get_run(self.id).run))

    async def adetails(self) -> Run:
        """Awaitable :meth:`details`."""
        session = await self._database.asession()
        return models.run_from_row(await session.arun(session.queries.get_run(self.id).run))

    def progress(self) -> RunProgress | None:
        """Return how far the run is, as its code last said by ``step.set_progress``.

        None if it has not said it yet. It may be a second old. The last value stays when the run
        has ended.
        """
        session = self._database.session()
        return reports.progress_from_row(session.run(session.reports.progress(self.id).run))

    async def aprogress(self) -> RunProgress | None:
        """Awaitable :meth:`progress`."""
        session = await self._database.asession()
        row = await session.arun(session.reports.progress(self.id).run)
        return reports.progress_from_row(row)

    def logs(self, *, after: int = 0, level: str = "debug", limit: int = 1000) -> list[LogLine]:
        """Return the first ``limit`` log lines of the run, from ``level`` up.

        Workers store them with ``--keep-logs``. ``after`` is the ``id`` of the last line that was
        read. Lines appear a second after they were made. When the run has just gone to another
        process, lines of the former one may still appear with lower ids, for some seconds.

        Raises ConfigurationError for a level that is none, or a limit outside of 1 to 10,000.
        """
        number = _checked_window(after, level, limit)
        session = self._database.session()
        lines = session.reports.lines(self.id, after=after, level=number, limit=limit)
        return [reports.line_from_row(row) for row in session.run(lines.run)]

    async def alogs(
        self, *, after: int = 0, level: str = "debug", limit: int = 1000
    ) -> list[LogLine]:
        """Awaitable :meth:`logs`."""
        number = _checked_window(after, level, limit)
        session = await self._database.asession()
        lines = session.reports.lines(self.id, after=after, level=number, limit=limit)
        return [reports.line_from_row(row) for row in await session.arun(lines.run)]

    def why(self) -> list[Reason]:
        """Return why the run is not running now: each :class:`Reason` that is known, one at least.

        The reasons hold for the moment, and what workers do is known from their announcements of
        the last seconds.
        """
        return why.read(self._database.session(), self.id)

    async def awhy(self) -> list[Reason]:
        """Awaitable :meth:`why`."""
        session = await self._database.asession()
        return await session.acall(partial(why.read, session, self.id))

    def cancel(self, *, children: bool = False, connection: object = None) -> None:
        """End the run as canceled. Without effect on a canceled run.

        The worker of the run stops the code: ``async`` code at its next await, other code at its
        next step. Code that does not stop is ended with its process. If the run has continued as
        new, the last run of the chain is canceled. With ``children``, this also cancels the child
        runs of the run, and their child runs. With a ``connection``, this is part of the
        transaction that is open on it; see :meth:`Workflow.run`.

        Raises RunNotCancelable if the run is completed or failed.
        """
        session = self._database.session()
        with traces.cancel(session, self.id) as trace:
            if connection is None:
                canceled = operations.cancel(session, self.id, children=children)
            else:
                work = joining.cancel(session, self.id, children=children)
                canceled = joining.perform(session, connection, work)
            trace.canceled(canceled)

    async def acancel(self, *, children: bool = False, connection: object = None) -> None:
        """Awaitable :meth:`cancel`."""
        session = await self._database.asession()
        with traces.cancel(session, self.id) as trace:
            if connection is None:
                work = partial(operations.cancel, session, self.id, children=children)
                canceled = await session.acall(work)
            else:
                joined = joining.cancel(session, self.id, children=children)
                canceled = await joining.aperform(session, connection, joined)
            trace.canceled(canceled)

    def retry(self, from_step: str | None = None) -> None:
        """Put the failed run back. The run is due now and goes on where it failed.

        Completed steps keep their results. Failed steps are called again with all their retries,
        even if the workflow caught the failure, so the workflow may take another way this time.
        Failed child runs are started anew. The retries of the workflow and the count of crashes
        begin anew, too. The failed step attempts are still listed, with the time of the retry as
        their ``retried_at``, and ``list_retries`` lists the failures of the run. If the run is a
        child run and its parent has seen the failure already, the parent does not change.

        With ``from_step``, the run may have ended in any way, and goes on from this step: steps
        that began before it keep their results and failures, and it and all later ones are called
        again. Their attempts are still listed, and so is the result that the run had. The run keeps
        its id, so keys that are made of it stay the same. Effects of these steps are not taken
        back, their child runs are started anew, and signals that they have received are used up.

        Raises RunNotRetryable if the run has not failed, or its deadline has passed; with
        ``from_step`` also if there is no such step, child runs of steps to repeat have not ended,
        its parent has its result, or the run has continued as new.
        """
        step = check_step_key(from_step, "from_step")
        session = self._database.session()
        operations.retry(session, self.id, step)

    async def aretry(self, from_step: str | None = None) -> None:
        """Awaitable :meth:`retry`."""
        step = check_step_key(from_step, "from_step")
        session = await self._database.asession()
        await session.acall(partial(operations.retry, session, self.id, step))

    def skip_undo(self, step: str, *, reason: str | None = None, by: str | None = None) -> None:
        """Leave out the undo of ``step``, because that is undone by hand, and go on with the rest.

        This is for the run that undoes another and has failed (``undone_by`` of the other is its
        id). It is put back as by :meth:`retry`. ``step`` is the step of the other run, whose undo
        has failed or is not executed yet. ``reason`` and ``by``, by default user and host of this
        process, are kept in the ``context`` of the attempt that stands for the undo.

        Raises ConfigurationError for an argument that cannot be used, and RunNotRetryable if the
        run has not failed, or no such undo is left.
        """
        name, remark = _skipping(step, reason, by)
        session = self._database.session()
        operations.skip_undo(session, self.id, name, remark)

    async def askip_undo(
        self, step: str, *, reason: str | None = None, by: str | None = None
    ) -> None:
        """Awaitable :meth:`skip_undo`."""
        name, remark = _skipping(step, reason, by)
        session = await self._database.asession()
        await session.acall(partial(operations.skip_undo, session, self.id, name, remark))

    def rerun(self, from_step: str | None = None, *, input: Any = _SAME) -> RunHandle[O]:
        """Start a run that repeats this run, which has ended, and return its handle.

        With ``from_step``, the steps that began before that step keep their results, and are not
        called again; ``charge:1`` names the second step ``charge``. Without it, the new run begins
        at the beginning. ``input`` takes the place of this run's input. It is stored without a
        check, as by ``run_workflow`` with the name of a workflow.

        This run does not change. The new run has its workflow and version, and no idempotency key,
        deadline or parent. Child runs of kept steps that still run become those of the new run.

        Raises RunNotRerunnable if the run has not ended or has no such step, and NotSerializable.
        """
        step, new = check_step_key(from_step, "from_step"), _rerun(input)
        session = self._database.session()
        with traces.start(session, self.workflow_name) as trace:
            operation = session.queries.rerun(self.id, step, trace.carry(new))
            repeated = session.run(operation.run)
            trace.started(repeated.run_id, repeated.workflow_name, repeated.version)
        return self._repeated(repeated.run_id)

    async def arerun(self, from_step: str | None = None, *, input: Any = _SAME) -> RunHandle[O]:
        """Awaitable :meth:`rerun`."""
        step, new = check_step_key(from_step, "from_step"), _rerun(input)
        session = await self._database.asession()
        with traces.start(session, self.workflow_name) as trace:
            operation = session.queries.rerun(self.id, step, trace.carry(new))
            repeated = await session.arun(operation.run)
            trace.started(repeated.run_id, repeated.workflow_name, repeated.version)
        return self._repeated(repeated.run_id)

    def _repeated(self, run_id: str) -> RunHandle[O]:
        return RunHandle(
            self._database,
            run_id,
            workflow_name=self.workflow_name,
            output_type=self._output_type,
            upcast=self._upcast,
        )

    def wake(self, step: str | None = None) -> None:
        """End what the run waits for, now, as if the time had come.

        A sleep is over. A wait for a signal times out, unless the signal has arrived. A retry, of a
        step or of the run, and a run that is to start later are due at once. With ``step``, only
        the wait of the step with this name ends. A wait for a child run does not end: wake the
        child run. Nor does a wait for a limit.

        Raises RunNotWakeable if the run waits for nothing of this, or a worker is executing it.
        """
        session = self._database.session()
        operations.wake(session, self.id, check_step_key(step))

    async def awake(self, step: str | None = None) -> None:
        """Awaitable :meth:`wake`."""
        name = check_step_key(step)
        session = await self._database.asession()
        await session.acall(partial(operations.wake, session, self.id, name))

    @property
    def _new(self) -> bool:
        return time.monotonic() < self._new_until

    def _value(self, end: Progress | None) -> O:
        if end is None:
            raise results.not_found(self.id)
        return cast(O, results.value(end, self._output_type, self._upcast))


def _checked_window(after: int, level: str, limit: int) -> int:
    """Return the number of the level. Raises ConfigurationError."""
    reports.checked_window(after, limit)
    return reports.level_number(level)


def _skipping(step: str, reason: str | None, by: str | None) -> tuple[str, dict[str, Any]]:
    """Return the step whose undo is skipped, and the remark. Raises ConfigurationError."""
    from owsuper.client.remarks import check_remarks, somebody  # few need it

    if (name := check_step_key(step)) is None:
        raise ConfigurationError("step: name the step whose undo is to be skipped")
    check_remarks(reason=reason, by=by)
    return name, {"by": somebody() if by is None else by, "reason": reason}


def _rerun(input: Any) -> Rerun:
    """Return the run to start. Raises NotSerializable."""
    if input is _SAME:
        return Rerun()
    raw = codec.encode(input, path="input", owner="the run")
    return Rerun(has_other_input=True, input_json=raw)
