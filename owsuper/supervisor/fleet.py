"""All child processes: started, given runs, reaped and replaced."""

from __future__ import annotations

import logging
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from owsuper import shortage
from owsuper.event_loop import Backoff, Loop
from owsuper.ipc.messages import (
    SHORTAGE,
    Exited,
    Finished,
    Fork,
    Forked,
    ForkFailed,
    LoadFailed,
    Overdue,
)
from owsuper.settings import Settings
from owsuper.supervisor import assignment
from owsuper.supervisor.boot_failures import STABLE, BootFailures
from owsuper.supervisor.child import Child, HeldRun
from owsuper.supervisor.child_state import ChildState
from owsuper.supervisor.exit_status import Evidence, is_exiting
from owsuper.supervisor.leftovers import Leftovers
from owsuper.supervisor.rollover import Rollover
from owsuper.supervisor.template import StartsChildren

# Seconds from the EOF of a child's pipe until the wait status is no longer expected.
_EVIDENCE_TIMEOUT: Final = 0.02
_EVIDENCE_TIMEOUT_IF_EXITING: Final = 0.5
_UNREACHABLE: Final = "it closed its pipe to the supervisor"
_JITTER: Final = 0.1  # of the number of runs after which a child is replaced
_SLOW_START: Final = 10.0  # seconds between warnings that a start takes long
_MAX_FORKING: Final = 8  # requests at a time; Linux limits descriptors in flight (unix(7))

_log = logging.getLogger("owsuper.supervisor")


class FleetObserver(Protocol):
    """Receives what happens to the children."""

    def on_run_finished(self, child: Child, held: HeldRun, finished: Finished) -> None:
        """A child has finished its execution of a run."""
        ...

    def on_stacks(self, child: Child, text: str) -> None:
        """A child that was asked for its Python stacks has answered."""
        ...

    def on_code_overdue(self, child: Child, overdue: Overdue) -> None:
        """Code in the child has not stopped in time. It is in ``child.overdue``, too."""
        ...

    def on_child_died(self, child: Child, evidence: Evidence) -> None:
        """A child is dead; its runs are in ``child.held``."""
        ...

    def on_boot_failed(self, child: Child, evidence: Evidence, failures: int) -> None:
        """At start-up, ``failures`` children in a row died before they were ready."""
        ...


