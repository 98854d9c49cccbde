"""How much is measured, and so how long it takes and what the figures are worth."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Every figure is the median of ``repetitions``, each of the size that follows.

    ``samples`` of latencies, ``calls`` of a statement, ``seconds`` of throughput and of starting
    runs, ``bulk`` runs for one ``run_many``, ``kills`` of processes, ``waiting`` runs at once,
    ``burns`` of a processor, ``wakes`` of a long history of ``steps`` steps, ``idle`` seconds of
    doing nothing, ``large`` bytes of a large value, ``limit_seconds`` of pgbench.

    ``every`` so-manieth of the cases of a measurement that has many.

    Once, because they take long: ``rows`` finished runs in the table (a tenth of it where they
    are due), ``hold`` seconds of an open transaction, ``churn`` runs a second of an hour that is
    simulated.
    """

    repetitions: int
    every: int
    samples: int
    calls: int
    seconds: float
    bulk: int
    kills: int
    waiting: int
    burns: int
    wakes: int
    steps: int
    idle: float
    large: int
    limit_seconds: int
    rows: int
    hold: float
    churn: int


FULL = Effort(
    repetitions=3,
    every=1,
    samples=300,
    calls=100,
    seconds=3.0,
    bulk=20_000,
    kills=40,
    waiting=1000,
    burns=40,
    wakes=10,
    steps=900,
    idle=20.0,
    large=10_000_000,
    limit_seconds=1,
    rows=10_000_000,
    hold=600.0,
    churn=1000,
)
QUICK = Effort(
    repetitions=1,
    every=3,
    samples=10,
    calls=10,
    seconds=0.3,
    bulk=500,
    kills=2,
    waiting=50,
    burns=4,
    wakes=1,
    steps=30,
    idle=0.5,
    large=1_000_000,
    limit_seconds=1,
    rows=10_000,
    hold=1.0,
    churn=1,
)
