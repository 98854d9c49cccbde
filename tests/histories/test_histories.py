"""Every recorded history that binds an implementation, by workflows of both colours.

A worker process executes what the recorded workflows did, the test does what was done from
outside, and then the rows must be those that OpenWorkflow for TypeScript had written, but for
what ``DIFFERS`` lists.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from owsuper import RunCanceled, RunFailed
from owsuper.core.durations import parse_iso
from tests.fixtures.processes import Spawn
from tests.histories.following import Follower
from tests.histories.rows import Row, recorded

pytestmark = pytest.mark.slow

VECTORS = Path(__file__).parents[1] / "vectors" / "history"
INDEX = json.loads((VECTORS / "index.json").read_text())["files"]
BINDING = [each["file"].removesuffix(".json") for each in INDEX if not each.get("reference_only")]

LEFT_OUT = {
    "unregistered_workflow": "A worker claims only what it has registered, so nothing happens to"
    " the run. See test_what_no_worker_has_registered_is_left_alone.",
    "child_unregistered": "The same, for a child.",
    "step_error_caught": "A failure that will be retried is not seen by the code of the workflow:"
    " step.run raises when the attempts are used up. See test_semantics, TestRetries.",
}
"""Histories that cannot happen here, and why."""

COMPLAINT = "ok must be true; second issue"

Change = tuple[str, str, dict[str, Any]]

DIFFERS: dict[str, tuple[str, list[Change]]] = {
    "sleep_zero_and_negative": (
        "A sleep that is over when it begins does not give the run back.",
        [
            ("workflow_runs", "<run:main>", {"attempts": ANY}),
            ("invocations", "execution:main", {"times": ANY}),
        ],
    ),
    "deadline_passed_during_step": (
        "The run ends when its deadline passes, by its worker or by the sweep for deadlines, which"
        " keeps when it began; what the step that is running then does is not recorded any more.",
        [
            ("workflow_runs", "<run:main>", {"started_at": ANY}),
            ("step_attempts", "<step:main/a#1>", {"status": ANY, "error": ANY, "finished_at": ANY}),
        ],
    ),
    "replay_with_pending_sleep": (
        "The code of a run that is claimed goes as far as its waits; they are not judged before.",
        [("invocations", "execution:main", {"times": 3})],
    ),
    "sleep_invalid_duration": (
        "The text also says how durations are written.",
        [
            (
                "workflow_runs",
                "<run:main>",
                {
                    "error": {
                        "message": 'Invalid duration format: "soon". Write "500ms", "30s", "5m",'
                        ' "1h" or "7d".'
                    }
                },
            )
        ],
    ),
    "child_input_invalid": (
        "The text says of what the input is.",
        [
            (table, label, {"error": {"message": f'input of workflow "kid": {COMPLAINT}'}})
            for table, label in (
                ("workflow_runs", "<run:main>"),
                ("step_attempts", "<step:main/kid#1>"),
            )
        ],
    ),
    "signal_schema_failure": (
        "The text says of what the data is.",
        [
            (
                table,
                label,
                {
                    "error": {
                        "message": "Signal schema validation failed: data of signal 'go':"
                        f" {COMPLAINT}"
                    }
                },
            )
            for table, label in (
                ("workflow_runs", "<run:main>"),
                ("step_attempts", "<step:main/go#1>"),
            )
        ],
    ),
}
"""History: why, and the columns (table, label of the row, values) in which it differs."""


@pytest.fixture
def follower(
    request: pytest.FixtureRequest,
    database_url: str,
    schema: str,
    spawn_owsuper: Spawn,
    tmp_path: Path,
) -> Iterator[Follower]:
    name, colour = request.param
    path = VECTORS / f"{name}.json"
    follower = Follower(path, colour, database_url, schema, spawn_owsuper, tmp_path)
    yield follower
    follower.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "follower" in metafunc.fixturenames:
        names = [name for name in BINDING if name not in LEFT_OUT]
        cases = [(name, colour) for name in names for colour in ("sync", "async")]
        ids = [f"{name}-{colour}" for name, colour in cases]
        metafunc.parametrize("follower", cases, ids=ids, indirect=True)


def test_the_rows_and_results_are_those_of_the_recorded_history(follower: Follower) -> None:
    follower.follow()
    follower.stop_worker()
    history = follower.history
    _, changes = DIFFERS.get(history["name"], ("", []))
    for expected in history["snapshots"]:
        compare(expected, follower.snapshots[expected["at"]], changes, follower.claims)
    for run, expected in history["client_results"].items():
        compare_result(expected, follower.result(run))
    assert dict(differing(history["invocations"], follower.invocations(), changes)) == {}


def test_every_difference_is_about_a_history_that_there_is() -> None:
    assert {*DIFFERS, *LEFT_OUT} <= set(BINDING)


def differing(
    expected: dict[str, int], seen: dict[str, int], changes: list[Change]
) -> Iterator[tuple[str, tuple[int, int]]]:
    """What was called more or less often than it should be."""
    expected = dict(expected)
    for table, label, values in changes:
        if table == "invocations":
            expected[label] = values["times"]
    for what in expected.keys() | seen.keys():
        if len(expected) > 20 and what not in expected:
            continue  # only the first of a thousand are recorded
        if expected.get(what) == "<int>" or what.startswith("step:s"):
            continue
        if seen.get(what, 0) != expected.get(what, 0):
            yield what, (seen.get(what, 0), expected.get(what, 0))


def compare(
    expected: dict[str, Any], seen: dict[str, Any], changes: list[Change], claims: int
) -> None:
    unstable = set(expected.get("unstable_columns", ()))
    for table in ("workflow_runs", "step_attempts", "workflow_signals"):
        rows = expected[table]
        if isinstance(rows, dict):  # a summary of a thousand
            assert rows["total"] == len(seen[table])
            assert rows["by_status"] == Counter(row["status"] for row in seen[table])
            continue
        wanted = [dict(recorded(row)) for row in rows]
        for row in wanted:
            if row["id"] == "<run:main>" and isinstance(row["attempts"], int):
                row["attempts"] += claims
        for where, label, values in changes:
            if where == table:
                for row in wanted:
                    if row["id"] == label:
                        row.update(values)
        assert differences(shown(seen[table], unstable), shown(wanted, unstable)) == []
    for relation in expected.get("relations", ()):
        check(relation, seen)


def shown(rows: list[Row], unstable: set[str]) -> list[Row]:
    """In one order, without what is not to be compared."""
    kept = [
        {name: value for name, value in row.items() if name not in unstable | {"config"}}
        | ({"id": "<delivery>"} if "signal" in row else {})
        for row in rows
    ]
    return sorted(kept, key=lambda row: (row["id"], json.dumps(row, sort_keys=True, default=str)))


def differences(seen: list[Row], wanted: list[Row]) -> list[str]:
    """Row by row, what is there and what should be."""
    if len(seen) != len(wanted):
        return [f"there are {len(seen)} rows, not {len(wanted)}: {seen}"]
    return [
        f"{row['id']} {column}: {row.get(column)!r}, not {value!r}"
        for row, other in zip(seen, wanted, strict=True)
        for column, value in other.items()
        if row.get(column) != value and value != "<int>"
    ]


def check(relation: dict[str, Any], seen: dict[str, Any]) -> None:
    left, right = (time_at(relation[side], seen) for side in ("left", "right"))
    match relation["op"]:
        case "eq":
            assert abs(left - right) < timedelta(milliseconds=1), relation
        case "le":
            assert left <= right + timedelta(milliseconds=1), relation
        case "delta":
            off = (left - right) - timedelta(milliseconds=relation["ms"])
            # Machines that test are busy; what matters is that nothing is early.
            early = timedelta(milliseconds=relation["tolerance_ms"])
            assert -early <= off <= timedelta(seconds=1), relation


def time_at(path: str, seen: dict[str, Any]) -> datetime:
    label, _, column = path.rpartition(".")
    member = None
    if label.endswith(".context"):
        label, member, column = label.removesuffix(".context"), column, "context"
    ids = {name: id_ for id_, name in seen["labels"].items()}
    value = seen["raw"][ids[f"<{label}>"]][column]
    time = parse_iso(value[member]) if member else value
    assert isinstance(time, datetime), path
    return time


def compare_result(expected: dict[str, Any], seen: dict[str, Any]) -> None:
    if "value" in expected:
        assert seen == expected
        return
    kind = RunFailed if "{" in expected["error"] else RunCanceled
    assert type(seen["error"]) is kind  # its message is that of the row
