"""A table with many rows: what a claim of one run costs, and a claim that finds nothing."""

from __future__ import annotations

from collections.abc import Iterable

from owsuper.bench.comparing import CLAIM, IDLE_POLL, compare, needed
from owsuper.bench.effort import Effort
from owsuper.bench.figures import Figure
from owsuper.bench.fill import DUE, FINISHED, fill
from owsuper.bench.server import Server
from owsuper.bench.stage import staged

KINDS = (CLAIM, IDLE_POLL)


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    for part, size in (("some", effort.rows // 100), ("many", effort.rows // 10)):
        with staged(server) as stage:
            fill(stage, DUE, max(size, needed(effort)))
            name = f"a table of {size:,} due runs"
            yield from compare(server, stage, effort, f"backlog.{part}", name, KINDS)
    with staged(server) as stage:
        fill(stage, FINISHED, effort.rows)
        stage.ow.run_many("backlog", [None] * needed(effort))
        name = f"a table of {effort.rows:,} finished runs"
        yield from compare(server, stage, effort, "backlog.finished", name, KINDS)
