"""All measurements there are, and how some of them are taken in one session."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import psycopg

from owsuper.bench import (
    backlog,
    bell,
    bulk,
    churn,
    cpu,
    enqueue,
    history,
    parked,
    payloads,
    pickup,
    recovery,
    roundtrip,
    supervisor,
    throughput,
    timers,
    vacuum,
    waiting,
)
from owsuper.bench.effort import Effort
from owsuper.bench.figures import BenchmarkError, Figure
from owsuper.bench.limits import Limits
from owsuper.bench.machine import Machine, describe
from owsuper.bench.server import Server, server
from owsuper.errors import ConfigurationError

LISTEN_URL = "OWSUPER_LISTEN_URL"

Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measurement:
    """``large``: it fills big tables or takes minutes, so it is not done unless asked for."""

    take: Callable[[Server, Effort], Iterable[Figure]]
    about: str
    large: bool = False


MEASUREMENTS: dict[str, Measurement] = {
    "pickup": Measurement(pickup.measure, "from run(), or a plain INSERT, to a step's first line"),
    "roundtrip": Measurement(roundtrip.measure, "from run() to result()"),
    "timers": Measurement(timers.measure, "how late a run wakes from step.sleep"),
    "throughput": Measurement(throughput.measure, "runs and steps a second, and what they cost"),
    "io": Measurement(waiting.measure, "many runs that all wait for something else"),
    "enqueue": Measurement(enqueue.measure, "run() by threads and by asyncio tasks"),
    "bell": Measurement(bell.measure, "what the trigger that notifies costs each INSERT"),
    "bulk": Measurement(bulk.measure, "run_many(), and when the first of them runs"),
    "cpu": Measurement(cpu.measure, "steps that compute, in one and in two processes"),
    "recovery": Measurement(recovery.measure, "from SIGKILL to the step running elsewhere"),
    "history": Measurement(history.measure, "waking a run that has many finished steps"),
    "supervisor": Measurement(supervisor.measure, "memory, idle processor time, connections"),
    "payloads": Measurement(payloads.measure, "large values, and small runs beside them"),
    "parked": Measurement(parked.measure, "claims while many runs sleep or are not ours", True),
    "backlog": Measurement(backlog.measure, "claims from a table of many rows", True),
    "vacuum": Measurement(vacuum.measure, "throughput beside a long open transaction", True),
    "churn": Measurement(churn.measure, "throughput after millions of other runs", True),
}


@dataclass(frozen=True, slots=True)
class Session:
    """What was measured in one go."""

    machine: Machine
    figures: list[Figure]
    limits: Limits


def check(names: Iterable[str]) -> None:
    """Raise ConfigurationError for a name that no measurement has."""
    for name in names:
        if name not in MEASUREMENTS:
            raise ConfigurationError(
                f"no such measurement: {name}; there are {', '.join(MEASUREMENTS)}"
            )


def warn(say: Say, names: Sequence[str], where: str) -> None:
    """What is about to happen to the server, before it does."""
    say(f"measuring {', '.join(names)} on the PostgreSQL server: {where}")
    say(
        "this creates schemas bench_*, drops each after its measurement (also on Ctrl-C), and"
        " keeps the server as busy as it can; whatever else runs there disturbs and is disturbed"
    )


def measure(url: str | None, names: Sequence[str], effort: Effort, say: Say) -> Session:
    """Take these measurements on the server of ``url``, or on an embedded one.

    Raises BenchmarkError, OwsuperError, KeyboardInterrupt.
    """
    with _surroundings(say), server(url) as given:
        warn(say, names, given.where)
        try:
            return _measure(given, names, effort, say)
        except psycopg.Error as error:
            raise BenchmarkError(f"PostgreSQL: {error}") from error


def _measure(given: Server, names: Sequence[str], effort: Effort, say: Say) -> Session:
    began = time.monotonic()
    machine = describe(given)
    for warning in machine.warnings:
        say(warning)
    limits = Limits(given, effort.limit_seconds)
    say("measuring the database's own limit, and again after each measurement")
    limits.take()
    figures: list[Figure] = []
    for name in names:
        say(f"measuring {name} ({time.monotonic() - began:.0f} s so far)")
        figures += MEASUREMENTS[name].take(given, effort)
        if effort.repetitions > 1:
            limits.take()
    while limits.repetitions < effort.repetitions:
        limits.take()
    say(f"took {time.monotonic() - began:.0f} s")
    return Session(machine, figures, limits)


@contextlib.contextmanager
def _surroundings(say: Say) -> Iterator[None]:
    """The defaults are measured, whatever the environment says to owsuper (but for where to
    LISTEN); and the first INT or TERM ends it in order, in which nothing must interfere.
    """
    names = [name for name in os.environ if name.startswith("OWSUPER_") and name != LISTEN_URL]
    ours = {name: os.environ.pop(name) for name in names}

    def stop(number: int, frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda number, frame: None)
        say("stopping; what was created is being dropped")
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.environ.update(ours)
