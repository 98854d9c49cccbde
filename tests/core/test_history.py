"""Folding recorded attempts by step key, and when a recorded wait is over."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from owsuper.core.durations import add_years, iso_ms, parse_iso
from owsuper.core.history import History, wake_time
from owsuper.core.model import RecordedAttempt

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "history_state.json").read_text())
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def attempt(**given: Any) -> RecordedAttempt:
    row = {
        "id": "1",
        "step_name": "a",
        "kind": "function",
        "status": "running",
        "context": None,
        "output": None,
        "error": None,
        "created_at": NOW,
        "started_at": NOW,
        "finished_at": None,
    }
    return RecordedAttempt(**(row | given))


def test_attempts_are_grouped_by_step_key_and_later_attempts_win() -> None:
    fold = VECTORS["fold"]
    history = History(attempt(**row) for row in fold["attempts"])

    assert {key: row.id for key, row in history.completed.items()} == fold["cached"]
    assert {key: len(rows) for key, rows in history.failed.items()} == fold["failed_counts"]
    assert {key: rows[-1].id for key, rows in history.failed.items()} == fold["last_failed"]
    assert {key: row.id for key, row in history.running.items()} == fold["running"]


def test_attempts_that_a_crash_interrupted_do_not_count_towards_the_limit() -> None:
    history = History(
        [
            attempt(id="1", status="running"),
            attempt(id="2", status="failed"),
            attempt(id="3", status="completed"),
            attempt(id="4", kind="sleep", step_name="nap", status="running"),
        ]
    )

    assert history.counted == 3


@pytest.mark.parametrize("row", VECTORS["wake_times"], ids=lambda row: row["step_name"])
def test_a_recorded_wait_ends_when_its_context_says(row: dict[str, Any]) -> None:
    waiting = attempt(
        step_name=row["step_name"],
        kind=row["kind"],
        context=row["context"],
        created_at=parse_iso(row["created_at"]),
    )

    until = wake_time(waiting)

    assert (iso_ms(until) if until else None) == row["wake_at"]


@pytest.mark.parametrize("row", VECTORS["default_timeouts"], ids=lambda row: row["base"])
def test_a_wait_without_a_timeout_lasts_until_the_same_day_next_year(row: dict[str, Any]) -> None:
    base = parse_iso(row["base"])
    assert base is not None
    assert iso_ms(add_years(base, 1)) == row["timeout_at"]
