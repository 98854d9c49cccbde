"""One child process as the supervisor sees it: its state, its pipe, and the runs it holds."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from owsuper.core.model import ClaimedRun
from owsuper.ipc import flight_recorder
from owsuper.ipc.flight_recorder import FlightRecorder, StepInTime
from owsuper.ipc.messages import (
    Assign,
    Beat,
    Counted,
    Drain,
    Finished,
    LeasesRenewed,
    LoadFailed,
    Message,
    Overdue,
    Ready,
    RenewLeases,
    SendStacks,
    Stacks,
    Stop,
    StopSignaled,
)
from owsuper.ipc.pipe import Pipe
from owsuper.signal_handlers import DUMP_SIGNAL, KEEP_SIGNAL
from owsuper.supervisor.child_state import ChildEvent, ChildState, next_state

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True, eq=False)
class HeldRun:
    """A run that this worker has claimed. Times are ``time.monotonic`` moments."""

    run: ClaimedRun
    renewed_at: float  # the latest known start of the lease
    placed_at: float  # when the run was prefetched, or then put in a slot
    lost_at: float | None = None  # when a renewal found that the lease is lost
    began_with: int | None = None  # resident bytes of its child at that time, if that is watched


class Child:
    """The child process ``number``, with ``slots`` slots.

    ``descriptors`` are the child's end of the pipe and its flight recorder, for the template.
    This process must not keep them open, or its end of the pipe would never see EOF.

    ``on_lost`` is called when the pipe is closed: the process is dead, or cannot be reached.
    ``on_counted`` is called with what the child has counted.

    Raises OSError if this process can have no more descriptors.
    """

    def __init__(
        self,
        number: int,
        slots: int,
        *,
        on_ready: Callable[[Child], None],
        on_finished: Callable[[Child, HeldRun, Finished], None],
        on_stacks: Callable[[Child, str], None],
        on_overdue: Callable[[Child, Overdue], None],
        on_lost: Callable[[Child], None],
        on_counted: Callable[[Counted], None] | None = None,
    ) -> None:
        self.number = number
        self.state = ChildState.FORKING
        self.pid: int | None = None
        self.requested_at = time.monotonic()
        self.ready_at: float | None = None
        self.lost_at: float | None = None
        self.held: dict[int, HeldRun] = {}
        self.overdue: dict[int, Overdue] = {}
        """By slot: what should have stopped, and did not."""
        self._asked_at: float | None = None  # for a sign of life that has not come yet
        self.kill_at: float | None = None  # when to kill it for that
        self.killed_at: float | None = None
        self.ready_with = 0  # resident bytes when it became ready
        self.over_limit: str | None = None  # which limit the supervisor stops it for
        self.load_failure: LoadFailed | None = None
        self.silent = 0.0  # seconds since the last sign of life, in which this process ran
        self.cause_of_kill: str | None = None  # if the supervisor kills it for what its runs did
        self.killed_by_supervisor = False  # then its death counts no crash against its runs
        self.stop_requested = False  # by the supervisor
        self.stop_signaled = False  # by a signal that the supervisor did not send
        self.workflows: frozenset[tuple[str, str | None]] = frozenset()  # that its code knows
        self.template_pid: int | None = None  # of the process that was asked to fork it
        self.on_trial = False  # the first child of new code, until it is ready
        self.outdated = False  # to be replaced, because there is newer code
        self.max_runs: int | None = None  # after which it is to be replaced
        self.runs_taken = 0
        self.superseded = False  # it leaves, and needs no replacement
        self.stop_at: float | None = (
            None  # when to stop its runs, if it drains while others serve on
        )
        self.reserved = False  # kept free for a suspect: takes no other run
        self._free = list(range(slots - 1, -1, -1))
        self._on_ready = on_ready
        self._on_finished = on_finished
        self._on_stacks = on_stacks
        self._on_overdue = on_overdue
        self._on_lost = on_lost
        self._on_counted = on_counted
        ours, self.descriptors, self._flight = _open_descriptors(slots)
        self.pipe = Pipe(ours, on_message=self._handle_message, on_eof=self._handle_eof)

    def __repr__(self) -> str:
        return f"<child {self.number} {self.state.value} pid={self.pid} holds {len(self.held)}>"

    # --- state ---------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """The number of slots that take a run that is not a suspect."""
        if self.state is not ChildState.READY or self.reserved:
            return 0
        return len(self._free)

    @property
    def serving(self) -> bool:
        """Whether the child has started and was not lost."""
        return self.state in (ChildState.READY, ChildState.DRAINING, ChildState.STOPPING)

    @property
    def used_up(self) -> bool:
        """Whether the child has taken its number of runs."""
        return self.max_runs is not None and self.runs_taken >= self.max_runs

    @property
    def replaceable(self) -> bool:
        """Whether the child is to be replaced. It takes runs until another child is ready."""
        return self.outdated or self.used_up

    @property
    def staying(self) -> bool:
        """Whether the child takes runs, or soon will, and was not asked to leave."""
        return self.state in (ChildState.FORKING, ChildState.STARTING, ChildState.READY)

    @property
    def idle(self) -> bool:
        """Whether the child is ready and holds no run."""
        return self.state is ChildState.READY and not self.held

    @property
    def reserved_but_busy(self) -> bool:
        """Whether the child is reserved for a suspect, but still holds other runs."""
        return self.reserved and not any(held.run.suspect for held in self.held.values())

    def log_fields(self, held: HeldRun | None = None) -> dict[str, object]:
        """Return the fields of a log line about this child, or about a run that it holds."""
        fields: dict[str, object] = {"child": self.number, "pid": self.pid}
        if held is not None:
            fields |= {
                "run_id": held.run.run_id,
                "workflow": held.run.workflow_name,
                "version": held.run.version,
                "attempt": held.run.attempts,
            }
        return fields

    # --- requests ------------------------------------------------------------------------

    def on_forked(self, pid: int) -> None:
        """Note that the template has forked the child as process ``pid``."""
        self.pid = pid
        self.state = next_state(self.state, ChildEvent.FORKED)

    def assign(self, held: HeldRun) -> None:
        """Put a run in a free slot; there must be one."""
        slot = self._free.pop()
        held.placed_at = time.monotonic()
        self.held[slot] = held
        self.runs_taken += 1
        self._flight.assign(slot, held.run.worker_id)
        self.pipe.send(Assign(slot, held.run))

    def renew(self) -> None:
        """Ask the child to renew its leases now; the child stops runs whose leases are lost."""
        self.pipe.send(RenewLeases())

    def ask_for_stacks(self) -> None:
        """Ask the child for its Python stacks."""
        self.pipe.send(SendStacks())

    def answers(self, patience: float) -> bool:
        """Ask for a sign of life; return False if one has not come within ``patience`` seconds.

        Call this repeatedly.
        """
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            self.pipe.send(Beat())
        return now - self._asked_at < patience

    def dump_stacks(self) -> None:
        """Have the child write its Python stacks to standard error, even if it cannot answer."""
        self.kill(DUMP_SIGNAL)

    def keep_stacks(self) -> None:
        """Have the child write its stacks where ``trace`` finds them, even if it cannot answer.

        The process may die of this, so call it only just before the child is killed.
        """
        self.kill(KEEP_SIGNAL)

    def drain(self) -> None:
        """Ask the child to finish its runs and exit."""
        self.state = next_state(self.state, ChildEvent.DRAIN)
        self.stop_requested = True
        self.pipe.send(Drain())

    def stop(self) -> None:
        """Ask the child to stop its runs at the next step boundary and exit."""
        self.state = next_state(self.state, ChildEvent.STOP)
        self.pipe.send(Stop())

    def kill(self, number: int) -> None:
        """Send a signal, unless the child has been reaped."""
        if self.pid is not None and self.state is not ChildState.EXITED:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            if number == signal.SIGKILL and self.killed_at is None:
                self.killed_at = time.monotonic()

    def on_exited(self) -> None:
        """Note that the process is dead, after the messages that it has sent."""
        self.pipe.receive()
        self.pipe.close()
        self.state = next_state(self.state, ChildEvent.EXITED)

    def steps_in_flight(self, slot: int) -> str | None:
        """Return the names of the steps that run in ``slot``, joined by commas; None if none."""
        return self._flight.read(slot)

    def step_began_at(self, slot: int) -> float | None:
        """Return the ``time.monotonic`` moment at which the first of these steps began."""
        return self._flight.running_since(slot)

    def last_stderr(self) -> str | None:
        """Return the last lines that the process wrote to standard error; None if none."""
        return self._flight.read_stderr()

    def trace(self) -> str | None:
        """Return the stacks that the process wrote when it died; None if it did not."""
        return self._flight.read_trace()

    def step_in_time(self, slot: int) -> StepInTime | None:
        """Return the step in ``slot`` that times out first; None if none will."""
        return self._flight.read_timed(slot)

    def close(self) -> None:
        """Close the pipe and the flight recorder."""
        self.pipe.close()
        self._flight.close()

    # --- messages ------------------------------------------------------------------------

    def _handle_message(self, message: Message) -> None:
        match message:
            case Ready(pid):
                self.pid = pid
                self.state = next_state(self.state, ChildEvent.READY)
                self.ready_at = time.monotonic()
                self.ready_with = resident_bytes(pid)
                self._on_ready(self)
            case Finished(slot):
                self.overdue.pop(slot, None)
                if (held := self.held.pop(slot, None)) is not None:
                    self._free.append(slot)
                    self.reserved = self.reserved and not held.run.suspect
                    self._on_finished(self, held, message)
            case LeasesRenewed(worker_ids):
                renewed = frozenset(worker_ids)
                for held in self.held.values():
                    if held.run.worker_id in renewed:
                        held.renewed_at = time.monotonic()
            case Overdue(slot, worker_id):
                if (held := self.held.get(slot)) and held.run.worker_id == worker_id:
                    self.overdue[slot] = message
                    self._on_overdue(self, message)
            case StopSignaled():
                self.stop_signaled = True
                if self.state is ChildState.READY:
                    self.state = next_state(self.state, ChildEvent.DRAIN)
            case Beat():
                self.silent, self._asked_at = 0.0, None
            case Stacks(text):
                self._on_stacks(self, text)
            case LoadFailed():
                self.load_failure = message
            case Counted():
                if self._on_counted is not None:
                    self._on_counted(message)
            case _:
                raise AssertionError(f"unexpected message from {self!r}: {message!r}")

    def _handle_eof(self) -> None:
        if self.state is not ChildState.EXITED:
            self.state = next_state(self.state, ChildEvent.EOF)
            self.lost_at = time.monotonic()
            self._on_lost(self)


def resident_bytes(pid: int | None) -> int:
    """Return the resident memory of a process; 0 if that is unknown, as on other than Linux."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def _open_descriptors(slots: int) -> tuple[socket.socket, tuple[int, int], FlightRecorder]:
    """Return this end of a pipe, the descriptors for the child, and the flight recorder."""
    with contextlib.ExitStack() as opened:
        ours, theirs = socket.socketpair()
        opened.callback(ours.close)
        opened.callback(theirs.close)
        flight_fd = flight_recorder.create(slots)
        opened.callback(os.close, flight_fd)
        recorder = FlightRecorder(flight_fd, slots)
        opened.pop_all()
    return ours, (theirs.detach(), flight_fd), recorder
