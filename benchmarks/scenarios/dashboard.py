"""The dashboard on a large table: how fast its pages answer, and what open pages cost the queue.

The table has runs of all statuses of both languages; see ``benchmarks.population``. Each page is
asked for by one client, one request after the other. Then a worker completes a backlog, in turn
without and with ten open pages, which ask for themselves again as runs change. Throughputs differ
by more than the pages cost, so there are many short pairs, and the processor time of the dashboard
and of its sessions is counted as well.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import LiteralString

from benchmarks.costs import backends_ms, cpu_ms
from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, paired_ratio, uncertainty
from benchmarks.open_pages import Dashboard, dashboard
from benchmarks.population import populate
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import BenchmarkError

PROCESSES, SLOTS = 2, 16
WARM_UP = 1.0  # seconds of a worker's life that do not count
MOST = 15_000  # runs a second that a worker may complete
TOGETHER = 100  # runs that are started in one transaction

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


@dataclass(frozen=True, slots=True)
class _Spent:
    """Totals so far of the dashboard's process and of its sessions, in milliseconds, and pages."""

    at: float
    own_ms: float | None
    postgres_ms: float | None
    pages: int

    @classmethod
    def now(cls, env: Environment, pages: Dashboard) -> _Spent:
        sessions = f"owsuper: dashboard {pages.pid}"
        return cls(
            time.perf_counter(),
            cpu_ms(pages.pid),
            backends_ms(env.conn, sessions),
            pages.requests,
        )


def _throughput(
    env: Environment, pages: Dashboard, sizes: Sizes, paths: list[str]
) -> Iterator[Figure]:
    alone: list[float] = []
    beside: list[float] = []
    spent: list[tuple[_Spent, _Spent]] = []

    def measure_alone() -> None:
        _prepare(env, sizes.seconds)
        alone.append(_rate(env, sizes.seconds))

    def measure_beside() -> None:
        with pages.open_pages(paths):
            _prepare(env, sizes.seconds)
            before = _Spent.now(env, pages)
            beside.append(_rate(env, sizes.seconds))
            spent.append((before, _Spent.now(env, pages)))

    with env.worker(PROCESSES, SLOTS):
        measure_alone()
        alone.clear()
        for number in range(sizes.repetitions * sizes.pairs):
            # In turn who is first: the table grows, and so each rate is lower than the last one.
            order = (measure_alone, measure_beside)
            for each in order[::-1] if number % 2 else order:
                each()
    name = f"throughput beside {len(paths)} open pages"
    yield Figure("dashboard.alone", f"{name}: without them", "runs/s", tuple(alone))
    yield Figure("dashboard.beside", f"{name}: with them", "runs/s", tuple(beside))
    pairs = paired_ratio("dashboard.ratio", f"{name}: with / without", beside, alone)
    yield pairs
    if len(pairs.values) > 1:
        yield uncertainty("dashboard.uncertainty", f"{name}: the ratio is known to ±", pairs)
    yield from _costs(f"{len(paths)} open pages on a busy queue", spent)


def _costs(name: str, spent: list[tuple[_Spent, _Spent]]) -> Iterator[Figure]:
    """What the pages took of the machine: it can be counted however much else runs there."""
    seconds = [after.at - before.at for before, after in spent]
    asked = [after.pages - before.pages for before, after in spent]
    rates = [each / time for each, time in zip(asked, seconds, strict=True)]
    yield Figure("dashboard.requests", f"{name}: requests", "1/s", tuple(rates))
    totals = []
    for key, who, each in (
        ("own", "the dashboard", [(a.own_ms, b.own_ms) for a, b in spent]),
        ("postgres", "its sessions", [(a.postgres_ms, b.postgres_ms) for a, b in spent]),
    ):
        used = [b - a for a, b in each if a is not None and b is not None]
        if len(used) < len(spent):
            return  # the server runs on another machine
        per_second = tuple(ms / time for ms, time in zip(used, seconds, strict=True))
        yield Figure(f"dashboard.{key}", f"{name}: processor time of {who}", "ms/s", per_second)
        totals.append(sum(used))
    share = sum(totals) / sum(seconds) / (os.cpu_count() or 1) / 10
    yield Figure("dashboard.share", f"{name}: share of all processors", "%", (share,))


def _prepare(env: Environment, seconds: float) -> None:
    """Give the worker more to do than it can do in that time.

    In small transactions, as when runs are started one after the other: the runs of one transaction
    have one time of creation, and a list reads all of them for a page.
    """
    more = round(MOST * (WARM_UP + seconds)) - env.value(_PENDING)
    for left in range(max(more, 0), 0, -TOGETHER):
        env.client.run_many("report-time", [None] * min(TOGETHER, left))
    time.sleep(WARM_UP)


def _rate(env: Environment, seconds: float) -> float:
    """Runs completed a second by a worker that always has more to do."""
    begins = env.value("SELECT clock_timestamp()")
    time.sleep(seconds)
    ends = env.value("SELECT clock_timestamp()")
    if not env.value(_PENDING):
        raise BenchmarkError("all runs were completed before the end of what was to be measured")
    return env.rate(begins, ends)
