"""Throughput: how fast a worker completes a backlog of runs whose steps do nothing.

The backlog is there before the worker starts. A short pilot determines its size, so that it lasts
as long as requested. The measured window begins when 10 % are completed and ends at 95 %, so that
neither the worker's start nor the last runs count. Costs are those of the window, divided by the
runs completed in it. Commits and flushes, which PostgreSQL counts up to a second late, are those
of the worker's whole life. Round trips are counted in a separate run of the pilot's size, also
over the worker's whole life.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.costs import Meter, Usage, counters
from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure
from benchmarks.round_trips import RoundTripsUnavailable, counting_proxy
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper import Worker
from owsuper.bench.samples import BenchmarkError

PROCESSES = 2
POLL = 0.1  # seconds between queries of how many runs are completed, which are not free
WAIT_SECONDS = 60.0  # seconds without a run being completed
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
    """The runs were over before they could be observed."""


@dataclass(frozen=True, slots=True)
class Observation:
    """At ``at`` (perf_counter seconds), this many runs were completed and so much was used."""

    at: float
    finished: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Result:
    """The rate of one backlog. ``costs`` are per run, by name; unknown ones are missing."""

    runs_per_second: float
    costs: Mapping[str, float]


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    for case in CASES[:: sizes.case_step]:
        few = max(PILOT_STEPS // case.steps, LEAST)
        pilot = _pilot(server, case, few)
        results = [pilot]
        if sizes.repetitions > 1:
            runs = round(min(max(pilot.runs_per_second * sizes.seconds, LEAST), MOST))
            results = [_complete_backlog(server, case, runs) for _ in range(sizes.repetitions)]
        trips = _count_trips(server, case, few)
        yield from _figures(case, results, trips)


def _pilot(server: Server, case: Case, runs: int) -> Result:
    """Measure a few runs, or more if they are over before they were observed twice."""
    while True:
        try:
            return _complete_backlog(server, case, runs)
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
            yield from _per_run_and_step(case, cost, f"{case}: {what}", unit, values)


def _per_run_and_step(
    case: Case, cost: str, name: str, unit: str, values: tuple[float, ...]
) -> Iterator[Figure]:
    """A cost per run and, if that is not the same, per step."""
    yield Figure(f"{case.key}.{cost}_per_run", name, f"{unit}/run", values)
    if case.steps > 1:
        each = tuple(value / case.steps for value in values)
        yield Figure(f"{case.key}.{cost}_per_step", name, f"{unit}/step", each)


def _complete_backlog(server: Server, case: Case, runs: int) -> Result:
    with environment(server) as env:
        env.client.run_many("no-op", [case.steps] * runs)
        before = counters(env)
        url = env.named_url
        with env.worker(PROCESSES, case.concurrency, url=url) as worker:
            begun, ended = _observe_window(env, worker, runs)
        after = counters(env)
    whole = {
        "commits": (after.commits - before.commits) / runs,
        "flushes": (after.flushes - before.flushes) / runs,
    }
    return _result(begun, ended, whole)


def _count_trips(server: Server, case: Case, runs: int) -> float | None:
    """Round trips per run; None where they cannot be counted."""
    with environment(server) as env:
        env.client.run_many("no-op", [case.steps] * runs)
        try:
            with (
                counting_proxy(server.url) as proxy,
                env.worker(PROCESSES, case.concurrency, url=proxy.url) as worker,
            ):
                before = proxy.trips
                for _ in _progress(env, worker, runs):
                    pass
                return (proxy.trips - before) / runs
        except RoundTripsUnavailable:
            return None


def _observe_window(env: Environment, worker: Worker, runs: int) -> tuple[Observation, Observation]:
    """The two ends of the window. Returns when all runs are completed."""
    assert worker.pid is not None
    meter = Meter(env.conn, worker.pid)
    seen: list[Observation] = []
    with env.conn.transaction():  # one for all queries, so as to add one commit only
        for finished in _progress(env, worker, runs):
            goal = max(0.95 * runs, seen[0].finished + 1) if seen else 0.10 * runs
            if len(seen) < 2 and finished >= goal:
                seen.append(Observation(time.perf_counter(), finished, meter.read()))
    if len(seen) < 2:
        raise TooFewError(f"{runs} runs were over before they could be observed")
    return seen[0], seen[1]


def _progress(env: Environment, worker: Worker, runs: int) -> Iterator[int]:
    """Yields the number of completed runs whenever it grows, until all are completed."""
    finished, changed = -1, time.monotonic()
    while finished < runs:
        now = env.completed()
        if now > finished:
            finished, changed = now, time.monotonic()
            yield finished
        elif not worker.running or time.monotonic() > changed + WAIT_SECONDS:
            raise BenchmarkError(f"{finished} of {runs} runs were completed, and then no more")
        time.sleep(POLL)


def _result(begun: Observation, ended: Observation, whole: Mapping[str, float]) -> Result:
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
