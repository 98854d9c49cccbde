"""Long histories: a run with many finished steps wakes once more.

Lateness of the wake-up as in ``timers``: it includes loading the history and replaying the
steps. The run wakes several times, each adding two to its steps. Beside it, for comparison, a
tenth of the history, and none. Round trips are those of worker and database from a moment in
the sleep until the run is completed, counted in a run of its own; some are the supervisor's,
which looks and sweeps beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict

from owsuper.bench.app import Dozing
from owsuper.bench.effort import Effort
from owsuper.bench.figures import Figure
from owsuper.bench.relay import Relay, RelayUnavailable, relay
from owsuper.bench.server import Server
from owsuper.bench.stage import Stage, staged
from owsuper.bench.timers import lateness

NAP = 0.15  # seconds
SLEEP = 0.5
SETTLE = 0.2  # seconds; parking rings the bell, after which the supervisor looks some times
PARTS = {"long": 1.0, "tenth": 0.1, "none": 0.0}


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    sizes = {part: round(effort.steps * share) for part, share in PARTS.items()}
    with staged(server) as stage:
        with stage.worker(processes=2, concurrency=1):
            late = {part: _late(stage, steps, effort) for part, steps in sizes.items()}
        trips: dict[str, tuple[float, ...]] = {}
        with (
            suppress(RelayUnavailable),
            relay(server.url) as through,
            stage.worker(1, 1, url=through.url, poll_interval="1h"),
        ):
            for part, steps in sizes.items():
                trips[part] = tuple(
                    _trips(stage, through, steps) for _ in range(effort.repetitions)
                )
    for part, steps in sizes.items():
        name = f"history: waking a run with {steps} finished steps"
        yield Figure(f"history.late.{part}", f"{name}, lateness", "ms", late[part])
        if part in trips:
            yield Figure(f"history.trips.{part}", name, "round trips", trips[part])


def _late(stage: Stage, steps: int, effort: Effort) -> tuple[float, ...]:
    """For each repetition, the median of its wake-ups."""
    plan = Dozing(NAP, effort.wakes, steps)
    return tuple(
        statistics.median(lateness(stage, [plan])) * 1e3 for _ in range(effort.repetitions)
    )


def _trips(stage: Stage, through: Relay, steps: int) -> float:
    run_id = stage.ow.run_workflow("doze", asdict(Dozing(SLEEP, 1, steps))).id

    def parked() -> bool:
        query = (
            "SELECT status = 'running' AND worker_id IS NULL FROM {schema}.workflow_runs"
            " WHERE namespace_id = 'default' AND id = $1"
        )
        return bool(stage.value(query, run_id))

    stage.wait_for("the run slept", parked, pause=0.005)
    time.sleep(SETTLE)
    before = through.trips
    goal = stage.finished() + 1
    stage.wait_for("it woke", lambda: stage.finished() >= goal, pause=0.005)
    return through.trips - before
