"""The cost of work: processor time and memory from /proc, and PostgreSQL's own counters."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

from benchmarks.environment import Environment
from benchmarks.server import Connection
from owsuper.bench.samples import BenchmarkError

WAIT_SECONDS = 30.0
MS_PER_TICK = 1000 / os.sysconf("SC_CLK_TCK")

_SESSIONS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = $1
"""
_COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
# The context init is that of new segments, which are flushed once and not by commits.
_FLUSHES = "SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal' AND context = 'normal'"
_FLUSHES_BEFORE_18 = "SELECT wal_sync FROM pg_stat_wal"


@dataclass(frozen=True, slots=True)
class Counters:
    """``commits`` of transactions, reading ones included; ``flushes`` of WAL to disk."""

    commits: float
    flushes: float


@dataclass(frozen=True, slots=True)
class Process:
    """``own_ms`` of processor time, ``reaped_ms`` of the children that it has waited for."""

    name: str
    parent: int
    own_ms: float
    reaped_ms: float


@dataclass(frozen=True, slots=True)
class Usage:
    """Totals so far; the difference of two is the usage in between.

    A value is None without /proc, or if the server runs on another machine.
    """

    wal_bytes: float
    ours_ms: float | None
    postgres_ms: float | None


class Meter:
    """Reads for the worker with process id ``worker`` and the server behind ``conn``."""

    def __init__(self, conn: Connection, worker: int) -> None:
        self._conn = conn
        self._worker = worker
        self._backend = conn.info.backend_pid

    def read(self) -> Usage:
        row = self._conn.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        processes = _processes()
        return Usage(float(row[0]), self._ours(processes), self._postgres(processes))

    def _ours(self, processes: Mapping[int, Process]) -> float | None:
        """The supervisor and all below it: the template and the children."""
        return _total(processes, self._worker) if self._worker in processes else None

    def _postgres(self, processes: Mapping[int, Process]) -> float | None:
        """All of the server's processes but the one that serves ``conn``."""
        backend = processes.get(self._backend)
        if backend is None or not backend.name.startswith("postgres"):
            return None
        if backend.parent not in processes:
            return None
        return _total(processes, backend.parent) - backend.own_ms


def counters(env: Environment) -> Counters:
    """PostgreSQL's counters so far, for the whole database and the whole server.

    PostgreSQL counts the work of a session up to a second late, but no later than at its end.
    So this waits for the end of all sessions that were opened by ``env.named_url``.
    """
    with env.server.connect() as conn:
        flushes = _FLUSHES if conn.info.server_version >= 180_000 else _FLUSHES_BEFORE_18
        give_up = time.monotonic() + WAIT_SECONDS
        while left := _number(conn, _SESSIONS, env.schema):
            if time.monotonic() > give_up:
                raise BenchmarkError(f"{left:g} sessions of the worker do not end")
            time.sleep(0.05)
        return Counters(_number(conn, _COMMITS), _number(conn, flushes))


def _number(conn: Connection, query: LiteralString, *params: object) -> float:
    row = conn.execute(query, params).fetchone()
    assert row is not None
    return float(row[0] or 0)


def process_tree(top: int) -> set[int]:
    """``top`` and all live processes below it."""
    return _tree(_processes(), top)


def cpu_ms(top: int) -> float | None:
    """Processor time so far of ``top`` and everything below it; None where there is no /proc."""
    processes = _processes()
    return _total(processes, top) if top in processes else None


def backends_ms(conn: Connection, application: str) -> float | None:
    """Processor time so far of the present sessions whose application's name begins so.

    None where there is no /proc, or if the server runs on another machine.
    """
    processes = _processes()
    own = processes.get(conn.info.backend_pid)
    if own is None or not own.name.startswith("postgres"):
        return None
    rows = conn.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE $1 || '%'", (application,)
    ).fetchall()
    return sum(processes[pid].own_ms for (pid,) in rows if pid in processes)


def _total(processes: Mapping[int, Process], top: int) -> float:
    """Processor time of ``top`` and everything below it, dead or alive."""
    tree = _tree(processes, top)
    return sum(processes[pid].own_ms + processes[pid].reaped_ms for pid in tree)


def _tree(processes: Mapping[int, Process], top: int) -> set[int]:
    tree = {top}
    while grown := {pid for pid, each in processes.items() if each.parent in tree} - tree:
        tree |= grown
    return tree


def _processes() -> dict[int, Process]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue  # it has just ended
        name = text[text.index("(") + 1 : text.rindex(")")]
        fields = text[text.rindex(")") + 2 :].split()  # from the third of proc(5), the state
        own, reaped = (sum(map(int, fields[at : at + 2])) * MS_PER_TICK for at in (11, 13))
        found[int(path.parent.name)] = Process(name, int(fields[1]), own, reaped)
    return found


# --- memory ------------------------------------------------------------------------------------


def children_of(worker: int) -> list[int]:
    """The process ids of a worker's child processes, found by their titles."""
    titles = {
        pid: Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        for pid in process_tree(worker)
    }
    return [pid for pid, title in titles.items() if title.startswith("owsuper: child")]


def memory_mb(pid: int) -> tuple[float, float]:
    """The resident memory of a process and its proportional share of that, in MB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    rss, pss = (re.search(rf"^{name}: +(\d+) kB", text, re.MULTILINE) for name in ("Rss", "Pss"))
    assert rss
    assert pss
    return int(rss[1]) * 1.024e-3, int(pss[1]) * 1.024e-3


def peak_mb(pid: int) -> float:
    """The peak resident memory of a process, in MB."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1.024e-3
