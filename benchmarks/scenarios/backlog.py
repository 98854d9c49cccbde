"""A table with many rows: what a claim of one run costs, and a claim that finds nothing."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.claim_cost import CLAIM, IDLE_POLL, compare, runs_needed
from benchmarks.environment import environment
from benchmarks.figures import Figure
from benchmarks.fill import DUE, FINISHED, fill
from benchmarks.server import Server
from benchmarks.sizes import Sizes

KINDS = (CLAIM, IDLE_POLL)


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    for part, size in (("some", sizes.rows // 100), ("many", sizes.rows // 10)):
        with environment(server) as env:
            fill(env, DUE, max(size, runs_needed(sizes)))
            name = f"a table of {size:,} due runs"
            yield from compare(server, env, sizes, f"backlog.{part}", name, KINDS)
    with environment(server) as env:
        fill(env, FINISHED, sizes.rows)
        env.client.run_many("backlog", [None] * runs_needed(sizes))
        name = f"a table of {sizes.rows:,} finished runs"
        yield from compare(server, env, sizes, "backlog.finished", name, KINDS)
