"""What the database knows, as metrics: for the worker that asks, and for any other process.

A dashboard serves ``page``. It needs no worker, and knows runs and workers of both languages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from owsuper.db.queue_state import QueueState
from owsuper.metrics.catalogue import (
    LIMIT_AGE,
    LIMIT_WAITING,
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

_MOST_NAMES: Final = 200  # of workflows, and of limits; the others are added up


def measure(
    state: QueueState, *, served: Iterable[str] = ()
) -> Sequence[tuple[Metric, Labels, float]]:
    """Return the state as numbers; also of workflows that are ``served`` and have no runs."""
    queues = [(each.workflow, each.due, each.oldest_seconds) for each in state.queues]
    limits = [(each.limit, each.waiting, each.oldest_seconds) for each in state.limits]
    return [
        *_by_name(QUEUE_DUE, QUEUE_AGE, queues, served),
        *_by_name(LIMIT_WAITING, LIMIT_AGE, limits),
    ]


def _by_name(
    number: Metric,
    age: Metric,
    counted: Iterable[tuple[str, int, float]],
    known: Iterable[str] = (),
) -> Iterator[tuple[Metric, Labels, float]]:
    """Yield both metrics of names, each with how many runs it has, and the age of the oldest."""
    runs: dict[str, int] = dict.fromkeys([name[:LONGEST_LABEL] for name in known], 0)
    ages: dict[str, float] = dict.fromkeys(runs, 0.0)
    for whole, count, seconds in sorted(counted, key=lambda each: -each[1]):
        name = whole[:LONGEST_LABEL]
        if name not in runs and len(runs) >= _MOST_NAMES:
            name = OTHER
        runs[name] = runs.get(name, 0) + count
        ages[name] = max(ages.get(name, 0.0), seconds)
    yield from ((number, (name,), count) for name, count in runs.items())
    yield from ((age, (name,), seconds) for name, seconds in ages.items())


def page(state: QueueState, unfinished: Mapping[str, int], worker_states: Iterable[str]) -> bytes:
    """Return a page of CONTENT_TYPE with what the database knows.

    ``state`` and ``unfinished`` come from ``db.queue_state.QueueStateQueries``, and
    ``worker_states`` are the states of the workers that are listed, such as "serving".
    """
    numbers = [
        *measure(state),
        *((RUNS_BY_STATUS, (status,), number) for status, number in unfinished.items()),
        *((WORKERS, (state,), number) for state, number in Counter(worker_states).items()),
    ]
    return text(OF_DATABASE, Snapshot(gauges=numbers))
