"""Stored rows in the form of the recorded histories."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

Row = dict[str, Any]
Query = Callable[..., list[Row]]

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
WAITS = {"resumeAt", "timeoutAt"}


class Labels:
    """Labels for the ids of all rows, as in the histories."""

    def __init__(self, runs: list[Row], steps: list[Row], signals: list[Row]) -> None:
        self.of: dict[str, str] = {}
        self._steps = {row["id"]: row for row in steps}
        self._runs = {row["id"]: row for row in runs}
        self._short: dict[str, str] = {}

    def name_runs(self, named: dict[str, str]) -> None:
        """``named`` maps names to the ids of runs that clients started."""
        for name, run_id in named.items():
            self._short.setdefault(run_id, name)
        seen: Counter[tuple[str, str]] = Counter()
        self._places: dict[str, int] = {}
        for step in self._steps.values():
            key = (step["workflow_run_id"], step["step_name"])
            seen[key] += 1
            self._places[step["id"]] = seen[key]
        for run_id in self._runs:
            self.of[run_id] = f"<run:{self._run(run_id)}>"
        for step_id in self._steps:
            self.of[step_id] = f"<step:{self._step(step_id)}>"

    def _run(self, run_id: str) -> str:
        if run_id not in self._short:
            parent = self._runs[run_id]["parent_step_attempt_id"]
            self._short[run_id] = f"child-of {self._step(parent)}"
        return self._short[run_id]

    def _step(self, step_id: str) -> str:
        step = self._steps[step_id]
        run = self._run(step["workflow_run_id"])
        return f"{run}/{step['step_name']}#{self._places[step_id]}"

    def text(self, text: str) -> str:
        for id_, label in self.of.items():
            text = text.replace(id_, label)
        return text


def normalize(value: Any, labels: Labels) -> Any:
    """A value of a JSON column, without what differs between executions."""
    if isinstance(value, dict):
        comparable = {name: normalize(each, labels) for name, each in value.items()}
        if isinstance(reached := comparable.get("workflowRunIds"), list):
            reached.sort()
        return comparable
    if isinstance(value, list):
        return [normalize(each, labels) for each in value]
    return labels.text(value) if isinstance(value, str) else value


def stored_error(error: Any, labels: Labels) -> Any:
    """A stored error without name and stack, which depend on the language, and without ``final``,
    which only owsuper writes.
    """
    if not isinstance(error, dict) or "code" in error:
        return error
    language_specific = {"name", "stack", "final"}
    return normalize(
        {name: each for name, each in error.items() if name not in language_specific}, labels
    )


def normalized_row(row: Row, labels: Labels) -> Row:
    comparable = {}
    for column, value in row.items():
        if isinstance(value, datetime):
            comparable[column] = "<ts>"
        elif column == "worker_id":
            comparable[column] = None if value is None else "<worker>"
        elif column == "error":
            comparable[column] = stored_error(value, labels)
        elif column == "context" and isinstance(value, dict):
            comparable[column] = {
                name: "<iso-ms>" if name in WAITS and ISO.fullmatch(str(each)) else each
                for name, each in value.items()
            }
        else:
            comparable[column] = normalize(value, labels)
    return comparable


def recorded(row: Row) -> Row:
    """A row of a recorded history in the same form."""
    comparable = dict(row)
    if "worker_id" in row:
        comparable["worker_id"] = None if row["worker_id"] is None else "<worker>"
    error = row.get("error")
    if isinstance(error, dict) and "code" not in error:
        comparable["error"] = {k: v for k, v in error.items() if k not in ("name", "stack")}
    return comparable
