"""Undos: what they get, when and in which order they are executed; sync and async workflows."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from owsuper import NonRetryableError, RetryPolicy, StepFailed
from owsuper.errors import RunNotRerunnable, RunNotRetryable
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, as_async, as_sync, sync_and_async

ONCE = RetryPolicy(maximum_attempts=1)
COMPLETED = "completed"


@dataclass
class Charge:
    amount: int


class Ledger:
    """What steps did and undos undid, in order."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def do(self, name: str) -> str:
        self.entries.append(name)
        return name.upper()

    def undo(self, result: str) -> object:
        self.entries.append(f"undo {result}")
        return object()  # what an undo returns need not be JSON

    async def aundo(self, result: str) -> None:
        await asyncio.sleep(0)
        self.entries.append(f"undo {result}")

    @property
    def undone(self) -> list[str]:
        return [each for each in self.entries if each.startswith("undo ")]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def fails() -> None:
    raise NonRetryableError("no")


def undo_of(engine: Engine, run_id: str) -> str:
    """Return the id of the run that undoes this one."""
    undone_by = engine.row(run_id)["context"]["undoneBy"]
    assert isinstance(undone_by, str)
    return undone_by


def undo(engine: Engine, run_id: str) -> dict[str, Any]:
    """Execute the run that undoes this one; return its row."""
    return engine.finish(undo_of(engine, run_id))


def all_runs(engine: Engine) -> list[str]:
    rows = engine.conn.execute(f'SELECT id FROM "{engine.schema}".workflow_runs').fetchall()
    return [run_id for (run_id,) in rows]


