"""``concurrency=`` of a workflow: how many of its runs one worker executes at once."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.supervisor.worker import FLOWS, Begin, Worker

REPORTS = """
def hold(path):
    note(f"begin {os.getpid()}")
    while not Path(path).exists():
        time.sleep(0.005)
    note(f"end {os.getpid()}")

@ow.workflow(concurrency=BOUND)
def report(step, input: dict):
    step.run("hold", hold, input["path"])

@ow.workflow("report", version="2")
def second_report(step, input: dict):
    step.run("hold", hold, input["path"])

def work():
    note(f"begin {os.getpid()}")
    time.sleep(0.005)
    note(f"end {os.getpid()}")

@ow.workflow("often", concurrency=2)
def often(step, input: dict):
    for number in range(3):
        step.run("work", work)
        step.sleep("pause", "1ms")
"""


def write(directory: Path, bound: int = 2) -> None:
    (directory / "flows.py").write_text(FLOWS + REPORTS.replace("BOUND", str(bound)))


def await_begun(worker: Worker, count: int) -> None:
    deadline = time.monotonic() + 60
    while sum(effect.startswith("begin") for effect in worker.effects()) < count:
        assert time.monotonic() < deadline, (worker.effects(), worker.log.text)
        time.sleep(0.005)  # a file can only be polled


def await_full(worker: Worker, workflows: list[str]) -> None:
    """Wait until the worker has announced that these have no slots left of their own."""
    deadline = time.monotonic() + 60
    while (status := worker.announced()) is None or status.get("full", []) != workflows:
        assert time.monotonic() < deadline, status
        time.sleep(0.05)  # a table can only be polled


def most_at_once(worker: Worker) -> int:
    """The most executions at one time, by their effects; killed processes execute nothing."""
    executing: Counter[str] = Counter()
    killed: set[str] = set()
    most = 0
    for effect in worker.effects():
        match effect.split():
            case ["begin", pid] if pid not in killed:
                executing[pid] += 1
            case ["end", pid] if pid not in killed:
                executing[pid] -= 1
            case ["killing", pid]:
                killed.add(pid)
                executing.pop(pid, None)
        most = max(most, executing.total())
    return most


def test_other_workflows_have_the_slots_that_a_workflow_may_not_take(
    begin: Begin, tmp_path: Path
) -> None:
    write(tmp_path)
    worker = begin("--concurrency=2", "--poll-interval=1h")
    path = tmp_path / "go"
    reports = [worker.start("report", path=str(path)) for _ in range(6)]
    reports.append(worker.start("report", path=str(path), version="2"))
    await_begun(worker, 2)
    others = [worker.start("record", text=str(number)) for number in range(10)]
    for run in others:
        worker.await_outcome(run)
    assert most_at_once(worker) == 2
    await_full(worker, ["report"])
    path.touch()
    for run in reports:
        worker.await_outcome(run)  # the end of one makes room for the next, without a poll
    assert most_at_once(worker) == 2
    assert worker.stop() == 0


@pytest.mark.slow
def test_a_run_that_waits_leaves_its_place_to_another(begin: Begin, tmp_path: Path) -> None:
    write(tmp_path)
    worker = begin("--concurrency=3", "--poll-interval=1h")
    runs = [worker.start("often") for _ in range(8)]
    for run in runs:
        worker.await_outcome(run)
    assert most_at_once(worker) <= 2
    assert sum(effect.startswith("end") for effect in worker.effects()) == 24


@pytest.mark.slow
def test_never_more_runs_than_the_bound_while_children_are_killed(
    begin: Begin, tmp_path: Path
) -> None:
    write(tmp_path)
    worker = begin("--concurrency=3", "--max-crashes=100", OWSUPER_PROCESSES="3")
    runs = [worker.start("often") for _ in range(60)]
    for number in range(6):
        await_begun(worker, 20 * (number + 1))
        worker.log.wait_for("child ready", count=number + 3)
        child = worker.children()[number]
        with (tmp_path / "effects").open("a") as effects:
            effects.write(f"killing {child}\n")
        os.kill(child, signal.SIGKILL)
    for run in runs:
        worker.await_completed(run)
    assert most_at_once(worker) == 2
    assert worker.stop() == 0


@pytest.mark.slow
def test_a_reload_changes_the_bound(begin: Begin, tmp_path: Path) -> None:
    write(tmp_path, bound=1)
    worker = begin("--concurrency=2", "--poll-interval=1h")
    path = tmp_path / "go"
    runs = [worker.start("report", path=str(path)) for _ in range(4)]
    await_begun(worker, 1)
    write(tmp_path, bound=3)
    worker.program.signal(signal.SIGHUP)
    await_begun(worker, 3)
    path.touch()
    for run in runs:
        worker.await_outcome(run)
    assert most_at_once(worker) == 3
