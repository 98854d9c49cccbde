"""Undos that somebody has done by hand are skipped; sync and async workflows."""

from __future__ import annotations

from typing import Any

import pytest

from owsuper import NonRetryableError, RunNotFound
from owsuper.errors import ConfigurationError, RunNotRetryable
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async
from tests.child.test_undoing import COMPLETED, Ledger, undo, undo_of


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def failed_undo(
    engine: Engine, as_workflow: AsWorkflow, ledger: Ledger, calls: Calls
) -> tuple[str, str]:
    """A run whose steps a, b and c are to be undone, and the run that failed to undo b."""
    refund = calls("refund", NonRetryableError("closed account"), NonRetryableError("closed"))

    def body(step: Any) -> Any:
        yield step.run("a", ledger.do, "a", undo=ledger.undo)
        yield step.run("b", ledger.do, "b", undo=lambda _: refund())
        yield step.run("c", ledger.do, "c", undo=ledger.undo)
        yield step.run("plain", ledger.do, "plain")
        raise ValueError

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    engine.finish(run_id)
    again = undo(engine, run_id)
    assert (again["status"], ledger.undone) == ("failed", ["undo C"])
    return run_id, again["id"]


@sync_and_async
class TestAnUndoThatIsSkipped:
    def test_is_not_called_again_and_the_rest_is_undone(
        self, engine: Engine, failed_undo: tuple[str, str], ledger: Ledger, calls: Calls
    ) -> None:
        _, undo_id = failed_undo
        handle = engine.ow.get_run(undo_id)
        handle.skip_undo("b", reason="refunded by phone", by="ana")
        assert engine.finish(undo_id)["status"] == COMPLETED
        assert (ledger.undone, calls.made) == (["undo C", "undo A"], ["refund"])
        attempts = engine.ow.list_step_attempts(undo_id).items
        [skipped] = [
            each for each in attempts if each.step_name == "undo b" and each.status == COMPLETED
        ]
        assert skipped.context == {"skipped": {"by": "ana", "reason": "refunded by phone"}}
        assert (skipped.output, skipped.error) == (None, None)
        [failure] = [each for each in attempts if each.retried_at is not None]
        assert (failure.step_name, failure.error.message) == ("undo b", "closed account")

    def test_may_be_one_that_is_not_executed_yet(
        self, engine: Engine, failed_undo: tuple[str, str], ledger: Ledger
    ) -> None:
        _, undo_id = failed_undo
        engine.ow.get_run(undo_id).skip_undo("a")
        assert engine.finish(undo_id)["status"] == "failed"  # b is as it was
        engine.ow.get_run(undo_id).skip_undo("b")
        assert engine.finish(undo_id)["status"] == COMPLETED
        assert ledger.undone == ["undo C"]

    def test_is_refused_where_it_is_not_left(
        self, engine: Engine, failed_undo: tuple[str, str]
    ) -> None:
        run_id, undo_id = failed_undo
        undone, undoing = engine.ow.get_run(run_id), engine.ow.get_run(undo_id)
        before = engine.row(undo_id), engine.steps(undo_id)
        for handle, step, reason in (
            (undone, "b", f"its steps are undone by run {undo_id}. Skip the undo there"),
            (
                undoing,
                "c",
                "this undo is finished, or skipped. Retry the run to go on with the others",
            ),
            (undoing, "undo b", "it has no such undo. Undos that are left: 'b', 'a'"),
            (undoing, "plain", "it has no such undo. Undos that are left: 'b', 'a'"),
        ):
            with pytest.raises(RunNotRetryable) as info:
                handle.skip_undo(step)
            assert str(info.value) == (
                f"Cannot skip the undo of step {step!r} in workflow run {handle.id} with status"
                f" failed: {reason}."
            )
        assert (engine.row(undo_id), engine.steps(undo_id)) == before
        undoing.retry()
        with pytest.raises(RunNotRetryable, match="with status pending: an undo is skipped when"):
            undoing.skip_undo("b")
        other = engine.start(workflow="other")
        with pytest.raises(RunNotRetryable, match="it undoes no run"):
            engine.ow.get_run(other).skip_undo("b")

    def test_need_not_be_known_to_the_code_any_more(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        has_undo = True

        def body(step: Any) -> Any:
            yield step.run("a", ledger.do, "a", undo=ledger.undo)
            yield step.run("b", ledger.do, "b", undo=ledger.undo if has_undo else None)
            raise ValueError

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        has_undo = False
        assert "its steps b have undos" in undo(engine, run_id)["error"]["message"]
        undo_id = undo_of(engine, run_id)
        engine.ow.get_run(undo_id).skip_undo("b")
        assert engine.finish(undo_id)["status"] == COMPLETED
        assert ledger.undone == ["undo A"]


def test_what_is_no_argument_is_refused(engine: Engine) -> None:
    handle, wrong = engine.ow.get_run("x"), 7
    for step in ("", None, wrong, "a\0"):
        with pytest.raises(ConfigurationError, match=r"^step: "):
            handle.skip_undo(step)  # type: ignore[arg-type]
    for option in ("reason", "by"):
        with pytest.raises(ConfigurationError, match=rf"^{option}: must be text of at most 1,000"):
            handle.skip_undo("a", **{option: "x" * 1001})
    with pytest.raises(RunNotFound):
        handle.skip_undo("a")
