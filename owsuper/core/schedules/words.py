"""Schedules in words, for people."""

from __future__ import annotations

from typing import Final

from cronsim.explain import explain

from owsuper.core.schedules.cron import fields_of

_UNITS: Final = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def in_words(cron: str | None, every: float | None, timezone: str) -> str:
    """Return when a schedule is due: ``At 03:00 every day (Europe/Berlin)``."""
    if cron is not None:
        return f"{explain(fields_of(cron))} ({timezone})"
    assert every is not None
    for seconds, unit in _UNITS:
        count, rest = divmod(every, seconds)
        if not rest:
            return f"Every {unit}" if count == 1 else f"Every {count:.0f} {unit}s"
    return f"Every {every:g} seconds"
