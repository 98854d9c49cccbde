"""What the database knows, as metrics: for the worker that asks, and for any other process.

A dashboard serves ``page``. It needs no worker, and knows runs and workers of both languages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from owsuper.db.queue_state import QueueDepth
from owsuper.metrics.catalogue import (
    OF_DATABASE,
    OTHER,
    QUEUE_AGE,
    QUEUE_DUE,
    RUNS_BY_STATUS,
    WORKERS,
    Metric,
)
from owsuper.metrics.families import CONTENT_TYPE, Snapshot, text
from owsuper.metrics.tally import LONGEST_LABEL, Labels

__all__ = ["CONTENT_TYPE", "measure", "page"]

_MOST_WORKFLOWS: Final = 200  # the others are added up


def measure(
    depths: Iterable[QueueDepth], *, served: Iterable[str] = ()
) -> Sequence[tuple[Metric, Labels, float]]:
    """Return the depths as numbers; also of workflows that are ``served`` and have no runs."""
    due: dict[str, int] = dict.fromkeys([name[:LONGEST_LABEL] for name in served], 0)
    ages: dict[str, float] = dict.fromkeys(due, 0.0)
    for each in sorted(depths, key=lambda each: -each.due):
        name = each.workflow[:LONGEST_LABEL]
        if name not in due and len(due) >= _MOST_WORKFLOWS:
            name = OTHER
        due[name] = due.get(name, 0) + each.due
        ages[name] = max(ages.get(name, 0.0), each.oldest_seconds)
    return [
        *((QUEUE_DUE, (name,), number) for name, number in due.items()),
        *((QUEUE_AGE, (name,), age) for name, age in ages.items()),
    ]


def page(
    depths: Iterable[QueueDepth], unfinished: Mapping[str, int], worker_states: Iterable[str]
) -> bytes:
    """Return a page of CONTENT_TYPE with what the database knows.

    ``depths`` and ``unfinished`` come from ``db.queue_state.QueueStateQueries``, and
    ``worker_states`` are the states of the workers that are listed, such as "serving".
    """
    numbers = [
        *measure(depths),
        *((RUNS_BY_STATUS, (status,), number) for status, number in unfinished.items()),
        *((WORKERS, (state,), number) for state, number in Counter(worker_states).items()),
    ]
    return text(OF_DATABASE, Snapshot(gauges=numbers))
