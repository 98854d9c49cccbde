"""Runs in the process of a test are undone, with replaced functions and with faults."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest

from owsuper import AsyncStep, NonRetryableError, OpenWorkflow, RunCanceled, Step, StepFailed
from owsuper.errors import RunNotRerunnable
from owsuper.testing import (
    InProcessWorker,
    crash_after,
    crash_in,
    fail,
    fail_once,
    run_in_process,
    survives_crashes,
)

ow = OpenWorkflow("postgresql:///nowhere")
undone: list[str] = []


@pytest.fixture(autouse=True)
def nothing_undone() -> None:
    undone.clear()


def do(name: str) -> str:
    return name.upper()


def undo(result: str) -> None:
    undone.append(result)


async def aundo(result: str) -> None:
    undone.append(result)


@ow.workflow
def failing(step: Step) -> None:
    step.run("a", do, "a", undo=undo)
    step.sleep("nap", "1h")
    step.run("b", do, "b", undo=aundo)
    raise ValueError("no")


@ow.workflow
def waiting(step: Step) -> str:
    step.run("a", do, "a", undo=undo)
    step.sleep("nap", "1h")
    return step.run("b", do, "b", undo=undo)


def test_a_run_that_fails_is_undone() -> None:
    run = run_in_process(failing)
    assert run.error is not None
    assert (run.error.message, list(run.undos)) == ("no", ["undo b", "undo a"])
    assert [(step.status, step.attempts) for step in run.undos.values()] == [("completed", 1)] * 2
    assert undone == ["B", "A"]
    assert list(run.steps) == ["a", "nap", "b"]


def test_undos_are_replaced_like_steps_and_have_faults() -> None:
    replaced: list[str] = []
    run = run_in_process(
        failing,
        steps={"undo a": replaced.append},
        faults=[fail_once("undo b", OSError("away")), crash_in("undo a")],
    )
    assert {name: step.attempts for name, step in run.undos.items()} == {"undo b": 2, "undo a": 1}
    assert (undone, replaced) == (["B"], ["A"])


def test_an_undo_that_fails_for_good_leaves_the_rest() -> None:
    run = run_in_process(failing, faults=[fail("undo b", NonRetryableError("closed"), times=1)])
    assert list(run.undos) == ["undo b"]
    error = run.undos["undo b"].error
    assert error is not None
    assert error.message == "closed"
    assert undone == []


def test_a_run_that_is_canceled_is_undone() -> None:
    with InProcessWorker(ow) as worker:
        run_id = worker.start(waiting)
        worker.run_until_idle()
        worker.cancel(run_id)
        worker.finish(run_id)
        run = worker.read(waiting, run_id)
        with pytest.raises(RunCanceled):
            _ = run.result
        assert list(run.undos) == ["undo a"]
        assert run.undone_by is not None
        assert worker.read(waiting, run.undone_by).output is None
        with pytest.raises(RunNotRerunnable, match="its steps are undone"):
            worker.rerun(run_id, "nap")
        with pytest.raises(RunNotRerunnable, match="it undoes another run"):
            worker.rerun(run.undone_by)


def test_copied_steps_are_not_undone() -> None:
    with InProcessWorker(ow) as worker:
        run_id = worker.start(waiting)
        worker.finish(run_id)
        again = worker.rerun(run_id, "b")
        worker.cancel(again)
        worker.finish(again)
        assert worker.read(waiting, again).undone_by is None


@ow.workflow
def turning(step: Step) -> None:
    step.run("a", do, "a", undo=undo)
    step.run("b", do, "b")
    step.undo_all()
    step.run("c", do, "c")


def test_no_rerun_keeps_a_step_without_its_undo() -> None:
    with InProcessWorker(ow) as worker:
        run_id = worker.start(turning)
        worker.finish(run_id)
        with pytest.raises(RunNotRerunnable, match="its steps are undone"):
            worker.rerun(run_id, "b")
        for step in ("a", "c"):
            worker.rerun(run_id, step)


@pytest.mark.parametrize("workflow", [failing, waiting])
def test_undos_survive_crashes(workflow: Any) -> None:
    survives_crashes(workflow)


# --- any plan, with crashes and failures anywhere ---------------------------------------------


@dataclass
class Program:
    """``steps``: for each step how often it fails, and whether it has an undo.

    ``undo_all`` is the place of an ``undo_all``, if there is one.
    """

    steps: list[tuple[int, bool]]
    undo_all: int | None


effects: list[str] = []


def effect(name: str) -> str:
    effects.append(name)
    return name


def take_back(name: str) -> None:
    effects.append(f"undo {name}")


@ow.workflow
def any_sync(step: Step, program: Program) -> None:
    for number, (_, has_undo) in enumerate(program.steps):
        if number == program.undo_all:
            step.undo_all()
        undo = take_back if has_undo else None
        step.run(f"s{number}", effect, f"s{number}", undo=undo)
        if number % 3 == 1:
            step.sleep("nap", "1h")
    raise ValueError("the end")


@ow.workflow
async def any_async(step: AsyncStep, program: Program) -> None:
    for number, (_, has_undo) in enumerate(program.steps):
        if number == program.undo_all:
            await step.undo_all()
        undo = take_back if has_undo else None
        try:
            await step.run(f"s{number}", effect, f"s{number}", undo=undo)
        except StepFailed:
            raise ValueError("the end") from None
        if number % 3 == 1:
            await step.sleep("nap", "1h")
    raise ValueError("the end")


@pytest.mark.parametrize("number", range(60))
def test_whatever_fails_and_dies_each_undo_takes_effect_once_and_in_order(number: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    steps = [(rng.choice([0, 0, 1]), rng.random() < 0.7) for _ in range(rng.randrange(1, 7))]
    program = Program(steps, rng.choice([None, rng.randrange(len(steps))]))
    faults = [
        fail_once(name, OSError())
        for n, (fails, has_undo) in enumerate(steps)
        for name in [f"s{n}", *([f"undo s{n}"] if has_undo else [])]
        if fails
    ]
    faults += [crash_after(rng.randrange(1, 20)) for _ in range(rng.randrange(3))]
    effects.clear()
    run = run_in_process(any_sync if number % 2 else any_async, program, faults=faults)
    assert run.error is not None
    assert run.error.message == "the end"

    done: list[str] = []
    for each in dict.fromkeys(effects):  # a crash may repeat the effect that was not committed
        if each.startswith("undo "):
            assert done.pop() == each.removeprefix("undo ")
        elif program.steps[int(each[1:])][1]:
            done.append(each)
    assert done == []
    on_purpose = {name for name in run.steps if name.startswith("undo ")}
    assert on_purpose | run.undos.keys() == {f"undo s{n}" for n, (_, u) in enumerate(steps) if u}
    assert not on_purpose & run.undos.keys()
