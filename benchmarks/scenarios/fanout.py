"""A parent that waits for many child runs, beside ``run_many()`` of as many runs.

A parent that is woken at each end of a child replays its history as often. The ratio says what
the parent adds, and the executions say how often it was replayed. Then a parent with one child:
from the end of the child to the parent's next step.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, latencies, ratio
from benchmarks.server import Server
from benchmarks.sizes import Sizes

PROCESSES, SLOTS = 2, 16
TIMEOUT = 120.0  # seconds


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    children = sizes.concurrent_runs
    parents, executions, plain, wakes = [], [], [], []
    with environment(server) as env, env.worker(PROCESSES, SLOTS):
        env.client.run_workflow("fan-out", 10).result(TIMEOUT)
        for _ in range(sizes.repetitions):
            plain.append(_run_many(env, children))
            seconds, times = _fan_out(env, children)
            parents.append(seconds)
            executions.append(float(times))
        for _ in range(sizes.repetitions):
            wakes.append([_wake(env) for _ in range(sizes.samples)])
    what = f"fan-out: a parent of {children:,}"
    yield Figure("fanout.seconds", what, "s", tuple(parents))
    yield ratio("fanout.ratio", f"{what}, beside run_many()", parents, plain)
    yield Figure("fanout.executions", f"{what}: executions", "", tuple(executions))
    yield from latencies("fanout.wake", "fan-out: end of an only child to parent", wakes)


def _run_many(env: Environment, children: int) -> float:
    began = time.perf_counter()
    for handle in env.client.run_many("no-op", [1] * children):
        handle.result(TIMEOUT)
    return time.perf_counter() - began


def _fan_out(env: Environment, children: int) -> tuple[float, int]:
    """Seconds until the result, and how often the parent was executed."""
    began = time.perf_counter()
    parent = env.client.run_workflow("fan-out", children)
    parent.result(TIMEOUT)
    seconds = time.perf_counter() - began
    attempts = env.value("SELECT attempts FROM {schema}.workflow_runs WHERE id = $1", parent.id)
    return seconds, int(attempts)


def _wake(env: Environment) -> float:
    """Seconds from the end of a child, by its parent's only other step."""
    began, ended = env.client.run_workflow("wait-for-child", None).result(TIMEOUT)
    return float(ended) - float(began)
