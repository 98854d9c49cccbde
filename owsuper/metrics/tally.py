"""Counts and histograms of one process, as plain data; and their differences, for the pipe.

A child sends what it has counted since it sent last, so the supervisor only adds. What a child had
sent before it died is kept, and nothing is counted twice.

The labels of workflows and steps come from applications. A tally knows the first so many of them,
and counts all that come later as ``other``. Their sums stay right.
"""

from __future__ import annotations

from bisect import bisect_left
from threading import Lock
from typing import Final, TypeAlias

from owsuper.ipc.messages import Counted
from owsuper.metrics.catalogue import BY_NAME, FREE_LABELS, OTHER, Metric

MOST_LABELS: Final = 300
"""The most workflows, and pairs of a workflow and a step, that a tally tells apart."""

LONGEST_LABEL: Final = 120  # characters; names may have 500

Labels: TypeAlias = tuple[str, ...]


class Tally:
    """Counts of one process. Safe from any thread."""

    def __init__(self, most_labels: int = MOST_LABELS) -> None:
        self._most_labels = most_labels
        self._lock = Lock()
        self._known: set[Labels] = set()
        self._as_they_are: set[tuple[Metric, Labels]] = set()  # labels that need no folding
        self._counts: dict[tuple[Metric, Labels], float] = {}
        self._distributions: dict[tuple[Metric, Labels], tuple[list[float], list[int]]] = {}

    def count(self, metric: Metric, labels: Labels = (), number: float = 1) -> None:
        """Add ``number`` to a counter."""
        with self._lock:
            key = metric, self._fold(metric, labels)
            self._counts[key] = self._counts.get(key, 0) + number

    def observe(self, metric: Metric, value: float, labels: Labels = ()) -> None:
        """Add an observation to a histogram."""
        with self._lock:
            total, buckets = self._distribution(metric, labels)
            total[0] += value
            buckets[bisect_left(metric.bounds, value)] += 1

    def add(self, counted: Counted) -> None:
        """Add what another process has counted."""
        with self._lock:
            for name, labels, number in counted.counts:
                metric = BY_NAME[name]
                key = metric, self._fold(metric, labels)
                self._counts[key] = self._counts.get(key, 0) + number
            for name, labels, value, more in counted.distributions:
                total, buckets = self._distribution(BY_NAME[name], labels)
                total[0] += value
                for bucket, number in enumerate(more):
                    buckets[bucket] += number

    def read(self) -> Counted:
        """Return all that was counted."""
        with self._lock:
            return self._counted()

    def take(self) -> Counted:
        """Return what was counted since the last call, and begin anew."""
        with self._lock:
            counted = self._counted()
            self._counts.clear()
            self._distributions.clear()
            return counted

    def _counted(self) -> Counted:
        return Counted(
            tuple(
                (metric.name, labels, number) for (metric, labels), number in self._counts.items()
            ),
            tuple(
                (metric.name, labels, total[0], tuple(buckets))
                for (metric, labels), (total, buckets) in self._distributions.items()
            ),
        )

    def _distribution(self, metric: Metric, labels: Labels) -> tuple[list[float], list[int]]:
        key = metric, self._fold(metric, labels)
        found = self._distributions.get(key)
        if found is None:
            found = self._distributions[key] = [0.0], [0] * (len(metric.bounds) + 1)
        return found

    def _fold(self, metric: Metric, labels: Labels) -> Labels:
        """Return ``labels``, with OTHER for those of applications that are beyond the limit."""
        if not labels or (metric, labels) in self._as_they_are:
            return labels
        folded = tuple([label[:LONGEST_LABEL] for label in labels])
        named = list(zip(metric.labels, folded, strict=True))
        free = tuple([label for name, label in named if name in FREE_LABELS])
        if free and free not in self._known:
            if len(self._known) >= self._most_labels:
                return tuple([OTHER if name in FREE_LABELS else label for name, label in named])
            self._known.add(free)
        if folded == labels:  # of cut ones there may be any number
            self._as_they_are.add((metric, labels))
        return folded
