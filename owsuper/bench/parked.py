"""What a claim costs while many runs sleep, and while many are not ours.

A wake-up is the UPDATE that makes one of the sleeping runs due and the claim of it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator

from owsuper.bench.claimer import Claimer, claimer
from owsuper.bench.comparing import CLAIM, IDLE_POLL, Kind, compare, needed
from owsuper.bench.effort import Effort
from owsuper.bench.figures import BenchmarkError, Figure, ratio
from owsuper.bench.fill import PARKED, STRANGE, fill
from owsuper.bench.server import Server
from owsuper.bench.stage import Stage, staged

SHARE = 0.03  # of effort.rows
REGISTERED = 100  # workflows of a worker with many
POLL_OF_PARKED = Kind("idle poll", ("parked",), 0)
POLL_OF_MANY = Kind("idle poll", tuple(f"known-{n}" for n in range(REGISTERED)), 0)


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    count = round(effort.rows * SHARE)
    with staged(server) as stage:
        fill(stage, PARKED, count)
        name = f"a table of {count:,} parked runs"
        yield from compare(server, stage, effort, "parked", name, (POLL_OF_PARKED,))
        yield from _wakes(server, stage, effort, name)
    with staged(server) as stage:
        count = effort.rows // 100
        fill(stage, STRANGE, count)
        stage.ow.run_many("backlog", [None] * needed(effort))
        name = f"a table with {count:,} due runs of 1,000 unregistered names in front"
        yield from compare(server, stage, effort, "strange", name, (CLAIM, IDLE_POLL))
        with claimer(stage) as asked:
            costs = tuple(
                asked.median_ms(POLL_OF_MANY.workflows, effort.calls, runs=0)
                for _ in range(effort.repetitions)
            )
        name = f"idle poll, {REGISTERED} workflows registered"
        yield Figure("strange.registered.ms", name, "ms", costs)


def _wakes(server: Server, full: Stage, effort: Effort, name: str) -> Iterator[Figure]:
    with staged(server) as empty:
        fill(empty, PARKED, needed(effort))
        costs: dict[str, list[float]] = {full.schema: [], empty.schema: []}
        with claimer(full) as there, claimer(empty) as here:
            for _ in range(effort.repetitions):
                for stage, asked in ((full, there), (empty, here)):
                    costs[stage.schema].append(_wake_ms(stage, asked, effort.calls))
    yield Figure("parked.wake.ms", f"wake-up, {name}", "ms", tuple(costs[full.schema]))
    above = f"wake-up, {name} / an empty one"
    yield ratio("parked.wake.ratio", above, costs[full.schema], costs[empty.schema])


def _wake_ms(stage: Stage, asked: Claimer, calls: int) -> float:
    """The median of so many wake-ups."""
    sleeping = stage.execute(
        "SELECT id FROM {schema}.workflow_runs WHERE namespace_id = 'default'"
        " AND worker_id IS NULL AND available_at > now() ORDER BY id LIMIT $1::integer",
        calls,
    )
    samples = []
    for (run_id,) in sleeping:
        began = time.perf_counter()
        stage.execute(
            "UPDATE {schema}.workflow_runs SET available_at = now(), updated_at = now()"
            " WHERE namespace_id = 'default' AND id = $1",
            run_id,
        )
        if asked.claim(("parked",)).runs != 1:
            raise BenchmarkError("a run that was woken could not be claimed")
        samples.append(time.perf_counter() - began)
    return statistics.median(samples) * 1e3
