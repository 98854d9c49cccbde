"""Throughput: how fast a worker gets through a backlog of runs whose steps do nothing.

The backlog is there before the worker starts, sized by a short pilot so that it lasts for as
long as was asked. The window that is measured begins when 10 % are completed and ends at 95 %,
so that neither the worker's start nor its last, emptying moments count. Costs are those of the
window, divided by the runs completed in it; but commits and flushes, which PostgreSQL counts
with up to a second's delay, are those of the worker's whole life, from start to stop. Round
trips are counted in a pass of their own, of the pilot's size, whole life as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from owsuper import Worker
from owsuper.bench.costs import Meter, Usage, counters
from owsuper.bench.effort import Effort
from owsuper.bench.figures import BenchmarkError, Figure
from owsuper.bench.relay import RelayUnavailable, relay
from owsuper.bench.server import Server
from owsuper.bench.stage import Stage, staged

PROCESSES = 2
POLL = 0.1  # seconds between looks at how many runs are completed, which cost something too
PATIENCE = 60.0  # seconds without a run being completed
PILOT_STEPS = 500
LEAST, MOST = 50, 50_000  # runs


@dataclass(frozen=True, slots=True)
class Case:
    steps: int
    concurrency: int

    def __str__(self) -> str:
        steps = f"{self.steps} step{'s' if self.steps > 1 else ''}"
        slots = f"{self.concurrency} slot{'s' if self.concurrency > 1 else ''}"
        return f"throughput: {steps}, {PROCESSES} processes × {slots}"  # noqa: RUF001 - it multiplies

    @property
    def key(self) -> str:
        return f"throughput.{self.steps}.{self.concurrency}"


COSTS = {
    "commits": ("commits", "commits"),
    "flushes": ("WAL flushes", "flushes"),
    "wal": ("WAL", "bytes"),
    "trips": ("round trips", "trips"),
    "cpu_ours": ("CPU, ours", "ms"),
    "cpu_postgres": ("CPU, PostgreSQL's", "ms"),
}

CASES = [Case(steps, concurrency) for steps in (1, 10) for concurrency in (1, 16)]


class TooFewError(BenchmarkError):
    """The runs were over before they could be watched."""


@dataclass(frozen=True, slots=True)
class Look:
    """At ``at`` (perf_counter seconds), so many runs were completed and so much was used."""

    at: float
    finished: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Result:
    """Of one backlog; ``costs`` are per run, by name, without those that cannot be known."""

    runs_per_second: float
    costs: Mapping[str, float]


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    for case in CASES[:: effort.every]:
        few = max(PILOT_STEPS // case.steps, LEAST)
        pilot = _pilot(server, case, few)
        results = [pilot]
        if effort.repetitions > 1:
            runs = round(min(max(pilot.runs_per_second * effort.seconds, LEAST), MOST))
            results = [_work_off(server, case, runs) for _ in range(effort.repetitions)]
        trips = _count_trips(server, case, few)
        yield from _figures(case, results, trips)


def _pilot(server: Server, case: Case, runs: int) -> Result:
    """Of a few runs; of more, when they are over before anybody has looked twice."""
    while True:
        try:
            return _work_off(server, case, runs)
        except TooFewError:
            runs *= 4


def _figures(case: Case, results: list[Result], trips: float | None) -> Iterator[Figure]:
    clients = 2 if case.concurrency == 1 else 16
    rates = tuple(result.runs_per_second for result in results)
    yield Figure(f"{case.key}.runs", str(case), "runs/s", rates, clients)
    steps = tuple(rate * case.steps for rate in rates)
    yield Figure(f"{case.key}.steps", str(case), "steps/s", steps, clients)
    for cost, (what, unit) in COSTS.items():
        values = tuple(result.costs[cost] for result in results if cost in result.costs)
        if cost == "trips" and trips is not None:
            values = (trips,)
        if values:
            yield from _each_way(case, cost, f"{case}: {what}", unit, values)


def _each_way(
    case: Case, cost: str, name: str, unit: str, values: tuple[float, ...]
) -> Iterator[Figure]:
    """A cost per run and, if that is not the same, per step."""
    yield Figure(f"{case.key}.{cost}_per_run", name, f"{unit}/run", values)
    if case.steps > 1:
        each = tuple(value / case.steps for value in values)
        yield Figure(f"{case.key}.{cost}_per_step", name, f"{unit}/step", each)


def _work_off(server: Server, case: Case, runs: int) -> Result:
    with staged(server) as stage:
        stage.ow.run_many("no-op", [case.steps] * runs)
        before = counters(stage)
        url = stage.named_url
        with stage.worker(PROCESSES, case.concurrency, url=url) as worker:
            begun, ended = _watch(stage, worker, runs)
        after = counters(stage)
    whole = {
        "commits": (after.commits - before.commits) / runs,
        "flushes": (after.flushes - before.flushes) / runs,
    }
    return _result(begun, ended, whole)


def _count_trips(server: Server, case: Case, runs: int) -> float | None:
    """Round trips per run; None where they cannot be counted."""
    with staged(server) as stage:
        stage.ow.run_many("no-op", [case.steps] * runs)
        try:
            with (
                relay(server.url) as through,
                stage.worker(PROCESSES, case.concurrency, url=through.url) as worker,
            ):
                before = through.trips
                for _ in _progress(stage, worker, runs):
                    pass
                return (through.trips - before) / runs
        except RelayUnavailable:
            return None


def _watch(stage: Stage, worker: Worker, runs: int) -> tuple[Look, Look]:
    """The two ends of the window; returns when all runs are completed."""
    assert worker.pid is not None
    meter = Meter(stage.conn, worker.pid)
    looks: list[Look] = []
    with stage.conn.transaction():  # one for all our looks, so as not to count among the others
        for finished in _progress(stage, worker, runs):
            goal = max(0.95 * runs, looks[0].finished + 1) if looks else 0.10 * runs
            if len(looks) < 2 and finished >= goal:
                looks.append(Look(time.perf_counter(), finished, meter.read()))
    if len(looks) < 2:
        raise TooFewError(f"{runs} runs were over before they could be watched")
    return looks[0], looks[1]


def _progress(stage: Stage, worker: Worker, runs: int) -> Iterator[int]:
    """How many runs are completed, again and again until all are."""
    finished, changed = -1, time.monotonic()
    while finished < runs:
        now = stage.finished()
        if now > finished:
            finished, changed = now, time.monotonic()
            yield finished
        elif not worker.running or time.monotonic() > changed + PATIENCE:
            raise BenchmarkError(f"{finished} of {runs} runs were completed, and then no more")
        time.sleep(POLL)


def _result(begun: Look, ended: Look, whole: Mapping[str, float]) -> Result:
    runs = ended.finished - begun.finished
    used, had = ended.usage, begun.usage
    costs = {**whole, "wal": (used.wal_bytes - had.wal_bytes) / runs}
    for name, before, after in (
        ("cpu_ours", had.ours_ms, used.ours_ms),
        ("cpu_postgres", had.postgres_ms, used.postgres_ms),
    ):
        if before is not None and after is not None:
            costs[name] = (after - before) / runs
    return Result(runs / (ended.at - begun.at), costs)
