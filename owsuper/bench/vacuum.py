"""Throughput while another session holds a transaction open, so that vacuum removes nothing.

There is work for all that time before it begins, so that what ended lies at the head of the
queue, dead and not removed. The rate in the last part of that time beside the rate before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from owsuper.bench.effort import Effort
from owsuper.bench.figures import BenchmarkError, Figure
from owsuper.bench.fill import STAMPS, fill
from owsuper.bench.server import Server
from owsuper.bench.stage import Stage, staged

PROCESSES, SLOTS = 2, 16
WINDOW = 20.0  # seconds, in a full run
WARM_UP = 0.1  # of the window
SPARE = 2.0  # times the runs that the pilot's rate needs
LEAST = 3000


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    window = min(WINDOW, effort.hold / 2)
    with staged(server) as stage:
        fill(stage, STAMPS, effort.bulk)
        with stage.worker(PROCESSES, SLOTS):
            time.sleep(effort.seconds)
            done = stage.finished()
    runs = round(done / effort.seconds * (window + effort.hold) * SPARE) + LEAST
    with staged(server) as stage:
        fill(stage, STAMPS, runs)
        with stage.worker(PROCESSES, SLOTS):
            before, after = _hold(stage, window, effort.hold)
    name = f"throughput beside a transaction open for {effort.hold:g} s"
    yield Figure("vacuum.before", f"{name}: before it", "runs/s", (before,))
    yield Figure("vacuum.after", f"{name}: at its end", "runs/s", (after,))
    yield Figure("vacuum.ratio", f"{name}: end / before", "ratio", (after / before,))


def _hold(stage: Stage, window: float, seconds: float) -> tuple[float, float]:
    """Completed runs a second, before and in the last ``window`` of the open transaction."""
    time.sleep(window * WARM_UP)
    stage.wait_for("a run was completed", lambda: stage.finished() > 0)
    time.sleep(window)
    begins = _now(stage)
    with stage.server.connect() as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT txid_current()")
        time.sleep(seconds)
        ends = _now(stage)
        other.execute("ROLLBACK")
    query = "SELECT count(*) FROM {schema}.workflow_runs WHERE status = 'pending'"
    if not stage.value(query):
        raise BenchmarkError("all runs were completed before the open transaction ended")
    before, after = (until - timedelta(seconds=window) for until in (begins, ends))
    return stage.rate(before, begins), stage.rate(after, ends)


def _now(stage: Stage) -> datetime:
    now: datetime = stage.value("SELECT clock_timestamp()")
    return now
