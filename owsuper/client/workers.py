"""Workers as programs see them: what each is, serves and does, by its last announcement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from owsuper.core.durations import MIN_TIME
from owsuper.db.workers import SupervisorRow


class WorkerState(StrEnum):
    """What a worker does.

    ``starting``: not all of its child processes take runs. ``missing``: it is dead, or cut off from
    the database. ``orphaned``: its supervisor is dead, or hangs; its child processes finish their
    steps. ``unknown``: it is connected, and of a version that announces itself in another way.
    """

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    MISSING = "missing"
    ORPHANED = "orphaned"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutingRun:
    """A run in a child process since a time. ``steps`` names the steps in flight, or is None."""

    run_id: str
    workflow_name: str
    version: str | None
    steps: str | None
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """A child process of a worker.

    ``state`` is forking, starting, ready, draining, stopping or lost. ``since`` is when the process
    was first ready. ``held`` is the number of its runs, of which ``runs`` lists the first.
    ``reserved``: the process is kept for a run that may have killed its process. ``stacks`` are
    those of its threads and asyncio tasks, as text, if ``list_workers`` has asked for them.
    """

    number: int
    pid: int | None
    state: str
    reserved: bool
    since: datetime | None
    rss_bytes: int | None
    held: int
    runs: tuple[ExecutingRun, ...]
    stacks: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A worker: a supervisor and its child processes, as it announced itself at ``announced_at``.

    A worker announces itself within some seconds of a change, and every 15 s without one. ``id``
    begins the ``worker_id`` of its runs. ``workflows`` are names and versions. ``free`` of its
    ``slots`` take another run now. ``suspects`` are ids of runs that have lost their process before
    and wait for a child process of their own. ``full`` names workflows of which the worker executes
    as many runs as their ``concurrency`` allows. ``pooled``: the worker reaches the database
    through a connection pooler, and is missing when it has been silent for 45 s.

    Of a worker that has announced nothing yet, or is of another version, perhaps only ``id``,
    ``host``, ``pid`` and ``connected_at`` are known. Times are aware, by the database's clock;
    ``read_at`` is when the worker was listed.
    """

    id: str
    host: str
    pid: int
    version: str | None
    state: WorkerState
    pooled: bool
    workflows: tuple[tuple[str, str | None], ...]
    slots: int
    free: int
    prefetched: int
    suspects: tuple[str, ...]
    full: tuple[str, ...]
    rss_bytes: int | None
    connected_at: datetime
    announced_at: datetime | None
    read_at: datetime
    processes: tuple[ProcessStatus, ...]

    @property
    def busy(self) -> int:
        """The number of runs that the child processes hold."""
        return sum(process.held for process in self.processes)

    @property
    def here(self) -> bool:
        """Whether the worker is connected to the database, as far as is known."""
        return self.state not in (WorkerState.MISSING, WorkerState.ORPHANED)

    def serves(self, workflow_name: str, version: str | None) -> bool:
        """Return whether the worker has this workflow in this version."""
        return (workflow_name, version) in self.workflows


def worker_from_row(row: SupervisorRow, token: str | None = None) -> WorkerStatus:
    """Return the worker of a row of ``owsuper_supervisors``.

    With the stacks of its processes, if the ``token`` with which they were asked for is given.
    """
    try:
        return _worker(row, row.status or {}, (row.stacks(token) if token else None) or {})
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # A worker of another version has written it. The others must stay visible.
        return _worker(row, {"state": WorkerState.UNKNOWN}, {})


def _worker(
    row: SupervisorRow, status: Mapping[str, Any], stacks: Mapping[str, str]
) -> WorkerStatus:
    clock = _Clock(row.announced_at or MIN_TIME, status.get("at", 0.0))
    return WorkerStatus(
        id=row.id,
        host=row.id.split(":")[0],
        pid=row.pid,
        version=row.version,
        state=_state(row, status),
        pooled=row.pooled,
        workflows=_workflows(row.workflows),
        slots=status.get("slots", 0),
        free=status.get("free", 0),
        prefetched=status.get("prefetched", 0),
        suspects=tuple(each["id"] for each in status.get("suspects", ())),
        full=tuple(status.get("full", ())),
        rss_bytes=_bytes(status.get("rss_kb")),
        connected_at=row.connected_at,
        announced_at=row.announced_at,
        read_at=row.now,
        processes=tuple(_process(each, clock, stacks) for each in status.get("children", ())),
    )


def _workflows(listed: Any) -> tuple[tuple[str, str | None], ...]:
    try:
        return tuple((name, version) for name, version in listed or ())
    except (TypeError, ValueError):
        return ()


def _state(row: SupervisorRow, status: Mapping[str, Any]) -> WorkerState:
    if not row.connected:
        return WorkerState.MISSING
    if row.silent:
        return WorkerState.ORPHANED
    # Earlier versions say what they serve, and nothing else.
    default = WorkerState.STARTING if row.workflows is None else WorkerState.UNKNOWN
    return WorkerState(status.get("state", default))


class _Clock:
    """Turns times of an announcement into times of the database's clock."""

    def __init__(self, announced_at: datetime, at: float) -> None:
        self._announced_at = announced_at
        self._at = at

    def time(self, seconds: float) -> datetime:
        """Return the time that the announcement gives as ``seconds``."""
        return self._announced_at - timedelta(seconds=self._at - seconds)


def _process(status: Mapping[str, Any], clock: _Clock, stacks: Mapping[str, str]) -> ProcessStatus:
    since = status["since"]
    return ProcessStatus(
        number=status["number"],
        pid=status["pid"],
        state=status["state"],
        reserved=status["reserved"],
        since=None if since is None else clock.time(since),
        rss_bytes=_bytes(status.get("rss_kb")),
        held=status["held"],
        runs=tuple(
            ExecutingRun(
                run_id=each["id"],
                workflow_name=each["workflow"],
                version=each["version"],
                steps=each["step"],
                since=clock.time(each["since"]),
            )
            for each in status["runs"]
        ),
        stacks=stacks.get(str(status["number"])),
    )


def _bytes(kilobytes: int | None) -> int | None:
    return None if kilobytes is None else kilobytes * 1024
