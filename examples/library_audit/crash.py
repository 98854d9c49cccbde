"""Kills a process in the middle of its work, and reads in the journal what that cost."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from examples.library_audit.journal import Execution, Journal

WORTHWHILE = 0.02  # seconds of work that a victim has done, so that there is something to lose
PATIENCE = 0.05  # seconds to look for one


@dataclass(frozen=True)
class Crash:
    """``victim`` is what was executed; ``at`` is on the journal's clock."""

    victim: Execution
    at: float


@dataclass(frozen=True)
class Cost:
    """In seconds. None where it never came to it.

    ``repeated`` is work that was thrown away, ``idle`` the time until another process had
    begun its first step in the place of the dead one, ``resumed`` until the interrupted step
    itself began again.
    """

    repeated: float
    idle: float | None
    resumed: float | None

    @property
    def lost(self) -> float:
        """What it cost the audit as a whole."""
        return self.repeated + (self.idle or 0.0)


def strike(journal: Journal) -> Crash | None:
    """Kill a process in the middle of an ``analyse``; None if none is to be had just now."""
    give_up = time.monotonic() + PATIENCE
    while (now := time.monotonic()) < give_up:
        for victim in journal.read():
            busy = victim.step == "analyse" and not victim.ended
            if busy and now - victim.began > WORTHWHILE and (crash := _kill(victim, journal)):
                return crash
        time.sleep(0.002)
    return None


def _kill(victim: Execution, journal: Journal) -> Crash | None:
    """Kill its process, unless it has got away from that step meanwhile."""
    os.kill(victim.pid, signal.SIGSTOP)  # it stands still while we look whether it still is there
    if victim in journal.read():
        os.kill(victim.pid, signal.SIGKILL)
        return Crash(victim, time.monotonic())
    os.kill(victim.pid, signal.SIGCONT)
    return None


def cost(crash: Crash, executions: Sequence[Execution]) -> Cost:
    """What ``crash`` cost, going by all ``executions``."""
    known = {each.pid for each in executions if each.began <= crash.at}
    after = [each for each in executions if each.began > crash.at]
    replaced = (each.began for each in after if each.pid not in known)
    same = (crash.victim.step, crash.victim.path)
    resumed = (each.began for each in after if (each.step, each.path) == same)
    return Cost(
        repeated=crash.at - crash.victim.began,
        idle=_since(crash.at, next(replaced, None)),
        resumed=_since(crash.at, next(resumed, None)),
    )


def _since(start: float, end: float | None) -> float | None:
    return None if end is None else end - start


def repeats(executions: Sequence[Execution]) -> Counter[tuple[str, str]]:
    """Steps that were executed more than once: (step, path) and how often."""
    counts = Counter((each.step, each.path) for each in executions)
    return Counter({key: count for key, count in counts.items() if count > 1})
