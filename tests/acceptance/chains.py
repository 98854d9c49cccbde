"""Checks of runs whose steps report the result of the step before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tests.acceptance.deployment import Deployment
from tests.acceptance.executions import Execution


def check_chains(
    deployment: Deployment, run_ids: Sequence[str], *, claims_lost: bool = False
) -> int:
    """Check that runs of ``linked`` and ``linked-async`` are completed and no result was lost.

    Once a step has begun with the result of the step before, that result is stored, and the step
    before is not executed again. For ``claims_lost`` see ``Deployment.check_order``. Returns the
    number of executions beyond the first of each step.
    """
    deployment.check(run_ids, repeats=1 << 30, claims_lost=claims_lost)
    recorded = deployment.recorded(run_ids)
    executed: dict[str, list[Execution]] = defaultdict(list)
    for execution in deployment.journal.executions():
        executed[execution.run].append(execution)
    repeats = 0
    for run in deployment.runs(run_ids):
        history = executed[run.id]
        for place, execution in enumerate(history):
            before = next((each for each in history if each.token == execution.after), None)
            if before is None:
                assert not execution.after, f"{execution} got a result that no step returned"
                continue
            kept = recorded[run.id, before.step]
            assert kept == before.token, f"{before} was lost when {execution} had begun"
            late = [each for each in history[place:] if each.step == before.step]
            assert not late, f"{late} although {execution} had begun"
        repeats += len(history) - len({each.step for each in history})
        last = {execution.step: execution for execution in history}
        assert run.output == [recorded[run.id, step] for step in sorted(last)]
    return repeats
