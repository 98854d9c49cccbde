"""Every recorded history that binds an implementation, by sync and async workflows.

A worker process executes the recorded workflows, and the test repeats the recorded actions. The
rows must then be those that OpenWorkflow for TypeScript wrote, except for DIFFERENCES.
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
from tests.histories.driver import HistoryDriver
from tests.histories.flows import STRETCHED
from tests.histories.rows import Row, recorded

pytestmark = [pytest.mark.slow, pytest.mark.once]

VECTORS = Path(__file__).parents[1] / "vectors" / "history"
INDEX = json.loads((VECTORS / "index.json").read_text())["files"]
APPLICABLE = [
    each["file"].removesuffix(".json") for each in INDEX if not each.get("reference_only")
]

NOT_APPLICABLE = {
    "unregistered_workflow": "A worker claims only registered workflows, so nothing happens to the"
    " run. See test_what_no_worker_has_registered_is_left_alone.",
    "child_unregistered": "The same, for a child run.",
    "step_error_caught": "The workflow's code does not see failures that will be retried: step.run"
    " raises when the attempts are used up. See tests/child.",
}
"""Histories that do not apply to owsuper, and why."""

SCHEMA_MESSAGE = "ok must be true; second issue"

Change = tuple[str, str, dict[str, Any]]

DIFFERENCES: dict[str, tuple[str, list[Change]]] = {
    "sleep_zero_and_negative": (
        "A sleep that is over when it begins does not park the run.",
        [
            ("workflow_runs", "<run:main>", {"attempts": ANY}),
            ("invocations", "execution:main", {"times": ANY}),
        ],
    ),
    "deadline_passed_during_step": (
        "The run ends when its deadline passes, by its worker or by the sweep for deadlines, which"
        " keeps started_at. The result of the step that runs at that time is not recorded.",
        [
            ("workflow_runs", "<run:main>", {"started_at": ANY}),
            ("step_attempts", "<step:main/a#1>", {"status": ANY, "error": ANY, "finished_at": ANY}),
        ],
    ),
    "replay_with_pending_sleep": (
        "The code of a claimed run is executed up to its waits, which are not checked before.",
        [("invocations", "execution:main", {"times": 3})],
    ),
    "sleep_invalid_duration": (
        "The message also describes the syntax of durations.",
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
        "The message names the workflow of the input.",
        [
            (table, label, {"error": {"message": f'input of workflow "kid": {SCHEMA_MESSAGE}'}})
            for table, label in (
                ("workflow_runs", "<run:main>"),
                ("step_attempts", "<step:main/kid#1>"),
            )
        ],
    ),
    "signal_schema_failure": (
        "The message names the signal of the data.",
        [
            (
                table,
                label,
                {
                    "error": {
                        "message": "Signal schema validation failed: data of signal 'go':"
                        f" {SCHEMA_MESSAGE}"
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
"""By history: the reason, and the columns (table, label of the row, values) that differ."""


@pytest.fixture
def driver(
    request: pytest.FixtureRequest,
    database_url: str,
    schema: str,
    spawn_owsuper: Spawn,
    tmp_path: Path,
) -> Iterator[HistoryDriver]:
    name, mode = request.param
    path = VECTORS / f"{name}.json"
    driver = HistoryDriver(path, mode, database_url, schema, spawn_owsuper, tmp_path)
    yield driver
    driver.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "driver" in metafunc.fixturenames:
        names = [name for name in APPLICABLE if name not in NOT_APPLICABLE]
        cases = [(name, mode) for name in names for mode in ("sync", "async")]
        ids = [f"{name}-{mode}" for name, mode in cases]
        metafunc.parametrize("driver", cases, ids=ids, indirect=True)


def test_the_rows_and_results_are_those_of_the_recorded_history(driver: HistoryDriver) -> None:
    history = driver.history
    _, changes = DIFFERENCES.get(history["name"], ("", []))
    snapshots = {each["at"]: each for each in history["snapshots"]}

    def is_right(at: str, seen: dict[str, Any]) -> bool:
        try:
            compare(snapshots[at], seen, changes, driver.claims)
        except (AssertionError, LookupError):
            return False
        return True

    driver.is_right = is_right
    driver.run_actions()
    driver.stop_worker()
    for at, expected in snapshots.items():
        compare(expected, driver.snapshots[at], changes, driver.claims)
    for run, expected in history["client_results"].items():
        compare_result(expected, driver.result(run))
    assert dict(differing(history["invocations"], driver.invocations(), changes)) == {}


def test_every_difference_names_an_existing_history() -> None:
    assert {*DIFFERENCES, *NOT_APPLICABLE} <= set(APPLICABLE)


def differing(
    expected: dict[str, int], seen: dict[str, int], changes: list[Change]
) -> Iterator[tuple[str, tuple[int, int]]]:
    """The calls whose number differs from the expected one."""
    expected = dict(expected)
    for table, label, values in changes:
        if table == "invocations":
            expected[label] = values["times"]
    for what in expected.keys() | seen.keys():
        if len(expected) > 20 and what not in expected:
            continue  # the recording has only the first of a thousand
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
        assert differences(comparable(seen[table], unstable), comparable(wanted, unstable)) == []
    for relation in expected.get("relations", ()):
        check(relation, seen)


def comparable(rows: list[Row], unstable: set[str]) -> list[Row]:
    """Rows in a fixed order, without columns that are not compared."""
    kept = [
        {name: value for name, value in row.items() if name not in unstable | {"config"}}
        | ({"id": "<delivery>"} if "signal" in row else {})
        | _without_member_of_owsuper(row)
        for row in rows
    ]
    return sorted(kept, key=lambda row: (row["id"], json.dumps(row, sort_keys=True, default=str)))


def _without_member_of_owsuper(row: Row) -> Row:
    """The context without ``child``, which OpenWorkflow for TypeScript neither writes nor reads."""
    context = row.get("context")
    if not isinstance(context, dict):
        return {}
    return {"context": {name: value for name, value in context.items() if name != "child"}}


def differences(seen: list[Row], wanted: list[Row]) -> list[str]:
    """Descriptions of the columns that differ from the wanted rows."""
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
            ms = STRETCHED.get(relation["ms"], relation["ms"])
            off = (left - right) - timedelta(milliseconds=ms)
            # Test machines are busy. Lateness is tolerated, and earliness by as much as the commit
            # may come late: one of the two times is that of the commit.
            early = timedelta(milliseconds=relation["tolerance_ms"] + 1000)
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
    assert type(seen["error"]) is kind  # the message is checked in the row
