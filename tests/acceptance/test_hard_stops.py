"""Code that does not stop: at a time-out, at a deadline, when its run is canceled."""

from __future__ import annotations

import re
import signal
from contextlib import closing
from typing import Any

import pytest

from owsuper import OpenWorkflow
from tests.acceptance.deployment import Deployment, Worker
from tests.acceptance.tables import eventually

WORKFLOWS = ["held", "held-async", "held-on-loop"]
GRACE = {"kill_grace": "300ms"}
SPIN, HOLD_INTERPRETER_LOCK = "spin", "hog 3600"
SLOW = pytest.mark.slow
KINDS = [
    pytest.param(workflow, word, marks=() if (workflow, word) == ("held", SPIN) else SLOW)
    for workflow in WORKFLOWS
    for word in (SPIN, HOLD_INTERPRETER_LOCK)
]


def attempts(deployment: Deployment, run: str) -> list[dict[str, Any]]:
    """The attempts of the step ``held``, oldest first."""
    rows = deployment.query(
        "SELECT status, error, started_at <= finished_at FROM {schema}.step_attempts"
        " WHERE workflow_run_id = $1 AND step_name = 'held' ORDER BY created_at, id",
        run,
    )
    return [{"status": row[0], "error": row[1], "in order": row[2]} for row in rows]


def cancel(deployment: Deployment, run: str) -> None:
    with closing(OpenWorkflow(deployment.url, schema=deployment.schema)) as ow:
        ow.get_run(run).cancel()


def one_slot(deployment: Deployment, **options: Any) -> Worker:
    return deployment.worker(processes=1, concurrency=1, **GRACE, **options)


@pytest.mark.parametrize(
    "workflow",
    ["held", pytest.param("held-async", marks=SLOW), pytest.param("held-on-loop", marks=SLOW)],
)
def test_a_step_that_spins_past_its_time_out_has_failed_and_is_tried_again(
    deployment: Deployment, workflow: str
) -> None:
    worker = one_slot(deployment, max_crashes=1)
    [run] = deployment.start(workflow, {"timeout": 2.5})
    first = deployment.gate.next()
    first.command(SPIN)
    second = deployment.gate.next()
    assert (second.run, second.step) == (run, "held")
    assert second.pid != first.pid
    second.command("go")
    deployment.wait_until_ended([run])

    deployment.check([run], repeats=1)
    failed, completed = attempts(deployment, run)
    assert (failed["status"], completed["status"]) == ("failed", "completed")
    assert failed["in order"]
    assert failed["error"]["name"] == "StepTimedOut"
    assert failed["error"]["message"] == (
        "Step 'held' did not end within its timeout of 2.5 s, and did not stop, so its process was"
        " killed"
    )
    assert "in spin" in failed["error"]["stack"]
    assert deployment.crashes() == []
    worker.wait_for_log(rf"step has used half of its timeout of 2.5 s run_id={run} .*step=held")
    worker.wait_for_log(rf"code does not stop: timed out .*run_id={run} .*step=held")
    assert "run lost its process" not in worker.log


def test_a_step_that_holds_the_interpreter_lock_past_its_time_out_is_killed_too(
    deployment: Deployment,
) -> None:
    one_slot(deployment, max_crashes=1)
    [run] = deployment.start("held", {"timeout": 2.5})
    first = deployment.gate.next()
    first.command(HOLD_INTERPRETER_LOCK)
    second = deployment.gate.next()
    assert second.pid != first.pid
    second.command("go")
    deployment.wait_until_ended([run])
    deployment.check([run], repeats=1)
    assert [each["status"] for each in attempts(deployment, run)] == ["failed", "completed"]
    assert attempts(deployment, run)[0]["error"]["name"] == "StepTimedOut"
    assert re.search(
        r'File ".*commands.py", line \d+ in hog', attempts(deployment, run)[0]["error"]["stack"]
    )
    assert deployment.crashes() == []


