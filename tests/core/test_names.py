import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.core.names import (
    MAX_NAME_LENGTH,
    StepNames,
    check_own_workflow_name,
    check_step_name,
    check_workflow_name,
)
from owsuper.errors import ConfigurationError, StepUsageError

VECTORS = Path(__file__).parent.parent / "vectors"
CASES = json.loads((VECTORS / "step_names.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: ",".join(c["requested"])[:40])
def test_names_resolve_as_the_contract_says(case):
    names = StepNames()
    assert [names.resolve(base) for base in case["requested"]] == case["resolved"]


bases = st.lists(st.sampled_from(["a", "b", "a:1", "a:2", "a:1:1", "b:01", ""]), max_size=40)


@given(bases)
def test_resolved_names_are_unique_and_extend_their_base(requested):
    names = StepNames()
    resolved = [names.resolve(base) for base in requested]
    assert len(set(resolved)) == len(resolved)
    for base, name in zip(requested, resolved, strict=True):
        assert name == base or (name.startswith(f"{base}:") and name[len(base) + 1 :].isdigit())


@given(bases, st.integers(0, 40))
def test_a_name_depends_only_on_the_calls_before_it(requested, cut):
    whole, part = StepNames(), StepNames()
    resolved = [whole.resolve(base) for base in requested]
    assert [part.resolve(base) for base in requested[:cut]] == resolved[:cut]


@pytest.mark.parametrize("name", ["charge", "a:1", " ", "é", "name\n", "x" * MAX_NAME_LENGTH, "💥"])
def test_ordinary_names_are_accepted_unchanged(name):
    assert check_step_name(name) is name
    assert check_workflow_name(name) is name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        ("x" * 501, "501 characters"),
        ("a\x00b", r"U\+0000"),
        ("a\ud800", "lone surrogate"),
        (None, "not NoneType"),
        (b"a", "not bytes"),
        (len, "not builtin_function_or_method"),
    ],
)
def test_bad_names_are_refused_with_the_reason(name, problem):
    with pytest.raises(StepUsageError, match=f"^Invalid step name .*{problem}"):
        check_step_name(name)
    with pytest.raises(ConfigurationError, match=f"^Invalid workflow name .*{problem}") as caught:
        check_workflow_name(name)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isascii()


def test_names_of_undos_are_names_of_runs_and_not_of_workflows_that_are_defined():
    assert check_own_workflow_name("order") == "order"
    assert check_workflow_name("undo:order") == "undo:order"
    with pytest.raises(ConfigurationError, match="names that begin with 'undo:' are those of runs"):
        check_own_workflow_name("undo:order")
    with pytest.raises(ConfigurationError, match=r"^Invalid workflow name"):
        check_own_workflow_name("")
