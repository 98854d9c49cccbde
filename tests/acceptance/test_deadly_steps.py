"""Steps that kill their process: they run elsewhere, up to a limit, and harm no other run."""

from __future__ import annotations

import time

import psycopg
import pytest

from tests.acceptance.deployment import Deployment

CAUSES = {
    "segfault": "signal SIGSEGV",
    "exit 7": "exit code 7",
    "exit 0": "exit code 0",
    "signal SIGKILL": "signal SIGKILL",
    "abort": "signal SIGABRT",
    "alarm": "signal SIGALRM",
}


@pytest.mark.parametrize("workflow", ["held", "held-async"])
def test_a_step_that_killed_its_process_runs_elsewhere(
    deployment: Deployment, workflow: str
) -> None:
    worker = deployment.worker(processes=1)
    for word, cause in CAUSES.items():
        [run] = deployment.start(workflow, {})
        first = deployment.gate.next()
        first.command(word)
        second = deployment.gate.next()
        assert (second.run, second.step) == (run, "held")
        assert second.pid != first.pid
        second.command("go")
        deployment.wait_until_ended([run])
        deployment.check([run], repeats=1)
        worker.wait_for_log(f"child died: {cause} .*pid={first.pid}")
        worker.wait_for_log(f"run lost its process .*run_id={run} .*step=held")


@pytest.mark.parametrize("workflow", ["held", "held-async"])
def test_a_child_whose_descriptors_a_step_has_closed_is_replaced(
    deployment: Deployment, workflow: str
) -> None:
    """It ends by itself, or it is killed: nobody can reach it any more.

    Before, it may commit the step's result through a new connection.
    """
    worker = deployment.worker(processes=1)
    [run] = deployment.start(workflow, {})
    first = deployment.gate.next()
    first.command("close 3 1024")
    again = deployment.gate.answer(until=deployment.ended([run]))
    assert first.pid not in {each.pid for each in again}
    deployment.check([run], repeats=1)
    closed = "exit code 1|killed: it closed its pipe to the supervisor"
    worker.wait_for_log(f"child died: ({closed}) .*pid={first.pid}")
    worker.stop()


def test_a_run_that_keeps_killing_its_process_fails_and_says_how_and_where(
    deployment: Deployment,
) -> None:
    deployment.worker(processes=1, max_crashes=3)
    for word, cause in CAUSES.items():
        [run] = deployment.start("held", {})
        held_steps = deployment.gate.answer({run: word}, until=deployment.ended([run]))
        assert len({each.pid for each in held_steps}) == len(held_steps) == 3
        failed = deployment.run(run)
        assert failed.status == "failed"
        assert failed.error is not None
        assert "died 3 times" in failed.error["message"]
        assert failed.error["message"].count(f"{cause} in step 'held'") == 3


def test_runs_that_shared_the_process_of_a_deadly_one_are_not_charged(
    deployment: Deployment,
) -> None:
    deployment.worker(processes=1, concurrency=4, max_crashes=2)
    [deadly] = deployment.start("held", {})
    first = deployment.gate.next()
    others = deployment.start("held", {}, {}) + deployment.start("held-async", {})
    beside = deployment.gate.take(3)
    assert {each.run for each in beside} == set(others)
    assert {each.pid for each in beside} == {first.pid}

    first.command("segfault")
    again = deployment.gate.answer({deadly: "segfault"}, until=deployment.ended([deadly, *others]))
    # The deadly run runs once more, alone. Each other run runs once more, never beside it.
    assert sorted(each.run for each in again) == sorted([deadly, *others])
    assert len({each.pid for each in again if each.run == deadly}) == 1
    failed = deployment.run(deadly)
    assert failed.status == "failed"
    assert failed.error is not None
    assert "died 2 times (signal SIGSEGV in step 'held'" in failed.error["message"]
    deployment.check(others, repeats=3)
    assert deployment.crashes() == []


def test_a_run_completes_although_several_others_kill_its_process(
    deployment: Deployment,
) -> None:
    deployment.worker(processes=1, concurrency=4, max_crashes=2)
    [harmless] = deployment.start("held", {})
    deadly = deployment.start("held", {}, {})
    held_steps = deployment.gate.take(3)
    assert len({each.pid for each in held_steps}) == 1
    held_steps[0].command("exit 1")
    deployment.gate.answer(
        dict.fromkeys(deadly, "exit 1"), until=deployment.ended([harmless, *deadly])
    )
    assert {run.status for run in deployment.runs(deadly)} == {"failed"}
    deployment.check([harmless], repeats=1)


@pytest.mark.slow
@pytest.mark.parametrize("workflow", ["held", "held-async"])
def test_a_child_whose_descriptors_a_step_has_leaked_is_replaced_and_no_run_is_charged(
    deployment: Deployment, conn: psycopg.Connection, workflow: str
) -> None:
    worker = deployment.worker(processes=1, concurrency=2, max_crashes=1)
    [leaking] = deployment.start(workflow, {})
    leaky = deployment.gate.next()
    [beside] = deployment.start("held", {})
    held = deployment.gate.next()
    assert held.pid == leaky.pid

    leaky.command("leak")
    end_sessions = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE 'owsuper child%'"
    )
    while "gives its runs back and exits: it could get no file descriptors" not in worker.log:
        conn.execute(end_sessions)  # without a connection, the child needs descriptors
        time.sleep(0.2)
    held.command("go")
    deployment.gate.answer({}, until=deployment.ended([leaking, beside]))

    deployment.check([leaking, beside], repeats=0)
    assert deployment.crashes() == []
    [later] = deployment.start(workflow, {})
    step = deployment.gate.next()
    assert step.pid != leaky.pid
    step.command("go")
    deployment.wait_until_ended([later])
