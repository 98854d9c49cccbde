"""What the dashboard learns of an application, without running its code in its own process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TypedDict

import pytest

from owsuper import OpenWorkflow, Step
from owsuper.dashboard import known as known_module
from owsuper.dashboard.known import ApplicationFailed, Imported, Refusal, Registered
from tests.fixtures.processes import Spawn

FLOWS = '''
import dataclasses, sys
from pydantic import BaseModel
from owsuper import OpenWorkflow, Step

print("imported")
ow = OpenWorkflow()

@dataclasses.dataclass
class Order:
    number: int
    items: list[str] = dataclasses.field(default_factory=list)

class Approval(BaseModel):
    by: str
    approved: bool = True

@ow.workflow
def order(step: Step, input: Order) -> str:
    """Ships an order."""
    step.wait_for_signal("go", type=Approval, timeout="1h")
    step.wait_for_signal(f"order-{input.number}:approved", type=Approval)
    step.wait_for_signal("plain")
    return ""

@ow.workflow(version="2")
def approve(step: Step, input: Approval) -> None: ...

@ow.workflow
def nothing(step: Step) -> None: ...
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_names_types_and_signals_of_workflows_are_known(here: Path) -> None:
    (here / "shop_flows.py").write_text(FLOWS)
    known = Imported(["shop_flows"])
    assert "shop_flows" not in sys.modules
    order, approve, nothing = known.workflows
    assert (order.name, order.version, order.documentation) == ("order", None, "Ships an order.")
    assert order.input is not None
    assert order.input["$defs"]["Order"]["required"] == ["number"]
    assert order.schema_of_signal("go") == order.schema_of_signal("order-7:approved")
    assert (order.schema_of_signal("go") or {})["required"] == ["by"]
    assert order.schema_of_signal("plain") is None
    assert (approve.version, (approve.input or {})["title"]) == ("2", "Approval")
    assert (nothing.takes_input, nothing.input) == (False, None)


@pytest.mark.slow
def test_a_value_is_checked_by_the_workflows_own_rules_in_another_process(here: Path) -> None:
    (here / "shop_flows.py").write_text(FLOWS)
    known = Imported(["shop_flows"])
    assert known.refusal("order", None, {"number": 7}) is None
    refusal = known.refusal("order", None, {"number": "7"})
    assert refusal == Refusal("input.number", "input.number: expected int, got str")
    assert known.refusal("order", None, {"by": "Ada"}, signal="go") is None
    refusal = known.refusal("order", None, {"by": 1}, signal="go")
    assert refusal is not None
    assert refusal.path == "data.by"
    assert known.refusal("gone", None, 1) is not None


@pytest.mark.parametrize(
    ("code", "message", "traceback"),
    [
        ("1 / 0", "cannot be imported: ZeroDivisionError", "1 / 0"),
        ("import os; os._exit(7)", "has ended with code 7", ""),
        ("x = 1", "No OpenWorkflow is defined in", None),
    ],
)
def test_an_application_that_cannot_be_imported_says_why(
    here: Path, code: str, message: str, traceback: str | None
) -> None:
    (here / "broken.py").write_text(code)
    with pytest.raises(ApplicationFailed, match=message) as caught:
        Imported(["broken"])
    assert (caught.value.traceback is None) == (traceback is None)
    assert (traceback or "") in (caught.value.traceback or "")


def test_an_import_that_does_not_end_is_given_up(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_module, "_LOAD_TIMEOUT", 0.5)
    (here / "endless.py").write_text("import threading; threading.Event().wait()")
    with pytest.raises(ApplicationFailed, match=r"the import takes longer than 0\.5 s"):
        Imported(["endless"])


def test_a_program_knows_its_own_workflows_without_another_process() -> None:
    ow = OpenWorkflow()

    @ow.workflow
    def double(step: Step, input: int) -> int:
        return 2 * input

    known = Registered(ow.registry)
    workflow = known.get("double", None)
    assert workflow is not None
    assert workflow.input == {"type": "integer"}
    assert known.refusal("double", None, 7) is None
    assert known.refusal("double", None, "7") == Refusal("input", "input: expected int, got str")
    assert known.get("double", "2") is None


def test_a_program_may_define_workflows_after_its_dashboard() -> None:
    ow = OpenWorkflow()
    known = Registered(ow.registry)
    assert list(known.workflows) == []

    @ow.workflow(version="2", compatible_with=["1"])
    def double(step: Step, input: int) -> int:
        return 2 * input

    [workflow] = known.workflows
    assert (workflow.name, workflow.version) == ("double", "2")
    assert known.get("double", "1") is known.get("double", "2") is workflow


class Decision(TypedDict):
    approved: bool


def test_the_type_of_a_signal_whose_name_is_a_variable_is_known_if_there_is_one() -> None:
    ow = OpenWorkflow()

    @ow.workflow
    def one(step: Step, input: str) -> None:
        step.wait_for_signal(input, type=Decision)
        step.wait_for_signal("plain")

    @ow.workflow
    def two(step: Step, input: list[str]) -> None:
        step.wait_for_signal(input[0], type=Decision)
        step.wait_for_signal(input[1])

    known = Registered(ow.registry)
    assert known.refusal("one", None, {"approved": 1}, signal="any") is not None
    assert known.refusal("one", None, {"approved": 1}, signal="plain") is None
    assert known.refusal("two", None, {"approved": 1}, signal="any") is None


def test_a_name_with_many_variables_is_matched_without_end_of_tries() -> None:
    ow = OpenWorkflow()

    @ow.workflow
    def one(step: Step, input: tuple[str, ...]) -> None:
        a, b, c, d, e, f, g = input
        step.wait_for_signal(f"{a}{b}:{c}:{d}:{e}:{f}:{g}:end", type=Decision)

    known = Registered(ow.registry).get("one", None)
    assert known is not None
    for name in ("1:2:3:4:5:6:end", "12:3:4:5:6:7:8:9:end", "::::::end", ":end" * 100):
        assert known.schema_of_signal(name) is not None, name
    for name in ("1:2:3:4:5:end", "1:2:3:4:5:6:end.", ":" * 500, ":end" * 10_000 + "."):
        assert known.schema_of_signal(name) is None, name


def test_the_command_ends_with_3_and_the_traceback_if_the_application_cannot_be_imported(
    spawn_owsuper: Spawn, tmp_path: Path, database_url: str
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    env = {"OWSUPER_DATABASE_URL": database_url}
    program = spawn_owsuper("dashboard", "--module=broken", "--port=0", env=env, cwd=tmp_path)
    assert program.wait() == 3
    program.end()
    assert 'broken.py", line 1, in <module>' in program.stderr.text
    assert "error: broken cannot be imported: ZeroDivisionError" in program.stderr.text
