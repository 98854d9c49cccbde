"""Schedules: starts the runs of ticks that are due, and stores what the code declares.

Every supervisor of a namespace does this, whatever it serves. The database's clock says what is
due, and the statement that starts a run moves the schedule on, so it does not matter how many try.
Supervisors whose namespace has no schedule look once a minute, and know nothing of calendars.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from owsuper.core.schedules.spec import ScheduleSpec
from owsuper.db import schedules
from owsuper.db.claims import Call
from owsuper.db.schedules import DueSchedule, ScheduleLook, ScheduleQueries
from owsuper.db.statement import Result
from owsuper.errors import ConfigurationError
from owsuper.event_loop import Loop
from owsuper.ipc.messages import ApplicationLoaded
from owsuper.settings import Settings
from owsuper.supervisor.connection import KeptConnection

# Seconds.
_PERIOD: Final = 60.0  # between two looks that nothing asks for
_QUEUE_PERIOD: Final = 1.0  # between two looks while a tick waits for a run to end
_SPREAD: Final = 0.02  # by which supervisors come after each other
_AGAIN: Final = 1.0  # after a tick that another supervisor was busy with

_TEXTS: Final = {
    "fired": "started the run of a tick",
    "queued": "a tick waits for the run before it to end",
    "skipped": "a tick was skipped: a run of the schedule had not ended",
    "paused": "a tick has no run: the workflow is paused",
    "missed": "ticks were missed: nobody served, and catch_up is none",
}

_LEFT_OUT: Final = "ticks were missed: nobody served, and catch_up leaves them out"

_VERDICTS: Final = {
    "created": "declared by this code",
    "changed": "declared anew by this code, in place of what older code had declared",
    "returned": "declared by this code again",
    "removed": "removed from the code: it fires no more",
    "outdated": "newer code declares it differently, or not any more, and that counts. If this code"
    " is newer, stop the workers of the other: it takes over some minutes later.",
    "by hand": "somebody has made a schedule of this name by hand, and that counts. Delete it, or"
    " give one of them another name.",
}

_log = logging.getLogger("owsuper.supervisor")


class ScheduleDuty:
    """The schedules of a namespace, over a shared connection.

    ``loaded`` returns what is known of the application. ``on_started`` is called when a run was
    started. ``busy``: a look, or what follows from it, waits for an answer. ``ticks`` counts ticks
    that this supervisor has decided about, by outcome.
    """

    def __init__(
        self,
        loop: Loop,
        connection: KeptConnection,
        settings: Settings,
        *,
        loaded: Callable[[], ApplicationLoaded | None],
        on_started: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._queries = ScheduleQueries(settings.schema, settings.namespace)
        self._modules = " ".join(settings.modules)
        self._loaded = loaded
        self._on_started = on_started
        self.busy = False
        self._look_again = False
        self._stopped = False
        self._declared_of: ApplicationLoaded | None = None
        self._declared_at = 0.0  # time.monotonic()
        self._verdicts: dict[str, str] = {}  # by schedule, as they were logged
        self._problems: dict[str, str] = {}  # likewise
        self._left_out: dict[str, float] = {}  # by schedule, until when; time.monotonic()
        self._missed: dict[str, tuple[datetime, ...]] = {}  # by schedule, what is still to fire
        self.ticks: Counter[str] = Counter(dict.fromkeys(_TEXTS, 0))
        self._due = loop.timers.add("schedules", self.look)
        self._regular = loop.timers.add("look at schedules", self.look, period=_PERIOD)
        self._regular.start()

    def on_connection_up(self) -> None:
        """Look now."""
        self.look()

    def on_connection_lost(self) -> None:
        """Forget what was sent; its answer never comes. What is due is found again."""
        self.busy = self._look_again = False
        self._declared_of = None
        self._due.cancel()

    def stop(self) -> None:
        """Leave the schedules to others: this supervisor stops."""
        self._stopped = True
        self._due.cancel()
        self._regular.cancel()

    def follow(self) -> None:
        """Store what newly loaded code declares. Cheap, for every turn of the loop."""
        if self._loaded() is not self._declared_of and self._connection.up:
            self.look()

    def look_at_changed(self) -> None:
        """Look at all: a client has changed a schedule, perhaps one that this host left out."""
        self._left_out.clear()
        self.look()

    def look(self) -> None:
        """Look for what is due, and decide about it."""
        if not self._connection.up or self._stopped:
            return
        if self.busy:
            self._look_again = self._loaded() is self._declared_of or self._look_again
            return
        self.busy = True
        now = time.monotonic()
        self._left_out = {name: end for name, end in self._left_out.items() if end > now}
        self._send(self._queries.look(sorted(self._left_out)), self._handle_look)

    def _send(self, call: Call, on_result: Callable[[Result], None]) -> None:
        statement, params = call
        self._connection.send(statement, params, on_result)

    def _handle_look(self, result: Result) -> None:
        if self._connection.refused("look at schedules", result):
            self._declared_of = self._loaded()  # nothing changes before the next look
            self._finish(_PERIOD)
            return
        look = schedules.parse_look(result.rows)
        loaded = self._loaded()
        if loaded is not None and (loaded.schedules or look.declared) and self._must_declare:
            self._declare(look, loaded)
        else:
            self._declared_of = loaded
            self._fire_next(look, look.due)

    @property
    def _must_declare(self) -> bool:
        is_new = self._loaded() is not self._declared_of
        return is_new or time.monotonic() - self._declared_at >= _PERIOD - _SPREAD

    # --- what is due ---------------------------------------------------------------------

    def _fire_next(self, look: ScheduleLook, due: list[DueSchedule], pause: float = 0.0) -> None:
        """Decide about one schedule after the other, so that claims pass between them."""
        while due:
            one, due = due[0], due[1:]
            try:
                call, left_out = self._decide(one, look)
            except ConfigurationError as error:
                self._report(one.name, str(error))
                self._left_out[one.name] = time.monotonic() + _PERIOD
                continue
            self._problems.pop(one.name, None)
            self._send(call, partial(self._handle_fired, look, due, one, pause, left_out))
            return
        if look.due:
            self._finish(pause)
        else:
            waits = [_PERIOD] + [_QUEUE_PERIOD] * look.queued
            if look.next_in is not None:
                waits.append(max(0.0, look.next_in) + random.uniform(0, _SPREAD))
            self._finish(min(waits))

    def _decide(self, due: DueSchedule, look: ScheduleLook) -> tuple[Call, bool]:
        """Return the statement, and whether ticks before the one that it fires are left out."""
        if due.queued:
            return self._queries.fire(due, due.at, None), False
        from owsuper.core.schedules.due import decide  # few supervisors need it
        from owsuper.core.schedules.timetable import Timetable

        timetable = Timetable(
            cron=due.cron, every=due.every, timezone=due.timezone, start=due.start, end=due.end
        )
        decision = decide(
            timetable,
            due.at,
            look.now,
            catch_up=due.catch_up,
            limit=due.catch_up_limit,
            missed=self._missed.pop(due.name, ()),
        )
        if decision.missed:
            self._missed[due.name] = decision.missed
        left_out = decision.tick is not None and decision.tick > due.at
        return self._queries.fire(due, decision.tick, decision.following), left_out

    def _handle_fired(
        self,
        look: ScheduleLook,
        rest: list[DueSchedule],
        due: DueSchedule,
        pause: float,
        left_out: bool,
        result: Result,
    ) -> None:
        if self._connection.refused("fire a tick", result):
            pause = _AGAIN
        elif (outcome := schedules.parse_fired(result.rows)) is None:
            pause = max(pause, _SPREAD)  # another supervisor was faster, or is about to finish
        elif due.queued and outcome == "queued":
            pause = max(pause, _AGAIN)  # a run was started by hand, or the workflow is paused
        else:
            if left_out:
                self.ticks["missed"] += 1
                _log.info("schedule %s: %s", due.name, _LEFT_OUT, extra={"schedule": due.name})
            self.ticks[outcome] += 1
            fields = {"schedule": due.name, "workflow": due.workflow_name}
            _log.info("schedule %s: %s", due.name, _TEXTS[outcome], extra=fields)
            if outcome == "fired":
                self._on_started()
        self._fire_next(look, rest, pause)

    def _finish(self, seconds: float) -> None:
        self.busy = False
        self._due.after(0.0 if self._look_again else seconds)
        self._look_again = False

    def _report(self, name: str, problem: str) -> None:
        if self._problems.get(name) != problem:
            self._problems[name] = problem
            _log.error(
                "schedule %s: this host cannot tell when it is due, so others must fire it: %s",
                name,
                problem,
                extra={"schedule": name},
            )

    # --- what the code declares ----------------------------------------------------------

    def _declare(self, look: ScheduleLook, loaded: ApplicationLoaded) -> None:
        self._declared_of, self._declared_at = loaded, time.monotonic()
        declared = []
        for spec in sorted(loaded.schedules, key=lambda each: each.name):
            try:
                declared.append((spec, spec.timetable().next_after(look.now)))
            except ConfigurationError as error:
                self._report(spec.name, str(error))
        call = self._queries.declare(declared, self._modules)
        self._send(call, partial(self._handle_declared, look, [spec for spec, _ in declared]))

    def _handle_declared(
        self, look: ScheduleLook, declared: list[ScheduleSpec], result: Result
    ) -> None:
        if self._connection.refused("store the schedules of the code", result):
            self._finish(_PERIOD)
            return
        verdicts = dict(schedules.parse_declared(result.rows))
        for name, verdict in verdicts.items():
            self._log_verdict(name, verdict)
        changed = {"created", "changed", "returned"} & set(verdicts.values())
        if changed:
            self._look_again = True
            self._left_out.clear()
        self._fire_next(look, look.due)

    def _log_verdict(self, name: str, verdict: str) -> None:
        if self._verdicts.get(name) == verdict:
            return
        self._verdicts[name] = verdict
        if verdict != "kept":
            level = logging.WARNING if verdict in ("outdated", "by hand") else logging.INFO
            _log.log(level, "schedule %s: %s", name, _VERDICTS[verdict], extra={"schedule": name})
