"""The keyword arguments with which runs are started."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeAlias, TypedDict
from uuid import UUID

from owsuper.core.durations import Duration

When: TypeAlias = datetime | timedelta | str
"""An aware datetime, or how long from now: a timedelta, or text such as ``"5m"``."""


class Times(TypedDict, total=False):
    """The time from which a run may start, and the time at which an unfinished run fails."""

    available_at: When | None
    deadline_at: When | None


class Schedule(Times, total=False):
    """The keyword arguments of ``run_many``."""

    priority: int | None
    connection: object
    attributes: Mapping[str, str] | None


class Start(Schedule, total=False):
    """The keyword arguments of ``run``."""

    id: str | UUID | None
    idempotency_key: str | None
    key_lifetime: Duration | None
