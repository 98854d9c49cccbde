"""Kills children whose code does not stop, so that the other runs in them suffer least.

A child reports code that ran on after a time-out, a deadline or a cancellation. A child whose code
holds the GIL cannot report anything; the supervisor finds that from what it knows itself: the
flight recorder, deadlines, and leases that are lost.

The other runs of the child first get the chance to reach a step boundary. They and the run that did
not stop are released without a crash. A step that timed out is recorded as failed, behind the fence
of the claim: a result that was committed meanwhile stands.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import Final

from owsuper import logs
from owsuper.event_loop import Loop
from owsuper.ipc.flight_recorder import StepInTime
from owsuper.ipc.messages import CAUGHT_UNWIND, LEASE_LOST, PAST_DEADLINE, TIMED_OUT, Overdue
from owsuper.supervisor import post_mortem
from owsuper.supervisor.child import Child, HeldRun
from owsuper.supervisor.claims import Claims
from owsuper.supervisor.fleet import Fleet

_PERIOD: Final = 1.0  # seconds between two looks for children that report nothing
_LAST_WRITES: Final = 0.1  # seconds for results of steps that have ended; they wait for 4 ms
_DUMP_TIME: Final = 0.5  # seconds for a child that reports nothing to write its stacks
_DUMP_TIME_IF_GROWING: Final = 0.1
_PATIENCE: Final = 2.0  # seconds that a child may be late with its report

_log = logging.getLogger("owsuper.supervisor")


class HardStops:
    """Kills children that hold overdue code; ``grace`` is in seconds."""

    def __init__(self, loop: Loop, fleet: Fleet, claims: Claims, grace: float) -> None:
        self._fleet = fleet
        self._claims = claims
        self._grace = grace
        self._timer = loop.timers.add("kill overdue children", self._kill_due)
        loop.timers.add("look for overdue code", self._look, period=_PERIOD).start()

    # --- what is overdue -----------------------------------------------------------------

    def on_overdue(self, child: Child, overdue: Overdue) -> None:
        """Stop a child that holds overdue code; kill it if nothing else is left in it."""
        _log_overdue(child, overdue)
        if child.pid in (os.getpid(), None):
            _log.error(
                "code cannot be stopped, because it has no process of its own",
                extra=child.log_fields(),
            )
            return
        self.stop_child(child, now=child.held.keys() <= child.overdue.keys())

    def stop_child(self, child: Child, *, now: bool) -> None:
        """Have a child exit after its current steps; kill it ``now``, or after the grace."""
        when = time.monotonic() + (_LAST_WRITES if now else self._grace)
        if child.kill_at is None:
            self._fleet.retire(child)
            child.kill_at = when
        child.kill_at = min(when, child.kill_at)
        self._timer.at_latest(child.kill_at)

    def on_run_finished(self, child: Child) -> None:
        """Kill the child if all that it still holds is overdue."""
        if child.overdue and child.held.keys() <= child.overdue.keys():
            self.stop_child(child, now=True)

    def on_leases_lost(self, worker_ids: frozenset[str]) -> None:
        """Note when the leases of runs in children were lost."""
        now = time.monotonic()
        for child in self._fleet:
            for held in child.held.values():
                if held.run.worker_id in worker_ids and held.lost_at is None:
                    held.lost_at = now

    def _look(self) -> None:
        """Find overdue code in children that have not reported it."""
        before = time.monotonic() - self._grace
        for child in self._fleet:
            for slot, held in child.held.items():
                if slot not in child.overdue and (found := _overdue(child, slot, held, before)):
                    child.overdue[slot] = found
                    self.on_overdue(child, found)

    # --- the end of the child --------------------------------------------------------------

    def _kill_due(self) -> None:
        now = time.monotonic()
        for child in self._fleet:
            if child.kill_at is None or child.killed_at is not None:
                continue
            if child.kill_at > now:
                self._timer.at_latest(child.kill_at)
            elif child.cause_of_kill is not None:
                child.kill(signal.SIGKILL)
            elif child.overdue or (child.over_limit and child.held):
                self._begin_kill(child)

    def _begin_kill(self, child: Child) -> None:
        """Kill a child; if it has not reported where its code is, let it write its stacks first."""
        reasons = sorted({each.reason for each in child.overdue.values()})
        cause = child.over_limit or f"its code did not stop: {', '.join(reasons)}"
        _log.warning("killing a child: %s", cause, extra=child.log_fields())
        child.cause_of_kill = cause
        child.killed_by_supervisor = True  # also if it dies of writing its stacks
        if child.over_limit or any(not each.stack for each in child.overdue.values()):
            child.keep_stacks()
            dump_time = _DUMP_TIME_IF_GROWING if child.over_limit else _DUMP_TIME
            child.kill_at = time.monotonic() + dump_time
            self._timer.at_latest(child.kill_at)
        else:
            child.kill(signal.SIGKILL)

    def charges(self, child: Child) -> bool:
        """Whether the death of a child that was killed for its code counts as a crash.

        It does if the code would do the same in each execution, for ever.
        """
        return any(each.reason == CAUGHT_UNWIND for each in child.overdue.values())

    def release(self, child: Child) -> None:
        """Give back the runs of a child that is dead, and record its steps that timed out."""
        timed_out, others = [], []
        for slot, held in child.held.items():
            if child.killed_by_supervisor and (steps := _timed_out(child, slot)):
                timed_out.append((held, steps))
            else:
                others.append(held)
        self._claims.fail_attempts(timed_out)
        self._claims.release(others)


def _overdue(child: Child, slot: int, held: HeldRun, before: float) -> Overdue | None:
    """Return what should have stopped in a slot ``before`` that time, by ``time.monotonic``."""
    run, long_before = held.run, before - _PATIENCE
    if held.lost_at is not None and held.lost_at <= long_before:
        return Overdue(slot, run.worker_id, LEASE_LOST, (), "")
    if run.deadline_at is not None:
        left = (run.deadline_at - run.claimed_at).total_seconds()
        # The code may have stopped, and its end wait for the database. Only the child knows.
        if run.claim_answered + left <= before and not child.answers(_PATIENCE):
            return Overdue(slot, run.worker_id, PAST_DEADLINE, (), "")
    step = child.step_in_time(slot)
    if step is not None and step.due <= long_before:
        return Overdue(slot, run.worker_id, TIMED_OUT, ((step, ""),), "")
    return None


def _timed_out(child: Child, slot: int) -> list[tuple[StepInTime, str]]:
    """Return the steps in a slot that were past their time-outs when it was killed, with stacks."""
    reported = child.overdue.get(slot)
    found = {step.attempt_id: (step, stack) for step, stack in reported.steps} if reported else {}
    step = child.step_in_time(slot)
    killed_at = time.monotonic() if child.killed_at is None else child.killed_at
    if step is not None and step.due <= killed_at:
        found.setdefault(step.attempt_id, (step, ""))
    return [(step, stack or post_mortem.trace(child) or "") for step, stack in found.values()]


def _log_overdue(child: Child, overdue: Overdue) -> None:
    held, step = child.held[overdue.slot], child.steps_in_flight(overdue.slot)
    fields = child.log_fields(held) | {"step": step}
    message = "code does not stop: %s"
    if not overdue.stack:
        message += "; the child does not answer, and its stacks are kept in the post-mortem"
    logs.warn_with_stack(_log, message, overdue.reason, stack=overdue.stack, extra=fields)
