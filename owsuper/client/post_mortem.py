"""How a process died that executed a run, as programs read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from owsuper.core import codec
from owsuper.db.lists import PostMortemRow
from owsuper.errors import InvalidData


@dataclass(frozen=True, slots=True, kw_only=True)
class PostMortem:
    """The death of a child process while it executed a run. What is not known is None.

    ``cause`` says in words how the process died: by ``signal``, such as ``"SIGSEGV"``, or with
    ``exit_code``. ``out_of_memory`` says whether the kernel killed it for want of memory; this is
    None where the kernel does not count such kills for the worker (no cgroup v2).

    ``counted`` says whether the death counted as a crash of the run, for ``--max-crashes``; a
    process that the worker itself killed at its end does not count. The process also executed
    ``shared_with`` other runs.

    ``step`` holds the names of the steps that were running, joined by commas, and ``step_seconds``
    is how long the first of them ran. ``run_seconds`` is how long this execution of the run took.
    ``process_seconds``, ``cpu_seconds`` and ``peak_memory_bytes`` belong to the process, from its
    start, with all runs that it executed.

    ``stderr`` holds the last lines that the process wrote to ``sys.stderr`` and to the log, at most
    8 KiB, those of its other runs included. ``trace`` is what ``faulthandler`` wrote: the Python
    stacks of all threads, after a fatal signal.
    """

    run_id: str
    died_at: datetime
    cause: str
    signal: str | None
    exit_code: int | None
    out_of_memory: bool | None
    counted: bool
    shared_with: int | None
    step: str | None
    step_seconds: float | None
    run_seconds: float | None
    process_seconds: float | None
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    host: str | None
    pid: int | None
    stderr: str | None
    trace: str | None


def from_row(run_id: str, row: PostMortemRow) -> PostMortem:
    """Return the post-mortem of a row of ``owsuper_post_mortems`` of this run."""
    evidence = _members(row.evidence)
    peak = _number(evidence, "maxRssKb")
    return PostMortem(
        run_id=run_id,
        died_at=row.died_at,
        cause=_text(evidence, "cause") or "cause unknown",
        signal=_text(evidence, "signal"),
        exit_code=_whole(evidence, "exitCode"),
        out_of_memory=evidence.get("outOfMemory"),
        counted=row.counted,
        shared_with=_whole(evidence, "sharedWith"),
        step=_text(evidence, "step"),
        step_seconds=_number(evidence, "stepSeconds"),
        run_seconds=_number(evidence, "runSeconds"),
        process_seconds=_number(evidence, "processSeconds"),
        cpu_seconds=_number(evidence, "cpuSeconds"),
        peak_memory_bytes=None if peak is None else round(peak * 1024),
        host=_text(evidence, "host"),
        pid=_whole(evidence, "pid"),
        stderr=_text(evidence, "stderr"),
        trace=_text(evidence, "trace"),
    )


def _members(text: str) -> Mapping[str, Any]:
    """Return the evidence; none of it if its JSON is unreadable."""
    try:
        value = codec.decode(text, path="evidence")
    except InvalidData:
        return {}
    return value if isinstance(value, dict) else {}


def _text(evidence: Mapping[str, Any], name: str) -> str | None:
    value = evidence.get(name)
    return None if value is None else str(value)


def _number(evidence: Mapping[str, Any], name: str) -> float | None:
    value = evidence.get(name)
    return value if isinstance(value, (int, float)) else None


def _whole(evidence: Mapping[str, Any], name: str) -> int | None:
    value = evidence.get(name)
    return value if isinstance(value, int) else None
