"""One child as the supervisor sees it: its state, its pipe, what it holds, its last words."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from owsuper.core.model import ClaimedRun
from owsuper.ipc import flight_recorder
from owsuper.ipc.flight_recorder import FlightRecorder
from owsuper.ipc.messages import (
    Assign,
    Drain,
    Finished,
    LeasesRenewed,
    LoadFailed,
    Message,
    Ready,
    RenewLeases,
    Stop,
    StopSignaled,
)
from owsuper.ipc.pipe import Pipe
from owsuper.supervisor.child_state import Event, State, after


@dataclass(slots=True, eq=False)
class HeldRun:
    """A claimed run in our care. Times are ``time.monotonic`` moments."""

    run: ClaimedRun
    renewed_at: float  # when its lease last began, as far as we know
    since: float  # when it was put where it is now: in hand, or in a slot


class Child:
    """Number ``number``. ``descriptors``, its end of the pipe and its flight recorder, are for
    the template: they must not stay open in this process, or EOF would never come.

    ``on_ready``, ``on_finished`` and ``on_lost`` (the pipe is closed; the process is dead or
    as good as dead) tell the fleet.
    """

    def __init__(
        self,
        number: int,
        slots: int,
        *,
        on_ready: Callable[[Child], None],
        on_finished: Callable[[Child, HeldRun, Finished], None],
        on_lost: Callable[[Child], None],
    ) -> None:
        self.number = number
        self.state = State.FORKING
        self.pid: int | None = None
        self.ready_at: float | None = None
        self.lost_at: float | None = None
        self.held: dict[int, HeldRun] = {}
        self.load_failure: LoadFailed | None = None
        self.killed_by_us = False  # by us: its runs must not be charged for its death
        self.told_to_end = False  # by us
        self.leaving = False  # told by somebody else
        self.reserved = False  # for a suspect: nothing else is assigned any more
        self._free = list(range(slots - 1, -1, -1))
        self._on_ready = on_ready
        self._on_finished = on_finished
        self._on_lost = on_lost
        ours, theirs = socket.socketpair()
        flight_fd = flight_recorder.create(slots)
        self.descriptors = (theirs.detach(), flight_fd)
        self._flight = FlightRecorder(flight_fd, slots)
        self.pipe = Pipe(ours, on_message=self._hear, on_eof=self._hear_eof)

    def __repr__(self) -> str:
        return f"<child {self.number} {self.state.value} pid={self.pid} holds {len(self.held)}>"

    # --- what it is ----------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Slots that may be given to anything."""
        if self.state is not State.READY or self.reserved:
            return 0
        return len(self._free)

    @property
    def idle(self) -> bool:
        return self.state is State.READY and not self.held

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

    # --- what it is told -----------------------------------------------------------------

    def forked(self, pid: int) -> None:
        self.pid = pid
        self.state = after(self.state, Event.FORKED)

    def assign(self, held: HeldRun) -> None:
        """Give it a run; it must have a slot."""
        slot = self._free.pop()
        held.since = time.monotonic()
        self.held[slot] = held
        self.pipe.send(Assign(slot, held.run))

    def renew(self) -> None:
        """Have it renew its leases now; it stops the runs whose leases are lost."""
        self.pipe.send(RenewLeases())

    def drain(self) -> None:
        self.state = after(self.state, Event.DRAIN)
        self.told_to_end = True
        self.pipe.send(Drain())

    def stop(self) -> None:
        self.state = after(self.state, Event.STOP)
        self.pipe.send(Stop())

    def kill(self, number: signal.Signals) -> None:
        """Send a signal, if it has not been seen to be dead."""
        if self.pid is not None and self.state is not State.EXITED:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def exited(self) -> None:
        """It is dead. What it said before that still counts."""
        self.pipe.receive()
        self.pipe.close()
        self.state = after(self.state, Event.EXITED)

    def steps_in_flight(self, slot: int) -> str | None:
        return self._flight.read(slot)

    def close(self) -> None:
        self.pipe.close()
        self._flight.close()

    # --- what it says --------------------------------------------------------------------

    def _hear(self, message: Message) -> None:
        match message:
            case Ready(pid):
                self.pid = pid
                self.state = after(self.state, Event.READY)
                self.ready_at = time.monotonic()
                self._on_ready(self)
            case Finished(slot):
                if (held := self.held.pop(slot, None)) is not None:
                    self._free.append(slot)
                    self.reserved = self.reserved and not held.run.suspect
                    self._on_finished(self, held, message)
            case LeasesRenewed(worker_ids):
                renewed = frozenset(worker_ids)
                for held in self.held.values():
                    if held.run.worker_id in renewed:
                        held.renewed_at = time.monotonic()
            case StopSignaled():
                self.leaving = True
                if self.state is State.READY:
                    self.state = after(self.state, Event.DRAIN)
            case LoadFailed():
                self.load_failure = message
            case _:
                raise AssertionError(f"{self!r} said {message!r}")

    def _hear_eof(self) -> None:
        if self.state is not State.EXITED:
            self.state = after(self.state, Event.EOF)
            self.lost_at = time.monotonic()
            self._on_lost(self)
