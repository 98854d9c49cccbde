"""Checks of runs that start child runs, wait for them, and send them signals."""

from __future__ import annotations

from collections.abc import Sequence

from tests.acceptance.deployment import Deployment
from tests.acceptance.tables import eventually

CHILDREN = 2


def start_parents(deployment: Deployment, count: int) -> list[str]:
    """Start ``count`` runs of ``parent``, and as many of ``parent-async``."""
    input = {"children": CHILDREN}
    return deployment.start("parent", *[input] * count) + deployment.start(
        "parent-async", *[input] * count
    )


def check_parents(
    deployment: Deployment, parents: Sequence[str], *, claims_lost: bool = False
) -> int:
    """Wait for the parents to end, and check them and their child runs.

    Every child run was started once, every signal was delivered once, and no step was called
    again after its result was committed (for ``claims_lost`` see ``Deployment.check_order``).
    Returns the number of executions beyond the first of each step.
    """
    eventually("all parents ended", deployment.ended(parents))
    rows = deployment.query(
        """
        SELECT parent.workflow_run_id, parent.step_name, child.id, child.output
        FROM {schema}.step_attempts AS parent
        JOIN {schema}.workflow_runs AS child ON child.parent_step_attempt_id = parent.id
        WHERE parent.kind = 'workflow' AND parent.status = 'completed'
            AND parent.child_workflow_run_id = child.id AND parent.workflow_run_id = ANY ($1)
        """,
        list(parents),
    )
    outputs = {(parent, step): output for parent, step, _, output in rows}
    children = [child for _, _, child, _ in rows]
    names = ["listener", *(f"child-{n}" for n in range(CHILDREN))]
    processes = [*parents, *children]
    assert len(rows) == len(outputs) == len(parents) * len(names)
    assert _count(deployment, "workflow_runs", "parent_step_attempt_id IS NOT NULL") == len(rows)
    assert _count(deployment, "step_attempts", "kind = 'workflow'") == len(rows)
    assert _count(deployment, "workflow_signals", "true") == len(parents)
    assert _count(deployment, "owsuper_signals", "true") == 0

    assert {run.status for run in deployment.runs(processes)} == {"completed"}
    recorded = deployment.recorded(processes)
    for run in deployment.runs(parents):
        token = recorded[run.id, "before"]
        assert run.output == [token, *(outputs[run.id, name] for name in names)]
        assert run.output[1][0] == token, "the listener received another token than was sent"

    executed = {
        key: each for key, each in deployment.journal.by_step().items() if key[0] in processes
    }
    assert executed.keys() == recorded.keys()
    deployment.check_order(executed, recorded, claims_lost=claims_lost)
    return sum(len(executions) - 1 for executions in executed.values())


def _count(deployment: Deployment, table: str, where: str) -> int:
    [(count,)] = deployment.query(f"SELECT count(*) FROM {{schema}}.{table} WHERE {where}")
    return int(count)
