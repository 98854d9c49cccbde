"""Recorded histories are replayed by other code, and the first step that does not fit is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from owsuper import AsyncStep, OpenWorkflow, Step
from owsuper.core.model import ChildRunState
from owsuper.core.retry import DEADLINE_ERROR
from owsuper.db.clients import RunRow
from owsuper.errors import ConfigurationError
from owsuper.testing import InProcessWorker
from owsuper.testing.exported import ExportedHistories, encode
from owsuper.testing.replaying import Misfit, RecordedRun, Replayer

Body = Callable[..., Any]


def application(body: Body) -> OpenWorkflow:
    ow = OpenWorkflow("postgresql://nobody@127.0.0.1:1/nowhere")
    ow.workflow("main")(body)
    ow.workflow("child")(lambda step: step.run("pack", lambda: "packed"))
    return ow


def record(body: Body, *, finished: bool = True, signals: Any = (("go", 1),)) -> RecordedRun:
    """The history of a run by ``body``, which waits for the signal ``go`` if it has not ended."""
    ow = application(body)
    workflow = ow.registry.get("main")
    assert workflow is not None
    with InProcessWorker(ow) as worker:
        run_id = worker.start(workflow)
        if finished:
            worker.finish(run_id, signals)
        else:
            worker.run_until_idle()
        run = worker.tables.runs[run_id]

        def text(value: Any) -> str | None:
            return None if value is None else json.dumps(value)

        row = RunRow(
            id=run.id,
            workflow_name=run.workflow_name,
            version=run.version,
            status=run.status,
            attempts=run.attempts,
            idempotency_key=None,
            input=None,
            output=text(run.output),
            error=text(run.error),
            worker_id=None,
            available_at=run.available_at,
            deadline_at=None,
            created_at=run.created_at,
            started_at=run.started_at,
            finished_at=run.finished_at,
            updated_at=run.created_at,
            began_at=None,
            parent_run_id=None,
            parent_step_name=None,
        )
        return RecordedRun(row, worker.tables.history(run_id))


def replay(history: RecordedRun, body: Body, *, after: str = "0s") -> Misfit | None:
    later = history.run.created_at + timedelta(days=400)
    with Replayer(application(body).registry, now=later) as replayer:
        found = replayer.replay(history)
        assert replayer.replay(history) == found  # it leaves nothing behind
    exported = ExportedHistories()
    line = encode(history, lambda _: b"null")
    [read] = exported.read([line], "a file")
    assert read == history
    with Replayer(
        application(body).registry, now=later, read_input=exported.read_input
    ) as replayer:
        assert replayer.replay(read) == found
    return found


def fit(*_: Any) -> Any:
    raise AssertionError("a step was executed")


def base(step: Step) -> Any:
    first = step.run("first", lambda: 1)
    step.sleep("nap", "1h")
    go = step.wait_for_signal("go")
    child = step.run_workflow("child")
    pair = step.parallel(lambda: step.run("a", lambda: 2), lambda: step.run("b", lambda: 3))
    return [first, go and go.data, child, pair]


def same(step: Step) -> Any:
    """``base``, with functions that must not be called."""
    first = step.run("first", fit)
    step.sleep("nap", "1h")
    go = step.wait_for_signal("go")
    child = step.run_workflow("child")
    pair = step.parallel(lambda: step.run("a", fit), lambda: step.run("b", fit))
    return [first, go and go.data, child, pair]


async def asame(step: AsyncStep) -> Any:
    first = await step.run("first", fit)
    await step.sleep("nap", "1h")
    go = await step.wait_for_signal("go")
    child = await step.run_workflow("child")
    pair = [await step.run("a", fit), await step.run("b", fit)]
    return [first, go and go.data, child, pair]


@pytest.mark.parametrize("body", [same, asame], ids=["def", "async def"])
@pytest.mark.parametrize("finished", [True, False], ids=["ended", "in progress"])
def test_the_same_steps_fit_and_none_is_executed(body: Body, finished: bool) -> None:
    assert replay(record(base, finished=finished), body) is None


def renamed(step: Step) -> Any:
    step.run("other", fit)


def reordered(step: Step) -> Any:
    step.sleep("nap", "1h")
    step.run("second", fit)
    step.run("first", fit)


def other_kind(step: Step) -> Any:
    step.sleep("first", "1h")


def shorter(step: Step) -> Any:
    return step.run("first", fit)


def longer(step: Step) -> Any:
    result = same(step)
    step.run("new", fit)
    return result


def longer_by_a_sleep(step: Step) -> Any:
    result = same(step)
    step.sleep("new", "1h")
    return result


def other_result(step: Step) -> Any:
    return [*same(step), "more"]


def broken(step: Step) -> Any:
    step.run("first", fit)
    raise KeyError("oops")


MISFITS: dict[str, tuple[Body, str | None, str]] = {
    "a renamed step": (renamed, "other", "first"),
    "another order": (reordered, "second", "first"),
    "another kind": (other_kind, "first", "sleep"),
    "fewer steps": (shorter, "nap", "nap"),
    "another result": (other_result, None, "another result than was stored"),
    "an error": (broken, None, "the code raises KeyError: 'oops'"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_the_first_step_that_does_not_fit_is_named(name: str) -> None:
    body, step, reason = MISFITS[name]
    found = replay(record(base), body)
    assert found is not None
    assert (found.workflow_name, found.step) == ("main", step)
    assert reason in found.reason


@pytest.mark.parametrize("body", [longer, longer_by_a_sleep])
def test_a_new_step_at_the_end_fits_runs_in_progress_alone(body: Body) -> None:
    assert replay(record(base, finished=False), body) is None
    found = replay(record(base), body)
    assert found is not None
    assert found.step == "new"
    assert "the code calls this step, and the run ended without it" in found.reason


def test_a_run_that_failed_fits_code_that_fails() -> None:
    def fails(step: Step) -> Any:
        step.run("first", lambda: 1)
        raise ValueError("no")

    def fails_otherwise(step: Step) -> Any:
        step.run("first", fit)
        raise KeyError("no")

    history = record(fails, signals=())
    assert replay(history, fails_otherwise) is None
    found = replay(history, shorter)
    assert found is not None
    assert found.reason == "the code returns, and the run had failed"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("canceled", None),
        ("failed", DEADLINE_ERROR),
        ("failed", {"name": "ProcessCrashed", "message": "its process died", "crashes": []}),
    ],
    ids=["canceled", "past its deadline", "given up for its crashes"],
)
@pytest.mark.parametrize("body", [base, longer])
def test_a_run_that_did_not_come_to_its_end_might_have_gone_on(
    body: Body, status: str, error: Any
) -> None:
    history = record(base, finished=False)
    stored = None if error is None else json.dumps(error)
    run = replace(history.run, status=status, error=stored)
    assert replay(replace(history, run=run), body) is None
    never_began = replace(history, run=run, attempts=[])
    assert replay(never_began, same) is None


@pytest.mark.parametrize("status", ["canceled", "running"])
def test_code_that_has_lost_an_undo_does_not_fit_a_run_that_needs_it(status: str) -> None:
    def charges(step: Step) -> Any:
        step.run("charge", lambda: 1, undo=lambda _: None)
        step.wait_for_signal("go")

    def without(step: Step) -> Any:
        step.run("charge", fit)
        step.wait_for_signal("go")

    def fails_early(step: Step) -> Any:
        raise ValueError("no")

    history = record(charges, finished=False)
    history = replace(history, run=replace(history.run, status=status))
    assert replay(history, charges) is None
    found = replay(history, without)
    assert found is not None
    assert (found.step, found.reason) == (
        "charge",
        "the step has an undo, and the code gives it none",
    )
    completed = record(charges)
    assert completed.run.status == "completed"
    assert replay(completed, without) is None
    if status != "running":
        assert replay(history, fails_early) is not None


def test_a_workflow_that_is_gone_is_an_error() -> None:
    history = record(base)
    with (
        Replayer(OpenWorkflow().registry, now=history.run.created_at) as replayer,
        pytest.raises(LookupError, match="main"),
    ):
        replayer.replay(history)


def test_a_run_that_continued_as_new_is_replayed() -> None:
    def continues(step: Step) -> None:
        step.run("tick", lambda: 1)
        step.continue_as_new()

    def returns(step: Step) -> None:
        step.run("tick", lambda: 1)

    continued, returned = record(returns, signals=()), record(returns, signals=())
    continued = replace(continued, run=replace(continued.run, continued_as="next"))
    assert replay(continued, continues) is None
    assert replay(returned, returns) is None
    misfit = replay(continued, returns)
    assert misfit is not None
    assert misfit.reason == "the code returns, and the run had continued as new"
    misfit = replay(returned, continues)
    assert misfit is not None
    assert misfit.reason == "the code continues as new, and the run had returned"


def test_runs_that_were_past_a_patch_replay_its_old_branch() -> None:
    def patched(step: Step) -> Any:
        first = step.run("first", fit)
        if step.patched("more"):
            step.run("more", fit)
        step.sleep("nap", "1h")
        go = step.wait_for_signal("go")
        child = step.run_workflow("child")
        pair = step.parallel(lambda: step.run("a", fit), lambda: step.run("b", fit))
        if step.patched("more"):
            step.run("more-2", fit)
        return [first, go and go.data, child, pair]

    for finished in (True, False):
        assert replay(record(base, finished=finished), patched) is None


def test_a_patch_at_the_end_of_runs_that_have_ended_fits() -> None:
    def patched(step: Step) -> Any:
        result = same(step)
        if step.patched("more"):
            step.run("more", fit)
        return result

    assert replay(record(base), patched) is None


def test_a_run_of_the_new_branch_fits_the_code_without_the_patch_and_no_other() -> None:
    def patched(step: Step) -> int:
        return step.run("new", lambda: 2) if step.patched("more") else step.run("old", lambda: 1)

    def cleaned(step: Step) -> int:
        return step.run("new", fit)

    def old(step: Step) -> int:
        return step.run("old", fit)

    history = record(patched, signals=())
    assert replay(history, patched) is None
    assert replay(history, cleaned) is None
    misfit = replay(history, old)
    assert misfit is not None
    assert misfit.step == "old"


def test_stored_values_that_are_upgraded_fit() -> None:
    def old(step: Step) -> int:
        return step.run("price", lambda: 7)

    history = record(old, signals=())
    ow = OpenWorkflow("postgresql://nobody@127.0.0.1:1/nowhere")

    @ow.workflow("main")
    def main(step: Step) -> int:
        return len(step.run("price", fit, type=str))

    def misfit() -> Misfit | None:
        with Replayer(ow.registry, now=history.run.created_at + timedelta(days=1)) as replayer:
            return replayer.replay(history)

    found = misfit()
    assert found is not None
    assert "InvalidData" in found.reason
    main.upcast(step="price")(lambda stored: "x" * stored)
    assert misfit() is None


def test_runs_of_older_versions_are_replayed_by_a_compatible_one() -> None:
    history = record(base)
    ow = OpenWorkflow("postgresql://nobody@127.0.0.1:1/nowhere")
    ow.workflow("child")(lambda step: "packed")
    ow.workflow("main", version="2", compatible_with=[None])(same)
    with Replayer(ow.registry, now=history.run.created_at + timedelta(days=400)) as replayer:
        assert replayer.replay(history) is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "no JSON",
            "a file, line 2: this is no history that owsuper runs export has printed: JSON",
        ),
        ("{}", "a file, line 2: this is no history .* missing required field"),
        ("[]", "a file, line 2: this is no history .* Expected `object`"),
        ("\ud800", "a file, line 2: this is no history"),
    ],
)
def test_a_line_that_is_no_history_is_named(line: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        list(ExportedHistories().read(["", line], "a file"))


def test_the_inputs_of_child_runs_are_exported_with_the_history() -> None:
    history = record(base)
    answers = [each.answer for each in history.attempts]
    [child] = [each.run_id for each in answers if isinstance(each, ChildRunState)]
    exported = ExportedHistories()
    line = encode(history, lambda run_id: json.dumps(run_id).encode())
    assert list(exported.read([line], "a file")) == [history]
    assert exported.read_input(child) == f'"{child}"'.encode()
    assert exported.read_input("another") is None


def test_a_history_of_another_format_is_named() -> None:
    line = encode(record(base), lambda _: None)
    line = line.replace('"format":1', '"format":2')
    with pytest.raises(ConfigurationError, match=r"format 2, not 1\)\. Export and replay with the"):
        list(ExportedHistories().read([line], "a file"))
