"""Runs and steps as JSON, for programs: the members are the fields of the public classes."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import orjson

from owsuper.client.models import Run, RunCounts, StepAttempt


def encode(value: Any) -> str:
    """One line. Times are in UTC, and end in Z."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()


def of(item: Run | StepAttempt) -> dict[str, Any]:
    """A run, or an attempt of one of its steps; the error as it is stored."""
    members = {each.name: getattr(item, each.name) for each in fields(item)}
    return members | {"error": item.error.to_json() if item.error else None}


def of_counts(counts: RunCounts) -> dict[str, int]:
    return asdict(counts)
