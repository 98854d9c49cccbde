"""step.set_attributes: changes are durable, made once, and stored with the step that makes them."""

from __future__ import annotations

from typing import Any

import pytest

from owsuper import OpenWorkflow, RetryPolicy, Step
from owsuper.testing import run_in_process, survives_crashes
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async
from tests.child.test_continuing_as_new import chain

ONCE = RetryPolicy(maximum_attempts=1)
TWICE = RetryPolicy(maximum_attempts=2, initial_interval="1ms")


def attributes(engine: Engine, run_id: str) -> dict[str, str]:
    return engine.ow.get_run(run_id).details().attributes


def describe(engine: Engine, run_id: str, **described: str) -> None:
    for name, value in described.items():
        engine.conn.execute(
            f'INSERT INTO "{engine.schema}".owsuper_run_attributes'
            " SELECT namespace_id, id, $1, $2, created_at"
            f' FROM "{engine.schema}".workflow_runs WHERE id = $3',
            (name, value, run_id),
        )


@sync_and_async
class TestInTheWorkflowFunction:
    def test_changes_are_merged_and_recorded_as_a_step(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            step.set_attributes({"stage": "begun", "region": "eu"})
            yield step.sleep("nap", "30m")
            step.set_attributes({"stage": "over", "old": None})

        engine.workflow(as_workflow(body), strict=True)
        run_id = engine.start()
        describe(engine, run_id, tenant="7", old="1")
        assert engine.execute_once(run_id).outcome == "parked"
        expected = {"tenant": "7", "old": "1", "stage": "begun", "region": "eu"}
        assert attributes(engine, run_id) == expected
        assert engine.finish(run_id)["status"] == "completed"
        assert attributes(engine, run_id) == {"tenant": "7", "stage": "over", "region": "eu"}
        assert [
            (row["step_name"], row["kind"], row["context"], row["output"])
            for row in engine.steps(run_id)
            if row["step_name"] != "nap"
        ] == [
            (
                "attributes:region,stage",
                "function",
                {"kind": "attributes"},
                {"stage": "begun", "region": "eu"},
            ),
            (
                "attributes:old,stage",
                "function",
                {"kind": "attributes"},
                {"stage": "over", "old": None},
            ),
        ]

    def test_a_replay_changes_nothing(self, engine: Engine, as_workflow: AsWorkflow) -> None:
        values = iter("abcdef")

        def body(step: Any) -> Any:
            step.set_attributes({"drawn": next(values)})
            yield step.sleep("nap", "30m")
            step.set_attributes({"drawn": next(values)})
            yield step.sleep("nap 2", "30m")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        assert attributes(engine, run_id) == {"drawn": "a"}
        engine.conn.execute(f'DELETE FROM "{engine.schema}".owsuper_run_attributes')
        engine.execute_once(run_id)  # somebody has removed it; only what is new is written
        assert attributes(engine, run_id) == {"drawn": "c"}
        assert engine.finish(run_id)["status"] == "completed"
        assert attributes(engine, run_id) == {"drawn": "c"}

    def test_they_are_stored_with_the_end_of_the_run(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            step.set_attributes({"tenant": "7"})
            return 1
            yield

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.finish(run_id)["output"] == 1
        assert attributes(engine, run_id) == {"tenant": "7"}

    def test_a_process_that_has_lost_the_run_changes_nothing(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            engine.conn.execute(
                f"UPDATE \"{engine.schema}\".workflow_runs SET worker_id = 'another'"
            )
            step.set_attributes({"tenant": "7"})
            return 1
            yield

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        assert attributes(engine, run_id) == {}

    def test_changes_that_are_none_fail_the_run(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            step.set_attributes({"tenant": 7})
            yield

        engine.workflow(as_workflow(body), retry=ONCE)
        row = engine.finish(engine.start())
        assert row["status"] == "failed"
        assert "'tenant': the value 7 must be text, such as '7'" in row["error"]["message"]

    def test_no_changes_are_refused(self, engine: Engine, as_workflow: AsWorkflow) -> None:
        def body(step: Any) -> Any:
            step.set_attributes({})
            yield

        engine.workflow(as_workflow(body), retry=ONCE)
        assert "at least one" in engine.finish(engine.start())["error"]["message"]

    def test_long_lists_of_names_have_a_short_step(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            step.set_attributes({f"{n:064}": "x" for n in range(50)})
            yield step.sleep("nap", "30m")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        assert len(attributes(engine, run_id)) == 50
        assert len(engine.steps(run_id)[0]["step_name"]) < 40


@sync_and_async
class TestInTheFunctionOfAStep:
    def test_changes_are_stored_with_the_result(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        seen: list[dict[str, str]] = []

        def body(step: Any) -> Any:
            def charge() -> int:
                step.set_attributes({"card": "visa", "old": None})
                step.set_attributes({"card": "amex"})
                seen.append(attributes(engine, step.run_id))
                return 1

            yield step.run("charge", charge)
            yield step.sleep("nap", "30m")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        describe(engine, run_id, old="1")
        engine.finish(run_id)
        assert seen == [{"old": "1"}]
        assert attributes(engine, run_id) == {"card": "amex"}
        assert [row["step_name"] for row in engine.steps(run_id)] == ["charge", "nap"]

    def test_those_of_a_failed_attempt_are_not(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        tried: list[int] = []

        def body(step: Any) -> Any:
            def charge() -> None:
                tried.append(1)
                step.set_attributes({f"try {len(tried)}": "x"})
                if len(tried) == 1:
                    raise ValueError

            yield step.run("charge", charge, retry=TWICE)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        assert attributes(engine, run_id) == {"try 2": "x"}

    def test_those_of_a_transaction_are_committed_with_it(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            def insert(connection: Any) -> None:
                step.set_attributes({"row": "1", "old": None})

            def fail(connection: Any) -> None:
                step.set_attributes({"row": "2"})
                raise ValueError

            yield step.transaction("insert", insert)
            yield step.transaction("fail", fail, retry=ONCE)

        engine.workflow(as_workflow(body), retry=ONCE)
        run_id = engine.start()
        describe(engine, run_id, old="1")
        assert engine.finish(run_id)["status"] == "failed"
        assert attributes(engine, run_id) == {"row": "1"}


@sync_and_async
class TestOtherRuns:
    def test_a_child_run_has_those_that_it_is_given(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            step.set_attributes({"tenant": "7"})
            yield step.run_workflow("child", 1, attributes={"of": "parent"})
            yield step.run_workflow("child", 1)

        @engine.ow.workflow("child")
        def child(step: Step, input: Any) -> None: ...

        engine.workflow(as_workflow(body))
        parent = engine.start()
        found = []
        for _ in range(2):
            assert engine.execute_once(parent).outcome == "parked"
            run_id = engine.steps(parent)[-1]["child_workflow_run_id"]
            found.append(attributes(engine, run_id))
            engine.finish(run_id)
        assert found == [{"of": "parent"}, {}]

    def test_attributes_of_a_child_run_that_are_none_are_refused(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run_workflow("child", 1, attributes={"of": 1})

        engine.workflow(as_workflow(body), retry=ONCE)
        row = engine.finish(engine.start())
        assert "attributes['of']: the value 1 must be text" in row["error"]["message"]

    def test_a_run_that_continues_as_new_keeps_them(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            if "more" not in attributes(engine, step.run_id):
                step.set_attributes({"more": "1", "old": None})
                step.continue_as_new(1)
            yield step.sleep("nap", "30m")

        engine.workflow(as_workflow(body))
        run_id = engine.start(1)
        describe(engine, run_id, tenant="7", old="1")
        rows = chain(engine, run_id)
        expected = {"tenant": "7", "more": "1"}
        assert [attributes(engine, row["id"]) for row in rows] == [expected] * 2


def test_a_child_run_that_is_found_again_keeps_its_own(engine: Engine) -> None:
    @engine.ow.workflow("main")
    def main(step: Step, input: Any) -> Any:
        return step.run_workflow("child", 1, attributes={"of": "parent"})

    parent = engine.start()
    engine.execute_once(parent)
    [wait] = engine.steps(parent)
    child = wait["child_workflow_run_id"]
    engine.conn.execute(f"UPDATE \"{engine.schema}\".owsuper_run_attributes SET value = 'own'")
    engine.conn.execute(f'UPDATE "{engine.schema}".workflow_runs SET available_at = now()')
    engine.conn.execute(
        f'UPDATE "{engine.schema}".step_attempts SET child_workflow_run_id = NULL,'
        " child_workflow_run_namespace_id = NULL"
    )
    engine.execute_once(parent)  # it finds the child run again
    assert attributes(engine, child) == {"of": "own"}


def test_tests_in_the_process_have_them_too() -> None:
    ow = OpenWorkflow("postgresql:///")

    @ow.workflow
    def child(step: Step, input: int) -> None: ...

    @ow.workflow
    def main(step: Step, input: int) -> int:
        step.set_attributes({"stage": "begun", "old": None})
        step.run("charge", lambda: step.set_attributes({"card": "visa"}))
        step.run_workflow(child, 1, attributes={"of": "parent"})
        step.sleep("nap", "1h")
        step.set_attributes({"stage": "over"})
        if input:
            step.continue_as_new(input - 1)
        return input

    given = {"tenant": "7", "old": "1"}
    expected = {"tenant": "7", "stage": "over", "card": "visa"}
    assert run_in_process(main, 1, attributes=given).attributes == expected
    assert survives_crashes(main, 1, attributes=given).attributes == expected


def test_branches_may_set_different_attributes_in_any_order(engine: Engine) -> None:
    @engine.ow.workflow("main")
    def main(step: Step, input: Any) -> None:
        step.parallel(
            lambda: step.set_attributes({"a": "1"}), lambda: step.set_attributes({"b": "2"})
        )
        step.sleep("nap", "30m")

    run_id = engine.start()
    engine.finish(run_id)
    assert attributes(engine, run_id) == {"a": "1", "b": "2"}
    names = {row["step_name"] for row in engine.steps(run_id)}
    assert names == {"attributes:a", "attributes:b", "nap"}


def test_after_the_end_of_the_run_nothing_is_set(engine: Engine) -> None:
    kept: list[Step] = []

    @engine.ow.workflow("main")
    def main(step: Step, input: Any) -> None:
        kept.append(step)

    engine.finish(engine.start())
    with pytest.raises(BaseException):  # noqa: B017, PT011 - it unwinds, or says so
        kept[0].set_attributes({"late": "1"})
