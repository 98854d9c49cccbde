"""Kill a busy process, and compute from the journal what the crash cost."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from examples.library_audit.journal import Execution, Journal

MINIMUM_WORK = 0.02  # seconds; a step that has run this long loses measurable work
SEARCH_TIME = 0.05  # seconds to look for such a step


@dataclass(frozen=True)
class Crash:
    """``interrupted`` is the execution that the kill ended; ``at`` is on the journal's clock."""

    interrupted: Execution
    at: float


@dataclass(frozen=True)
class Cost:
    """The cost of a crash, in seconds. None if the event never happened.

    ``repeated`` is the lost work. ``idle`` is the time until a new process began its first step.
    ``resumed`` is the time until the interrupted step began again.
    """

    repeated: float
    idle: float | None
    resumed: float | None

    @property
    def lost(self) -> float:
        """The seconds that the whole audit lost."""
        return self.repeated + (self.idle or 0.0)


def kill_busy_process(journal: Journal) -> Crash | None:
    """Kill a process during its ``analyze`` step. Returns None if no step is long enough."""
    give_up = time.monotonic() + SEARCH_TIME
    while (now := time.monotonic()) < give_up:
        for execution in journal.read():
            busy = execution.step == "analyze" and not execution.ended
            long_enough = now - execution.began > MINIMUM_WORK
            if busy and long_enough and (crash := _kill(execution, journal)):
                return crash
        time.sleep(0.002)
    return None


def _kill(execution: Execution, journal: Journal) -> Crash | None:
    """Kill the process of ``execution``, unless the step has ended meanwhile."""
    os.kill(execution.pid, signal.SIGSTOP)  # the step cannot end while the journal is read
    if execution in journal.read():
        os.kill(execution.pid, signal.SIGKILL)
        return Crash(execution, time.monotonic())
    os.kill(execution.pid, signal.SIGCONT)
    return None


def cost(crash: Crash, executions: Sequence[Execution]) -> Cost:
    """Compute the cost of ``crash`` from all ``executions``."""
    known = {each.pid for each in executions if each.began <= crash.at}
    after = [each for each in executions if each.began > crash.at]
    replaced = (each.began for each in after if each.pid not in known)
    same = (crash.interrupted.step, crash.interrupted.path)
    resumed = (each.began for each in after if (each.step, each.path) == same)
    return Cost(
        repeated=crash.at - crash.interrupted.began,
        idle=_since(crash.at, next(replaced, None)),
        resumed=_since(crash.at, next(resumed, None)),
    )


def _since(start: float, end: float | None) -> float | None:
    return None if end is None else end - start


def repeats(executions: Sequence[Execution]) -> Counter[tuple[str, str]]:
    """Count the executions of each (step, path) that was executed more than once."""
    counts = Counter((each.step, each.path) for each in executions)
    return Counter({key: count for key, count in counts.items() if count > 1})
