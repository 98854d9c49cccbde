"""All measurements, and how some of them are taken in one session."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import psycopg

from benchmarks.figures import Figure
from benchmarks.limits import Limits
from benchmarks.machine import Machine, describe
from benchmarks.scenarios import (
    backlog,
    bulk,
    churn,
    cpu,
    dashboard,
    enqueue,
    fanout,
    faults,
    history,
    hosts,
    keys,
    notify,
    parked,
    payloads,
    pickup,
    recovery,
    retention,
    roundtrip,
    rules,
    supervisor,
    throughput,
    timers,
    vacuum,
    waiting,
)
from benchmarks.server import Server, server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import BenchmarkError
from owsuper.cli.bench import undisturbed
from owsuper.errors import ConfigurationError

Report: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measurement:
    """``about`` is what is measured, for the help."""

    take: Callable[[Server, Sizes], Iterable[Figure]]
    about: str


MEASUREMENTS: dict[str, Measurement] = {
    "pickup": Measurement(pickup.measure, "from run(), or a plain INSERT, to a step's first line"),
    "roundtrip": Measurement(roundtrip.measure, "from run() to result()"),
    "timers": Measurement(timers.measure, "how late a run wakes from step.sleep"),
    "throughput": Measurement(throughput.measure, "runs and steps a second, and their cost"),
    "io": Measurement(waiting.measure, "many runs that all wait for something else"),
    "enqueue": Measurement(enqueue.measure, "run() by threads and by asyncio tasks"),
    "notify": Measurement(notify.measure, "the cost of the NOTIFY trigger for each INSERT"),
    "bulk": Measurement(bulk.measure, "run_many(), and when the first of its runs starts"),
    "fanout": Measurement(fanout.measure, "a parent of many child runs, and of one"),
    "cpu": Measurement(cpu.measure, "steps that compute, in one and in two processes"),
    "recovery": Measurement(recovery.measure, "from SIGKILL to the step running elsewhere"),
    "faults": Measurement(faults.measure, "from other ends of a process; code that spins"),
    "hosts": Measurement(hosts.measure, "what a run costs beside 1 to 32 idle workers; draining"),
    "history": Measurement(history.measure, "waking a run that has many finished steps"),
    "supervisor": Measurement(supervisor.measure, "memory, idle processor time, connections"),
    "payloads": Measurement(payloads.measure, "large values, and small runs beside them"),
    "dashboard": Measurement(
        dashboard.measure, "pages on a million runs, and throughput beside ten open ones"
    ),
    "parked": Measurement(parked.measure, "claims beside many parked or unregistered runs"),
    "backlog": Measurement(backlog.measure, "claims from a table of many rows"),
    "keys": Measurement(keys.measure, "claims of runs with limits, by key"),
    "vacuum": Measurement(vacuum.measure, "throughput beside a long open transaction"),
    "churn": Measurement(churn.measure, "throughput after millions of other runs"),
    "retention": Measurement(
        retention.measure, "size of tables, and throughput, while old runs are deleted"
    ),
    "rules": Measurement(
        rules.measure, "runs with priorities and limits beside plain ones; ticks of a day"
    ),
}


@dataclass(frozen=True, slots=True)
class Session:
    """What one session measured."""

    machine: Machine
    figures: list[Figure]
    limits: Limits


def check(names: Iterable[str]) -> None:
    """Raise ConfigurationError if there is no measurement of one of these names."""
    for name in names:
        if name not in MEASUREMENTS:
            raise ConfigurationError(
                f"no such measurement: {name}; there are {', '.join(MEASUREMENTS)}"
            )


def measure(url: str | None, names: Sequence[str], sizes: Sizes, report: Report) -> Session:
    """Take these measurements on the server of ``url``, or on an embedded one.

    Raises BenchmarkError, OwsuperError, KeyboardInterrupt.
    """
    with undisturbed(report), server(url) as given:
        report(f"measuring {', '.join(names)} on the PostgreSQL server: {given.where}")
        try:
            return _measure(given, names, sizes, report)
        except psycopg.Error as error:
            raise BenchmarkError(f"PostgreSQL: {error}") from error


def _measure(given: Server, names: Sequence[str], sizes: Sizes, report: Report) -> Session:
    began = time.monotonic()
    machine = describe(given)
    for warning in machine.warnings:
        report(warning)
    limits = Limits(given, sizes.limit_seconds)
    report("measuring the database's own limit, and again after each measurement")
    limits.take()
    figures: list[Figure] = []
    for name in names:
        report(f"measuring {name} ({time.monotonic() - began:.0f} s so far)")
        figures += MEASUREMENTS[name].take(given, sizes)
        if sizes.repetitions > 1:
            limits.take()
    while limits.repetitions < sizes.repetitions:
        limits.take()
    report(f"took {time.monotonic() - began:.0f} s")
    return Session(machine, figures, limits)
