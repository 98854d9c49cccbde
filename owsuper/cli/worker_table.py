"""Workers and their child processes as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from owsuper import ExecutingRun, ProcessStatus, WorkerState, WorkerStatus
from owsuper.cli.formatting import Layout, plain, rough_span
from owsuper.cli.tables import Column, fitted
from owsuper.client.worker_texts import listed, title

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Line:
    who: str
    pid: str = ""
    state: str = ""
    busy: str = ""
    memory: str = ""
    since: str = ""
    doing: str = ""


def worker_table(workers: Sequence[WorkerStatus], layout: Layout) -> list[str]:
    """Return a heading, and a line for each worker, each of its processes, and further runs."""
    rows = [row for worker in workers for row in _worker_rows(worker)]
    columns = [
        Column(heading="WORKER", cells=[row.who for row in rows], rank=1, least=14, yields=2),
        Column(heading="PID", cells=[row.pid for row in rows], rank=5, least=7, right=True),
        Column(heading="STATE", cells=[row.state for row in rows], rank=2, least=8),
        Column(heading="BUSY", cells=[row.busy for row in rows], rank=3, least=5, right=True),
        Column(heading="RSS", cells=[row.memory for row in rows], rank=6, least=5, right=True),
        Column(heading="FOR", cells=[row.since for row in rows], rank=4, least=7, right=True),
        Column(heading="DOING", cells=[row.doing for row in rows], rank=3, least=20, yields=1),
    ]
    return fitted(columns, None if layout.full else layout.width)


def _worker_rows(worker: WorkerStatus) -> Iterator[_Line]:
    yield _Line(
        plain(worker.host, None),
        str(worker.pid),
        worker.state,
        f"{worker.busy}/{worker.slots}" if worker.announced_at else "",
        _memory(worker.rss_bytes),
        _elapsed(worker.connected_at, worker.read_at),
        _describe(worker),
    )
    for process in worker.processes:
        yield from _process_rows(process, worker.read_at)


def _describe(worker: WorkerStatus) -> str:
    """Return what the worker serves, or since when it is silent."""
    if worker.state in (WorkerState.MISSING, WorkerState.ORPHANED) and worker.announced_at:
        return f"silent for {_elapsed(worker.announced_at, worker.read_at)}"
    names = [plain(title(*each), None) for each in worker.workflows]
    return f"serves {listed(names)}" if worker.workflows else ""


def _process_rows(process: ProcessStatus, at: datetime) -> Iterator[_Line]:
    runs = [_run_cells(run, at) for run in process.runs]
    if len(process.runs) < process.held:
        runs.append(("", f"... and {process.held - len(process.runs)} more runs"))
    since, doing = runs[0] if runs else ("", "reserved" if process.reserved else "")
    yield _Line(
        f"  child {process.number}",
        str(process.pid or ""),
        process.state,
        str(process.held or ""),
        _memory(process.rss_bytes),
        since,
        doing,
    )
    for since, doing in runs[1:]:
        yield _Line("", since=since, doing=doing)


def _run_cells(run: ExecutingRun, at: datetime) -> tuple[str, str]:
    """Return how long the run executes, and what; the id comes last, as its beginning suffices."""
    steps = f" {plain(run.steps, None)}" if run.steps else ""
    workflow = plain(title(run.workflow_name, run.version), None)
    return _elapsed(run.since, at), f"{workflow}{steps} {plain(run.run_id)}"


def _elapsed(since: datetime, at: datetime) -> str:
    return rough_span(max(0.0, (at - since).total_seconds()))


def _memory(size: int | None) -> str:
    return "" if size is None else f"{size / _MEBIBYTE:.0f}M"
