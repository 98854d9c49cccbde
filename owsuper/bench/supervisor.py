"""What a worker takes while it has nothing to do, and how many connections at work."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from owsuper import Worker
from owsuper.bench.costs import cpu_ms, process_tree
from owsuper.bench.effort import Effort
from owsuper.bench.figures import BenchmarkError, Figure
from owsuper.bench.server import Server
from owsuper.bench.stage import Stage, staged

SETTLE = 3.0  # seconds after the start or after work, in a full run

Whose = tuple[float, ...]


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    looks = [_look(server, effort) for _ in range(effort.repetitions)]
    keys = {key: None for look in looks for key in look}
    for key in keys:
        name, unit = NAMES[key]
        values = tuple(look[key] for look in looks if key in look)
        yield Figure(f"supervisor.{key}", f"worker of 2 processes: {name}", unit, values)


NAMES = {
    "rss": ("supervisor, resident", "MB"),
    "pss": ("supervisor, its share of resident", "MB"),
    "child_rss": ("a child, resident", "MB"),
    "child_pss": ("a child, its share of resident", "MB"),
    "idle": ("supervisor, idle", "% of a core"),
    "all_idle": ("all processes, idle", "% of a core"),
    "connections": ("supervisor's connections", "connections"),
    "fresh_child": ("a child's connections before its first run", "connections"),
    "busy_child": ("a child's connections at work, most", "connections"),
    "idle_child": ("a child's connections idle again", "connections"),
}


def _look(server: Server, effort: Effort) -> dict[str, float]:
    settle = min(SETTLE, effort.idle)
    with staged(server) as stage, stage.worker(2, 1) as worker:
        assert worker.pid is not None
        time.sleep(settle)
        found = {"fresh_child": _connections(stage)[1]}
        found |= dict(_idle(worker.pid, effort.idle))
        stage.ow.run_many("no-op", [1] * max(100, effort.bulk // 4))
        busy = list(_while_busy(stage, effort.seconds))
        found["connections"] = max(supervisor for supervisor, _ in busy)
        found["busy_child"] = max(child for _, child in busy)
        time.sleep(settle)
        found["idle_child"] = _connections(stage)[1]
        found |= dict(_memory(worker))
    return found


def _idle(pid: int, seconds: float) -> Iterator[tuple[str, float]]:
    """Per cent of a core; nothing where there is no /proc."""
    before = _own_ms(pid), cpu_ms(pid)
    began = time.monotonic()
    time.sleep(seconds)
    after = _own_ms(pid), cpu_ms(pid)
    elapsed_ms = (time.monotonic() - began) * 1e3
    for name, had, has in zip(("idle", "all_idle"), before, after, strict=True):
        if had is not None and has is not None:
            yield name, (has - had) / elapsed_ms * 100


def _own_ms(pid: int) -> float | None:
    """Processor time of one process in nanoseconds' precision, unlike that in ticks."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6
    except OSError:
        return None


def _while_busy(stage: Stage, seconds: float) -> Iterator[tuple[float, float]]:
    give_up = time.monotonic() + seconds
    yield _connections(stage)
    while time.monotonic() < give_up:
        time.sleep(0.05)
        yield _connections(stage)


def _connections(stage: Stage) -> tuple[float, float]:
    """Those of the supervisor, and of the child that has most."""
    rows = stage.execute(
        "SELECT application_name, count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_start > $1"
        " AND application_name LIKE 'owsuper%' AND application_name NOT LIKE 'owsuper: client%'"
        " GROUP BY 1",
        stage.began,
    )
    children = [count for name, count in rows if name.startswith("owsuper child")]
    return sum(count for _, count in rows) - sum(children), max(children, default=0)


def _memory(worker: Worker) -> Iterator[tuple[str, float]]:
    """Megabytes; nothing where there is no /proc."""
    assert worker.pid is not None
    try:
        yield from zip(("rss", "pss"), memory_mb(worker.pid), strict=True)
        children = [memory_mb(pid) for pid in children_of(worker.pid)]
    except OSError:
        return
    if not children:
        raise BenchmarkError("the worker has no child")
    yield from zip(("child_rss", "child_pss"), max(children), strict=True)


def children_of(worker: int) -> list[int]:
    """The process ids of a worker's children: they bear it in their titles."""
    titles = {
        pid: Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        for pid in process_tree(worker)
    }
    return [pid for pid, title in titles.items() if title.startswith("owsuper: child")]


def memory_mb(pid: int) -> tuple[float, float]:
    """What of a process is resident, and its share of that, in MB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    rss, pss = (re.search(rf"^{name}: +(\d+) kB", text, re.MULTILINE) for name in ("Rss", "Pss"))
    assert rss
    assert pss
    return int(rss[1]) * 1.024e-3, int(pss[1]) * 1.024e-3
