"""What is stored, in the form in which the recorded histories show it."""

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
    """Names for the ids of all rows, as the histories give them."""

    def __init__(self, runs: list[Row], steps: list[Row], signals: list[Row]) -> None:
        self.of: dict[str, str] = {}
        self._steps = {row["id"]: row for row in steps}
        self._runs = {row["id"]: row for row in runs}
        self._short: dict[str, str] = {}

    def name_runs(self, named: dict[str, str]) -> None:
        """``named`` are the ids of those that were started from outside, by name."""
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
    """A value of a JSON column, without what differs from one time to the next."""
    if isinstance(value, dict):
        shown = {name: normalize(each, labels) for name, each in value.items()}
        if isinstance(reached := shown.get("workflowRunIds"), list):
            reached.sort()
        return shown
    if isinstance(value, list):
        return [normalize(each, labels) for each in value]
    return labels.text(value) if isinstance(value, str) else value


def stored_error(error: Any, labels: Labels) -> Any:
    """Names and stacks of exceptions are those of the language that raised them; ``final`` is a
    mark of ours that others ignore.
    """
    if not isinstance(error, dict) or "code" in error:
        return error
    mine = {"name", "stack", "final"}
    return normalize({name: each for name, each in error.items() if name not in mine}, labels)


def one(row: Row, labels: Labels) -> Row:
    shown = {}
    for column, value in row.items():
        if isinstance(value, datetime):
            shown[column] = "<ts>"
        elif column == "worker_id":
            shown[column] = None if value is None else "<worker>"
        elif column == "error":
            shown[column] = stored_error(value, labels)
        elif column == "context" and isinstance(value, dict):
            shown[column] = {
                name: "<iso-ms>" if name in WAITS and ISO.fullmatch(str(each)) else each
                for name, each in value.items()
            }
        else:
            shown[column] = normalize(value, labels)
    return shown


def recorded(row: Row) -> Row:
    """A row of a recorded history, in the same form."""
    shown = dict(row)
    if "worker_id" in row:
        shown["worker_id"] = None if row["worker_id"] is None else "<worker>"
    error = row.get("error")
    if isinstance(error, dict) and "code" not in error:
        shown["error"] = {k: v for k, v in error.items() if k not in ("name", "stack")}
    return shown
