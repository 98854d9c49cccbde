"""Children that use too much memory are replaced, and killed while a run makes them grow.

What counts is the resident memory of a child, as the kernel shows it in /proc; pages that it shares
with its siblings are included. Between runs, a child over the limit exits. While a run runs:

- A run that was alone in its process, and that took at least half of the room between the child's
  memory at its start and the limit, is charged: the child is killed, and the death counts as a
  crash of the run.
- Otherwise it is not known which run has grown. The runs get the chance to reach a step boundary,
  and are moved to other children. After the grace, the child is killed. Runs that are still in it
  are suspects, as after a crash: each is executed alone, and a run that grows again is charged.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from owsuper.core.model import ClaimedRun
from owsuper.event_loop import Loop
from owsuper.ipc.messages import Finished
from owsuper.supervisor.child import Child, HeldRun, resident_bytes
from owsuper.supervisor.fleet import Fleet
from owsuper.supervisor.hard_stops import HardStops

_PERIOD: Final = 0.25  # seconds between two looks
_MAX_SUSPECTS: Final = 1000  # runs
_MEGABYTE: Final = 1 << 20

_log = logging.getLogger("owsuper.supervisor")


class MemoryLimit:
    """The ``limit`` of each child's resident memory, in bytes; None for no limit."""

    def __init__(self, loop: Loop, fleet: Fleet, hard_stops: HardStops, limit: int | None) -> None:
        self._fleet = fleet
        self._hard_stops = hard_stops
        self._limit = limit
        self._seen: dict[int, int] = {}  # bytes by child number, at the last look
        self._suspects: dict[str, None] = {}  # run ids, the oldest first
        self._warned = False
        if limit is not None and sys.platform == "linux":
            loop.timers.add("look at memory", self._look, period=_PERIOD).start()
        elif limit is not None:
            _log.warning("--max-memory-per-child has no effect: it needs Linux")
            self._limit = None

    def on_run_finished(self, child: Child, finished: Finished) -> None:
        """Have a child replaced that is over the limit, before it gets another run."""
        if self._limit is not None:
            self._check(child)
            if finished.outcome != "released":
                self._suspects.pop(finished.run_id, None)

    def charges(self, child: Child) -> bool:
        """Whether the death of a child that was killed for its memory counts as a crash.

        It does not if the only run that was left in it had not grown much.
        """
        if child.over_limit is None:
            return False
        size = self._seen.get(child.number, 0)
        return len(child.held) > 1 or (len(child.held) == 1 and self._has_grown(child, size))

    def mark(self, run: ClaimedRun) -> ClaimedRun:
        """Return ``run``, as a suspect if it has left a child that was over the limit."""
        return replace(run, suspect=True) if run.run_id in self._suspects else run

    def _look(self) -> None:
        for child in self._fleet:
            self._check(child)
        numbers = {child.number for child in self._fleet}
        self._seen = {number: seen for number, seen in self._seen.items() if number in numbers}

    def _check(self, child: Child) -> None:
        assert self._limit is not None
        if child.killed_by_supervisor:
            return  # what is seen of a process that ends is no size of a run
        size = resident_bytes(child.pid)
        for held in child.held.values():
            if held.began_with is None:
                held.began_with = self._seen.get(child.number, child.ready_with)
        self._seen[child.number] = size
        if size <= self._limit or child.over_limit:
            return
        if child.ready_with > self._limit:
            self._warn_useless(child.ready_with)
        elif not child.held:
            if not child.stop_requested:
                _log.info("replacing a child over the memory limit", extra=_fields(child, size))
                self._fleet.retire(child)
        else:
            _log.warning("child is over the memory limit", extra=_fields(child, size))
            limit = f"memory limit of {_megabytes(self._limit)} exceeded"
            child.over_limit = f"{limit}, with {_megabytes(size)}"
            at_once = self._has_grown(child, size)
            if not at_once:
                self._suspect([held.run.run_id for held in child.held.values()])
            self._hard_stops.stop_child(child, now=at_once)

    def _suspect(self, run_ids: Sequence[str]) -> None:
        self._suspects |= dict.fromkeys(run_ids)
        while len(self._suspects) > _MAX_SUSPECTS:  # those that other workers have executed
            del self._suspects[next(iter(self._suspects))]

    def _has_grown(self, child: Child, size: int) -> bool:
        """Whether the child's only run is to blame for its size."""
        assert self._limit is not None
        if len(child.held) > 1:
            return False
        [held] = child.held.values()
        return size - _began_with(held) >= (self._limit - child.ready_with) / 2

    def _warn_useless(self, size: int) -> None:
        if not self._warned:
            self._warned = True
            _log.error(
                "--max-memory-per-child is not enforced: a child has %s before its first run;"
                " set a higher limit",
                _megabytes(size),
            )


def _began_with(held: HeldRun) -> int:
    return held.began_with or 0


def _fields(child: Child, size: int) -> dict[str, object]:
    return child.log_fields() | {"rss_mb": size // _MEGABYTE}


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:.0f} MiB"
