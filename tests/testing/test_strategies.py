"""Strategies of Hypothesis find the faults that a workflow does not bear."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from owsuper import OpenWorkflow, RetryPolicy, Step
from owsuper.errors import ConfigurationError, RunFailed
from owsuper.testing import crash_after, run_in_process, strategies

ow = OpenWorkflow()


@ow.workflow
def order(step: Step, amount: int) -> list[Any]:
    first = step.run("charge", lambda: amount, retry=RetryPolicy(maximum_attempts=5))
    step.sleep("nap", "1d")
    return [first, step.run("ship", lambda: "shipped", retry=RetryPolicy(maximum_attempts=2))]


EXAMPLES = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])


@given(amount=st.integers(-5, 5), faults=strategies.faults(["charge", "other"], [TimeoutError]))
@EXAMPLES
def test_a_run_ends_the_same_whatever_happens(amount: int, faults: Any) -> None:
    assert run_in_process(order, amount, faults=faults).result == [amount, "shipped"]


@given(faults=strategies.crashes(commits=6, most=6))
@EXAMPLES
def test_a_run_survives_several_crashes(faults: Any) -> None:
    assert run_in_process(order, 1, faults=faults).result == [1, "shipped"]


def test_the_fewest_faults_that_a_run_does_not_bear_are_found() -> None:
    def fails(faults: Any) -> bool:
        try:
            return not run_in_process(order, 1, faults=faults).result
        except RunFailed:
            return True

    found = find(strategies.faults(["charge", "ship"], [TimeoutError]), fails)
    assert list(map(str, found)) == ["fail('ship', TimeoutError(), times=1)"] * 2


def test_commits_are_counted_from_1() -> None:
    with pytest.raises(ConfigurationError, match="commits are counted from 1"):
        crash_after(0)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"expected a list of names, such as \['charge'\]"):
        strategies.faults("charge")
    with pytest.raises(
        ConfigurationError, match=r"expected classes, or functions .* not TimeoutErr"
    ):
        strategies.faults(["charge"], [TimeoutError()])  # type: ignore[list-item]
