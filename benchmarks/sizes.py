"""How much is measured, and so how long it takes and how reliable the figures are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Every figure is the median of ``repetitions``, each of the size that follows.

    ``case_step``: of many cases, take every n-th. ``samples`` of latencies. ``calls`` of a
    statement. ``seconds`` of throughput and of starting runs. ``bulk`` runs for one
    ``run_many``. ``kills`` of processes. ``concurrent_runs`` that wait at the same time.
    ``cpu_steps`` that compute. ``wake_ups`` of a run that has ``steps`` finished steps. ``idle``
    seconds without work. ``requests`` of a page of the dashboard. ``pairs`` of throughputs, without
    and with open pages, in each repetition. ``large_bytes`` of a large value.
    ``limit_seconds`` of pgbench.

    Measured once, because they take long: ``rows`` finished runs in the table (a tenth of that
    where the runs are due). ``population`` runs in the table of the dashboard. ``hold`` seconds of
    an open transaction. ``churn_rate`` runs a second of a simulated hour.
    """

    repetitions: int
    case_step: int
    samples: int
    calls: int
    seconds: float
    bulk: int
    kills: int
    concurrent_runs: int
    cpu_steps: int
    wake_ups: int
    steps: int
    idle: float
    requests: int
    pairs: int
    population: int
    large_bytes: int
    limit_seconds: int
    rows: int
    hold: float
    churn_rate: int


FULL = Sizes(
    repetitions=3,
    case_step=1,
    samples=300,
    calls=100,
    seconds=3.0,
    bulk=20_000,
    kills=40,
    concurrent_runs=1000,
    cpu_steps=40,
    wake_ups=10,
    steps=900,
    idle=20.0,
    requests=21,
    pairs=8,
    population=1_000_000,
    large_bytes=10_000_000,
    limit_seconds=1,
    rows=10_000_000,
    hold=600.0,
    churn_rate=1000,
)
QUICK = Sizes(
    repetitions=1,
    case_step=3,
    samples=10,
    calls=10,
    seconds=0.3,
    bulk=500,
    kills=2,
    concurrent_runs=50,
    cpu_steps=4,
    wake_ups=1,
    steps=30,
    idle=0.5,
    requests=3,
    pairs=1,
    population=10_000,
    large_bytes=1_000_000,
    limit_seconds=1,
    rows=10_000,
    hold=1.0,
    churn_rate=1,
)
