"""The screens, in the order of the navigation."""

from __future__ import annotations

from typing import Final

from owsuper.dashboard.pages import (
    actions,
    audit,
    limits,
    metrics,
    overview,
    run,
    runs,
    schedules,
    waiting,
    workers,
    workflows,
)
from owsuper.dashboard.screen import Screen

SCREENS: Final[tuple[Screen, ...]] = (
    overview.SCREEN,
    runs.SCREEN,
    run.SCREEN,
    workers.SCREEN,
    workflows.SCREEN,
    waiting.SCREEN,
    schedules.SCREEN,
    limits.SCREEN,
    metrics.SCREEN,
    audit.SCREEN,
    actions.SCREEN,
)
