"""Generations of code, each with its template, and the reload that replaces one by the next.

A reload starts a template beside the current one. It imports the application as it is now, and
forks one child, which calls the application's hooks and connects to the database. Only when that
child is ready does the new generation take over: its workflows are claimed, and the fleet replaces
the other children one by one. Whatever fails before that ends the new processes, and the old code
serves on.

A template whose children have not all exited yet stays, to report how they end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from owsuper.event_loop import Loop
from owsuper.ipc.messages import ApplicationLoaded, Exited, Forked, ForkFailed, LoadFailed
from owsuper.settings import Settings
from owsuper.supervisor.fleet import Fleet
from owsuper.supervisor.template import TemplateProcess

_EXIT_TIMEOUT: Final = 5.0  # seconds for the exit handlers of a template without children

_log = logging.getLogger("owsuper.supervisor")


class ReloadObserver(Protocol):
    """Receives the progress of reloads. Each one that begins ends in one of three ways."""

    def on_reloading(self) -> None:
        """A reload begins, perhaps in place of another, whose end is not reported then."""
        ...

    def on_reloaded(self, workflow_count: int) -> None:
        """Only the new code takes runs now."""
        ...

    def on_reload_failed(self, failure: LoadFailed) -> None:
        """The old code serves on."""
        ...


class Generations:
    """The templates of one supervisor. ``start`` the first one, then ``attach`` the fleet.

    ``failure`` says why the first one cannot load the application.
    """

    def __init__(
        self, loop: Loop, settings: Settings, observer: ReloadObserver, *, supervisor_id: str
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._observer = observer
        self._supervisor_id = supervisor_id
        self._fleet: Fleet | None = None
        self._old: list[TemplateProcess] = []  # retired or given up, until they have exited
        self._closed: dict[TemplateProcess, float] = {}  # of those, with time.monotonic()
        self._trial: TemplateProcess | None = None
        self._reloading: TemplateProcess | None = None  # of the reload whose end is to be reported
        self._reload_wanted = False
        self._directory = _working_directory()
        self._kill_timer = loop.timers.add("kill old templates", self._kill_old)
        self.failure: LoadFailed | None = None
        self.current = self._new(trial=False)

    def start(self) -> None:
        """Start the first template."""
        self.current.start()

    def attach(self, fleet: Fleet) -> None:
        """Have ``fleet`` serve the current code, and that of later reloads."""
        self._fleet = fleet
        if self._reload_wanted:
            self.reload()

    @property
    def running(self) -> bool:
        """Whether a template process is left."""
        return any(template.pid is not None for template in self._all())

    # --- reload --------------------------------------------------------------------------

    def reload(self) -> None:
        """Replace the code by what is on disk now. Replaces a reload that is not so far."""
        if self._fleet is None:  # the first template may have imported some of it before
            self._reload_wanted = True
            return
        self._abandon_trial()
        self._observer.on_reloading()
        self._enter_directory()
        self._trial = self._reloading = self._new(trial=True)
        self._trial.start()

    def _on_loaded(self, template: TemplateProcess, loaded: ApplicationLoaded) -> None:
        if template not in (self.current, self._trial):
            return  # it was killed when it was done
        for warning in loaded.warnings:
            _log.warning("%s", warning)
        if self._fleet is None:
            return
        for mismatch in loaded.mismatches:  # at the start, they are errors
            _log.warning("%s", mismatch)
        if template is not self._trial:
            self._fleet.fill()
        elif (problem := self._describe_conflict(loaded)) is not None:
            self._end_trial(LoadFailed("conflict", problem))
        else:
            self._fleet.trial.begin(template, self._end_trial)

    def _describe_conflict(self, new: ApplicationLoaded) -> str | None:
        """Return why this supervisor cannot serve the new code; None if it can."""
        old = self.current.loaded
        for name in ("database_url", "namespace", "schema"):
            changed = getattr(old, name) != getattr(new, name)
            if changed and name not in self._settings.given:
                return (
                    f"The new code gives OpenWorkflow another {name}, which is that of a worker's"
                    " whole life. Restart the worker."
                )
        return None

    def _on_failed(self, template: TemplateProcess, failure: LoadFailed) -> None:
        if template is self._trial:
            self._end_trial(failure)
        elif template is self.current:
            self.failure = failure

    def _end_trial(self, failure: LoadFailed | None) -> None:
        if failure is not None:
            self._abandon_trial()
            self._reloading = None
            self._observer.on_reload_failed(failure)
            return
        assert self._trial is not None
        assert self._fleet is not None
        old, self.current, self._trial = self.current, self._trial, None
        self.current.trial = False
        old.retire()
        self._add_old(old)
        self._fleet.follow(self.current, partial(self._on_rolled_over, self.current))
        self._close_idle(self._fleet)

    def _on_rolled_over(self, template: TemplateProcess) -> None:
        """Report the end of a reload, unless another has taken its place meanwhile."""
        if template is self._reloading:
            assert template.loaded is not None
            self._reloading = None
            self._observer.on_reloaded(len(template.loaded.workflows))

    def _abandon_trial(self) -> None:
        if self._trial is not None:
            trial, self._trial = self._trial, None
            if self._fleet is not None:
                self._fleet.trial.abandon()
            self._add_old(trial)
            trial.retire()
            trial.kill()  # its last messages say which child it has forked

    def abandon(self) -> None:
        """Give up a reload that is not so far: the worker stops."""
        self._abandon_trial()

    # --- templates -----------------------------------------------------------------------

    def _new(self, *, trial: bool) -> TemplateProcess:
        template = TemplateProcess(
            self._loop,
            self._settings,
            on_loaded=lambda loaded: self._on_loaded(template, loaded),
            on_failed=lambda failure: self._on_failed(template, failure),
            on_forked=self._on_forked,
            on_fork_failed=self._on_fork_failed,
            on_exited=self._on_exited,
            supervisor_id=self._supervisor_id,
            trial=trial,
        )
        return template

    def _on_forked(self, message: Forked) -> None:
        if self._fleet is not None:
            self._fleet.on_forked(message)

    def _on_fork_failed(self, message: ForkFailed) -> None:
        if self._fleet is not None:
            self._fleet.on_fork_failed(message)
            self._close_idle(self._fleet)

    def _on_exited(self, message: Exited) -> None:
        if self._fleet is not None:
            self._fleet.on_exited(message)
            self._close_idle(self._fleet)

    def _close_idle(self, fleet: Fleet) -> None:
        """Close the old templates that have no children left."""
        in_use = {child.template_pid for child in fleet}
        for template in self._old:
            if template.pid not in in_use and template not in self._closed:
                self._close(template)

    def _close(self, template: TemplateProcess) -> None:
        template.release_orphans(False)
        template.close()
        if template in self._old:
            self._closed[template] = time.monotonic()
        self._kill_timer.at_latest(time.monotonic() + _EXIT_TIMEOUT)

    def _kill_old(self) -> None:
        now = time.monotonic()
        for template, closed_at in self._closed.items():
            if now >= closed_at + _EXIT_TIMEOUT:
                template.kill()
            else:
                self._kill_timer.at_latest(closed_at + _EXIT_TIMEOUT)

    def _add_old(self, template: TemplateProcess) -> None:
        if template.pid is None:
            template.forget()
        else:
            self._old.append(template)

    def on_reaped(self, pid: int, status: int) -> bool:
        """Handle the death of a process; return whether it was a template."""
        for template in self._all():
            if template.pid == pid:
                template.on_reaped(status)
                if template in self._old:
                    self._old.remove(template)
                    self._closed.pop(template, None)
                    template.forget()
                return True
        return False

    def on_stopped(self) -> None:
        """Tell the templates that this supervisor leaves no run behind."""
        for template in self._all():
            template.release_orphans(False)

    def close(self) -> None:
        """Close the pipes: the templates exit after their last children."""
        for template in self._all():
            template.close()

    def kill(self) -> None:
        """Kill the templates; their children keep running."""
        for template in self._all():
            template.kill()

    def _all(self) -> list[TemplateProcess]:
        trial = [] if self._trial is None else [self._trial]
        return [self.current, *trial, *self._old]

    def _enter_directory(self) -> None:
        """Follow a symbolic link that leads to another release since the start."""
        with contextlib.suppress(OSError):  # the template reports what it cannot find
            os.chdir(self._directory)


def _working_directory() -> str:
    """Return the working directory, by the name under which this process was started."""
    named = os.environ.get("PWD", "")
    with contextlib.suppress(OSError):
        if named and Path(named).samefile("."):
            return named
    return "."
