"""What must hold of runs whose steps say what the step before them had returned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tests.acceptance.evidence import Execution
from tests.acceptance.world import World


def check_chains(world: World, run_ids: Sequence[str]) -> int:
    """These runs of ``linked`` and ``linked-async`` are completed, and no result was forgotten.

    Once a step has begun that was given the result of the step before it, that result is what
    is stored, and the step before it is not executed any more. Returns how many executions
    there were beyond the first of each step.
    """
    world.check(run_ids, repeats=1 << 30)
    recorded = world.recorded(run_ids)
    executed: dict[str, list[Execution]] = defaultdict(list)
    for execution in world.journal.executions():
        executed[execution.run].append(execution)
    repeats = 0
    for run in world.runs(run_ids):
        history = executed[run.id]
        for place, execution in enumerate(history):
            before = next((each for each in history if each.token == execution.after), None)
            if before is None:
                assert not execution.after, f"{execution} was given a result of nobody's"
                continue
            kept = recorded[run.id, before.step]
            assert kept == before.token, f"{before} was forgotten when {execution} had begun"
            late = [each for each in history[place:] if each.step == before.step]
            assert not late, f"{late} although {execution} had begun"
        repeats += len(history) - len({each.step for each in history})
        last = {execution.step: execution for execution in history}
        assert run.output == [recorded[run.id, step] for step in sorted(last)]
    return repeats
