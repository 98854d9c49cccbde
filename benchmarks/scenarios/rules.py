"""What rules cost: runs with priorities and limits beside plain ones, in one session.

No run has to wait for a limit, so that only the cost shows. Kinds are measured in turn, so that a
machine that changes its speed does so for all of them. Then schedules: a day that nobody served is
caught up by two workers, of which one is killed, and the runs are counted.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType

from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, paired_ratio
from benchmarks.ruled import at_once, at_once_by_key, per_second
from benchmarks.scenarios.churn import WARM_UP
from benchmarks.scenarios.pickup import samples
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.app import report_time
from owsuper.bench.samples import BenchmarkError
from owsuper.cli.bench import quantile

MODULE = "benchmarks.ruled"
PROCESSES, SLOTS = 2, 16
PRIORITY = 50
TENANTS = 100
SPARE = 8.0  # times the runs that the pilot's rate needs, which includes the worker's start

Many = Callable[[Environment, int], object]
One = Callable[[Environment], str]

MANY: Mapping[str, Many] = MappingProxyType(
    {
        "plain": lambda env, count: env.client.run_many("report-time", [None] * count),
        "with a priority": lambda env, count: env.client.run_many(
            "report-time", [None] * count, priority=PRIORITY
        ),
        "Concurrency": lambda env, count: env.client.run_many(at_once, [None] * count),
        "Concurrency by key": lambda env, count: env.client.run_many(
            at_once_by_key, [{"tenant": n % TENANTS} for n in range(count)]
        ),
        "Rate": lambda env, count: env.client.run_many(per_second, [None] * count),
    }
)
ONE: Mapping[str, One] = MappingProxyType(
    {
        "plain": lambda env: env.client.run_workflow("report-time").id,
        "with a priority": lambda env: env.client.run_workflow("report-time", priority=PRIORITY).id,
        "Concurrency": lambda env: env.client.run_workflow(at_once).id,
        "Concurrency by key": lambda env: env.client.run_workflow(at_once_by_key, {"tenant": 7}).id,
        "Rate": lambda env: env.client.run_workflow(per_second).id,
    }
)


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    yield from _pickups(server, sizes)
    yield from _rates(server, sizes)
    yield from _ticks(server, sizes)


def _pickups(server: Server, sizes: Sizes) -> Iterable[Figure]:
    taken: dict[str, list[float]] = {kind: [] for kind in ONE}
    with environment(server) as env, env.worker(processes=2, concurrency=1, module=MODULE):
        for start in ONE.values():
            samples(env, start, 5)
        for _ in range(sizes.repetitions):
            for kind, start in ONE.items():
                taken[kind].append(quantile(samples(env, start, sizes.samples // 2), 0.5) * 1e3)
    for kind, values in taken.items():
        name = f"rules: pickup, {kind}, p50"
        yield Figure(f"rules.pickup.{_slug(kind)}", name, "ms", tuple(values))


def _rates(server: Server, sizes: Sizes) -> Iterable[Figure]:
    taken: dict[str, list[float]] = {kind: [] for kind in MANY}
    needs = {kind: _needs(server, sizes, many) for kind, many in MANY.items()}
    for _ in range(sizes.repetitions):
        for kind, many in MANY.items():
            taken[kind].append(_rate(server, sizes.seconds, needs[kind], many))
    for kind, values in taken.items():
        name = f"rules: throughput, {kind}"
        yield Figure(f"rules.rate.{_slug(kind)}", name, "runs/s", tuple(values))
    for kind in list(MANY)[1:]:
        name = f"rules: throughput, {kind} / plain"
        yield paired_ratio(f"rules.ratio.{_slug(kind)}", name, taken[kind], taken["plain"])


def _needs(server: Server, sizes: Sizes, many: Many) -> int:
    """How many runs of a kind to store, so that a worker does not complete all of them."""
    with environment(server) as env:
        many(env, 1000)
        began = time.perf_counter()
        with env.worker(PROCESSES, SLOTS, module=MODULE):
            env.wait_for("the pilot was completed", lambda: env.completed() == 1000)
        rate = 1000 / (time.perf_counter() - began)
    return 1000 + round(rate * (WARM_UP + sizes.seconds) * SPARE)


def _rate(server: Server, seconds: float, runs: int, many: Many) -> float:
    with environment(server) as env:
        many(env, runs)
        env.execute("VACUUM (ANALYZE) {schema}.workflow_runs")
        with env.worker(PROCESSES, SLOTS, module=MODULE):
            time.sleep(WARM_UP)
            begins = env.value("SELECT clock_timestamp()")
            time.sleep(seconds)
            ends = env.value("SELECT clock_timestamp()")
        if env.completed() == runs:
            raise BenchmarkError("all runs were completed before the end of what was measured")
        return env.rate(begins, ends)


def _ticks(server: Server, sizes: Sizes) -> Iterable[Figure]:
    """A day of ticks, one a minute, due at once: how many runs they started, and how fast."""
    minutes = min(1440, sizes.bulk)
    with environment(server) as env:
        env.client.schedules.create(
            "day", report_time, every="1m", catch_up="all", catch_up_limit=minutes
        )
        env.execute(
            "UPDATE {schema}.owsuper_schedules SET next_at = date_trunc('minute', now()) - $1,"
            " ends_at = date_trunc('minute', now()) + interval '1 s' RETURNING name",
            timedelta(minutes=minutes - 1),
        )
        first, second = env.worker(1, 1), env.worker(1, 1)
        with second:
            began = time.perf_counter()
            first.start()
            assert first.pid is not None
            env.wait_for("a tick has started a run", lambda: _started(env)[0] > 0)
            os.kill(first.pid, signal.SIGKILL)
            env.wait_for("all ticks have", lambda: _started(env)[0] >= minutes)
            seconds = time.perf_counter() - began
            first.stop()
        started, times = _started(env)
    name = f"rules: a day of {minutes:,} ticks that nobody served, one of two workers killed"
    yield Figure("rules.ticks.lost", f"{name}: ticks without a run", "ticks", (minutes - times,))
    yield Figure("rules.ticks.twice", f"{name}: runs too many", "runs", (started - times,))
    yield Figure("rules.ticks.rate", f"{name}: caught up", "ticks/s", (minutes / seconds,))


def _started(env: Environment) -> tuple[int, int]:
    """The number of runs that ticks have started, and of different ticks among them."""
    [(runs, ticks)] = env.execute(
        "SELECT count(*), count(DISTINCT idempotency_key) FROM {schema}.workflow_runs"
        " WHERE namespace_id = 'default'"
    )
    return runs, ticks


def _slug(kind: str) -> str:
    return kind.lower().replace(" ", "_")
