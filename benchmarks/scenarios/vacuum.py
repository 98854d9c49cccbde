"""Throughput while another session holds a transaction open, so that vacuum removes nothing.

All work is queued before that transaction begins, so that dead rows of completed runs stay at the
head of the queue. Measured are the rate in the last part of that time and the rate before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure
from benchmarks.fill import REPORT_TIMES, fill
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import BenchmarkError

PROCESSES, SLOTS = 2, 16
WINDOW = 20.0  # seconds, in a full run
WARM_UP = 0.1  # of the window
SPARE = 2.0  # times the runs that the pilot's rate needs
LEAST = 3000


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    window = min(WINDOW, sizes.hold / 2)
    with environment(server) as env:
        fill(env, REPORT_TIMES, sizes.bulk)
        with env.worker(PROCESSES, SLOTS):
            time.sleep(sizes.seconds)
            done = env.completed()
    runs = round(done / sizes.seconds * (window + sizes.hold) * SPARE) + LEAST
    with environment(server) as env:
        fill(env, REPORT_TIMES, runs)
        with env.worker(PROCESSES, SLOTS):
            before, after = _hold(env, window, sizes.hold)
    name = f"throughput beside a transaction open for {sizes.hold:g} s"
    yield Figure("vacuum.before", f"{name}: before it", "runs/s", (before,))
    yield Figure("vacuum.after", f"{name}: at its end", "runs/s", (after,))
    yield Figure("vacuum.ratio", f"{name}: end / before", "ratio", (after / before,))


def _hold(env: Environment, window: float, seconds: float) -> tuple[float, float]:
    """Completed runs a second, before and in the last ``window`` of the open transaction."""
    time.sleep(window * WARM_UP)
    env.wait_for("a run was completed", lambda: env.completed() > 0)
    time.sleep(window)
    begins = _now(env)
    with env.server.connect() as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT txid_current()")
        time.sleep(seconds)
        ends = _now(env)
        other.execute("ROLLBACK")
    query = "SELECT count(*) FROM {schema}.workflow_runs WHERE status = 'pending'"
    if not env.value(query):
        raise BenchmarkError("all runs were completed before the open transaction ended")
    before, after = (until - timedelta(seconds=window) for until in (begins, ends))
    return env.rate(before, begins), env.rate(after, ends)


def _now(env: Environment) -> datetime:
    now: datetime = env.value("SELECT clock_timestamp()")
    return now
