"""What is weak in OpenWorkflow for TypeScript and is not here, each with the test that shows it.

The numbers are those under which its contract lists them. ``docs/from-typescript.md`` has the same
table for users.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "from-typescript.md"

SEMANTICS = "tests/child/test_semantics.py"
CHILDREN = "tests/child/test_children.py"
SIGNALS = "tests/child/test_signals.py"
CLAIMS = "tests/db/test_claims.py"
TOGETHER = "tests/child/test_together.py"

SHOWN: dict[int, tuple[str, str, str]] = {
    1: (
        "a catch-all around a wait swallows the request to park",
        "what unwinds a run is no `Exception`, and the engine goes by its own record",
        f"{SEMANTICS}::test_swallowing_what_unwinds_the_body_changes_nothing",
    ),
    2: (
        "of waits side by side one may get lost, and the run sleep for a year",
        "a run parks when all its branches wait, until the first of them is due",
        f"{TOGETHER}::test_waits_side_by_side_are_all_kept_and_the_first_wakes_the_run",
    ),
    3: (
        "a sleep begins anew when another wait ends first",
        "a recorded sleep keeps its end",
        f"{SEMANTICS}::test_of_two_sleeps_the_first_wakes_the_run_and_neither_restarts",
    ),
    4: (
        "a sleep beside a delivered signal makes a worker claim the run again and again",
        "each pass takes up what has come, and then the run waits for the rest",
        f"{TOGETHER}::test_a_signal_beside_a_sleep_is_taken_up_once_and_then_the_run_sleeps",
    ),
    5: (
        "nothing else of a run goes on while one of its branches sleeps",
        "the other branches go on",
        f"{TOGETHER}::test_a_signal_beside_a_sleep_is_taken_up_once_and_then_the_run_sleeps",
    ),
    6: (
        "a step beside one that fails or waits is executed again",
        "it is waited for, and its result recorded",
        f"{SEMANTICS}::test_parking_waits_for_the_siblings_and_does_not_repeat_them",
    ),
    7: (
        "sleeping, waiting and crashes use up a workflow's retries",
        "only its own failures do",
        f"{SEMANTICS}::test_waking_up_does_not_use_up_the_workflows_retry_budget",
    ),
    8: (
        "workers claim runs that they cannot execute, and delay them",
        "workers claim what they have registered",
        f"{CLAIMS}::test_only_known_workflows_are_claimed",
    ),
    9: (
        "a stalled pass may write after the same slot has claimed its run again",
        "every claim has a worker id of its own",
        f"{CLAIMS}::test_every_claim_has_a_worker_id_of_its_own",
    ),
    10: (
        "a parent sleeps on if its child's process dies between two writes",
        "the end of a child and the waking of its parent are one statement",
        "tests/db/test_runs_concurrently.py::test_a_parent_that_parks_while_its_child_ends_is_woken",
    ),
    11: (
        "a child that misses its deadline wakes nobody",
        "it wakes its parent",
        f"{CLAIMS}::test_a_parent_and_its_child_may_miss_their_deadlines_together",
    ),
    12: (
        "a deadline is enforced by somebody else's poll, and the code runs on",
        "the worker ends the run when it passes, and cancels what is awaited",
        "tests/child/test_deadlines.py::test_whatever_is_awaited_gets_a_cancelled_error",
    ),
    13: (
        "cancelling does not reach children, and code runs on",
        "`cancel(children=True)` does; the worker is told, and code stops at an await or its next"
        " step",
        f"{CHILDREN}::test_canceling_reaches_children_when_it_is_asked_to",
    ),
    14: (
        "signals are delivered to runs that have ended",
        "they are not",
        f"{SIGNALS}::test_a_run_that_has_ended_is_not_reached",
    ),
    15: (
        "of many who send a signal with one key only one learns whom it reached",
        "all do",
        f"{SIGNALS}::test_of_many_who_send_with_one_key_at_once_all_are_told_the_same",
    ),
    16: (
        "a result that cannot be stored makes its step run again",
        "it fails the step at once; a database that is away is waited for",
        f"{SEMANTICS}::test_a_result_that_cannot_be_stored_fails_the_step_and_is_not_produced_again",
    ),
    17: (
        "policies that mean nothing mean something else",
        "they are refused, by the name of the field",
        "tests/core/test_retry.py::test_an_unusable_field_is_refused_by_name",
    ),
    18: (
        "a parent that resumes after a day may start its child twice",
        "it finds its child again, however old it is",
        f"{CHILDREN}::test_a_parent_whose_writer_died_before_the_link_finds_its_child_again",
    ),
    20: (
        "a step whose kind has changed returns what the other kind had",
        "the run fails, and says which step it is",
        "tests/child/test_divergence.py::test_a_sleep_that_became_a_function_fails_the_run_whatever_is_caught",
    ),
    21: (
        "attempts of one millisecond come in random order",
        "the microseconds of their start decide",
        "tests/db/test_runs.py::test_history_comes_oldest_first_and_ties_by_start",
    ),
    22: (
        "a second wait for a signal is an error or not, by chance",
        "it is one if the code has left the first; side by side both are reached",
        f"{SIGNALS}::test_a_second_wait_for_what_a_step_waits_for_that_the_code_has_left_is_an_error",
    ),
    23: (
        "code that is busy for longer than the lease is executed twice",
        "the lease is renewed whatever the code does; a lost one stops the code",
        "tests/acceptance/test_leases.py::test_a_step_that_holds_the_interpreter_for_longer_than_the_lease_runs_once",
    ),
    24: (
        "odd durations are accepted, and fail later",
        "they are refused at once",
        "tests/core/test_durations.py::test_what_is_no_finite_duration_is_refused",
    ),
    25: (
        "NaN silently becomes null",
        "it is refused, with its place in the value",
        "tests/core/test_codec.py::test_a_refusal_names_the_place_and_a_way_out",
    ),
    26: (
        "the window of an idempotency key goes by the client's clock",
        "it goes by the database's",
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
