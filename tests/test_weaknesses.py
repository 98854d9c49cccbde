"""Weaknesses of OpenWorkflow for TypeScript that owsuper avoids, each with a test that proves it.

The numbers are those of the list in the contract. ``docs/from-typescript.md`` has the same
table for users.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "from-typescript.md"

FAILURES = "tests/child/test_failures.py"
PARALLEL_STEPS = "tests/child/test_parallel_steps.py"
SLEEPING = "tests/child/test_sleeping_and_writing.py"
CHILDREN = "tests/child/test_children.py"
SIGNALS = "tests/child/test_signals.py"
CLAIMS = "tests/db/test_claims.py"
TOGETHER = "tests/child/test_together.py"

SHOWN: dict[int, tuple[str, str, str]] = {
    1: (
        "a catch-all around a wait swallows the request to park",
        "a run unwinds by something other than an `Exception`, and the engine keeps its own record",
        f"{SLEEPING}::test_swallowing_what_unwinds_the_body_changes_nothing",
    ),
    2: (
        "of two parallel waits one can get lost, and the run sleeps for a year",
        "a run parks when all its branches wait, until the first wait is due",
        f"{TOGETHER}::test_waits_side_by_side_are_all_kept_and_the_first_wakes_the_run",
    ),
    3: (
        "a sleep begins anew when another wait ends first",
        "a stored sleep keeps its end",
        f"{PARALLEL_STEPS}::test_of_two_sleeps_the_first_wakes_the_run_and_neither_restarts",
    ),
    4: (
        "a sleep beside a delivered signal makes a worker claim the run again and again",
        "each execution receives the signals that have come, and then the run waits for the rest",
        f"{TOGETHER}::test_a_signal_beside_a_sleep_is_taken_up_once_and_then_the_run_sleeps",
    ),
    5: (
        "while one branch of a run sleeps, the other branches stop",
        "the other branches continue",
        f"{TOGETHER}::test_a_signal_beside_a_sleep_is_taken_up_once_and_then_the_run_sleeps",
    ),
    6: (
        "a step beside a step that fails or waits is executed again",
        "the run waits for the step and stores its result",
        f"{PARALLEL_STEPS}::test_parking_waits_for_the_siblings_and_does_not_repeat_them",
    ),
    7: (
        "sleeps, waits and crashes use up the retries of a workflow",
        "only failures of the workflow use up its retries",
        f"{FAILURES}::test_waking_up_does_not_use_up_the_workflows_retry_budget",
    ),
    8: (
        "workers claim runs that they cannot execute, and delay them",
        "workers claim only registered workflows",
        f"{CLAIMS}::test_only_known_workflows_are_claimed",
    ),
    9: (
        "a stalled execution can write after the same slot has claimed its run again",
        "every claim has its own worker id",
        f"{CLAIMS}::test_every_claim_has_a_worker_id_of_its_own",
    ),
    10: (
        "a parent sleeps on if its child's process dies between two writes",
        "one statement ends the child run and wakes its parent",
        "tests/db/test_runs_concurrently.py::test_a_parent_that_parks_while_its_child_ends_is_woken",
    ),
    11: (
        "a child that misses its deadline does not wake its parent",
        "the child run wakes its parent",
        f"{CLAIMS}::test_a_parent_and_its_child_may_miss_their_deadlines_together",
    ),
    12: (
        "only another worker's poll enforces a deadline, and the code runs on",
        "the worker ends the run at the deadline, and cancels awaited code",
        "tests/child/test_deadlines.py::test_whatever_is_awaited_gets_a_cancelled_error",
    ),
    13: (
        "canceling does not reach children, and code runs on",
        "`cancel(children=True)` does; the worker learns at once, code stops at an await or"
        " its next step, and other code is [ended](retries.md#code-that-does-not-stop)",
        f"{CHILDREN}::test_canceling_reaches_children_when_it_is_asked_to",
    ),
    14: (
        "signals are delivered to runs that have ended",
        "only open runs receive signals",
        f"{SIGNALS}::test_a_run_that_has_ended_is_not_reached",
    ),
    15: (
        "of many senders of a signal with one key, only one learns which runs it reached",
        "all senders learn it",
        f"{SIGNALS}::test_of_many_who_send_with_one_key_at_once_all_are_told_the_same",
    ),
    16: (
        "a result that cannot be stored makes its step run again",
        "the step fails at once; if the database is unreachable, the worker waits",
        f"{FAILURES}::test_a_result_that_cannot_be_stored_fails_the_step_and_is_not_produced_again",
    ),
    17: (
        "meaningless policies are accepted and mean something else",
        "they are refused, and the error names the field",
        "tests/core/test_retry.py::test_an_unusable_field_is_refused_by_name",
    ),
    18: (
        "a parent that resumes after a day can start its child twice",
        "the parent finds its child run, however old it is",
        f"{CHILDREN}::test_a_parent_whose_writer_died_before_the_link_finds_its_child_again",
    ),
    20: (
        "a step whose kind has changed returns the result of the other kind",
        "the run fails, and the error names the step",
        "tests/child/test_divergence.py::test_a_sleep_that_became_a_function_fails_the_run_whatever_is_caught",
    ),
    21: (
        "attempts of one millisecond come in random order",
        "the microseconds of their start decide, and ids ascend",
        "tests/db/test_runs.py::test_history_comes_oldest_first_and_ties_by_start",
    ),
    22: (
        "a second wait for a signal is an error or not, by chance",
        "an error if the code has left the first wait; two parallel waits both receive the signal",
        f"{SIGNALS}::test_a_second_wait_for_what_a_step_waits_for_that_the_code_has_left_is_an_error",
    ),
    23: (
        "code that is busy for longer than the lease is executed twice",
        "the lease is renewed whatever the code does; losing the lease stops the code",
        "tests/acceptance/test_leases.py::test_a_step_that_holds_the_interpreter_for_longer_than_the_lease_runs_once",
    ),
    24: (
        "odd durations are accepted, and fail later",
        "odd durations are refused at once",
        "tests/core/test_durations.py::test_a_value_that_is_no_finite_duration_is_refused",
    ),
    25: (
        "NaN silently becomes null",
        "NaN is refused, and the error names its place in the value",
        "tests/core/test_codec.py::test_a_refusal_names_the_path_and_the_advice",
    ),
    26: (
        "the window of an idempotency key follows the client's clock",
        "the window follows the database's clock",
        "tests/db/test_clients.py::test_a_key_is_forgotten_after_a_day",
    ),
}

NOT_HERE = {
    19: "a child and the links to it are stored in one statement, so none is without them",
}
"""What cannot happen, and why."""


def test_nothing_of_the_list_is_left_out() -> None:
    assert sorted({*SHOWN, *NOT_HERE}) == list(range(1, 27))


@pytest.mark.parametrize("number", SHOWN)
def test_the_test_that_shows_it_exists(number: int) -> None:
    path, _, name = SHOWN[number][2].partition("::")
    tree = ast.parse((ROOT / path).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert name in names


def test_users_read_the_same() -> None:
    lines = [
        f"| {there} | {here} | [`{path.rpartition('/')[2]}`](../{path}) |"
        for there, here, shown in SHOWN.values()
        for path, _, _ in [shown.partition("::")]
    ]
    assert "\n".join(lines) in PAGE.read_text()
