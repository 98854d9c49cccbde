"""The cost of a claim beside many sleeping runs, and beside many runs of unregistered names.

A wake-up is the UPDATE that makes one sleeping run due, and its claim.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator

from benchmarks.claim_cost import (
    CLAIM,
    IDLE_POLL,
    ClaimKind,
    ClaimProbe,
    claim_probe,
    compare,
    runs_needed,
)
from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, ratio
from benchmarks.fill import PARKED, UNREGISTERED, fill
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import BenchmarkError

SHARE = 0.03  # of effort.rows
REGISTERED = 100  # workflows of a worker with many
POLL_OF_PARKED = ClaimKind("idle poll", ("parked",), 0)
POLL_OF_MANY = ClaimKind("idle poll", tuple(f"known-{n}" for n in range(REGISTERED)), 0)


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    count = round(sizes.rows * SHARE)
    with environment(server) as env:
        fill(env, PARKED, count)
        name = f"a table of {count:,} parked runs"
        yield from compare(server, env, sizes, "parked", name, (POLL_OF_PARKED,))
        yield from _wakes(server, env, sizes, name)
    with environment(server) as env:
        count = sizes.rows // 100
        fill(env, UNREGISTERED, count)
        env.client.run_many("backlog", [None] * runs_needed(sizes))
        name = f"a table with {count:,} due runs of 1,000 unregistered names in front"
        yield from compare(server, env, sizes, "unregistered", name, (CLAIM, IDLE_POLL))
        with claim_probe(env) as probe:
            costs = tuple(
                probe.median_ms(POLL_OF_MANY.workflows, sizes.calls, runs=0)
                for _ in range(sizes.repetitions)
            )
        name = f"idle poll, {REGISTERED} workflows registered"
        yield Figure("unregistered.registered.ms", name, "ms", costs)


def _wakes(server: Server, full: Environment, sizes: Sizes, name: str) -> Iterator[Figure]:
    with environment(server) as empty:
        fill(empty, PARKED, runs_needed(sizes))
        costs: dict[str, list[float]] = {full.schema: [], empty.schema: []}
        with claim_probe(full) as full_probe, claim_probe(empty) as empty_probe:
            for _ in range(sizes.repetitions):
                for env, probe in ((full, full_probe), (empty, empty_probe)):
                    costs[env.schema].append(_wake_ms(env, probe, sizes.calls))
    yield Figure("parked.wake.ms", f"wake-up, {name}", "ms", tuple(costs[full.schema]))
    above = f"wake-up, {name} / an empty one"
    yield ratio("parked.wake.ratio", above, costs[full.schema], costs[empty.schema])


def _wake_ms(env: Environment, probe: ClaimProbe, calls: int) -> float:
    """The median of so many wake-ups."""
    sleeping = env.execute(
        "SELECT id FROM {schema}.workflow_runs WHERE namespace_id = 'default'"
        " AND worker_id IS NULL AND available_at > now() ORDER BY id LIMIT $1::integer",
        calls,
    )
    samples = []
    for (run_id,) in sleeping:
        began = time.perf_counter()
        env.execute(
            "UPDATE {schema}.workflow_runs SET available_at = now(), updated_at = now()"
            " WHERE namespace_id = 'default' AND id = $1",
            run_id,
        )
        if probe.claim(("parked",)).runs != 1:
            raise BenchmarkError("a run that was woken could not be claimed")
        samples.append(time.perf_counter() - began)
    return statistics.median(samples) * 1e3
