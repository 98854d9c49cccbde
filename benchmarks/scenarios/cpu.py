"""Steps that compute: the gain from a second process, and the cost of dispatch in one.

Each run has one step of about 100 ms of pure Python. The steps report when they began and ended,
so start and end of the worker do not count. Dispatch is the time between the end of a step and
the beginning of the next in the same process, as a part of those 100 ms. Beside it stands the
time that the database alone takes to store one row after 100 ms of computing, with cold caches:
a lower bound for dispatch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from itertools import pairwise

from benchmarks.app import compute_rounds
from benchmarks.environment import environment
from benchmarks.figures import Figure, ratio
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import WAIT_SECONDS

STEP = 0.1  # seconds

Span = tuple[float, float]


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    rounds = _calibrate()
    alone: list[list[Span]] = []
    both: list[list[Span]] = []
    for _ in range(sizes.repetitions):
        alone.append(_spans(server, 1, rounds, sizes.cpu_steps))
        both.append(_spans(server, 2, rounds, 2 * sizes.cpu_steps))
    one, two = ([_rate(spans) for spans in each] for each in (alone, both))
    name = "CPU-bound 100 ms steps"
    yield Figure("cpu.rate.1", f"{name}, 1 process", "steps/s", tuple(one))
    yield Figure("cpu.rate.2", f"{name}, 2 processes", "steps/s", tuple(two))
    yield ratio("cpu.ratio", f"{name}, 2 processes / 1", two, one)
    shares = tuple(_pause(spans) / STEP * 100 for spans in alone)
    yield Figure("cpu.dispatch", f"{name}: dispatch between two", "% of 100 ms", shares)
    stored = tuple(_store(server, rounds, sizes.cpu_steps) / STEP * 100 for _ in alone)
    yield Figure(
        "cpu.store", "an INSERT of one row after 100 ms of computing", "% of 100 ms", stored
    )


def _calibrate() -> int:
    """Rounds of ``compute_rounds`` that take STEP at this machine's best."""
    rounds = 100_000
    best = min(_timed(rounds) for _ in range(5))
    return max(1, round(rounds * STEP / best))


def _timed(rounds: int) -> float:
    began = time.perf_counter()
    compute_rounds(rounds)
    return time.perf_counter() - began


def _spans(server: Server, processes: int, rounds: int, count: int) -> list[Span]:
    """When each step began and ended, in order."""
    with environment(server) as env, env.worker(processes, 1):
        handles = env.client.run_many("compute", [rounds] * count)
        began_ended = [handle.result(timeout=WAIT_SECONDS + count * STEP) for handle in handles]
    return sorted((began, ended) for began, ended in began_ended)


def _store(server: Server, rounds: int, count: int) -> float:
    """The median time of an INSERT that follows 100 ms of computing."""
    taken = []
    with environment(server) as env:
        env.execute("CREATE TABLE {schema}.stored (value integer)")
        for _ in range(count):
            compute_rounds(rounds)
            began = time.perf_counter()
            env.execute("INSERT INTO {schema}.stored VALUES (1)")
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _rate(spans: list[Span]) -> float:
    return len(spans) / (max(ended for _, ended in spans) - spans[0][0])


def _pause(spans: list[Span]) -> float:
    """The mean time between two steps of one process."""
    return statistics.mean(began - ended for (_, ended), (began, _) in pairwise(spans))
