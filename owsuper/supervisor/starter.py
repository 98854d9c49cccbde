"""Starting children: those that are missing, now or as soon as that is possible."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Final

from owsuper import shortage
from owsuper.event_loop import Backoff, Loop
from owsuper.ipc.messages import SHORTAGE, Fork
from owsuper.settings import Settings
from owsuper.supervisor.boot_failures import STABLE, BootFailures
from owsuper.supervisor.child import Child
from owsuper.supervisor.child_state import ChildState
from owsuper.supervisor.rollover import Rollover
from owsuper.supervisor.template import StartsChildren

_JITTER: Final = 0.1  # of the number of runs after which a child is replaced
_MAX_FORKING: Final = 8  # requests at a time; Linux limits descriptors in flight (unix(7))
_SLOW_START: Final = 10.0  # seconds between warnings that a start takes long

_log = logging.getLogger("owsuper.supervisor")


class ChildStarter:
    """Starts children of the ``template`` until none is missing from the ``rollover``.

    ``make`` returns a child with this number, which may raise OSError, and ``add`` adds it to the
    ``children``. ``environment`` is added to their environment.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        template: StartsChildren,
        rollover: Rollover,
        children: Mapping[int, Child],
        *,
        environment: Mapping[str, str],
        make: Callable[[int], Child],
        add: Callable[[Child], None],
    ) -> None:
        self.template = template
        self.boot_failures = BootFailures()
        self.stopped = False
        self._settings = settings
        self._rollover = rollover
        self._children = children
        self._environment = dict(environment)
        self._make = make
        self._add = add
        self._last_number = 0
        self._shortage = Backoff(0.5, limit=10.0)  # failures since all children were ready
        self._not_before = 0.0  # a ``time.monotonic`` moment; for want of resources
        self._timer = loop.timers.add("start children", self.fill_at_once)
        self._slow_timer = loop.timers.add("slow starts", self._warn_slow)

    # --- start ---------------------------------------------------------------------------

    def fill(self) -> None:
        """Start the missing children, now or as soon as that is possible."""
        wait_until = max(self._not_before, self.boot_failures.next_start)
        if time.monotonic() < wait_until:
            self._timer.at_latest(wait_until)
            return
        while self._may_start and self._rollover.missing():
            if sum(each.state is ChildState.FORKING for each in self._children.values()) >= (
                _MAX_FORKING
            ):
                return  # a child that was forked has ``fill`` called again
            try:
                self.start(self.template)
            except OSError as exc:
                self.wait_for_resources(shortage.describe(exc))
                return

    def fill_at_once(self) -> None:
        """Start the missing children without a pause."""
        self._not_before = self.boot_failures.next_start = 0.0
        self.fill()

    @property
    def _may_start(self) -> bool:
        return self.template.can_fork and not self.stopped

    def start(self, template: StartsChildren, *, on_trial: bool = False) -> Child:
        """Start a child of ``template``. Raises OSError for want of descriptors."""
        self._last_number += 1
        child = self._make(self._last_number)
        assert template.loaded is not None
        child.workflows = frozenset(template.loaded.workflows)
        child.template_pid = template.pid
        child.on_trial = on_trial
        if (most := self._settings.max_runs_per_child) is not None:
            # Not the same for all, so that they are not replaced at the same time.
            child.max_runs = random.randint(most - int(most * _JITTER), most)
        self._add(child)  # before the request, since it may end the duty of another template
        request = Fork(child.number, self._settings, self._environment, connect=on_trial)
        template.fork(request, child.descriptors)
        self._slow_timer.at_latest(child.requested_at + _SLOW_START)
        return child

    def _warn_slow(self) -> None:
        """Name children that do not become ready. Their code may hang, in a hook for example."""
        now = time.monotonic()
        for child in self._children.values():
            if child.state not in (ChildState.FORKING, ChildState.STARTING):
                continue
            seconds = now - child.requested_at
            if seconds >= _SLOW_START:
                _log.warning(
                    "still starting a child, after %d s", seconds, extra=child.log_fields()
                )
                child.dump_stacks()
            self._slow_timer.at_latest(now + _SLOW_START - seconds % _SLOW_START)

    # --- how that went -------------------------------------------------------------------

    def on_ready(self) -> None:
        """Note that a child has become ready."""
        all_ready = self._rollover.ready >= self._rollover.size
        self.boot_failures.on_ready(all_ready=all_ready)
        if self._shortage.failures and all_ready:
            self._shortage.reset()
            _log.info("all child processes are ready again")

    def wait_for_resources(self, reason: str) -> None:
        """Serve on with the children that there are, and start the others later."""
        if self.stopped:
            return
        self._not_before = time.monotonic() + self._shortage.next()
        if self._shortage.failures == 1:
            _log.error(
                "child processes cannot be started; trying again, and serving with %d of %d: %s",
                self._rollover.ready,
                self._rollover.size,
                reason,
            )
        self.fill()

    def replace(self, child: Child) -> bool:
        """Replace a dead child: at once, or after a back-off if children keep failing to boot.

        Return False if all have failed, so often that no other is started.
        """
        if child.load_failure is not None and child.load_failure.kind == SHORTAGE:
            self.wait_for_resources(child.load_failure.message)
            return True
        if not child.stop_requested:
            lived = 0.0 if child.ready_at is None else time.monotonic() - child.ready_at
            if lived > STABLE or (lived and child.held):
                self.boot_failures.on_served()
            else:
                was_ready = child.ready_at is not None
                self.boot_failures.on_failed(requested_at=child.requested_at, was_ready=was_ready)
                if self.boot_failures.hopeless:
                    return False
        self.fill()
        return True

    def stop(self) -> None:
        """Start no more children."""
        self.stopped = True
        self._timer.cancel()
        self._slow_timer.cancel()
