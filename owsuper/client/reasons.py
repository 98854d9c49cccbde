"""Why a run is not running, as programs read it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from owsuper.client.workers import WorkerStatus


class ReasonKind(StrEnum):
    """Why a run is not running now, or that it is."""

    ENDED = "ended"
    UNDONE = "undone"  # after its end; another run undoes its steps
    RUNNING = "running"
    CLAIMED = "claimed"  # and no child process has it yet, as far as is known
    SUSPECT = "suspect"  # claimed; waits for a child process of its own
    WORKER_MISSING = "worker-missing"
    LEASE_ENDED = "lease-ended"
    NOT_DUE = "not-due"
    LIMIT = "limit"
    SLEEP = "sleep"
    SIGNAL = "signal"
    CHILD_RUN = "child-run"
    RETRY = "retry"
    DEADLINE = "deadline"
    NO_WORKER = "no-worker"
    PAUSED = "paused"  # its workflow is
    NOT_SERVING = "not-serving"  # the workers with this workflow start or drain
    SLOTS_BUSY = "slots-busy"
    QUEUED = "queued"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A reason why a run is not running, as a sentence in ``message`` and as data.

    ``since`` and ``until`` are when the reason began and when it ends by itself, as far as is
    known. ``step_name`` is the step that waits or is tried again, ``signal`` the signal and
    ``child_run_id`` the run that it waits for. ``workers`` are those that the reason is about: the
    owner of the run, those that serve its workflow, or for ``no-worker`` all others.
    """

    kind: ReasonKind
    message: str
    since: datetime | None = None
    until: datetime | None = None
    step_name: str | None = None
    signal: str | None = None
    child_run_id: str | None = None
    workers: tuple[WorkerStatus, ...] = ()

    def __str__(self) -> str:
        return self.message
