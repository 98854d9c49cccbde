"""Says why a run is not running: what it waits for, or which worker does not take it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from psycopg import Connection

from owsuper.client import limit_reasons, models, waiting, workflow_status
from owsuper.client.models import Run, StepAttempt
from owsuper.client.reasons import Reason, ReasonKind
from owsuper.client.session import Session
from owsuper.client.waiting import Parked
from owsuper.client.worker_texts import listed, place, title, who_serves_what
from owsuper.client.workers import (
    ExecutingRun,
    ProcessStatus,
    WorkerState,
    WorkerStatus,
    worker_from_row,
)
from owsuper.client.workflow_status import PausedWorkflow
from owsuper.core.model import RunStatus, StepKind, StepStatus
from owsuper.core.pages import MAX_PAGE_SIZE, Position, Window
from owsuper.db.pauses import PauseQueries
from owsuper.errors import RunNotFound

if TYPE_CHECKING:
    from owsuper.db.limit_reads import LimitWait, TurnWait


def read(session: Session, run_id: str) -> list[Reason]:
    """Return why the run is not running. Raises RunNotFound, and as ``Session.run`` does."""

    def work(conn: Connection[Any]) -> list[Reason]:
        run = models.run_from_row(session.queries.get_run(run_id).run(conn))
        at, crashes = session.workers.standing(run_id).run(conn)
        workers = [worker_from_row(row) for row in session.workers.all().run(conn)]
        steps = _attempts(session, conn, run_id) if run.worker_id is None else []
        queries = PauseQueries(session.schema, session.namespace)
        pause = workflow_status.read_pauses(queries, conn).get(run.workflow_name)
        limit = limit_reasons.read(conn, session.schema, session.namespace, run)
        turns = limit_reasons.read_turns(conn, session.schema, session.namespace, run)
        undo = None if run.undone_by is None else _status(session, conn, run.undone_by)
        return [
            *reasons(
                run,
                steps,
                workers,
                at,
                suspect=crashes > 0,
                pause=pause,
                limit=limit,
                turns=turns,
                undo=undo,
            )
        ]

    return session.run(work)


def _status(session: Session, conn: Connection[Any], run_id: str) -> RunStatus | None:
    """Return the status of a run; None if it is deleted."""
    try:
        return models.current_status(session.queries.status(run_id).run(conn))
    except RunNotFound:
        return None


def _attempts(session: Session, conn: Connection[Any], run_id: str) -> list[StepAttempt]:
    found: list[StepAttempt] = []
    while True:
        last = Position(found[-1].created_at, found[-1].id) if found else None
        rows = session.lists.attempts(run_id, Window(MAX_PAGE_SIZE, last)).run(conn)
        found += [models.attempt_from_row(run_id, row) for row in rows[:MAX_PAGE_SIZE]]
        if len(rows) <= MAX_PAGE_SIZE:
            return found


def reasons(
    run: Run,
    steps: Sequence[StepAttempt],
    workers: Sequence[WorkerStatus],
    at: datetime,
    *,
    suspect: bool,
    pause: PausedWorkflow | None = None,
    limit: LimitWait | None = None,
    turns: Sequence[TurnWait] = (),
    undo: RunStatus | None = None,
) -> Iterator[Reason]:
    """Yield why the run is not running at the time ``at``.

    ``steps`` need their contexts and the kinds of their errors, and nothing of them if the run has
    an owner. ``suspect``: a crash of the run is counted. ``pause`` is that of its workflow, and
    ``limit`` that for which it waits. ``turns`` are those for which steps wait. ``undo`` is the
    status of the run that undoes this one.
    """
    if run.status.is_terminal:
        when = "" if run.finished_at is None else f" at {_moment(run.finished_at)}"
        yield Reason(
            kind=ReasonKind.ENDED, message=f"it is {run.status}{when}", since=run.finished_at
        )
        if undo is not None:
            advice = (
                ": retry that run, or skip its undo, to continue"
                if undo is RunStatus.FAILED
                else ""
            )
            yield Reason(
                kind=ReasonKind.UNDONE,
                message=f"run {run.undone_by} undoes its steps, and is {undo}{advice}",
            )
    elif run.deadline_at is not None and run.deadline_at <= at:
        yield Reason(
            kind=ReasonKind.DEADLINE,
            message=f"its deadline passed at {_moment(run.deadline_at)}: a worker of this"
            " namespace fails it within a second, if one is connected",
            since=run.deadline_at,
        )
    elif run.available_at is None:
        yield Reason(
            kind=ReasonKind.NOT_DUE,
            message="it has no due time (available_at is NULL), so no worker claims it",
        )
    elif run.worker_id is not None and run.available_at > at:
        yield _claimed(run, run.worker_id, run.available_at, workers)
    elif limit is not None:
        yield limit_reasons.reason(limit, at)
        if pause is not None:
            yield _paused(run, pause, workers, limit.due)
    elif (parked := waiting.parked(run, steps, at)) is not None:
        done = {step.step_name for step in steps if step.status is StepStatus.COMPLETED}
        waits = [each for each in turns if each.step_name not in done]  # else it lost its limit
        yield from _parked(run, parked, waits)
    else:
        if run.worker_id is not None:
            yield Reason(
                kind=ReasonKind.LEASE_ENDED,
                message=f"the lease of its worker {place(run.worker_id)} ended at"
                f" {_moment(run.available_at)}: a worker with a free slot takes it over",
                since=run.available_at,
            )
        if pause is not None:
            yield _paused(run, pause, workers, run.available_at)
        else:
            yield _due(run, workers, suspect=suspect)


# --- claimed -----------------------------------------------------------------------------------


def _claimed(
    run: Run, worker_id: str, lease_end: datetime, workers: Sequence[WorkerStatus]
) -> Reason:
    """Return the reason about a run that a worker has claimed."""
    lease = f"its lease ends at {_moment(lease_end)}"
    owner = next((each for each in workers if worker_id.startswith(f"{each.id}:")), None)
    if owner is None:
        return Reason(
            kind=ReasonKind.CLAIMED,
            message=f"it is claimed by {place(worker_id)}, which has not announced itself; {lease},"
            " unless the worker renews it",
            until=lease_end,
        )
    claimed = f"it is claimed since {_moment(run.updated_at)} by {place(worker_id)}"
    if not owner.here:
        how = {
            WorkerState.MISSING: "is dead, or cut off from the database",
            WorkerState.ORPHANED: "has a supervisor that is dead or hangs, and its child processes"
            " may still execute the run",
        }[owner.state]
        return Reason(
            kind=ReasonKind.WORKER_MISSING,
            message=f"{claimed}, which {how}; {lease}, and then another worker takes it over",
            since=owner.announced_at,
            until=lease_end,
            workers=(owner,),
        )
    return _in_worker(run, owner, claimed, lease_end)


def _in_worker(run: Run, owner: WorkerStatus, claimed: str, lease_end: datetime) -> Reason:
    """Return the reason about a run that a connected worker has ``claimed``, in words."""
    if (found := _in_process(owner, run.id)) is not None:
        process, executing = found
        steps = f", step {executing.steps!r}" if executing.steps else ""
        return Reason(
            kind=ReasonKind.RUNNING,
            message=f"it runs since {_moment(executing.since)}{steps}, in child {process.number}"
            f" (pid {process.pid}) of {place(owner.id)}",
            since=executing.since,
            step_name=executing.steps,
            workers=(owner,),
        )
    if run.id in owner.suspects:
        return Reason(
            kind=ReasonKind.SUSPECT,
            message=f"{claimed}, where it waits for a child process of its own, because its process"
            f" died before; {_load(owner)}",
            since=run.updated_at,
            workers=(owner,),
        )
    return Reason(
        kind=ReasonKind.CLAIMED,
        message=f"{claimed}, and was in none of its child processes when the worker last announced"
        f" itself; {_load(owner)}",
        since=run.updated_at,
        until=lease_end,
        workers=(owner,),
    )


def _in_process(owner: WorkerStatus, run_id: str) -> tuple[ProcessStatus, ExecutingRun] | None:
    for process in owner.processes:
        for executing in process.runs:
            if executing.run_id == run_id:
                return process, executing
    return None


# --- parked ------------------------------------------------------------------------------------


def _parked(run: Run, parked: Parked, turns: Sequence[TurnWait]) -> Iterator[Reason]:
    for step in parked.waits:
        yield _wait(step)
    for turn in turns:
        yield limit_reasons.reason_of_step(turn)
    if (parked.waits and not parked.retry_due) or any(each.at == parked.due for each in turns):
        return
    later = " or later" if len(parked.retries) > 1 else ""  # only the first time is stored
    for retry in parked.retries:
        yield Reason(
            kind=ReasonKind.RETRY,
            message=f"the step {retry.step_name!r} has failed {_times(retry.failures)}, and is"
            f" tried again at {_moment(parked.due)}{later}",
            until=parked.due,
            step_name=retry.step_name,
        )
    if parked.waits or parked.retries or turns:
        return
    if run.error is not None:
        yield Reason(
            kind=ReasonKind.RETRY,
            message=f"it has failed, and is tried again at {_moment(parked.due)}",
            until=parked.due,
        )
    else:
        yield Reason(
            kind=ReasonKind.NOT_DUE,
            message=f"it is not due until {_moment(parked.due)}",
            until=parked.due,
        )


def _wait(step: StepAttempt) -> Reason:
    until = waiting.until(step)
    limit = "" if until is None else f", until {_moment(until)}"
    began = step.started_at or step.created_at
    match step.kind:
        case StepKind.SLEEP:
            return Reason(
                kind=ReasonKind.SLEEP,
                message=f"it sleeps in {step.step_name!r}{limit}",
                since=began,
                until=until,
                step_name=step.step_name,
            )
        case StepKind.SIGNAL_WAIT:
            name = waiting.signal(step)
            return Reason(
                kind=ReasonKind.SIGNAL,
                message=f"it waits for the signal {name!r} in {step.step_name!r}{limit}",
                since=began,
                until=until,
                step_name=step.step_name,
                signal=name,
            )
        case _:
            child = "a child run that does not exist (any more)"
            if step.child_run_id is not None:
                child = f"the child run {step.child_run_id}"
            return Reason(
                kind=ReasonKind.CHILD_RUN,
                message=f"it waits for {child} of {step.step_name!r}{limit}",
                since=began,
                until=until,
                step_name=step.step_name,
                child_run_id=step.child_run_id,
            )


# --- paused ------------------------------------------------------------------------------------


def _paused(
    run: Run, pause: PausedWorkflow, workers: Sequence[WorkerStatus], due: datetime
) -> Reason:
    by = "" if pause.by is None else f" by {pause.by}"
    why = "" if pause.reason is None else f": {pause.reason}"
    return Reason(
        kind=ReasonKind.PAUSED,
        message=f"it is due since {_moment(due)}; the workflow"
        f" {run.workflow_name} is paused since {_moment(pause.since)}{by}{why}",
        since=pause.since,
        workers=tuple(each for each in workers if each.serves(run.workflow_name, run.version)),
    )


# --- due, and nobody's -------------------------------------------------------------------------


def _due(run: Run, workers: Sequence[WorkerStatus], *, suspect: bool) -> Reason:
    """Return the reason about a run that is due, and that no worker has claimed."""
    here = [each for each in workers if each.here]
    able = [each for each in here if each.serves(run.workflow_name, run.version)]
    since = run.available_at
    due = f"it is due since {_moment(since)}"
    workflow = title(run.workflow_name, run.version)
    if not able:
        if run.version is None:
            workflow += " (without a version)"
        return Reason(
            kind=ReasonKind.NO_WORKER,
            message=f"{due}, but no worker with {workflow} is connected in this namespace"
            f"{_others(run, here)}",
            since=since,
            workers=tuple(here),
        )
    unknown = any(each.state is WorkerState.UNKNOWN for each in able)
    serving = [each for each in able if each.state is WorkerState.SERVING or each.free]
    places = listed([f"{place(each.id)} ({_load(each)})" for each in able])
    if unknown and not any(each.free for each in able):
        kind, why = ReasonKind.QUEUED, "a worker with this workflow should claim it when it can"
    elif not serving:
        kind, why = ReasonKind.NOT_SERVING, "the workers with this workflow start or drain"
    elif all(run.workflow_name in each.full for each in serving):
        kind = ReasonKind.SLOTS_BUSY
        why = f"as many runs of {workflow} are in progress as its concurrency= allows each worker"
    elif not any(each.free for each in serving):
        kind, why = ReasonKind.SLOTS_BUSY, "all slots of the workers with this workflow are busy"
    else:
        kind, why = ReasonKind.QUEUED, "there are free slots, so a worker should claim it at once"
    alone = "; it has lost its process before, so it needs a child of its own" if suspect else ""
    return Reason(
        kind=kind, message=f"{due}; {why}: {places}{alone}", since=since, workers=tuple(able)
    )


def _others(run: Run, here: Sequence[WorkerStatus]) -> str:
    """Return which workers have other versions of the run's workflow, or else what they have."""
    if not here:
        return ", and no other worker either"
    similar = [
        replace(worker, workflows=versions)
        for worker in here
        if (versions := tuple(each for each in worker.workflows if each[0] == run.workflow_name))
    ]
    return f": {who_serves_what(similar or here)}"


def _load(worker: WorkerStatus) -> str:
    if worker.state is WorkerState.UNKNOWN:
        return "of another version, so what it does is not known"
    state = "" if worker.state is WorkerState.SERVING else f"{worker.state}, "
    return f"{state}{worker.busy} of {worker.slots} slots busy"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _moment(when: datetime | None) -> str:
    return "?" if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