def test_runs_beside_it_reach_a_step_boundary_and_go_on_elsewhere_uncharged(
    deployment: Deployment,
) -> None:
    worker = deployment.worker(processes=1, concurrency=3, kill_grace="30s", max_crashes=1)
    others = deployment.start("held", {}) + deployment.start("held-async", {})
    beside = deployment.gate.take(2)
    [stuck] = deployment.start("held", {"timeout": 2.5})
    first = deployment.gate.next()
    assert {each.pid for each in beside} == {first.pid}
    first.command(SPIN)
    worker.wait_for_log(rf"code does not stop: timed out .*run_id={stuck}", count=1)
    for each in beside:
        each.command("go")
    again = deployment.gate.answer({}, until=deployment.ended([stuck, *others]))

    assert [each.run for each in again] == [stuck]
    deployment.check(others, repeats=0)
    deployment.check([stuck], repeats=1)
    assert deployment.crashes() == []
    assert first.pid not in worker.children()


@pytest.mark.slow
def test_runs_beside_it_that_reach_no_step_boundary_in_time_are_not_charged_either(
    deployment: Deployment,
) -> None:
    deployment.worker(processes=1, concurrency=2, max_crashes=1, **GRACE)
    [other] = deployment.start("held", {})
    beside = deployment.gate.next()
    [stuck] = deployment.start("held", {"timeout": 2.5})
    deployment.gate.next().command(SPIN)
    beside.wait_until_gone()
    deployment.gate.answer({}, until=deployment.ended([stuck, other]))
    deployment.check([stuck, other], repeats=2)
    assert [each["status"] for each in attempts(deployment, other)][-1] == "completed"
    assert "failed" not in [each["status"] for each in attempts(deployment, other)]
    assert deployment.crashes() == []


@pytest.mark.slow
def test_a_child_whose_code_ends_after_all_is_not_killed(deployment: Deployment) -> None:
    worker = deployment.worker(processes=1, concurrency=2, kill_grace="3s", max_crashes=1)
    [other] = deployment.start("held", {})
    beside = deployment.gate.next()
    [late] = deployment.start("held", {"timeout": 0.1})
    step = deployment.gate.next()
    worker.wait_for_log(rf"code does not stop: timed out .*run_id={late}")
    step.command("go")
    deployment.wait_until_ended([late])
    beside.command("go")
    deployment.wait_until_ended([other])
    deployment.check([late, other], repeats=0)
    assert [each["status"] for each in attempts(deployment, late)] == ["completed"]
    assert "killing a child" not in worker.log


@pytest.mark.parametrize(("workflow", "word"), KINDS)
def test_a_cancel_ends_code_that_does_not_stop(
    deployment: Deployment, workflow: str, word: str
) -> None:
    worker = one_slot(deployment, max_crashes=1)
    [run] = deployment.start(workflow, {})
    first = deployment.gate.next()
    first.command(word)
    cancel(deployment, run)
    worker.wait_for_log(rf"code does not stop: canceled, or claimed by another .*run_id={run}")
    [after] = deployment.start("held", {})
    second = deployment.gate.next()
    assert second.pid != first.pid
    second.command("go")
    deployment.wait_until_ended([after])
    assert deployment.run(run).status == "canceled"
    assert deployment.crashes() == []
    with closing(OpenWorkflow(deployment.url, schema=deployment.schema)) as ow:
        eventually("a post-mortem is kept", lambda: bool(ow.list_post_mortems(run)))
        [death] = ow.list_post_mortems(run)
    assert death.cause.startswith("killed: its code did not stop: canceled")
    assert "app.py" in (death.trace or "")
    assert not death.counted


@pytest.mark.parametrize(("workflow", "word"), KINDS)
def test_a_deadline_ends_code_that_does_not_stop(
    deployment: Deployment, workflow: str, word: str
) -> None:
    worker = one_slot(deployment, max_crashes=1)
    with closing(OpenWorkflow(deployment.url, schema=deployment.schema)) as ow:
        run = ow.run_workflow(workflow, {}, deadline_at="3s").id
    first = deployment.gate.next()
    first.command(word)
    worker.wait_for_log(rf"code does not stop: .*run_id={run}")
    [after] = deployment.start("held", {})
    second = deployment.gate.next()
    assert second.pid != first.pid
    second.command("go")
    deployment.wait_until_ended([run, after])
    failed = deployment.run(run)
    assert failed.status == "failed"
    assert failed.error == {"message": "Workflow run deadline exceeded"}
    assert deployment.crashes() == []


