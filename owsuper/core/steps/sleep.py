"""The step that sleeps for a duration or until a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from owsuper.core.decisions import Diverged, Elapsed, OverLimit, Recall, Wait
from owsuper.core.steps.effects import Pause, Record
from owsuper.core.steps.protocol import Context, StepGenerator


def sleep_step(
    context: Context, key: str, duration_ms: Callable[[], float], at: datetime | None = None
) -> StepGenerator:
    """Begin or resume a sleep of ``duration_ms()`` milliseconds, or until ``at``."""
    while True:
        match context.replay.decide_sleep(key, duration_ms, context.now(), at):
            case Recall():
                return None
            case Wait(write=write) as wait:
                if write is not None:
                    context.check_passed(key)
                    context.replay.record(write)
                    yield Record(write)
                yield Pause(wait)
            case Elapsed(write):
                context.replay.record(write)
                yield Record(write)
            case OverLimit() as over:
                raise context.limit_error(over)
            case Diverged() as diverged:
                raise context.diverge(diverged)
