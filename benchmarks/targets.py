"""The bounds that the project sets for its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from benchmarks.figures import Figure
from benchmarks.scenarios.dashboard import PAGES
from owsuper.cli.bench import number


@dataclass(frozen=True, slots=True)
class Target:
    """A figure must be ``bound`` at most, or at least, in the figure's own unit."""

    bound: float
    at_most: bool

    def met(self, value: float) -> bool:
        """Whether ``value`` keeps the bound."""
        return value <= self.bound if self.at_most else value >= self.bound


def _most(bound: float) -> Target:
    return Target(bound, at_most=True)


def _least(bound: float) -> Target:
    return Target(bound, at_most=False)


TARGETS: Mapping[str, Target] = MappingProxyType({
    "pickup.run.p50": _most(2.5),
    "pickup.run.p99": _most(8),
    "pickup.insert.p50": _most(2.5),
    "pickup.insert.p99": _most(8),
    "roundtrip.p50": _most(5),
    "roundtrip.p99": _most(15),
    "timers.default.p99": _most(20),
    "timers.hour.p99": _most(20),
    "throughput.1.1.commits_per_run": _most(1.2),
    "throughput.1.16.commits_per_run": _most(0.3),
    "throughput.1.1.wal_per_run": _most(2800),
    "throughput.1.16.wal_per_run": _most(2800),
    # Durable ones: the claims that PostgreSQL counts among the commits need no flush.
    "throughput.10.1.flushes_per_step": _most(1.05),
    "throughput.10.16.commits_per_step": _most(0.3),
    "io.over": _most(1.5),
    "notify.ratio.1": _least(0.9),
    "notify.ratio.16": _least(0.9),
    "notify.ratio.64": _least(0.9),
    "bulk.rate": _least(20_000),
    "fanout.ratio": _most(1.5),
    "fanout.executions": _most(10),
    "cpu.ratio": _least(1.9),
    "cpu.dispatch": _most(1),
    "recovery.p50": _most(60),
    "recovery.p99": _most(150),
    "hosts.1.statements": _most(8),
    "hosts.32.statements": _most(12),
    "hosts.ratio": _most(1.5),
    "hosts.drain.ratio": _most(1),
    "backlog.many.claim.ratio": _most(1.5),
    "backlog.many.idle_poll.ratio": _most(1.5),
    "backlog.finished.claim.ratio": _most(1.5),
    "backlog.finished.idle_poll.ratio": _most(1.5),
    "parked.idle_poll.ratio": _most(1.5),
    "parked.wake.ratio": _most(1.5),
    "unregistered.claim.ratio": _most(1.5),
    "unregistered.idle_poll.ratio": _most(1.5),
    "keys.claim.ratio": _most(1.5),
    "keys.sort": _most(100),
    "keys.fresh": _most(10),
    "keys.fair": _most(1),
    "vacuum.ratio": _least(0.7),
    "churn.ratio": _least(0.7),
    "retention.ratio": _most(1.3),
    "retention.beside.ratio": _least(0.9),
    "rules.pickup.plain": _most(2.5),
    "rules.pickup.with_a_priority": _most(2.5),
    "rules.pickup.concurrency": _most(5),
    "rules.pickup.concurrency_by_key": _most(5),
    "rules.pickup.rate": _most(5),
    "rules.ratio.with_a_priority": _least(0.95),
    "rules.ratio.concurrency": _least(0.4),
    "rules.ratio.concurrency_by_key": _least(0.4),
    "rules.ratio.rate": _least(0.4),
    "rules.ticks.lost": _most(0),
    "rules.ticks.twice": _most(0),
    "rules.ticks.rate": _least(60),
    **{f"dashboard.{page}": _most(300) for page in (*PAGES, "run")},
    "dashboard.ratio": _least(0.97),
    "dashboard.share": _most(3),
    "supervisor.rss": _most(45),
    "supervisor.idle": _most(0.5),
    "supervisor.connections": _most(2),
    "supervisor.busy_child": _most(2),
    "supervisor.fresh_child": _most(0),
})  # fmt: skip


def text(figure: Figure) -> str:
    """The bound of this figure as text; empty if there is none."""
    target = TARGETS.get(figure.key)
    sign = "≤" if target and target.at_most else "≥"
    return f"{sign} {number(target.bound)}" if target else ""


def met(figure: Figure) -> str:
    """Whether the figure keeps its bound: yes, NO, or empty if there is none."""
    target = TARGETS.get(figure.key)
    if target is None:
        return ""
    return "yes" if target.met(figure.median) else "NO"
