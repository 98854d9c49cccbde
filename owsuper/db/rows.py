"""Step attempts, and what they wait for, of the columns in which they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from owsuper.core.model import ChildState, Delivery, StepAttempt


def step_attempt(row: Sequence[Any]) -> StepAttempt:
    """A StepAttempt of its columns, the JSON ones as text."""
    attempt_id, name, kind, status, context, output, error, created, started, finished = row[:10]
    return StepAttempt(
        attempt_id,
        name,
        kind,
        status,
        _parsed(context),
        _parsed(output),
        _parsed(error),
        created,
        started,
        finished,
        answer(row[10:]),
    )


def answer(row: Sequence[Any]) -> ChildState | Delivery | None:
    """Of the columns that ``load`` and ``look`` return for what an attempt waits for."""
    child_id, status, output, error, finished, delivered, data = row
    if child_id is not None:
        return ChildState(child_id, status, _parsed(output), _parsed(error), finished)
    return Delivery(_parsed(data)) if delivered else None


def _parsed(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)
