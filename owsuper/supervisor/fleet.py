"""All children: born to the number that is wanted, given runs, buried and replaced."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from owsuper.event_loop import Backoff, Loop
from owsuper.ipc.messages import Exited, Finished, Fork, Forked
from owsuper.settings import Settings
from owsuper.supervisor.child import Child, HeldRun
from owsuper.supervisor.child_state import State
from owsuper.supervisor.exit_status import Evidence, is_ending
from owsuper.supervisor.template import TemplateProcess

_WAIT_FOR_EVIDENCE: Final = 0.02  # seconds between EOF and giving up on a wait status
_WAIT_IF_ENDING: Final = 0.5
_STABLE: Final = 5.0  # seconds; a child that lived so long did not die of being born
_HOPELESS: Final = 3  # boot failures at start-up, after which to give up

_log = logging.getLogger("owsuper.supervisor")


class FleetObserver(Protocol):
    """Who is told what happens to the children."""

    def run_finished(self, child: Child, held: HeldRun, finished: Finished) -> None: ...

    def child_died(self, child: Child, evidence: Evidence) -> None:
        """It is dead; what it held is in ``child.held``."""
        ...

    def fleet_hopeless(self, child: Child, evidence: Evidence, failures: int) -> None:
        """At start-up, child after child died before it was ready; this was the last."""
        ...


class Fleet:
    """``settings`` are final, ``environment`` is added to the children's own. Nothing is born
    before ``fill``.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        template: TemplateProcess,
        owner: FleetObserver,
        *,
        environment: Mapping[str, str],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._template = template
        self._owner = owner
        self._environment = dict(environment)
        self._children: dict[int, Child] = {}
        self._numbers = 0
        self._wanted = settings.processes
        self._ever_ready = False
        self._backoff = Backoff(0.1, limit=30.0)
        self._evidence = loop.timers.add("wait for evidence", self._reap_lost)
        self._births = loop.timers.add("replace a child", self._fill_after_backoff)
        self._not_before = 0.0  # no births until then

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._children.values()))

    def __len__(self) -> int:
        return len(self._children)

    # --- births --------------------------------------------------------------------------

    def fill(self) -> None:
        """Have as many children as are wanted, as soon as that is possible."""
        if time.monotonic() < self._not_before:
            self._births.at_latest(self._not_before)
            return
        while len(self._children) < self._wanted and self._template.can_fork:
            self._spawn()

    def _fill_after_backoff(self) -> None:
        self._not_before = 0.0
        self.fill()

    def _spawn(self) -> None:
        self._numbers += 1
        child = Child(
            self._numbers,
            self._settings.concurrency,
            on_ready=self._ready,
            on_finished=self._owner.run_finished,
            on_lost=self._lost,
        )
        self._children[child.number] = child
        self._loop.add(child.pipe)
        request = Fork(child.number, self._settings, self._environment)
        self._template.fork(request, child.descriptors)

    def _ready(self, child: Child) -> None:
        self._ever_ready = True
        _log.debug("child ready", extra=child.log_fields())

    # --- work ----------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Slots that can take a run now."""
        return sum(child.free for child in self._children.values())

    @property
    def busy(self) -> int:
        return sum(len(child.held) for child in self._children.values())

    @property
    def ready(self) -> int:
        return sum(child.state is State.READY for child in self._children.values())

    def assign(self, held: HeldRun) -> bool:
        """Give the run to the child with most room. False if none has any.

        A suspect, a run that may have killed its process, goes to a child of its own: one
        that is idle, or failing that one that gets nothing else any more until it is.
        """
        if held.run.suspect:
            return self._assign_alone(held)
        child = max(self._children.values(), key=lambda each: each.free, default=None)
        if child is None or not child.free:
            return False
        child.assign(held)
        return True

    def _assign_alone(self, held: HeldRun) -> bool:
        ready = [each for each in self._children.values() if each.state is State.READY]
        idle = [each for each in ready if each.idle]
        if idle:  # whether or not another one is emptying for it
            chosen = max(idle, key=lambda each: each.reserved)
            chosen.reserved = True
            chosen.assign(held)
            return True
        unreserved = [each for each in ready if not each.reserved]
        if unreserved and not any(_is_emptying(each) for each in ready):
            min(unreserved, key=lambda each: len(each.held)).reserved = True
        return False

    def release_reservations(self) -> None:
        """No suspect waits any more: children that were emptying for one serve again."""
        for child in self._children.values():
            if child.reserved and (child.idle or _is_emptying(child)):
                child.reserved = False

    # --- deaths --------------------------------------------------------------------------

    def forked(self, message: Forked) -> None:
        if (child := self._children.get(message.child)) is not None:
            child.forked(message.pid)

    def exited(self, message: Exited) -> None:
        """The template reaped one."""
        if (child := self._children.get(message.child)) is not None:
            self._reap(child, Evidence(message.pid, message.wait_status, message.max_rss_kb))

    def reaped(self, evidence: Evidence) -> None:
        """We reaped a process: perhaps a child whose template is dead."""
        for child in self:
            if child.pid == evidence.pid:
                self._reap(child, evidence)

    def _lost(self, child: Child) -> None:
        self._evidence.at_latest(time.monotonic() + _WAIT_FOR_EVIDENCE)

    def _reap_lost(self) -> None:
        """Those who were lost some time ago and whose wait status is still missing.

        It is on its way if the process is ending, however slowly on a busy machine. Else the
        process lives, but has closed its pipe: nobody can reach it any more.
        """
        now = time.monotonic()
        for child in self:
            if child.state is not State.LOST or child.lost_at is None:
                continue
            shutdown = child.pid is not None and is_ending(child.pid)
            wait = _WAIT_IF_ENDING if shutdown else _WAIT_FOR_EVIDENCE
            if now < child.lost_at + wait:
                self._evidence.at_latest(now + _WAIT_FOR_EVIDENCE)
                continue
            child.kill(signal.SIGKILL)
            self._reap(child, Evidence(child.pid))

    def _reap(self, child: Child, evidence: Evidence) -> None:
        child.exited()
        del self._children[child.number]
        self._loop.remove(child.pipe)
        self._owner.child_died(child, evidence)
        child.close()
        if len(self._children) < self._wanted:
            self._replace(child, evidence)

    def _replace(self, child: Child, evidence: Evidence) -> None:
        """At once, unless children keep dying without having done anything."""
        lived = 0.0 if child.ready_at is None else time.monotonic() - child.ready_at
        if lived > _STABLE or (lived and child.held):
            self._backoff.reset()
        else:
            delay = self._backoff.next()
            if not self._ever_ready and self._backoff.failures >= _HOPELESS:
                self._owner.fleet_hopeless(child, evidence, self._backoff.failures)
                return
            if self._backoff.failures > 1 or child.ready_at is None:
                self._not_before = time.monotonic() + delay
        self.fill()

    # --- the end -------------------------------------------------------------------------

    def drain(self) -> None:
        """No more births; everyone finishes what they have."""
        self._wanted = 0
        self._births.cancel()
        for child in self:
            if child.state in (State.FORKING, State.STARTING, State.READY):
                child.drain()

    def stop(self) -> None:
        """Everyone stops at the next step boundary."""
        self.drain()
        for child in self:
            if child.state is State.DRAINING:
                child.stop()

    def close(self) -> None:
        """Let go of those that are left; they see it."""
        self._births.cancel()
        self._evidence.cancel()
        for child in self:
            self._loop.remove(child.pipe)
            child.close()
        self._children.clear()

    def kill(self, number: signal.Signals) -> None:
        """Send everyone a signal. They are not to blame for dying of it."""
        for child in self:
            child.killed_by_us = True
            child.kill(number)
        if number is signal.SIGKILL and any(child.pid is None for child in self):
            self._template.kill()  # it does not fork them, so it must let go of their pipes


def _is_emptying(child: Child) -> bool:
    """Reserved for a suspect, but still busy with others."""
    return child.reserved and not any(held.run.suspect for held in child.held.values())
