"""Annotations that name what is defined later, or for type checkers alone."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from owsuper.child.execution.steps import result_type
from owsuper.core.annotations import annotations_of, evaluate, signature
from owsuper.errors import ConfigurationError

AS_TEXT = "from __future__ import annotations\n"
HEADERS = [
    pytest.param(AS_TEXT, id="as text"),
    pytest.param(
        "",
        id="evaluated late",
        marks=pytest.mark.skipif(
            sys.version_info < (3, 14),
            reason="before Python 3.14, such a module cannot be imported",
        ),
    ),
]

SOURCE = """
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from owsuper import OpenWorkflow

ow = OpenWorkflow("postgresql://unused")

if TYPE_CHECKING:
    from owsuper import AsyncStep, Step
    from nowhere import Unknown

@ow.workflow
def forward(step: Step, input: Later) -> list[Later]: ...

@ow.workflow
async def forward_async(step: AsyncStep, input: Later | None = None) -> dict[str, Later]: ...

@ow.workflow
def unknown(step: Step, input: int) -> Unknown: ...

def result(other: Unknown) -> Later: ...

def unknown_result(other: int) -> Unknown: ...

def noted(other: Unknown) -> Annotated[int, "note"]: ...

def without_result(other: Unknown): ...

def wrong(other: math.missing) -> int: ...

class Service:
    def method(self, other: Unknown) -> Later: ...

def decorated(fn):
    @functools.wraps(fn)
    def wrapper(*args):
        return fn(*args)
    return wrapper

wrapped = decorated(result)

@dataclass
class Later:
    x: int
    next: Later | None = None
"""


@pytest.fixture(params=HEADERS)
def module(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    (tmp_path / "annotated.py").write_text(request.param + SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "annotated", raising=False)
    return vars(importlib.import_module("annotated"))


def test_a_workflow_may_name_types_that_are_defined_further_down(module: dict[str, Any]) -> None:
    later = module["Later"]
    assert module["forward"].types == (later, list[later])
    assert module["forward_async"].types == (later | None, dict[str, later])
    assert module["forward_async"].is_async


def test_a_type_that_only_type_checkers_see_is_said_when_it_is_needed(
    module: dict[str, Any],
) -> None:
    with pytest.raises(ConfigurationError, match=r"its return type .*'Unknown'.*TYPE_CHECKING"):
        _ = module["unknown"].types


def test_the_type_of_a_steps_result_needs_no_other_annotation(module: dict[str, Any]) -> None:
    later = module["Later"]
    for fn in (module["result"], module["Service"]().method, module["wrapped"]):
        assert result_type("charge", fn, None) is later
    assert result_type("charge", module["noted"], None) is int
    assert result_type("charge", module["wrong"], None) is int


def test_without_aresult_type_that_can_be_evaluated_the_result_is_plain_json(
    module: dict[str, Any],
) -> None:
    for name in ("unknown_result", "without_result", "Later"):
        assert result_type("charge", module[name], None) is None


def test_the_signature_of_a_function_needs_no_annotation(module: dict[str, Any]) -> None:
    for name in ("result", "wrong"):
        assert list(signature(module[name]).parameters) == ["other"]
        assert set(annotations_of(module[name])) == {"other", "return"}
    assert evaluate(module["noted"], "return", include_extras=True) is not int
    with pytest.raises(KeyError):
        evaluate(module["without_result"], "return")


@pytest.mark.parametrize(
    "function", [len, str, int.from_bytes, lambda: 1], ids=["len", "str", "method", "lambda"]
)
def test_a_callable_without_annotations_has_none(function: Any) -> None:
    assert result_type("charge", function, None) is None
