"""Workflows that obey limits. Only the workers of ``rules`` load them."""

from __future__ import annotations

import time

from owsuper import Concurrency, Rate, Step
from owsuper.bench.app import ow

PLENTY = 1_000_000_000
"""A limit of which no run has to wait, so that its cost is all that shows."""


@ow.workflow("at-once", limits=[Concurrency(PLENTY)])
def at_once(step: Step) -> float:
    """As ``report-time``, under a limit of runs at once."""
    return step.run("report-time", time.time)


@ow.workflow("at-once-by-key", limits=[Concurrency(PLENTY, key="tenant")])
def at_once_by_key(step: Step, order: dict[str, int]) -> float:
    """As ``report-time``, under a limit of runs at once for each tenant."""
    return step.run("report-time", time.time)


@ow.workflow("per-second", limits=[Rate(PLENTY, per="1s", burst=PLENTY)])
def per_second(step: Step) -> float:
    """As ``report-time``, under a limit of runs in a time."""
    return step.run("report-time", time.time)