@sync_and_async
class TestAFailedRun:
    def test_is_undone_in_reverse_order_by_a_run_of_its_own(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", ledger.do, "a", undo=ledger.undo)
            yield step.run("plain", ledger.do, "plain")
            yield step.run("b", ledger.do, "b", undo=ledger.aundo)
            yield step.run("b", ledger.do, "b", undo=lambda result: ledger.undo(result + "2"))
            yield step.run("ship", fails, undo=ledger.undo)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        row = engine.finish(run_id)
        assert (row["status"], row["error"]["message"]) == ("failed", "no")
        assert ledger.undone == []

        again = undo(engine, run_id)
        assert ledger.entries == ["a", "plain", "b", "b", "undo B2", "undo B", "undo A"]
        assert (again["status"], again["output"], again["error"]) == (COMPLETED, None, None)
        assert (again["workflow_name"], again["context"]["undoOf"]) == ("undo:main", run_id)
        names = [(name, status) for name, status in engine.statuses(again["id"])]
        assert names == [(f"undo {name}", COMPLETED) for name in ("b:1", "b", "a")]
        assert {step["output"] for step in engine.steps(again["id"])} == {None}
        after = engine.row(run_id)
        assert (after["status"], after["error"]["message"]) == ("failed", "no")
        run, other = (engine.ow.get_run(each).details() for each in (run_id, again["id"]))
        assert (run.undone_by, run.undo_of) == (again["id"], None)
        assert (other.undone_by, other.undo_of) == (None, run_id)

    def test_that_has_retries_left_is_not_undone(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", ledger.do, "a", undo=ledger.undo)
            raise ValueError("again")

        policy = RetryPolicy(maximum_attempts=3, initial_interval="1s")
        engine.workflow(as_workflow(body), retry=policy)
        run_id = engine.start()
        for _ in range(2):
            assert engine.execute_once(run_id).outcome == "retrying"
            assert engine.row(run_id)["context"] is None
        assert engine.finish(run_id)["error"]["message"] == "again"
        undo(engine, run_id)
        assert ledger.entries == ["a", "undo A"]

    def test_that_catches_the_failure_of_a_step_is_not_undone(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", ledger.do, "a", undo=ledger.undo)
            with suppress(StepFailed):
                yield step.run("b", fails, undo=ledger.undo)
            return "went on"

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.finish(run_id)["output"] == "went on"
        assert all_runs(engine) == [run_id]

    def test_keeps_the_other_way_that_it_took(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        def body(step: Any) -> Any:
            try:
                yield step.run("a", fails, undo=ledger.undo)
            except StepFailed:
                yield step.run("b", ledger.do, "b", undo=ledger.undo)
            raise ValueError("late")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        assert undo(engine, run_id)["status"] == COMPLETED
        assert ledger.entries == ["b", "undo B"]

    def test_without_a_finished_step_has_nothing_to_undo(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", fails, undo=ledger.undo)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        again = undo(engine, run_id)
        assert (again["status"], engine.steps(again["id"])) == (COMPLETED, [])

    def test_gives_undos_the_result_as_its_type(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        undone: list[Any] = []

        def charge(amount: int) -> Charge:
            return Charge(amount)

        def body(step: Any) -> Any:
            charged = yield step.run("charge", charge, 7, undo=undone.append)
            charged.amount = 8  # of this object, and not of what is stored
            yield step.run("also", dict, undo=undone.append, type=dict[str, int])
            raise ValueError

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        undo(engine, run_id)
        assert undone == [{}, Charge(7)]

    def test_is_undone_in_the_order_of_completion_of_parallel_steps(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        first = threading.Event()

        def slow() -> str:
            assert first.wait(30)
            return ledger.do("slow")

        def fast() -> str:
            return ledger.do("fast")

        def body(step: Any) -> Any:
            one = step.submit("slow", slow, undo=ledger.undo)
            two = step.submit("fast", fast, undo=ledger.undo)
            yield two
            yield step.run("between", first.set)
            yield one
            yield step.map("each", ledger.do, ["x"], undo=ledger.undo)
            raise ValueError

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        assert undo(engine, run_id)["status"] == COMPLETED
        assert ledger.entries == ["fast", "slow", "x", "undo X", "undo SLOW", "undo FAST"]

    def test_undoes_child_runs_and_transactions(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        def child(step: Any) -> Any:
            return (yield step.run("c", ledger.do, "c"))

        def body(step: Any) -> Any:
            yield step.run_workflow("child", undo=ledger.undo)
            yield step.transaction("t", lambda conn: ledger.do("t"), undo=ledger.undo)
            raise ValueError

        engine.ow.workflow("child")(as_workflow(child))
        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "parked"
        (child_id,) = (each for each in all_runs(engine) if each != run_id)
        engine.finish(child_id)
        engine.finish(run_id)
        undo(engine, run_id)
        assert ledger.undone == ["undo T", "undo C"]
        assert engine.row(child_id)["context"] is None


@sync_and_async
class TestACanceledRun:
    def test_is_undone_whoever_cancels_it(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", ledger.do, "a", undo=ledger.undo)
            yield step.sleep("nap", "30m")
            yield step.run("b", ledger.do, "b", undo=ledger.undo)

        engine.workflow(as_workflow(body))
        runs = [engine.start() for _ in range(3)]
        for run_id in runs:
            assert engine.execute_once(run_id).outcome == "parked"
        engine.ow.get_run(runs[0]).cancel()
        cancel = f"""UPDATE "{engine.schema}".workflow_runs
            SET status = 'canceled', worker_id = NULL, available_at = NULL, finished_at = now()
            WHERE id = $1"""
        engine.conn.execute(cancel, [runs[1]])
        engine.conn.execute(
            f"""UPDATE "{engine.schema}".workflow_runs SET status = 'failed', available_at = NULL,
            error = '{{"message": "Workflow run deadline exceeded"}}' WHERE id = $1""",
            [runs[2]],
        )
        for run_id in runs:
            ledger.entries.clear()
            assert undo(engine, run_id)["status"] == COMPLETED
            assert ledger.entries == ["undo A"]
        assert len(all_runs(engine)) == 6
        engine.ow.get_run(runs[0]).cancel()  # without effect
        assert len(all_runs(engine)) == 6

    def test_is_told_its_own_id_while_it_is_replayed(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        told: list[str] = []

        def body(step: Any) -> Any:
            key = f"{step.run_id} {step.workflow_name}"
            step.set_attributes({"tenant": "7"})
            yield step.run("a", ledger.do, "a", undo=lambda _: told.append(key))
            yield step.sleep("nap", "30m")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.ow.get_run(run_id).cancel()
        row = undo(engine, run_id)
        assert told == [f"{run_id} main"]
        assert engine.ow.get_run(row["id"]).details().attributes == {"tenant": "7"}

    def test_that_comes_to_nothing_new_changes_nothing(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        goes_on = False

        def body(step: Any) -> Any:
            yield step.run("a", ledger.do, "a", undo=ledger.undo)
            if not goes_on:
                yield step.sleep("nap", "30m")
            step.set_progress(1, 2)
            step.set_attributes({"late": "yes"})
            step.patched("new")
            yield step.run("b", ledger.do, "b", undo=ledger.undo)
            step.continue_as_new()

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.ow.get_run(run_id).cancel()
        before = engine.row(run_id), engine.steps(run_id)
        goes_on = True
        assert undo(engine, run_id)["status"] == COMPLETED
        assert ledger.entries == ["a", "undo A"]
        assert (engine.row(run_id), engine.steps(run_id)) == before
        assert engine.ow.get_run(run_id).details().attributes == {}

    def test_is_replayed_with_its_deadline(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger, calls: Calls
    ) -> None:
        """A step whose retry would come after the deadline has failed, also when it is undone."""
        later = RetryPolicy(initial_interval="30m", maximum_interval="30m")
        fly = calls("fly", ValueError("no seat"))

        def body(step: Any) -> Any:
            with suppress(StepFailed):
                yield step.run("a", fly, retry=later)
            yield step.run("b", ledger.do, "b", undo=ledger.undo)
            raise ValueError

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.conn.execute(
            f'UPDATE "{engine.schema}".workflow_runs'
            " SET deadline_at = now() + interval '5 minutes' WHERE id = $1",
            [run_id],
        )
        assert engine.finish(run_id)["status"] == "failed"
        assert undo(engine, run_id)["status"] == COMPLETED
        assert (calls.made, ledger.entries) == (["fly"], ["b", "undo B"])

    def test_has_all_undos_of_its_branches(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        """A branch that has come to its end in the history does not keep the others from theirs."""

        def body(step: Any) -> Any:
            one = step.submit("a", ledger.do, "a", undo=ledger.undo)
            two = step.submit("late", fails, retry=RetryPolicy(initial_interval="30m"))
            yield one
            yield step.run("b", ledger.do, "b", undo=ledger.undo)
            yield two

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        undo(engine, run_id)
        assert ledger.undone == ["undo B", "undo A"]


class TestBranches:
    def test_of_parallel_are_replayed_to_their_ends(self, engine: Engine, ledger: Ledger) -> None:
        def branch(step: Any, name: str) -> None:
            step.run(name, ledger.do, name, undo=ledger.undo)
            step.sleep(f"nap {name}", "30m")
            step.run(f"{name} again", ledger.do, name)

        def body(step: Any) -> None:
            step.parallel(*(partial(branch, step, name) for name in "abc"))

        engine.workflow(body)
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.ow.get_run(run_id).cancel()
        undo(engine, run_id)
        assert sorted(ledger.undone) == ["undo A", "undo B", "undo C"]

    def test_of_gather_are_replayed_to_their_ends(self, engine: Engine, ledger: Ledger) -> None:
        async def branch(step: Any, name: str) -> None:
            await step.run(name, ledger.do, name, undo=ledger.aundo)
            await step.sleep(f"nap {name}", "30m" if name != "a" else "20m")
            await step.run(f"{name} again", ledger.do, name)

        async def body(step: Any) -> None:
            await asyncio.gather(*(branch(step, name) for name in "abc"))

        engine.workflow(body)
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.ow.get_run(run_id).cancel()
        undo(engine, run_id)
        assert sorted(ledger.undone) == ["undo A", "undo B", "undo C"]

    @pytest.mark.parametrize("grouped", [False, True], ids=["gather", "group"])
    def test_beside_one_that_fails_late_are_replayed_to_their_ends(
        self, engine: Engine, ledger: Ledger, grouped: bool
    ) -> None:
        async def body(step: Any) -> None:
            over = asyncio.Event()

            async def fly() -> None:
                await over.wait()
                raise NonRetryableError("no seat")

            def do(name: str) -> Any:
                return step.run(name, ledger.do, name, undo=ledger.undo)

            async def other() -> None:
                for name in "ab":
                    await asyncio.gather(do(name), do(f"{name}2"))
                await do("last")
                over.set()
                await step.sleep("nap", "30m")

            if grouped:
                async with asyncio.TaskGroup() as group:
                    group.create_task(step.run("fly", fly))
                    group.create_task(other())
            else:
                await asyncio.gather(step.run("fly", fly), other())

        engine.workflow(body)
        run_id = engine.start()
        assert engine.finish(run_id)["status"] == "failed"
        assert undo(engine, run_id)["status"] == COMPLETED
        assert sorted(ledger.undone) == [f"undo {name}" for name in ("A", "A2", "B", "B2", "LAST")]


@sync_and_async
class TestAnUndoThatFails:
    def test_is_retried(self, engine: Engine, as_workflow: AsWorkflow, calls: Calls) -> None:
        refund = calls("refund", ValueError("not now"), None)

        def body(step: Any) -> Any:
            yield step.run("a", dict, undo=lambda _: refund())
            raise ValueError

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        again = undo_of(engine, run_id)
        assert engine.execute_once(again).outcome == "retrying"
        assert engine.finish(again)["status"] == COMPLETED
        assert engine.statuses(again) == [("undo a", "failed"), ("undo a", COMPLETED)]

    def test_for_good_keeps_those_before_it_until_somebody_retries(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger, calls: Calls
    ) -> None:
        refund = calls("refund", NonRetryableError("closed account"), None)

        def body(step: Any) -> Any:
            yield step.run("a", ledger.do, "a", undo=ledger.undo)
            yield step.run("b", ledger.do, "b", undo=lambda _: refund())
            yield step.run("c", ledger.do, "c", undo=ledger.undo)
            raise ValueError

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        again = undo(engine, run_id)
        assert (again["status"], again["error"]["message"]) == ("failed", "closed account")
        assert ledger.undone == ["undo C"]

        with pytest.raises(RunNotRetryable, match=f"run {again['id']} undoes its steps"):
            engine.ow.get_run(run_id).retry()
        engine.ow.get_run(again["id"]).retry()
        assert engine.finish(again["id"])["status"] == COMPLETED
        assert ledger.undone == ["undo C", "undo A"]
        assert calls.made == ["refund", "refund"]


@sync_and_async
class TestUndoAll:
    def test_undoes_what_is_done_and_the_run_goes_on(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        def body(step: Any) -> Any:
            yield step.undo_all()  # nothing so far
            yield step.run("a", ledger.do, "a", undo=ledger.undo)
            yield step.run("undo a", ledger.do, "name")  # a name that is taken
            yield step.run("b", ledger.do, "b", undo=ledger.aundo)
            yield step.undo_all()
            yield step.undo_all()
            yield step.sleep("nap", "30m")
            yield step.run("a", ledger.do, "a2", undo=ledger.undo)
            yield step.sleep("nap", "30m")
            return "done"

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        assert ledger.entries == ["a", "name", "b", "undo B", "undo A"]
        engine.execute_once(run_id)
        assert ledger.entries[5:] == ["a2"]
        engine.ow.get_run(run_id).cancel()
        assert undo(engine, run_id)["status"] == COMPLETED
        assert ledger.entries[6:] == ["undo A2"]
        assert ("undo a:1", COMPLETED) in engine.statuses(run_id)

    def test_that_fails_leaves_the_rest_to_the_end_of_the_run(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger, calls: Calls
    ) -> None:
        refund = calls("refund", NonRetryableError("closed"), None)

        def body(step: Any) -> Any:
            yield step.run("a", ledger.do, "a", undo=ledger.undo)
            yield step.run("b", ledger.do, "b", undo=lambda _: refund())
            yield step.run("c", ledger.do, "c", undo=ledger.undo)
            yield step.undo_all()

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.finish(run_id)["error"]["message"] == "closed"
        assert ledger.undone == ["undo C"]
        again = undo(engine, run_id)
        assert again["status"] == COMPLETED
        assert ledger.undone == ["undo C", "undo A"]
        assert engine.statuses(again["id"]) == [("undo b", COMPLETED), ("undo a", COMPLETED)]


@sync_and_async
class TestChangedCode:
    def test_that_does_not_come_to_a_step_undoes_nothing_and_says_so(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        broken = False

        def body(step: Any) -> Any:
            yield step.run("a", ledger.do, "a", undo=ledger.undo)
            if broken:
                raise KeyError("oops")
            yield step.run("b", ledger.do, "b", undo=ledger.undo)
            raise ValueError

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        broken = True
        again = undo(engine, run_id)
        assert again["error"]["name"] == "NonDeterminismError"
        for part in (f"run {run_id}: its steps b have undos", "raises KeyError: 'oops'"):
            assert part in again["error"]["message"]
        assert ledger.undone == []
        broken = False
        engine.ow.get_run(again["id"]).retry()
        assert engine.finish(again["id"])["status"] == COMPLETED
        assert ledger.undone == ["undo B", "undo A"]

    def test_that_gives_a_recorded_step_an_undo_does_not_undo_it(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        new = False

        def body(step: Any) -> Any:
            yield step.run("a", ledger.do, "a", undo=ledger.undo if new else None)
            yield step.sleep("nap", "30m")
            yield step.run("b", ledger.do, "b", undo=ledger.undo)
            raise ValueError

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        new = True
        engine.finish(run_id)
        assert undo(engine, run_id)["status"] == COMPLETED
        assert ledger.undone == ["undo B"]

    def test_of_a_patch_takes_the_branch_of_the_history(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        asks = False

        def body(step: Any) -> Any:
            if asks and step.patched("new"):
                yield step.run("n", ledger.do, "n", undo=ledger.undo)
            yield step.run("a", ledger.do, "a", undo=ledger.undo)
            raise ValueError

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        asks = True
        before = engine.steps(run_id)
        assert undo(engine, run_id)["status"] == COMPLETED
        assert ledger.undone == ["undo A"]
        assert engine.steps(run_id) == before


class TestRunsThatAreRepeated:
    def test_take_no_results_of_a_run_that_is_undone(self, engine: Engine, ledger: Ledger) -> None:
        def body(step: Any) -> None:
            step.run("a", ledger.do, "a", undo=ledger.undo)
            step.run("b", fails)

        engine.workflow(body)
        run_id = engine.start()
        engine.finish(run_id)
        undoing = undo_of(engine, run_id)
        with pytest.raises(RunNotRerunnable, match=f"run {undoing} undoes its steps"):
            engine.ow.get_run(run_id).rerun("b")
        again = engine.ow.get_run(run_id).rerun().id
        assert engine.row(again)["config"] == {"owsuper": {}}
        engine.finish(again)
        assert undo_of(engine, again) != undoing
        undo(engine, run_id)
        with pytest.raises(RunNotRerunnable, match='it undoes a run of workflow "main"'):
            engine.ow.get_run(undoing).rerun()

    def test_do_not_undo_what_the_first_one_has_done(self, engine: Engine, ledger: Ledger) -> None:
        bad = False

        def body(step: Any) -> None:
            step.run("a", ledger.do, "a", undo=ledger.undo)
            step.run("b", ledger.do, "b", undo=ledger.undo)
            if bad:
                raise ValueError

        engine.workflow(body)
        run_id = engine.start()
        assert engine.finish(run_id)["status"] == COMPLETED
        bad = True
        again = engine.ow.get_run(run_id).rerun("b").id
        engine.finish(again)
        assert undo(engine, again)["status"] == COMPLETED
        assert ledger.entries == ["a", "b", "b", "undo B"]

    def test_continue_without_the_undos_before(self, engine: Engine, ledger: Ledger) -> None:
        def body(step: Any, number: int) -> None:
            if number == 0:
                step.run("a", ledger.do, "a", undo=ledger.undo)
                step.continue_as_new(1)
            raise ValueError

        engine.workflow(body)
        run_id = engine.start(0)
        engine.finish(run_id)
        successor = engine.row(run_id)["context"]["continuedAs"]
        assert engine.finish(successor)["status"] == "failed"
        assert sorted(all_runs(engine)) == sorted([run_id, successor])


class TestRunsThatNameNoOther:
    @pytest.mark.parametrize("input", [None, 3, {"run": 3}])
    def test_fail(self, engine: Engine, input: Any) -> None:
        engine.workflow(as_sync(lambda step: iter(())))
        row = engine.finish(engine.start(input, workflow="undo:main"))
        assert "names no run to undo" in row["error"]["message"]

    def test_fail_if_it_is_gone_or_undone_by_another(self, engine: Engine, ledger: Ledger) -> None:
        def body(step: Any) -> None:
            step.run("a", ledger.do, "a", undo=ledger.undo)
            raise ValueError

        engine.workflow(body)
        run_id = engine.start()
        engine.finish(run_id)
        row = engine.finish(engine.start({"run": run_id}, workflow="undo:main"))
        assert "is not undone by run" in row["error"]["message"]
        row = engine.finish(engine.start({"run": "gone"}, workflow="undo:main"))
        assert "Run gone, whose steps are to be undone, does not exist" in row["error"]["message"]
        assert ledger.undone == []


class TestMisuse:
    @pytest.mark.parametrize("as_workflow", [as_sync, as_async], ids=["sync", "async"])
    def test_an_undo_that_is_no_function_is_refused_before_the_step(
        self, engine: Engine, as_workflow: AsWorkflow, ledger: Ledger
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", ledger.do, "a", undo="refund")

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())
        assert (
            "Step 'a': undo was given str 'refund', which is not callable"
            in (row["error"]["message"])
        )
        assert (ledger.entries, row["config"]) == ([], {})

    def test_undo_all_is_called_by_the_workflow_function_alone(
        self, engine: Engine, ledger: Ledger
    ) -> None:
        def body(step: Any) -> None:
            step.run("a", ledger.do, "a", undo=ledger.undo)
            step.parallel(step.undo_all)

        engine.workflow(body)
        row = engine.finish(engine.start())
        assert "step.undo_all() was called in a branch" in row["error"]["message"]
        assert ledger.undone == []


def test_a_run_without_undos_is_left_as_it_was(engine: Engine, ledger: Ledger) -> None:
    def body(step: Any) -> None:
        step.run("a", ledger.do, "a")
        raise ValueError

    engine.workflow(body)
    run_id = engine.start()
    row = engine.finish(run_id)
    assert (row["config"], row["context"], all_runs(engine)) == ({}, None, [run_id])
    assert [step["context"] for step in engine.steps(run_id)] == [None]
