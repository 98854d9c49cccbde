"""Real workers as operators see them: `owsuper ps`, `owsuper why`, and the same in programs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from owsuper import OpenWorkflow, ReasonKind, WorkerState, WorkerStatus
from tests.acceptance.deployment import Deployment, wait_until_dead
from tests.acceptance.tables import eventually


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    client = OpenWorkflow(database_url, schema=schema)
    yield client
    client.close()


def eventually_one(ow: OpenWorkflow, is_so: Callable[[WorkerStatus], bool]) -> WorkerStatus:
    """Wait until there is one worker, for which this is so."""
    found: list[WorkerStatus] = []

    def look() -> bool:
        found[:] = ow.list_workers()
        return len(found) == 1 and is_so(found[0])

    eventually("one worker is announced so", look)
    return found[0]


def steps_in(worker: WorkerStatus) -> list[str | None]:
    return [run.steps for process in worker.processes for run in process.runs]


def test_a_worker_is_listed_with_what_each_of_its_processes_does(
    deployment: Deployment, ow: OpenWorkflow
) -> None:
    worker = deployment.worker(processes=2, concurrency=1)
    [run] = deployment.start("held", {})
    step = deployment.gate.next()
    listed = eventually_one(ow, lambda each: steps_in(each) == ["held"])
    assert (listed.pid, listed.state, listed.slots) == (worker.pid, WorkerState.SERVING, 2)
    assert listed.serves("held", None)
    assert listed.rss_bytes is not None
    assert {each.pid for each in listed.processes} == set(worker.children())
    [busy] = [each for each in listed.processes if each.runs]
    [executing] = busy.runs
    assert (busy.pid, executing.run_id, executing.steps) == (step.pid, run, "held")
    assert executing.workflow_name == "held"
    [reason] = ow.get_run(run).why()
    assert reason.kind is ReasonKind.RUNNING
    assert f"(pid {step.pid})" in reason.message
    step.command("go")
    deployment.wait_until_ended([run])
    eventually_one(ow, lambda each: each.free == 2)
    worker.stop()
    assert ow.list_workers() == []


@pytest.mark.slow
@pytest.mark.once
def test_a_run_that_finds_all_slots_busy_says_so_and_that_its_worker_drains(
    deployment: Deployment, ow: OpenWorkflow
) -> None:
    worker = deployment.worker(processes=1, concurrency=1)
    [held] = deployment.start("held", {})
    step = deployment.gate.next()
    eventually_one(ow, lambda each: bool(steps_in(each)))
    [waiting] = deployment.start("held", {})

    def kind() -> ReasonKind:
        return ow.get_run(waiting).why()[0].kind

    assert kind() is ReasonKind.SLOTS_BUSY
    worker.program.terminate()
    eventually_one(ow, lambda each: each.state is WorkerState.DRAINING)
    assert kind() is ReasonKind.NOT_SERVING
    step.command("go")
    worker.program.wait()
    assert kind() is ReasonKind.NO_WORKER
    deployment.wait_until_ended([held])


@pytest.mark.slow
@pytest.mark.once
def test_a_suspect_that_waits_for_a_child_of_its_own_is_said_to(
    deployment: Deployment, ow: OpenWorkflow
) -> None:
    deployment.worker(processes=1, concurrency=2)
    [first] = deployment.start("held", {})
    step = deployment.gate.next()
    [second] = deployment.start("held", {})
    other = deployment.gate.next()
    os.kill(step.pid, signal.SIGKILL)  # both are suspects now, and there is one child
    again = deployment.gate.next()
    del other
    [waits] = {first, second} - {again.run}

    def suspect() -> bool:
        return ow.get_run(waits).why()[0].kind is ReasonKind.SUSPECT

    eventually("the other suspect waits", suspect)
    again.command("go")
    deployment.gate.next().command("go")
    deployment.wait_until_ended([first, second])


@pytest.mark.slow
@pytest.mark.once
def test_a_worker_that_was_killed_as_a_whole_is_missing_until_another_notices(
    deployment: Deployment, ow: OpenWorkflow
) -> None:
    worker = deployment.worker()
    eventually_one(ow, lambda each: each.state is WorkerState.SERVING)
    worker.signal_all(signal.SIGKILL)
    wait_until_dead(worker.processes())
    eventually_one(ow, lambda each: each.state is WorkerState.MISSING)
    successor = deployment.worker()
    eventually_one(ow, lambda each: each.pid == successor.pid)
    successor.stop()
