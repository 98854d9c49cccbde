"""What is kept about the death of a child that executed runs."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from typing import Any, Final

from owsuper.db.crashes import CrashedRun
from owsuper.supervisor.child import Child
from owsuper.supervisor.exit_status import Evidence
from owsuper.supervisor.out_of_memory import OutOfMemoryKills

_TRACE_LIMIT: Final = 16 * 1024  # characters; of a process with many threads, not all are kept
# How faulthandler begins what comes first here: the cause, and the thread that brought it about.
_FIRST: Final = ("Fatal Python error", "Current thread")


def complete(child: Child, evidence: Evidence, kills: OutOfMemoryKills) -> Evidence:
    """Return ``evidence`` with whether the kernel killed the child for want of memory."""
    if evidence.wait_status is None:
        return evidence
    by_us = child.killed_by_supervisor or child.cause_of_kill is not None
    killed = evidence.signal_name == "SIGKILL" and not by_us
    return replace(evidence, out_of_memory=kills.explain() if killed else False)


def cause(child: Child, evidence: Evidence) -> str:
    """Return in words how the dead ``child`` died."""
    if child.cause_of_kill is not None:
        return f"killed: {child.cause_of_kill}"
    return f"{evidence}, as the worker stopped" if child.killed_by_supervisor else str(evidence)


def of_runs(child: Child, evidence: Evidence) -> list[CrashedRun]:
    """Return the evidence about each run that the dead ``child`` held, as JSON."""
    details = _details(child, evidence)
    now = time.monotonic()
    crashed: list[CrashedRun] = []
    for slot, held in child.held.items():
        began = child.step_began_at(slot)
        times = {
            "runSeconds": round(now - held.placed_at, 3),
            "stepSeconds": None if began is None else round(now - began, 3),
        }
        about = _evidence(child, slot, evidence)
        crashed.append(CrashedRun(held.run.run_id, held.run.worker_id, about, details | times))
    return crashed


def _evidence(child: Child, slot: int, evidence: Evidence) -> dict[str, Any]:
    return {
        "cause": cause(child, evidence),
        "error": "MemoryLimitExceeded" if child.over_limit else None,
        "signal": evidence.signal_name,
        "exitCode": evidence.exit_code,
        "step": child.steps_in_flight(slot),
        "maxRssKb": evidence.max_rss_kb,
        "pid": evidence.pid,
        "host": socket.gethostname(),
        "sharedWith": len(child.held) - 1,
    }


def _details(child: Child, evidence: Evidence) -> dict[str, Any]:
    return {
        "outOfMemory": evidence.out_of_memory,
        "cpuSeconds": None if evidence.cpu_seconds is None else round(evidence.cpu_seconds, 3),
        "processSeconds": round(time.monotonic() - child.requested_at, 3),
        "stderr": _storable(child.last_stderr()),
        "trace": _storable(trace(child)),
    }


def trace(child: Child) -> str | None:
    """Return the stacks that a child has left, first that of the code that brought its death about.

    A child that was killed for its code may have reported where that is. It had little time to
    write all stacks.
    """
    reported = [each.stack.rstrip() for each in child.overdue.values() if each.stack]
    left = (child.trace() or "").rstrip()
    parts = sorted(left.split("\n\n"), key=_place)  # sorting keeps the order otherwise
    text = "\n\n".join(filter(None, reported + parts))
    if not text:
        return None
    return text if len(text) <= _TRACE_LIMIT else text[:_TRACE_LIMIT] + "\n..."


def _place(part: str) -> int:
    return next((n for n, begins in enumerate(_FIRST) if part.startswith(begins)), len(_FIRST))


def _storable(text: str | None) -> str | None:
    """Return ``text`` as jsonb takes it."""
    return None if text is None else text.replace("\0", "\ufffd")
