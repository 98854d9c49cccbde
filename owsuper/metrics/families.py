"""The text that Prometheus reads, made by its own library from what was counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from owsuper import extras
from owsuper.ipc.messages import Counted
from owsuper.metrics.catalogue import Metric
from owsuper.metrics.tally import Labels

try:
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.core import Metric as Family
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
except ModuleNotFoundError as error:
    raise extras.missing(error, "owsuper.metrics", "owsuper[metrics]") from error

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a page shows: ``counted``, and gauges as (metric, values of its labels, value)."""

    counted: Counted = field(default_factory=Counted)
    gauges: Sequence[tuple[Metric, Labels, float]] = ()


def text(metrics: Sequence[Metric], snapshot: Snapshot, *, of_process: bool = False) -> bytes:
    """Return a page with these metrics, for CONTENT_TYPE.

    With ``of_process``, it also has the library's metrics of this process, such as
    ``process_resident_memory_bytes`` (on Linux).
    """
    registry = CollectorRegistry()
    registry.register(_SnapshotCollector(metrics, snapshot))
    if of_process:
        ProcessCollector(registry=registry)
    return generate_latest(registry)


class _SnapshotCollector:
    """Yields one snapshot to the library."""

    def __init__(self, metrics: Sequence[Metric], snapshot: Snapshot) -> None:
        self._metrics = metrics
        self._numbers: dict[str, list[tuple[Labels, float]]] = {}
        self._distributions: dict[str, list[tuple[Labels, float, tuple[int, ...]]]] = {}
        for name, labels, number in snapshot.counted.counts:
            self._numbers.setdefault(name, []).append((labels, number))
        for metric, labels, value in snapshot.gauges:
            self._numbers.setdefault(metric.name, []).append((labels, value))
        for name, labels, total, buckets in snapshot.counted.distributions:
            self._distributions.setdefault(name, []).append((labels, total, buckets))

    def describe(self) -> Iterable[Family]:
        """Return nothing, or the library would collect in order to describe."""
        return ()

    def collect(self) -> Iterator[Family]:
        """Yield each metric with all that is known of it."""
        for metric in self._metrics:
            if metric.kind == "histogram":
                yield self._histogram(metric)
            else:
                yield self._numbers_of(metric)

    def _numbers_of(self, metric: Metric) -> Family:
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = kind(metric.name, metric.help, labels=metric.labels)
        found = self._numbers.get(metric.name, [])
        if not found and metric.kind == "counter" and not metric.labels:
            found = [((), 0.0)]  # a rate needs a first value
        for labels, number in found:
            family.add_metric(labels, number)
        return family

    def _histogram(self, metric: Metric) -> Family:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        names = [*(str(bound) for bound in metric.bounds), "+Inf"]
        found = self._distributions.get(metric.name, [])
        if not found and not metric.labels:
            found = [((), 0.0, (0,) * len(names))]
        for labels, total, buckets in found:
            family.add_metric(labels, list(zip(names, accumulate(buckets), strict=True)), total)
        return family
