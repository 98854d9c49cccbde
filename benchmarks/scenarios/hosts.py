"""Many hosts: what a run costs when many workers could execute it, and how fast they are together.

All workers are on this machine, so the processor time of all of them counts, which on separate
hosts it would not. One run is started every 50 ms, and its caller waits for it. Statements are
transactions committed in that time, by everybody: the client, the workers and their duties.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.costs import cpu_ms
from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, ratio
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper import Worker
from owsuper.bench.samples import WAIT_SECONDS, BenchmarkError
from owsuper.cli.bench import quantile

PERIOD = 0.05  # seconds between two runs
SETTLE = 25.0  # seconds until no more than necessary are on call, and for late counters
STARTING = 2  # workers that start at the same time
SLOTS = 4  # of each worker, in one process

_COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


@dataclass(frozen=True, slots=True)
class Window:
    """What one window showed. ``statements`` a run, round trips in ms, percentages."""

    statements: float
    p50: float
    p99: float
    busy: float
    idle: float


NAMES = {
    "statements": ("statements committed", "a run"),
    "p50": ("round trip: run() to result(), p50", "ms"),
    "p99": ("round trip: run() to result(), p99", "ms"),
    "busy": ("processors busy", "% of a core"),
    "idle": ("all processes, idle", "% of a core"),
}


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    full = sizes.repetitions > 1
    counts = (1, 4, 16, 32) if full else (1, 2)
    p50 = {}
    for count in counts:
        windows = list(_windows(server, count, sizes))
        p50[count] = [each.p50 for each in windows]
        for key, (what, unit) in NAMES.items():
            values = tuple(getattr(each, key) for each in windows)
            yield Figure(f"hosts.{count}.{key}", f"{_workers(count)}: {what}", unit, values)
    few, many = counts[0], counts[-1]
    name = f"round trip, {_workers(many)} / {_workers(few)}, p50"
    yield ratio("hosts.ratio", name, p50[many], p50[few])
    runs = sizes.bulk * 2 // 5
    drains = {count: [_drain(server, count, runs)] for count in ((4, 32) if full else counts)}
    for count, seconds in drains.items():
        name = f"{_workers(count)}: {runs:,} runs"
        yield Figure(f"hosts.{count}.drain", name, "s", tuple(seconds))
    few, many = drains
    name = f"{runs:,} runs, {_workers(many)} / {_workers(few)}"
    yield ratio("hosts.drain.ratio", name, drains[many], drains[few])


def _workers(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"


def _windows(server: Server, count: int, sizes: Sizes) -> Iterator[Window]:
    with _hosts(server, count, slots=SLOTS) as (env, workers):
        time.sleep(SETTLE if sizes.repetitions > 1 else 0)
        idle = _idle(workers, sizes.idle)
        for _ in range(20):
            _round_trip(env)
        for _ in range(sizes.repetitions):
            yield _window(env, sizes.samples, idle)


def _window(env: Environment, samples: int, idle: float) -> Window:
    time.sleep(2 * PERIOD)
    committed, ticks, began = env.value(_COMMITS), _busy_ticks(), time.monotonic()
    taken = []
    for number in range(samples):
        time.sleep(max(0.0, began + number * PERIOD - time.monotonic()))
        taken.append(_round_trip(env))
    busy = (_busy_ticks() - ticks) / (time.monotonic() - began)
    statements = (env.value(_COMMITS) - committed) / samples
    p50, p99 = (quantile(taken, each) * 1e3 for each in (0.5, 0.99))
    return Window(statements, p50, p99, busy, idle)


def _round_trip(env: Environment) -> float:
    called = time.perf_counter()
    env.client.run_workflow("no-op", 1).result(timeout=WAIT_SECONDS)
    return time.perf_counter() - called


def _drain(server: Server, count: int, runs: int) -> float:
    """Seconds until the workers, all idle before, have completed so many runs stored at once."""
    with _hosts(server, count, slots=SLOTS) as (env, _):
        began = time.monotonic()
        env.client.run_many("no-op", [1] * runs)
        env.wait_for("all runs are completed", lambda: env.completed() == runs, pause=0.1)
        return time.monotonic() - began


@contextmanager
def _hosts(server: Server, count: int, slots: int) -> Iterator[tuple[Environment, list[Worker]]]:
    """Workers of one process each, all ready."""
    with environment(server) as env, ExitStack() as stack:
        workers = [env.worker(processes=1, concurrency=slots) for _ in range(count)]
        entered = threading.Lock()

        def start(worker: Worker) -> None:
            worker.start(timeout=WAIT_SECONDS)
            with entered:
                stack.callback(worker.stop)

        with ThreadPoolExecutor(STARTING) as threads:
            list(threads.map(start, workers))
        yield env, workers


def _idle(workers: list[Worker], seconds: float) -> float:
    """Percent of a core that all processes of the workers take; 0 where there is no /proc."""

    def used() -> float:
        return sum(cpu_ms(each.pid) or 0.0 for each in workers if each.pid is not None)

    before, began = used(), time.monotonic()
    time.sleep(seconds)
    return (used() - before) / 10 / (time.monotonic() - began)


def _busy_ticks() -> float:
    """Processor time of the machine so far, in hundredths of a second; 0 without /proc."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, *rest = map(int, fields[:8])
    if not rest:
        raise BenchmarkError("/proc/stat has an unknown form")
    return float(user + nice + system + sum(rest))