class Fleet:
    """The children of one supervisor. The first children start with ``fill``.

    ``settings`` must be complete: ``database_url`` is set. ``environment`` is added to the
    children's environment.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        template: StartsChildren,
        observer: FleetObserver,
        *,
        environment: Mapping[str, str],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self.template = template
        self.size = settings.processes
        self._observer = observer
        self._environment = dict(environment)
        self._children: dict[int, Child] = {}
        self._last_number = 0
        self.boot_failures = BootFailures()
        self._leftovers = Leftovers(loop)
        self._rollover = Rollover(loop, self._children, graceful_timeout=settings.graceful_timeout)
        self._draining = False
        self._mixed = False  # whether children know different workflows
        self._trial: Child | None = None
        self._untried: StartsChildren | None = None  # whose first child has yet to start
        self._on_tried: Callable[[LoadFailed | None], None] | None = None
        self._on_rolled_over: Callable[[], None] | None = None
        self._shortage = Backoff(0.5, limit=10.0)  # failures since all children were ready
        self._evidence_timer = loop.timers.add("wait for evidence", self._reap_lost)
        self._spawn_timer = loop.timers.add("replace a child", self._fill_after_backoff)
        self._slow_timer = loop.timers.add("slow starts", self._warn_slow)
        self._no_spawn_before = 0.0  # a ``time.monotonic`` moment; for want of resources

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._children.values()))

    def __len__(self) -> int:
        return len(self._children)

    # --- start ---------------------------------------------------------------------------

    def fill(self) -> None:
        """Start the missing children, now or as soon as that is possible."""
        wait_until = max(self._no_spawn_before, self.boot_failures.next_start)
        if time.monotonic() < wait_until:
            self._spawn_timer.at_latest(wait_until)
            return
        while self._may_spawn and self._rollover.missing(self.size):
            if sum(child.state is ChildState.FORKING for child in self) >= _MAX_FORKING:
                return  # ``on_forked`` continues
            try:
                self._spawn(self.template)
            except OSError as exc:
                self._wait_for_resources(shortage.describe(exc))
                return

    @property
    def _may_spawn(self) -> bool:
        return self.template.can_fork and not self._draining

    def _fill_after_backoff(self) -> None:
        self._no_spawn_before = self.boot_failures.next_start = 0.0
        self.fill()

    def _spawn(self, template: StartsChildren, *, on_trial: bool = False) -> Child:
        self._last_number += 1
        child = Child(
            self._last_number,
            self._settings.concurrency,
            on_ready=self._on_child_ready,
            on_finished=self._observer.on_run_finished,
            on_stacks=self._observer.on_stacks,
            on_overdue=self._observer.on_code_overdue,
            on_lost=self._on_child_lost,
        )
        assert template.loaded is not None
        child.workflows = frozenset(template.loaded.workflows)
        child.template_pid = template.pid
        child.on_trial = on_trial
        if (most := self._settings.max_runs_per_child) is not None:
            # Not the same for all, so that they are not replaced at the same time.
            child.max_runs = random.randint(most - int(most * _JITTER), most)
        self._children[child.number] = child
        self._loop.add(child.pipe)
        self._on_changed()  # before the request, since it may end the duty of another template
        request = Fork(child.number, self._settings, self._environment, connect=on_trial)
        template.fork(request, child.descriptors)
        self._slow_timer.at_latest(child.requested_at + _SLOW_START)
        return child

    def _warn_slow(self) -> None:
        """Name children that do not become ready. Their code may hang, in a hook for example."""
        now = time.monotonic()
        for child in self:
            if child.state not in (ChildState.FORKING, ChildState.STARTING):
                continue
            seconds = now - child.requested_at
            if seconds >= _SLOW_START:
                _log.warning(
                    "still starting a child, after %d s", seconds, extra=child.log_fields()
                )
                child.dump_stacks()
            self._slow_timer.at_latest(now + _SLOW_START - seconds % _SLOW_START)

    def _on_child_ready(self, child: Child) -> None:
        self.boot_failures.on_ready(all_ready=self.ready >= self.size)
        _log.debug("child ready", extra=child.log_fields())
        if child is self._trial:
            child.on_trial = False
            self._end_trial(child, None)
        elif not self._draining:
            self._rollover.let_go(self.size)
            self.fill()
            self._on_changed()
        if self._shortage.failures and self.ready >= self.size:
            self._shortage.reset()
            _log.info("all child processes are ready again")

    def _wait_for_resources(self, reason: str) -> None:
        """Serve on with the children that there are, and start the others later."""
        if self._draining:
            return
        self._no_spawn_before = time.monotonic() + self._shortage.next()
        if self._shortage.failures == 1:
            _log.error(
                "child processes cannot be started; trying again, and serving with %d of %d: %s",
                self.ready,
                self.size,
                reason,
            )
        self.fill()

    # --- assign --------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """The number of slots that take a run that is not a suspect."""
        return sum(child.free for child in self._children.values())

    @property
    def busy(self) -> int:
        """The number of runs that children hold."""
        return sum(len(child.held) for child in self._children.values())

    @property
    def ready(self) -> int:
        """The number of children that are ready."""
        return sum(child.state is ChildState.READY for child in self._children.values())

    def assign(self, held: HeldRun) -> bool:
        """Give the run to a child; return False if none is free for it. See ``assignment``."""
        assigned = assignment.assign(self._children.values(), held, mixed=self._mixed)
        if assigned and self._settings.max_runs_per_child is not None:
            self.fill()
        return assigned

    def release_reservations(self) -> None:
        """End reservations for suspects; call this when no suspect waits."""
        assignment.release_reservations(self._children.values())

    # --- reap ----------------------------------------------------------------------------

    def on_forked(self, message: Forked) -> None:
        """Handle the template's report of a fork."""
        if (child := self._children.get(message.child)) is not None:
            child.on_forked(message.pid)
            if child.on_trial and child is not self._trial:
                child.kill(signal.SIGKILL)  # it was given up before its pid was known
        self.fill()

    def on_fork_failed(self, message: ForkFailed) -> None:
        """Handle the template's report that it could not fork."""
        if (child := self._children.get(message.child)) is not None:
            self._remove(child)
            child.close()
            if child.on_trial:
                self._end_trial(child, LoadFailed(SHORTAGE, message.reason))
                return
        self._wait_for_resources(message.reason)

    def on_exited(self, message: Exited) -> None:
        """Handle the template's report of a reaped child."""
        if (child := self._children.get(message.child)) is not None:
            how = (message.wait_status, message.max_rss_kb, message.cpu_seconds)
            self._reap(child, Evidence(message.pid, *how))

    def on_reaped(self, evidence: Evidence) -> None:
        """Handle a process that the supervisor reaped: perhaps a child of a dead template."""
        for child in self:
            if child.pid == evidence.pid:
                self._reap(child, evidence)

    def _on_child_lost(self, child: Child) -> None:
        self._evidence_timer.at_latest(time.monotonic() + _EVIDENCE_TIMEOUT)

    def _reap_lost(self) -> None:
        """Reap lost children whose wait status does not arrive in time.

        The wait status of an exiting process is expected for longer: a busy machine is slow.
        A process that still runs has closed its pipe and cannot be reached, so it is killed.
        """
        now = time.monotonic()
        for child in self:
            if child.state is not ChildState.LOST or child.lost_at is None:
                continue
            exiting = child.pid is not None and is_exiting(child.pid)
            timeout = _EVIDENCE_TIMEOUT_IF_EXITING if exiting else _EVIDENCE_TIMEOUT
            if now < child.lost_at + timeout:
                self._evidence_timer.at_latest(now + _EVIDENCE_TIMEOUT)
                continue
            if not exiting and child.cause_of_kill is None:
                child.cause_of_kill = _UNREACHABLE
            child.kill(signal.SIGKILL)
            self._reap(child, Evidence(child.pid))

    def _reap(self, child: Child, evidence: Evidence) -> None:
        self._remove(child)
        if (pid := child.pid or evidence.pid) is not None:
            self._leftovers.end(pid)  # before the runs are given to others
        if child.on_trial:
            ended = LoadFailed("import", f"The first process of the new code ended: {evidence}.")
            self._end_trial(child, child.load_failure or ended)
        elif child.pid is None and evidence.pid is None:  # it was never forked
            if self.template.can_fork:
                self._wait_for_resources("the template did not get the request")
        else:
            self._observer.on_child_died(child, evidence)
            if child.superseded:
                self.fill()
            elif not self._draining:
                self._replace(child, evidence)
        child.close()

    def _remove(self, child: Child) -> None:
        child.on_exited()
        del self._children[child.number]
        self._loop.remove(child.pipe)
        self._on_changed()

    def _replace(self, child: Child, evidence: Evidence) -> None:
        """Replace a dead child: at once, or after a back-off if children keep failing to boot."""
        if child.load_failure is not None and child.load_failure.kind == SHORTAGE:
            self._wait_for_resources(child.load_failure.message)
            return
        if child.stop_requested:
            self.fill()
            return
        lived = 0.0 if child.ready_at is None else time.monotonic() - child.ready_at
        if lived > STABLE or (lived and child.held):
            self.boot_failures.on_served()
        else:
            was_ready = child.ready_at is not None
            self.boot_failures.on_failed(requested_at=child.requested_at, was_ready=was_ready)
            if self.boot_failures.hopeless:
                self._observer.on_boot_failed(child, evidence, self.boot_failures.in_a_row)
                return
        self.fill()

    # --- other code, other size --------------------------------------------------------------

    def try_out(
        self, template: StartsChildren, on_tried: Callable[[LoadFailed | None], None]
    ) -> None:
        """Start a child of ``template`` that connects to the database, beside the others.

        ``on_tried`` is called when it is ready, or with the reason why it cannot be. It gets no
        runs before ``follow``. It starts when there is room for it.
        """
        self._untried, self._on_tried = template, on_tried
        self._start_trial()
        if self._untried is not None:
            _log.info(
                "the reload waits until a process of older code has left; there are %d",
                self._rollover.leaving,
            )

    def _start_trial(self) -> None:
        if self._untried is None or not self._rollover.has_room(self.size):
            return
        template, self._untried = self._untried, None
        try:
            self._trial = self._spawn(template, on_trial=True)
        except OSError as exc:
            assert self._on_tried is not None
            self._on_tried(LoadFailed(SHORTAGE, shortage.describe(exc)))

    def abandon_trial(self) -> None:
        """Let go the child of ``try_out``, if there is one."""
        trial, self._trial, self._untried = self._trial, None, None
        if trial is not None:
            if trial.staying:
                trial.drain()  # it may not have been forked
            trial.kill(signal.SIGKILL)

    def _end_trial(self, child: Child, failure: LoadFailed | None) -> None:
        if child is self._trial:
            self._trial = None
            assert self._on_tried is not None
            self._on_tried(failure)

    def follow(self, template: StartsChildren, on_rolled_over: Callable[[], None]) -> None:
        """Replace all children, one by one, by children of ``template``, which was tried out.

        ``on_rolled_over`` is called when only children of ``template`` take runs.
        """
        self.template = template
        self._on_rolled_over = on_rolled_over
        for child in self:
            child.outdated = child.template_pid != template.pid
        self.boot_failures.on_served()
        self._rollover.let_go(self.size)
        self._fill_after_backoff()
        self._on_changed()

    def resize(self, size: int) -> None:
        """Have ``size`` children, at least one. Those that are too many finish their runs."""
        self.size = size
        self._rollover.shrink(size)
        self.fill()
        self._on_changed()

    def _on_changed(self) -> None:
        """Draw conclusions from which children there are."""
        children = self._children.values()
        self._mixed = len({child.workflows for child in children}) > 1
        # A template knows what its own children hold. While there are others, it would take their
        # runs for orphans.
        templates = {child.template_pid for child in children}
        self.template.release_orphans(templates <= {self.template.pid})
        if self._on_rolled_over is not None and self._rollover.complete:
            on_rolled_over, self._on_rolled_over = self._on_rolled_over, None
            on_rolled_over()
        self._start_trial()

    # --- stop ----------------------------------------------------------------------------

    def drain(self) -> None:
        """Start no more children; ask all children to finish their runs and exit."""
        self._draining = True
        self._trial = self._untried = self._on_rolled_over = None
        self._spawn_timer.cancel()
        for child in self:
            if child.staying:
                child.drain()

    def stop(self) -> None:
        """Ask all children to stop their runs at the next step boundary and exit."""
        self.drain()
        for child in self:
            if child.state is ChildState.DRAINING:
                child.stop()

    def abandon(self) -> None:
        """Treat children that were killed, and have not ended, as dead."""
        for child in self:
            self._reap(child, Evidence(child.pid))

    def retire(self, child: Child) -> None:
        """Have a child replaced: another is started, and this one exits after its current steps."""
        if child.state in (ChildState.READY, ChildState.DRAINING):
            child.superseded = child.stop_requested = True
            child.stop_at = time.monotonic()  # so that a crash counts, meanwhile
            child.stop()
            self.fill()
            self._on_changed()

    def close(self) -> None:
        """Close the pipes of the children that are left, which makes them exit."""
        self._spawn_timer.cancel()
        self._slow_timer.cancel()
        self._evidence_timer.cancel()
        self._rollover.close()
        for child in self:
            self._loop.remove(child.pipe)
            child.close()
        self._children.clear()

    def kill(self, number: signal.Signals) -> None:
        """Send all children a signal. Their deaths count no crash against their runs."""
        for child in self:
            child.killed_by_supervisor = True
            child.kill(number)
        if number is signal.SIGKILL and any(child.pid is None for child in self):
            self.template.kill()  # it has not forked them; its death closes their pipes
