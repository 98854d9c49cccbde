"""What must hold of runs that start others, wait for them, and tell them something."""

from __future__ import annotations

from collections.abc import Sequence

from tests.acceptance.tables import eventually
from tests.acceptance.world import World

CHILDREN = 2


def start_families(world: World, count: int) -> list[str]:
    """So many runs of ``family``, and as many of ``family-async``."""
    input = {"children": CHILDREN}
    return world.start("family", *[input] * count) + world.start("family-async", *[input] * count)


def check_families(world: World, families: Sequence[str]) -> int:
    """Every child was started once, every signal delivered once, and no step called again once its
    result was committed. Returns how many executions there were beyond the first of each step.

    Waits for the families to end; their children have ended by then.
    """
    eventually("all families ended", world.ended(families))
    rows = world.query(
        """
        SELECT parent.workflow_run_id, parent.step_name, child.id, child.output
        FROM {schema}.step_attempts AS parent
        JOIN {schema}.workflow_runs AS child ON child.parent_step_attempt_id = parent.id
        WHERE parent.kind = 'workflow' AND parent.status = 'completed'
            AND parent.child_workflow_run_id = child.id AND parent.workflow_run_id = ANY ($1)
        """,
        list(families),
    )
    outputs = {(family, step): output for family, step, _, output in rows}
    children = [child for _, _, child, _ in rows]
    names = ["listener", *(f"child-{n}" for n in range(CHILDREN))]
    everybody = [*families, *children]
    assert len(rows) == len(outputs) == len(families) * len(names)
    assert _count(world, "workflow_runs", "parent_step_attempt_id IS NOT NULL") == len(rows)
    assert _count(world, "step_attempts", "kind = 'workflow'") == len(rows)
    assert _count(world, "workflow_signals", "true") == len(families)
    assert _count(world, "owsuper_signals", "true") == 0

    assert {run.status for run in world.runs(everybody)} == {"completed"}
    recorded = world.recorded(everybody)
    for run in world.runs(families):
        token = recorded[run.id, "before"]
        assert run.output == [token, *(outputs[run.id, name] for name in names)]
        assert run.output[1][0] == token, "the listener heard something else than it was told"

    executed = {key: each for key, each in world.journal.by_step().items() if key[0] in everybody}
    assert executed.keys() == recorded.keys()
    for key, executions in executed.items():
        assert executions[-1].token == recorded[key], f"{key} ran again after it was committed"
    return sum(len(executions) - 1 for executions in executed.values())


def _count(world: World, table: str, where: str) -> int:
    [(count,)] = world.query(f"SELECT count(*) FROM {{schema}}.{table} WHERE {where}")
    return int(count)
