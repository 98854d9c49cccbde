"""Step attempts, and what they wait for, of the columns in which they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from owsuper.core import codec
from owsuper.core.model import ChildRunState, DeliveredSignal, RecordedAttempt


def step_attempt(row: Sequence[Any]) -> RecordedAttempt:
    """A StepAttempt of its columns, the JSON ones as text. Raises InvalidData."""
    attempt_id, name, kind, status, context, output, error, created, started, finished = row[:10]
    owner = f"step {name!r}"
    return RecordedAttempt(
        attempt_id,
        name,
        kind,
        status,
        codec.decode(context, path="context", owner=owner),
        codec.decode(output, path="output", owner=owner),
        codec.decode(error, path="error", owner=owner),
        created,
        started,
        finished,
        answer(row[10:]),
    )


def answer(row: Sequence[Any]) -> ChildRunState | DeliveredSignal | None:
    """Of the columns that ``load`` and ``look`` return for what an attempt waits for.

    Raises InvalidData.
    """
    child_id, status, output, error, finished, delivered, data = row
    if child_id is not None:
        owner = f"run {child_id}"
        return ChildRunState(
            child_id,
            status,
            codec.decode(output, path="output", owner=owner),
            codec.decode(error, path="error", owner=owner),
            finished,
        )
    return (
        DeliveredSignal(codec.decode(data, path="data", owner="the signal")) if delivered else None
    )
