"""What a supervisor does periodically, whatever it hears. Several supervisors share some of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from owsuper.event_loop import Loop, Timer
from owsuper.settings import Settings
from owsuper.supervisor import out_of_memory
from owsuper.supervisor.crashes import Crashes
from owsuper.supervisor.limits import LimitRegistration
from owsuper.supervisor.pauses import Pauses
from owsuper.supervisor.pickup import Pickup
from owsuper.supervisor.presence import Workflows
from owsuper.supervisor.sweeps import Sweeps
from owsuper.supervisor.turns import SharedDuty, Turns
from owsuper.supervisor.undone_workflows import UndoneWorkflows

# Seconds.
_DEADLINE_PERIOD: Final = 1.0
_PARENT_PERIOD: Final = 15.0
_UNHEARD_PERIOD: Final = 15.0
_FORGET_PERIOD: Final = 3600.0
_LINES_PERIOD: Final = 60.0


class Duties:
    """Sweeps, and looks that notifications should make unnecessary.

    Lapsed claims are released every ``release_period`` seconds. ``hearing``: notifications arrive.
    ``has_room``: this supervisor can take a run that is released.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        turns: Turns,
        sweeps: Sweeps,
        crashes: Crashes,
        pickup: Pickup,
        pauses: Pauses,
        undone: UndoneWorkflows,
        limits: LimitRegistration,
        *,
        release_period: float,
        workflows: Callable[[], Workflows],
        hearing: Callable[[], bool],
        has_room: Callable[[], bool],
    ) -> None:
        self._sweeps = sweeps
        self._pickup = pickup
        self._pauses = pauses
        self._undone = undone
        self._limits = limits
        self._workflows = workflows
        self._hearing = hearing
        self._has_room = has_room

        self._timers: list[Timer] = []

        def add(name: str, perform: Callable[[], None], period: float) -> None:
            self._timers.append(loop.timers.add(name, perform, period=period))

        def share(name: str, perform: Callable[[], None], period: float) -> None:
            add(name, SharedDuty(turns, name, perform), period)

        share("deadlines", sweeps.expire_deadlines, _DEADLINE_PERIOD)
        share("release lapsed claims", self._release_lapsed, release_period)
        share("wake parents", sweeps.wake_missed_parents, _PARENT_PERIOD)
        if (keep := settings.keep_logs) is not None:
            share("forget log lines", partial(sweeps.forget_log_lines, keep), _LINES_PERIOD)
        add("forget ended runs", sweeps.forget_ended, _FORGET_PERIOD)
        add("kills", crashes.look_for_kills, out_of_memory.PERIOD)
        add("look without notifications", self._look_unheard, _UNHEARD_PERIOD)

    def start(self) -> None:
        """Begin; each duty is first performed after its period."""
        for timer in self._timers:
            timer.start()

    def _release_lapsed(self) -> None:
        """Release runs whose leases have expired, if one of them can begin here.

        If not, other workers may release them, or their owner may renew after an outage.
        """
        workflows = self._workflows()
        if workflows and self._has_room():
            self._sweeps.release_lapsed(workflows)
            self._sweeps.release_bounced(workflows)
            if not self._hearing():
                self._undone.look()

    def _look_unheard(self) -> None:
        """Ask for what may have changed, if notifications do not say so, and what was refused."""
        unheard = not self._hearing()
        if unheard or self._limits.refused:
            self._pickup.limits_changed()
        if unheard:
            self._pauses.read()
        if self._undone.refused:
            self._undone.look()
