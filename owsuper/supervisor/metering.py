"""What the supervisor counts, and what its children have counted, for ``--metrics-port``.

Without that setting nobody imports this module. What happens seldom, or costs no more than an
addition, is counted where it happens, in every worker; ``read`` collects it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final, TypeAlias

from owsuper.db.claims import Claimed
from owsuper.ipc.messages import Counted, Finished
from owsuper.metrics import catalogue
from owsuper.metrics.catalogue import Metric
from owsuper.metrics.tally import Labels, Tally
from owsuper.supervisor.child import Child, HeldRun
from owsuper.supervisor.child_state import ChildState
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.fleet import Fleet
from owsuper.supervisor.listener import Listener
from owsuper.supervisor.pickup import Pickup
from owsuper.supervisor.sweeps import Sweeps

_OUTCOMES: Final = ("completed", "failed", "retrying", "parked", "released", "lost", "crashed")
_LIKELY_CAUSES: Final = ("SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM", "out of memory", "exit code 1")

Measured: TypeAlias = tuple[Metric, Labels, float]
"""A metric, the values of its labels, and its value."""


class Meter:
    """Counts what the supervisor does."""

    def __init__(self) -> None:
        self._tally = Tally()

    def read(self, workflows: Iterable[str]) -> Counted:
        """Return all that was counted, and zeros for what may happen to these workflows.

        Without a zero before it, Prometheus does not see the first failure as an increase.
        """
        count = self._tally.count
        for workflow in workflows:
            for outcome in _OUTCOMES:
                count(catalogue.RUNS, (workflow, outcome), 0)
        count(catalogue.OUTAGES, ("child",), 0)
        for result in ("runs", "none", "failed"):
            count(catalogue.CLAIMS, (result,), 0)
        return self._tally.read()

    def add(self, counted: Counted) -> None:
        """Add what a child has counted."""
        self._tally.add(counted)

    def on_claimed(self, claimed: Claimed, limited: Set[str]) -> None:
        """Count a claim that succeeded. ``limited`` are the names of workflows with limits."""
        count = self._tally.count
        if not claimed.runs:
            count(catalogue.CLAIMS, ("none",))
            return
        count(catalogue.CLAIMS, ("runs",))
        self._tally.observe(catalogue.CLAIM_SIZES, len(claimed.runs))
        for run in claimed.runs:
            waited = claimed.waited[run.run_id]
            name = run.workflow_name
            metric = catalogue.LIMIT_SECONDS if name in limited else catalogue.PICKUP_SECONDS
            self._tally.observe(metric, waited, (name,))

    def on_claim_failed(self) -> None:
        """Count a claim that failed."""
        self._tally.count(catalogue.CLAIMS, ("failed",))

    def on_leases_lost(self, number: int) -> None:
        """Count prefetched runs whose leases are lost."""
        self._tally.count(catalogue.LEASES_LOST, number=number)

    def on_run_finished(self, held: HeldRun, finished: Finished, seconds: float) -> None:
        """Count an execution of a run that has ended after so many seconds."""
        workflow = held.run.workflow_name
        self._tally.count(catalogue.RUNS, (workflow, finished.outcome))
        self._tally.observe(catalogue.RUN_SECONDS, seconds, (workflow,))
        if finished.outcome == "lost":
            self._tally.count(catalogue.LEASES_LOST)

    def on_runs_lost(self, child: Child, outcome: str) -> None:
        """Count the executions that the death of ``child`` has ended."""
        for held in child.held.values():
            self._tally.count(catalogue.RUNS, (held.run.workflow_name, outcome))

    def on_crashed_too_often(self, workflow: str) -> None:
        """Count a run that has failed because it kept killing its process."""
        self._tally.count(catalogue.RUNS, (workflow, "failed"))


def measure(
    fleet: Fleet,
    pickup: Pickup,
    sweeps: Sweeps,
    listener: Listener | None,
    claiming: KeptConnection,
    *,
    slots: int,
    crashes: Mapping[str, int],
    pruned: Mapping[str, int],
    ticks: Mapping[str, int],
) -> Sequence[Measured]:
    """Return what there is now, and what is counted in every worker."""
    states = Counter(child.state for child in fleet)
    causes = {**dict.fromkeys(_LIKELY_CAUSES, 0), **crashes}
    connections = {"claiming": claiming}
    if listener is not None:
        connections["listening"] = listener.connection
    statements = sum(each.round_trips for each in connections.values())
    return [
        *((catalogue.CHILDREN, (state.value,), states[state]) for state in _STATES),
        *((catalogue.CRASHES, (cause,), number) for cause, number in causes.items()),
        (catalogue.SLOTS, (), slots),
        (catalogue.SLOTS_BUSY, (), fleet.busy),
        (catalogue.PREFETCHED, (), len(pickup.prefetched)),
        (catalogue.POLLS, ("runs",), pickup.polls - pickup.polls_in_vain),
        (catalogue.POLLS, ("none",), pickup.polls_in_vain),
        (catalogue.NOTIFICATIONS, (), 0 if listener is None else listener.notifications),
        (catalogue.LEASES_EXPIRED, (), sweeps.leases_expired),
        (catalogue.DEADLINES_MISSED, (), sweeps.deadlines_missed),
        *((catalogue.TICKS, (outcome,), number) for outcome, number in ticks.items()),
        *((catalogue.PRUNED, (status,), number) for status, number in pruned.items()),
        (catalogue.ROUND_TRIPS, ("supervisor",), statements),
        *((catalogue.UP, (name,), each.up) for name, each in connections.items()),
        *((catalogue.OUTAGES, (name,), each.outages) for name, each in connections.items()),
    ]


_STATES = [state for state in ChildState if state is not ChildState.EXITED]
