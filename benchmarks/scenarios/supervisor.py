"""Memory and processor time of an idle worker, and its connections while it works."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.costs import children_of, cpu_ms, memory_mb
from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper import Worker
from owsuper.bench.samples import BenchmarkError

SETTLE = 3.0  # seconds after the start or after work, in a full run


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    taken = [_measure_once(server, sizes) for _ in range(sizes.repetitions)]
    keys = {key: None for each in taken for key in each}
    for key in keys:
        name, unit = NAMES[key]
        values = tuple(each[key] for each in taken if key in each)
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


def _measure_once(server: Server, sizes: Sizes) -> dict[str, float]:
    settle = min(SETTLE, sizes.idle)
    with environment(server) as env, env.worker(2, 1) as worker:
        assert worker.pid is not None
        time.sleep(settle)
        found = {"fresh_child": _connections(env)[1]}
        found |= dict(_idle(worker.pid, sizes.idle))
        env.client.run_many("no-op", [1] * max(100, sizes.bulk // 4))
        busy = list(_while_busy(env, sizes.seconds))
        found["connections"] = max(supervisor for supervisor, _ in busy)
        found["busy_child"] = max(child for _, child in busy)
        time.sleep(settle)
        found["idle_child"] = _connections(env)[1]
        found |= dict(_memory(worker))
    return found


def _idle(pid: int, seconds: float) -> Iterator[tuple[str, float]]:
    """Percent of a core; nothing where there is no /proc."""
    before = _own_ms(pid), cpu_ms(pid)
    began = time.monotonic()
    time.sleep(seconds)
    after = _own_ms(pid), cpu_ms(pid)
    elapsed_ms = (time.monotonic() - began) * 1e3
    for name, had, has in zip(("idle", "all_idle"), before, after, strict=True):
        if had is not None and has is not None:
            yield name, (has - had) / elapsed_ms * 100


def _own_ms(pid: int) -> float | None:
    """Processor time of one process in ms, more precise than ticks; None without /proc."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6
    except OSError:
        return None


def _while_busy(env: Environment, seconds: float) -> Iterator[tuple[float, float]]:
    give_up = time.monotonic() + seconds
    yield _connections(env)
    while time.monotonic() < give_up:
        time.sleep(0.05)
        yield _connections(env)


def _connections(env: Environment) -> tuple[float, float]:
    """The number of the supervisor's connections, and that of the child with the most."""
    rows = env.execute(
        "SELECT application_name, count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_start > $1"
        " AND application_name LIKE 'owsuper%' AND application_name NOT LIKE 'owsuper: client%'"
        " GROUP BY 1",
        env.began,
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
