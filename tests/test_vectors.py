"""No vector of the contract is left without a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.test_weaknesses import SHOWN

TESTS = Path(__file__).parent
VECTORS = TESTS / "vectors"
HISTORIES = json.loads((VECTORS / "history" / "index.json").read_text())["files"]

RUN_BY = {
    "backoff": "core/test_retry.py",
    "claim": "db/test_contract_vectors.py",
    "counts": "client/test_listing.py",
    "cursors": "core/test_pages.py",
    "durations": "core/test_durations.py",
    "error_serialization": "test_stored_error.py",
    "failure_decisions": "core/test_retry.py",
    "history_state": "core/test_history.py",
    "idempotency_lock": "db/test_contract_vectors.py",
    "resume_at": "core/test_durations.py",
    "retry_policy_resolution": "core/test_retry.py",
    "schema": "db/test_migrate.py",
    "schema_names": "db/test_migrate.py",
    "statuses": "db/test_contract_vectors.py",
    "step_names": "core/test_names.py",
    "step_transitions": "db/test_contract_vectors.py",
    "trace_context": "tracing/test_vector.py",
    "transitions": "db/test_contract_vectors.py",
    "wait_timeouts": "core/test_durations.py",
    "wakeups": "db/test_contract_vectors.py",
}

NOT_OURS = {
    "validation": "It is about schema objects of JavaScript. Here declared types validate, and say"
    " more; where a refusal goes, the recorded histories show.",
}
"""Vectors that do not bind this implementation, and why."""

REFERENCE_ONLY = {
    "control_flow_caught": 1,
    "deadline_passed_completes": 12,
    "parallel_step_and_sleep": 6,
    "parallel_step_failure_retry": "child/test_parallel_steps.py::"
    "test_a_retry_waits_for_the_siblings_and_does_not_repeat_them",
    "parallel_step_failure_terminal": "child/test_parallel_steps.py::"
    "test_a_terminal_failure_waits_for_the_siblings_too",
    "signal_to_canceled_run": 14,
    "sleep_restarted_by_other_wait": 3,
    "step_error_caught_then_sleep": "child/test_failures.py::"
    "test_a_failed_step_is_retried_in_a_later_execution_and_not_seen_by_user_code",
    "workflow_retry_budget_used_by_wakeups": 7,
}
"""Recorded histories that are right only there: the weakness that each shows, or a test of ours."""


def test_every_file_of_vectors_is_run_or_does_not_bind_us() -> None:
    there = {path.stem for path in VECTORS.glob("*.json")}
    assert there == RUN_BY.keys() | NOT_OURS.keys()


@pytest.mark.parametrize("name", RUN_BY)
def test_the_test_of_a_file_reads_it(name: str) -> None:
    source = (TESTS / RUN_BY[name]).read_text()
    assert f'"{name}"' in source or f'"{name}.json"' in source


def test_every_history_that_is_right_only_there_has_a_test_of_what_is_right_here() -> None:
    only_there = [each["file"] for each in HISTORIES if each.get("reference_only")]
    there = {file.removesuffix(".json") for file in only_there}
    assert there == REFERENCE_ONLY.keys()
    for shown in REFERENCE_ONLY.values():
        if isinstance(shown, int):
            assert shown in SHOWN
        else:
            path, _, name = shown.partition("::")
            assert f"def {name}(" in (TESTS / path).read_text()
