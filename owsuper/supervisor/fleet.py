"""All child processes: started, given runs, reaped and replaced.

starter, boot_failures    when to start those that are missing
assignment                which child gets a run
lost_children             those whose pipe is closed
rollover                  which are let go when others replace them
trial                     the first child of new code
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Protocol

from owsuper.event_loop import Loop
from owsuper.ipc.messages import (
    SHORTAGE,
    Counted,
    Exited,
    Finished,
    Forked,
    ForkFailed,
    LoadFailed,
    Overdue,
)
from owsuper.settings import Settings
from owsuper.supervisor import assignment
from owsuper.supervisor.boot_failures import BootFailures
from owsuper.supervisor.child import Child, HeldRun
from owsuper.supervisor.child_state import ChildState
from owsuper.supervisor.exit_status import Evidence
from owsuper.supervisor.leftovers import Leftovers
from owsuper.supervisor.lost_children import LostChildren
from owsuper.supervisor.rollover import Rollover
from owsuper.supervisor.starter import ChildStarter
from owsuper.supervisor.template import StartsChildren
from owsuper.supervisor.trial import Trial

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

    New code is tried out with ``trial``, and served with ``follow``.

    ``settings`` must be complete: ``database_url`` is set. ``environment`` is added to the
    children's environment. ``on_counted`` gets what children have counted, if metrics are wanted.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        template: StartsChildren,
        observer: FleetObserver,
        *,
        environment: Mapping[str, str],
        on_counted: Callable[[Counted], None] | None = None,
    ) -> None:
        self._loop = loop
        self._on_counted = on_counted
        self._settings = settings
        self._observer = observer
        self._children: dict[int, Child] = {}
        self._rollover = Rollover(
            loop,
            self._children,
            size=settings.processes,
            graceful_timeout=settings.graceful_timeout,
        )
        self._starter = ChildStarter(
            loop,
            settings,
            template,
            self._rollover,
            self._children,
            environment=environment,
            make=self._make,
            add=self._add,
        )
        self.trial = Trial(self._rollover, partial(self._starter.start, on_trial=True))
        self._leftovers = Leftovers(loop)
        self._lost = LostChildren(loop, self._children, self._reap)
        self._mixed = False  # whether children know different workflows
        self._on_rolled_over: Callable[[], None] | None = None

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._children.values()))

    def __len__(self) -> int:
        return len(self._children)

    @property
    def size(self) -> int:
        """How many children there should be."""
        return self._rollover.size

    @property
    def template(self) -> StartsChildren:
        """The template of the latest code."""
        return self._starter.template

    @property
    def boot_failures(self) -> BootFailures:
        """The children in a row that died at their start."""
        return self._starter.boot_failures

    # --- start ---------------------------------------------------------------------------

    def fill(self) -> None:
        """Start the missing children, now or as soon as that is possible."""
        self._starter.fill()

    def _make(self, number: int) -> Child:
        return Child(
            number,
            self._settings.concurrency,
            on_ready=self._on_child_ready,
            on_finished=self._observer.on_run_finished,
            on_stacks=self._observer.on_stacks,
            on_overdue=self._observer.on_code_overdue,
            on_lost=self._lost.on_lost,
            on_counted=self._on_counted,
        )

    def _add(self, child: Child) -> None:
        self._children[child.number] = child
        self._loop.add(child.pipe)
        self._on_changed()

    def _on_child_ready(self, child: Child) -> None:
        _log.debug("child ready", extra=child.log_fields())
        self._starter.on_ready()
        if child is self.trial.child:
            self.trial.end(child, None)
        elif not self._starter.stopped:
            self._rollover.let_go()
            self.fill()
            self._on_changed()

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
        return self._rollover.ready

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
            if child.on_trial and child is not self.trial.child:
                child.kill(signal.SIGKILL)  # it was given up before its pid was known
        self.fill()

    def on_fork_failed(self, message: ForkFailed) -> None:
        """Handle the template's report that it could not fork."""
        if (child := self._children.get(message.child)) is not None:
            self._remove(child)
            child.close()
            if child.on_trial:
                self.trial.end(child, LoadFailed(SHORTAGE, message.reason))
                return
        self._starter.wait_for_resources(message.reason)

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

    def _reap(self, child: Child, evidence: Evidence) -> None:
        self._remove(child)
        if (pid := child.pid or evidence.pid) is not None:
            self._leftovers.end(pid)  # before the runs are given to others
        if child.on_trial:
            ended = LoadFailed("import", f"The first process of the new code ended: {evidence}.")
            self.trial.end(child, child.load_failure or ended)
        elif child.pid is None and evidence.pid is None:  # it was never forked
            if self.template.can_fork:
                self._starter.wait_for_resources("the template did not get the request")
        else:
            self._observer.on_child_died(child, evidence)
            if child.superseded:
                self.fill()
            elif not self._starter.stopped and not self._starter.replace(child):
                self._observer.on_boot_failed(child, evidence, self.boot_failures.in_a_row)
        child.close()

    def _remove(self, child: Child) -> None:
        child.on_exited()
        del self._children[child.number]
        self._loop.remove(child.pipe)
        self._on_changed()

    # --- other code, other size --------------------------------------------------------------

    def follow(self, template: StartsChildren, on_rolled_over: Callable[[], None]) -> None:
        """Replace all children, one by one, by children of ``template``, which was tried out.

        ``on_rolled_over`` is called when only children of ``template`` take runs.
        """
        self._starter.template = template
        self._on_rolled_over = on_rolled_over
        for child in self:
            child.outdated = child.template_pid != template.pid
        self.boot_failures.on_served()
        self._rollover.let_go()
        self._starter.fill_at_once()
        self._on_changed()

    def resize(self, size: int) -> None:
        """Have ``size`` children, at least one. Those that are too many finish their runs."""
        self._rollover.resize(size)
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
        self.trial.start_if_there_is_room()

    # --- stop ----------------------------------------------------------------------------

    def drain(self) -> None:
        """Start no more children; ask all children to finish their runs and exit."""
        self._starter.stop()
        self.trial.forget()
        self._on_rolled_over = None
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
        self._starter.stop()
        self._lost.close()
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
