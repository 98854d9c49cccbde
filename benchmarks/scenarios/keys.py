"""Limits by key: what a claim costs beside many keys and runs that wait, and whose turn it is."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import LiteralString

from benchmarks.claim_cost import ClaimProbe
from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure
from benchmarks.fill import fill
from benchmarks.server import Server
from benchmarks.sizes import Sizes

WORKFLOW = "backlog"
_BEGIN: LiteralString = (
    "'backlog', 'pending', jsonb_build_object('owsuper', jsonb_build_object('keys',"
    " jsonb_build_object('l', "
)
_END: LiteralString = (
    "))), NULL, 0, NULL, now() - (9e9 - n) * interval '1 us', NULL, NULL, now(), now()"
)
FEW: LiteralString = _BEGIN + "(n % 100)::text" + _END
MANY: LiteralString = _BEGIN + "(n % 10000)::text" + _END
ONE: LiteralString = _BEGIN + "'one'" + _END
"""Due runs of 100 keys, of 10,000 keys, and of one."""


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    costs = []
    for part, kind, runs in (
        ("few", FEW, sizes.population // 100),
        ("many", MANY, sizes.population),
    ):
        with environment(server) as env:
            _declare(env, 1_000)
            fill(env, kind, runs)
            probe = ClaimProbe(env)
            seconds = _sort(env, probe)
            name = f"limits: a claim of one, {runs:,} runs waiting for {part} keys"
            costs.append(probe.median_ms((WORKFLOW,), sizes.calls, runs=1, limited=True))
            probe.close()
            yield Figure(f"keys.{part}.claim", name, "ms", (costs[-1],))
    yield Figure("keys.sort", "limits: sorting a due run", "µs", (seconds / runs * 1e6,))
    name = "limits: a claim beside 10,000 keys and all runs / 100 keys and few runs"
    yield Figure("keys.claim.ratio", name, "ratio", (costs[1] / costs[0],))
    yield from _fairness(server, sizes)


def _fairness(server: Server, sizes: Sizes) -> Iterable[Figure]:
    """How long a single run waits beside very many of another key, all stored at once."""
    with environment(server) as env:
        runs = sizes.population // 10
        _declare(env, 1_000_000)
        fill(env, ONE, runs)
        probe = ClaimProbe(env)
        began = time.perf_counter()
        claims = _until_claimed(env, probe, "first")
        seconds = time.perf_counter() - began
        name = f"limits: a single run stored after {runs:,} of another key"
        yield Figure("keys.fresh", f"{name}: until it is claimed", "s", (seconds,))
        yield Figure("keys.fresh.runs", f"{name}: other runs before it", "runs", (claims - 1.0,))
        claims = _until_claimed(env, probe, "second")
        probe.close()
        name = f"limits: other runs before a single run, {runs:,} of another key waiting"
        yield Figure("keys.fair", name, "runs", (claims - 1.0,))


def _declare(env: Environment, amount: int) -> None:
    env.execute(
        "INSERT INTO {schema}.owsuper_limits (namespace_id, name, kind, amount, keyed)"
        " VALUES ('default', 'l', 'concurrency', $1, true) RETURNING name",
        amount,
    )
    env.execute(
        "INSERT INTO {schema}.owsuper_limit_workflows (namespace_id, workflow_name, limit_name)"
        " VALUES ('default', 'backlog', 'l') RETURNING limit_name"
    )


def _sort(env: Environment, probe: ClaimProbe) -> float:
    """Claim until all runs are sorted; the seconds that it took."""
    query: LiteralString = (
        "SELECT EXISTS (SELECT FROM {schema}.workflow_runs WHERE namespace_id = 'default'"
        " AND workflow_name = 'backlog' AND status = 'pending' AND available_at < now())"
    )
    began = time.perf_counter()
    while env.value(query):
        for _ in range(10):
            probe.claim((WORKFLOW,), limited=True)
    seconds = time.perf_counter() - began
    for table in ("workflow_runs", "owsuper_waiting", "owsuper_lanes"):
        env.conn.execute(f'VACUUM (ANALYZE) "{env.schema}".{table}'.encode())
    return seconds


def _until_claimed(env: Environment, probe: ClaimProbe, run: str) -> int:
    """Store a run with a key of its own, and claim one run at a time until it is claimed."""
    env.execute(
        "INSERT INTO {schema}.workflow_runs (namespace_id, id, workflow_name, status, config,"
        " attempts, available_at, created_at, updated_at) VALUES ('default', $1, 'backlog',"
        " 'pending', jsonb_build_object('owsuper', jsonb_build_object('keys',"
        " jsonb_build_object('l', $1::text))), 0, now(), now(), now()) RETURNING id",
        run,
    )
    claims = 0
    while not env.value("SELECT attempts FROM {schema}.workflow_runs WHERE id = $1", run):
        claims += probe.claim((WORKFLOW,), limited=True).runs
    return claims
