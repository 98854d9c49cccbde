"""What a step may do to its process, short of killing it: no run suffers, and all of it ends.

Steps that kill their process are in test_deadly_steps.py, and code that does not stop is in
test_hard_stops.py.
"""

from __future__ import annotations

import pytest

from tests.acceptance.deployment import Deployment

SLOW = pytest.mark.slow
OBEDIENT = {"kill_grace": "300ms", "graceful_timeout": "2s", "max_crashes": 1}
WORKFLOWS = ["held", pytest.param("held-async", marks=SLOW)]
LARGE = 50 << 20  # bytes


@pytest.mark.parametrize("workflow", WORKFLOWS)
@pytest.mark.parametrize(
    "words",
    [
        "ignore signals",
        "start threads",
        pytest.param("close 0 3", marks=SLOW),
        pytest.param("start processes", marks=SLOW),
        "close 0 3;start threads;start processes;ignore signals",
    ],
)
def test_a_process_that_a_step_has_changed_serves_on_can_be_stopped_and_leaves_nothing(
    deployment: Deployment, workflow: str, words: str
) -> None:
    worker = deployment.worker(processes=1, concurrency=2, lease="3s", **OBEDIENT)
    [first] = deployment.start(workflow, {})
    changed = deployment.gate.next()
    changed.command(words)
    deployment.wait_until_ended([first])
    deployment.check([first])

    [stuck] = deployment.start("held", {"timeout": 1.5})
    step = deployment.gate.next()
    assert step.pid == changed.pid
    step.command("spin")
    again = deployment.gate.next()
    assert again.pid != changed.pid
    again.command("go")
    [last] = deployment.start(workflow, {})
    deployment.gate.next().command(words)
    deployment.wait_until_ended([stuck, last])
    deployment.check([stuck, last], repeats=1)
    worker.stop()
    assert deployment.leased() == []
    assert deployment.crashes() == []


@pytest.mark.parametrize(
    "workflow", ["held", "held-async", pytest.param("held-on-loop", marks=SLOW)]
)
def test_sys_exit_fails_the_attempt_and_not_the_process(
    deployment: Deployment, workflow: str
) -> None:
    worker = deployment.worker(processes=1, max_crashes=1)
    [run] = deployment.start(workflow, {})
    first = deployment.gate.next()
    first.command("sys.exit 3")
    second = deployment.gate.next()
    assert second.pid == first.pid
    second.command("go")
    deployment.wait_until_ended([run])
    deployment.check([run], repeats=1)
    worker.stop()
    assert "child died" not in worker.log


def test_a_bare_except_around_each_step_changes_nothing(deployment: Deployment) -> None:
    worker = deployment.worker(processes=1, max_crashes=1)
    runs = deployment.start("careless", *[{"steps": 12, "seconds": 0.02}] * 4)
    deployment.wait_until_ended(runs)
    deployment.check(runs)
    assert {len(run.output) for run in deployment.runs(runs)} == {12}
    worker.stop()
    assert "child died" not in worker.log


@pytest.mark.parametrize("workflow", ["stubborn", pytest.param("stubborn-async", marks=SLOW)])
def test_a_function_that_catches_what_ends_it_for_ever_fails_and_holds_up_nobody(
    deployment: Deployment, workflow: str
) -> None:
    worker = deployment.worker(processes=1, concurrency=1, kill_grace="300ms", max_crashes=2)
    [stubborn] = deployment.start(workflow, {"seconds": 3600})
    deployment.wait_until_ended([stubborn])
    failed = deployment.run(stubborn)
    assert failed.status == "failed"
    assert failed.error is not None
    assert "it catches what ends its execution (BaseException)" in failed.error["message"]
    # Async code that never awaits keeps the loop from writing the result of its first step.
    begun = len(deployment.journal.by_step()[stubborn, "before"])
    assert begun == 1 if workflow == "stubborn" else begun <= 2
    worker.wait_for_log(rf"code does not stop: it catches what ends .*run_id={stubborn}")
    assert deployment.crashes() == []
    [after] = deployment.start("chain", {"steps": 2})
    deployment.wait_until_ended([after])
    deployment.check([after])
    worker.stop()


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_step_that_leaves_its_process_no_memory_costs_no_run(
    deployment: Deployment, workflow: str
) -> None:
    """The step fails for want of memory. What the process then cannot do, others do."""
    worker = deployment.worker(processes=1, concurrency=2, max_crashes=3)
    [starved] = deployment.start(workflow, {})
    deployment.gate.next().command("starve")
    others = deployment.start("chain", *[{"steps": 5}] * 10)
    deployment.gate.answer({}, until=deployment.ended([starved, *others]))
    deployment.check([starved, *others], repeats=3)
    worker.stop()
    assert deployment.leased() == []


@SLOW
def test_fifty_megabytes_pass_through_a_run(deployment: Deployment) -> None:
    worker = deployment.worker(processes=1, lease="3s")
    runs = deployment.start("heavy", {"text": "x" * LARGE}, {"text": "y" * (LARGE // 10)})
    small = deployment.start("chain", *[{"steps": 2}] * 20)
    deployment.wait_until_ended([*runs, *small])
    deployment.check(small)
    executed = deployment.journal.by_step()
    completed = deployment.runs(runs)
    assert sorted(len(run.output["text"]) for run in completed) == [LARGE // 10, LARGE]
    assert all(len(executed[run.id, "begin"]) == 1 for run in completed)
    worker.stop()
    assert "child died" not in worker.log
