"""Errors of owsuper as answers, which say nothing that strangers must not know."""

from __future__ import annotations

import pytest

from owsuper.errors import (
    OwsuperError,
    RunExists,
    RunNotRerunnable,
    RunNotRetryable,
    RunNotWakeable,
)
from owsuper.starlette.errors import http_error


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (
            RunExists('a run of workflow "audit" has this id', run_id="order-1"),
            "Another run has this id.",
        ),
        (
            RunNotRetryable("only a failed run", run_id="1", status="completed"),
            "only a failed run",
        ),
        (
            RunNotRerunnable("it has no step. Its steps: 'audit'", run_id="1", status="failed"),
            "The run is failed, which does not allow this.",
        ),
        (
            RunNotWakeable("it waits for its child runs: 7", run_id="1", status="running"),
            "The run is running, which does not allow this.",
        ),
    ],
)
def test_what_the_state_of_a_run_does_not_allow_is_a_conflict(
    error: OwsuperError, detail: str
) -> None:
    answer = http_error(error)
    assert answer is not None
    assert (answer.status_code, answer.detail) == (409, detail)
