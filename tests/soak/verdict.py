"""What must hold after a round: nothing lost, nothing repeated once it was committed."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from tests.acceptance.chains import check_chains
from tests.acceptance.deployment import Deployment
from tests.acceptance.parents import check_parents
from tests.acceptance.tables import eventually
from tests.soak.load import LINKED, PARENTS, Load

SETTLE = 120.0  # seconds in which all runs must end once no fault is left
SHOWN = 10


def settle(deployment: Deployment) -> list[str]:
    """Wait until all runs have ended. Returns what is wrong with those that have not completed."""
    left = (
        "SELECT id FROM {schema}.workflow_runs WHERE status NOT IN ('completed', 'failed') LIMIT 1"
    )
    with suppress(AssertionError):
        eventually("all runs ended", lambda: not deployment.query(left), timeout=SETTLE)
    rows = deployment.query(
        """
        SELECT id, workflow_name, status, worker_id, available_at - now(), error
        FROM {schema}.workflow_runs WHERE status <> 'completed'
        """
    )
    return [_describe(row) for row in rows[:SHOWN]]


def _describe(row: tuple[Any, ...]) -> str:
    run, name, status, worker, due_in, error = row
    if status == "failed":
        return f"{name} {run} failed: {error}"
    return f"{name} {run} is stuck: {status}, owner {worker}, available in {due_in}"


def judge(deployment: Deployment, load: Load) -> list[str]:
    """What is wrong with the runs, all of which have completed."""

    def ids(*workflows: str) -> list[str]:
        return [run for name in workflows for run in load.runs[name]]

    others = [name for name in load.runs if name not in (*PARENTS, *LINKED)]
    checks: list[tuple[Callable[[Deployment, Sequence[str]], object], list[str]]] = [
        (
            lambda where, runs: where.check(runs, repeats=1 << 30, claims_lost=True),
            ids(*others),
        ),
        (partial(check_chains, claims_lost=True), ids(*LINKED)),
        (partial(check_parents, claims_lost=True), ids(*PARENTS)),
    ]
    found = []
    for check, runs in checks:
        if not runs:
            continue
        try:
            check(deployment, runs)
        except AssertionError as violation:
            found.append("".join(traceback.format_exception(violation))[-3000:])
    if leased := deployment.leased():
        found.append(f"leased though all runs have ended: {leased[:SHOWN]}")
    return found


def repeats(deployment: Deployment) -> tuple[int, int]:
    """The number of executions, and of those beyond the first of each step."""
    by_step = deployment.journal.by_step()
    executions = sum(map(len, by_step.values()))
    return executions, executions - len(by_step)
