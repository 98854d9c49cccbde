"""Runs of older versions that a compatible version continues, and which then have that version."""

from __future__ import annotations

from typing import Any

import pytest

from owsuper import AsyncStep, OpenWorkflow, Step
from owsuper.errors import ConfigurationError, RegistrationError
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async


def start(engine: Engine, version: str | None) -> str:
    return engine.ow.run_workflow("main", version=version).id


@sync_and_async
class TestCompatibleVersions:
    @pytest.mark.parametrize("version", ["1", None])
    def test_a_compatible_version_takes_the_run_over_for_good(
        self, engine: Engine, as_workflow: AsWorkflow, version: str | None
    ) -> None:
        seen: list[Any] = []

        def body(step: Any) -> Any:
            seen.append(step.version)
            yield step.sleep("nap", "30m")
            return step.version

        engine.workflow(as_workflow(body), version="2", compatible_with=["1", None])
        run_id = start(engine, version)
        assert engine.execute_once(run_id).outcome == "parked"
        assert engine.row(run_id)["version"] == "2"
        assert engine.finish(run_id)["output"] == "2"
        assert set(seen) == {"2"}

    def test_its_own_version_executes_the_run_if_it_is_registered(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield
            return step.version

        engine.workflow(as_workflow(body), version="1")
        engine.workflow(as_workflow(body), version="2", compatible_with=["1"])
        assert engine.finish(start(engine, "1"))["output"] == "1"

    def test_of_several_the_newest_takes_the_run(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield
            return step.version

        for version, older in (("3", ["1", "2"]), ("2", ["1"]), ("4", ["3", "2", "1"])):
            engine.workflow(as_workflow(body), version=version, compatible_with=older)
        assert engine.finish(start(engine, "1"))["output"] == "4"

    def test_a_recorded_child_run_may_be_of_a_compatible_version(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        children = []
        for version, older in (("1", []), ("2", ["1"])):

            @engine.ow.workflow("child", version=version, compatible_with=older)
            def child(step: Step) -> str | None:
                return step.version

            children.append(child)
        asked = [children[0]]

        def body(step: Any) -> Any:
            return (yield step.run_workflow(asked[-1]))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        asked.append(children[1])
        engine.finish(engine.steps(run_id)[0]["child_workflow_run_id"])
        assert engine.finish(run_id)["output"] == "1"


def test_a_run_that_was_canceled_meanwhile_is_not_begun(engine: Engine) -> None:
    @engine.ow.workflow("main", version="2", compatible_with=["1"])
    async def main(step: AsyncStep) -> None:
        raise AssertionError("it was begun")

    run_id = start(engine, "1")
    claimed = engine.claim(run_id)
    engine.ow.get_run(run_id).cancel()
    assert engine.execute_once(run_id, claimed).outcome == "lost"
    row = engine.row(run_id)
    assert (row["status"], row["version"]) == ("canceled", "1")


def main(step: Step) -> None:
    pass


@pytest.mark.parametrize("versions", ["1", 1, [1], ["1", "2"], [b"1"], ["a\0"], [["1"]]])
def test_what_can_be_no_older_version_is_refused(versions: Any) -> None:
    ow = OpenWorkflow("postgresql://nobody@127.0.0.1:1/x")
    with pytest.raises(ConfigurationError, match="compatible_with: "):
        ow.workflow("main", version="2", compatible_with=versions)(main)


def test_it_must_be_clear_which_of_two_is_newer() -> None:
    ow = OpenWorkflow("postgresql://nobody@127.0.0.1:1/x")
    ow.workflow("main", version="2", compatible_with=["1"])(main)
    with pytest.raises(RegistrationError, match=r"2\) and .*3\) are compatible with version '1'"):
        ow.workflow("main", version="3", compatible_with=["1"])(main)
    with pytest.raises(RegistrationError, match="not clear which"):
        ow.workflow("main", version="4", compatible_with=["1"])(main)
    ow.workflow("main", version="5", compatible_with=["1", "2"])(main)
    assert ow.registry.names() == [("main", "2"), ("main", "5"), ("main", "1")]
    newest = ow.registry.get("main", "1")
    assert newest is not None
    assert newest.version == "5"
    assert ow.registry.get("main", "6") is None


def test_two_that_are_compatible_with_each_other_are_not_ordered() -> None:
    ow = OpenWorkflow("postgresql://nobody@127.0.0.1:1/x")
    ow.workflow("main", version="2", compatible_with=["1", "3"])(main)
    with pytest.raises(RegistrationError, match="not clear which of them is newer"):
        ow.workflow("main", version="3", compatible_with=["1", "2"])(main)
