"""The dashboard on a large table: how fast its pages answer, and what open pages cost the queue.

The table has runs of all statuses of both languages; see ``benchmarks.population``. Each page is
asked for by one client, one request after the other. Then a worker completes a backlog, in turn
without and with ten open pages, which ask for themselves again as runs change.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from typing import LiteralString

from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, ratio
from benchmarks.open_pages import Dashboard, dashboard
from benchmarks.population import populate
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import BenchmarkError

PROCESSES, SLOTS = 2, 16
WARM_UP = 1.0  # seconds of a worker's life that do not count
MOST = 15_000  # runs a second that a worker may complete

PAGES = {
    "overview": "/",
    "runs": "/runs",
    "failed": "/runs?status=failed",
    "oldest": "/runs?workflow=order&sort=oldest",
    "version": "/runs?workflow=order&version=2&created_from=7d",
    "rare": "/runs?version=none",
    "finished": "/runs?status=completed&finished_from=3d&finished_until=2d",
    "crashed": "/runs?crashed=1",
    "key": "/runs?q=order:600001",
    "prefix": "/runs?q=01",
    "workers": "/workers",
    "workflows": "/workflows",
    "steps": "/workflows?workflow=order",
    "waiting": "/waiting",
    "signal": "/waiting?signal=approve",
}
OPEN = (
    "/", "/runs", "/runs?status=failed", "/runs?status=running", "/runs?workflow=report-time",
    "/workers", "/workflows", "/workflows?workflow=report-time", "/waiting",
)  # fmt: skip
"""Pages that are open while the throughput is measured; and the page of a run."""

_PENDING: LiteralString = (
    "SELECT count(*) FROM {schema}.workflow_runs"
    " WHERE namespace_id = 'default' AND workflow_name = 'report-time' AND status = 'pending'"
)


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    with environment(server) as env:
        populate(env.conn, env.schema, sizes.population)
        run = env.value(
            "SELECT id FROM {schema}.workflow_runs WHERE status = 'completed'"
            " ORDER BY created_at DESC LIMIT 1"
        )
        with dashboard(env) as pages:
            for key, path in {**PAGES, "run": f"/runs/{run}"}.items():
                yield _page(pages, sizes, key, path)
            yield from _throughput(env, pages, sizes, [*OPEN, f"/runs/{run}"])


def _page(pages: Dashboard, sizes: Sizes, key: str, path: str) -> Figure:
    pages.get(path)
    times = tuple(
        statistics.median(pages.get(path)[0] for _ in range(sizes.requests)) * 1e3
        for _ in range(sizes.repetitions)
    )
    shown = "/runs/ID" if key == "run" else path
    name = f"dashboard of {sizes.population:,} runs: {shown}, median"
    return Figure(f"dashboard.{key}", name, "ms", times)


def _throughput(
    env: Environment, pages: Dashboard, sizes: Sizes, paths: list[str]
) -> Iterator[Figure]:
    alone, beside = [], []
    with env.worker(PROCESSES, SLOTS):
        _rate(env, sizes.seconds)
        for _ in range(sizes.repetitions):
            alone.append(_rate(env, sizes.seconds))
            with pages.open_pages(paths):
                beside.append(_rate(env, sizes.seconds))
    name = f"throughput beside {len(paths)} open pages"
    yield Figure("dashboard.alone", f"{name}: without them", "runs/s", tuple(alone))
    yield Figure("dashboard.beside", f"{name}: with them", "runs/s", tuple(beside))
    yield ratio("dashboard.ratio", f"{name}: with / without", beside, alone)


def _rate(env: Environment, seconds: float) -> float:
    """Runs completed a second by a worker that always has more to do."""
    more = round(MOST * (WARM_UP + seconds)) - env.value(_PENDING)
    env.client.run_many("report-time", [None] * more)
    time.sleep(WARM_UP)
    begins = env.value("SELECT clock_timestamp()")
    time.sleep(seconds)
    ends = env.value("SELECT clock_timestamp()")
    if not env.value(_PENDING):
        raise BenchmarkError("all runs were completed before the end of what was to be measured")
    return env.rate(begins, ends)