@pytest.mark.slow
def test_a_worker_that_drains_kills_overdue_code_too(deployment: Deployment) -> None:
    worker = one_slot(deployment, max_crashes=1)
    [run] = deployment.start("held", {"timeout": 2})
    deployment.gate.next().command(SPIN)
    worker.stop(signal.SIGTERM)
    assert [each["status"] for each in attempts(deployment, run)] == ["failed"]
    assert deployment.run(run).worker_id is None
    assert deployment.crashes() == []


# --- memory ----------------------------------------------------------------------------------


def test_a_run_that_makes_its_child_grow_is_charged_and_fails_in_the_end(
    deployment: Deployment,
) -> None:
    worker = one_slot(deployment, max_crashes=2, max_memory_per_child="200M")
    [run] = deployment.start("held", {})
    held = deployment.gate.answer({run: "eat 1000"}, until=deployment.ended([run]))
    assert len({each.pid for each in held}) == len(held) == 2
    failed = deployment.run(run)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error["name"] == "MemoryLimitExceeded"
    assert "memory limit of 200 MiB exceeded, with " in failed.error["message"]
    assert "in step 'held'" in failed.error["message"]
    worker.wait_for_log(r"child died: killed: memory limit of 200 MiB exceeded", count=2)
    [after] = deployment.start("held", {})
    deployment.gate.answer({}, until=deployment.ended([after]))
    deployment.check([after])


@pytest.mark.slow
def test_a_run_that_grows_in_a_child_that_drains_is_charged_too(deployment: Deployment) -> None:
    worker = one_slot(deployment, max_memory_per_child="200M", graceful_timeout="1h")
    [run] = deployment.start("held", {})
    held = deployment.gate.next()
    worker.program.signal(signal.SIGTERM)
    worker.wait_for_log("draining; runs to finish: 1")
    held.command("eat 1000")
    assert worker.program.wait() == 0
    assert deployment.crashes() == [run]
    assert "child died: killed: memory limit of 200 MiB exceeded" in worker.log


@pytest.mark.slow
def test_runs_beside_one_that_grows_are_not_charged(deployment: Deployment) -> None:
    deployment.worker(
        processes=1, concurrency=3, max_crashes=2, max_memory_per_child="200M", **GRACE
    )
    others = deployment.start("held", {}, {})
    deployment.gate.take(2)
    [growing] = deployment.start("held", {})
    deployment.gate.next().command("eat 1000")
    deployment.gate.answer({growing: "eat 1000"}, until=deployment.ended([growing, *others]))
    assert {run.status for run in deployment.runs(others)} == {"completed"}
    failed = deployment.run(growing)
    assert failed.error is not None
    assert failed.error["name"] == "MemoryLimitExceeded"
    assert deployment.crashes() == []


@pytest.mark.slow
def test_a_child_that_is_too_large_after_a_run_is_replaced_and_nobody_is_charged(
    deployment: Deployment,
) -> None:
    """Each run leaves a part of the room behind: the run that is too much has not grown much."""
    worker = one_slot(deployment, max_crashes=1, max_memory_per_child="300M")
    runs = []
    for _ in range(6):
        runs += deployment.start("leaky", {"megabytes": 60})
        deployment.wait_until_ended(runs)
    worker.wait_for_log(r"child .*over the memory limit .*rss_mb=")
    deployment.check(runs, repeats=1)  # if it was seen while a step was running
    assert len({each.pid for each in deployment.journal.executions()}) == 2
    assert deployment.crashes() == []


def test_a_limit_below_what_the_application_needs_is_named_and_not_enforced(
    deployment: Deployment,
) -> None:
    worker = one_slot(deployment, max_memory_per_child="10M")
    [run] = deployment.start("chain", {"steps": 2})
    deployment.wait_until_ended([run])
    deployment.check([run])
    worker.wait_for_log(r"--max-memory-per-child is not enforced: a child has \d+ MiB before")
    assert "killing" not in worker.log
