"""What a supervisor announces about itself and its children, for ``owsuper ps``.

The document is JSON. Its times are seconds of a clock of this process: they mean something only
relative to ``at``, the time of the announcement, so a reader needs no synchronized clocks.
``db/workers.py`` reads the document.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, Final

from owsuper.supervisor.child import Child, HeldRun, resident_bytes
from owsuper.supervisor.fleet import Fleet
from owsuper.supervisor.prefetched_runs import PrefetchedRuns

_MAX_RUNS: Final = 200  # listed runs; of more, only the number is announced


def describe(
    fleet: Fleet,
    prefetched: PrefetchedRuns,
    *,
    state: str,
    slots: int,
    listening: bool,
    on_call: bool,
    full: Sequence[str] = (),
    stacks: dict[str, Any] | None = None,
    retain: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what the supervisor does now. Equal documents say that nothing has happened.

    ``state`` is that of the supervisor, ``slots`` the number of slots when all children are ready.
    ``listening``: notifications arrive; ``on_call``: those of new runs, too, and this stays so.
    ``full`` names workflows of which as many runs are held as their own bounds allow.
    ``retain`` is that of the settings. ``stacks`` is what ``ChildStacks`` answers.
    """
    room = _MAX_RUNS
    children = []
    for child in fleet:
        children.append(_describe_child(child, room))
        room -= len(children[-1]["runs"])
    return {
        **({} if stacks is None else {"stacks": stacks}),
        **({"full": list(full)} if full else {}),
        **({"retain": list(retain)} if retain else {}),
        "state": state,
        "slots": slots,
        "listening": listening,
        "on_call": on_call,
        "free": max(0, fleet.free - len(prefetched)),
        "prefetched": len(prefetched),
        "suspects": [
            {"id": held.run.run_id, "since": round(held.placed_at, 3)}
            for held in prefetched.suspects
        ][:_MAX_RUNS],
        "children": children,
    }


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with what changes all the time: its own time, and memory."""
    children = [each | {"rss_kb": _rss_kb(each["pid"])} for each in document["children"]]
    own = {"at": round(time.monotonic(), 3), "rss_kb": _rss_kb(os.getpid())}
    return document | own | {"children": children}


def _describe_child(child: Child, room: int) -> dict[str, Any]:
    listed = list(child.held.items())[:room]
    return {
        "number": child.number,
        "pid": child.pid,
        "state": child.state.value,
        "reserved": child.reserved,
        "since": None if child.ready_at is None else round(child.ready_at, 3),
        "held": len(child.held),
        "runs": [_describe_run(child, slot, held) for slot, held in listed],
    }


def _describe_run(child: Child, slot: int, held: HeldRun) -> dict[str, Any]:
    return {
        "id": held.run.run_id,
        "workflow": held.run.workflow_name,
        "version": held.run.version,
        "step": child.steps_in_flight(slot),
        "since": round(held.placed_at, 3),
    }


def _rss_kb(pid: int | None) -> int | None:
    """Return the resident memory of a process; None if it is unknown, as on macOS."""
    return resident_bytes(pid) // 1024 or None
