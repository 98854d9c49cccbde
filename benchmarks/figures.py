"""Figures: one is a line of the table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from owsuper.cli.bench import quantile


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity, with one value for each repetition.

    ``key`` is its name for programs, the same for all sizes. ``clients`` is the number of clients
    of the database's own limit to compare with, or None. ``middle`` is the figure, if that is not
    the median of ``values``.
    """

    key: str
    name: str
    unit: str
    values: tuple[float, ...]
    clients: int | None = None
    middle: float | None = None

    @property
    def median(self) -> float:
        """The figure: ``middle``, or the median of ``values``."""
        return statistics.median(self.values) if self.middle is None else self.middle

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest repetition."""
        return min(self.values), max(self.values)


def latencies(
    key: str, name: str, repetitions: Sequence[Sequence[float]], *, clients: int | None = 1
) -> list[Figure]:
    """p50 and p99 of each repetition; samples are seconds, figures milliseconds."""
    return [
        Figure(f"{key}.p{percent}", f"{name}, p{percent}", "ms", values, clients)
        for percent in (50, 99)
        for values in [tuple(quantile(each, percent / 100) * 1e3 for each in repetitions)]
    ]


def paired_ratio(key: str, name: str, above: Sequence[float], below: Sequence[float]) -> Figure:
    """The median ratio of pairs, each measured one right after the other.

    A machine that gets slower or faster in an hour changes it less than the ratio of two medians.
    """
    return Figure(key, name, "ratio", tuple(a / b for a, b in zip(above, below, strict=True)))


def uncertainty(key: str, name: str, pairs: Figure) -> Figure:
    """Half the width of the interval in which the mean of these pairs is, with 95 % confidence.

    There are two pairs at least. A difference that is smaller was not measured.
    """
    half = 1.96 * statistics.stdev(pairs.values) / len(pairs.values) ** 0.5
    return Figure(key, name, pairs.unit, (half,))


def ratio(key: str, name: str, above: Sequence[float], below: Sequence[float]) -> Figure:
    """The ratio of two medians. The spread is that of the pairs, which were measured in turn."""
    pairs = tuple(a / b for a, b in zip(above, below, strict=True))
    return Figure(
        key, name, "ratio", pairs, middle=statistics.median(above) / statistics.median(below)
    )
