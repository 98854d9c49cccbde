"""A timeline: spans of time as bars in lanes on one axis, never more than a page can show.

Pure: no clock and no database. All times are seconds since the run was created.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from owsuper.dashboard.axis import Axis

MAX_ROWS: Final = 40
"""The most labels: steps, or groups of steps with the same name."""

MAX_BARS: Final = 1500
"""The most bars of a timeline, some 300 bytes each."""

LEAST_WIDTH: Final = 0.4
"""The width of the shortest bar, in percent of the axis: one or two pixels on a telephone."""

_MAX_LANES: Final = 6  # of one label, for bars at the same time
_NARROW: Final = 1.0  # percent; bars of less width are folded where they overlap
_NUMBER: Final = re.compile(r":\d+\Z")  # of the second, third ... step of one name


@dataclass(frozen=True, slots=True)
class Span:
    """A thing that took or takes time, from ``begin`` to ``end``, on the row of its ``label``.

    ``kind`` and ``status`` become classes of the bar: letters and hyphens only. ``growing``: it has
    not ended. ``href`` is where the bar leads to; empty for nowhere.
    """

    label: str
    kind: str
    status: str
    begin: float
    end: float
    title: str
    href: str = ""
    growing: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar from ``x`` with ``width``, in percent of the axis.

    It shows one span, or ``count`` of them from ``begin`` to ``end``, folded; then ``statuses``
    says how many have which status.
    """

    x: float
    width: float
    kind: str
    status: str
    title: str
    href: str
    begin: float
    end: float
    growing: bool = False
    count: int = 1
    statuses: Mapping[str, int] | None = None

    @property
    def right(self) -> float:
        """Where the bar ends, in percent of the axis."""
        return self.x + self.width


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """The bars of one label, in lanes: in a lane, no two overlap. ``steps`` counts the labels."""

    label: str
    lanes: tuple[tuple[Bar, ...], ...]
    steps: int = 1


@dataclass(frozen=True, slots=True)
class Timeline:
    """Rows of bars on an axis. ``outside`` counts the spans that the axis does not show."""

    axis: Axis
    rows: tuple[TimelineRow, ...]
    outside: int

    @property
    def bars(self) -> int:
        """The number of bars in all rows."""
        return sum(len(lane) for row in self.rows for lane in row.lanes)


def lay_out(spans: Iterable[Span], axis: Axis) -> Timeline:
    """Return the timeline of ``spans``. Rows are in the order in which their labels come first."""
    every = list(spans)
    shown = [span for span in every if axis.shows(span.begin, span.end)]
    groups = _groups(shown)
    bars = [(label, steps, _bars(group, axis)) for label, steps, group in groups]
    gap = 0.0
    while True:
        rows = tuple(TimelineRow(label, _lanes(each, gap), steps) for label, steps, each in bars)
        timeline = Timeline(axis, rows, len(every) - len(shown))
        if timeline.bars <= MAX_BARS:
            return timeline
        gap = gap * 2 or LEAST_WIDTH


# --- rows --------------------------------------------------------------------------------------


def _groups(spans: Sequence[Span]) -> list[tuple[str, int, list[Span]]]:
    """Return label, number of steps and spans of each row, at most ``MAX_ROWS``."""
    by_label: dict[str, list[Span]] = {}
    for span in spans:
        by_label.setdefault(span.label, []).append(span)
    if len(by_label) <= MAX_ROWS:
        return [(label, 1, found) for label, found in by_label.items()]
    by_name: dict[str, list[str]] = {}
    for label in by_label:
        by_name.setdefault(_NUMBER.sub("", label), []).append(label)
    names = list(by_name.values())
    if len(names) > MAX_ROWS:
        rest = [label for labels in names[MAX_ROWS - 1 :] for label in labels]
        names = [*names[: MAX_ROWS - 1], rest]
    rows = []
    for number, labels in enumerate(names):
        found = [span for label in labels for span in by_label[label]]
        title = _NUMBER.sub("", labels[0]) if len(labels) > 1 else labels[0]
        if number == MAX_ROWS - 1 and len(by_name) > MAX_ROWS:
            title = "other steps"
        rows.append((title, len(labels), found))
    return rows


# --- bars --------------------------------------------------------------------------------------


def _bars(spans: Iterable[Span], axis: Axis) -> list[Bar]:
    bars = [_bar(span, axis) for span in spans]
    return sorted(bars, key=lambda bar: (bar.x, bar.right))


def _bar(span: Span, axis: Axis) -> Bar:
    left = min(axis.place(span.begin), 100.0 - LEAST_WIDTH)
    width = min(max(axis.place(span.end) - left, LEAST_WIDTH), 100.0 - left)
    return Bar(
        left,
        width,
        span.kind,
        span.status,
        span.title,
        span.href,
        span.begin,
        span.end,
        growing=span.growing,
    )


class _Cluster:
    """Bars of one lane that are drawn as one."""

    __slots__ = ("bars", "end", "right", "x")

    def __init__(self, bar: Bar, x: float) -> None:
        self.bars = [bar]
        self.x = x
        self.right = bar.right
        self.end = bar.end

    def add(self, bar: Bar) -> None:
        self.bars.append(bar)
        self.right = max(self.right, bar.right)
        self.end = max(self.end, bar.end)

    def drawn(self) -> Bar:
        """Return a bar for all: of their kind, if they have the same, and of the worst status."""
        first = self.bars[0]
        width = min(self.right, 100.0) - self.x
        if len(self.bars) == 1:
            return replace(first, x=self.x, width=width)
        statuses = Counter(bar.status for bar in self.bars)
        return replace(
            first,
            x=self.x,
            width=width,
            kind=first.kind if len({bar.kind for bar in self.bars}) == 1 else "mixed",
            status=max(statuses, key=lambda status: _BADNESS.get(status, 0)),
            begin=min(bar.begin for bar in self.bars),
            end=self.end,
            growing=any(bar.growing for bar in self.bars),
            count=len(self.bars),
            statuses=dict(statuses),
            href="",
        )


def _lanes(bars: Sequence[Bar], gap: float) -> tuple[tuple[Bar, ...], ...]:
    """Return the lanes for ``bars``, which are sorted. Those closer than ``gap`` are folded."""
    lanes: list[list[_Cluster]] = []
    narrow = max(_NARROW, gap)
    for bar in bars:
        if (lane := _free_lane(lanes, bar, gap)) is not None:
            lane.append(_Cluster(bar, max(bar.x, lane[-1].right)))
        elif (other := _to_fold_with(lanes, bar, gap, narrow)) is not None:
            other.add(bar)
        else:
            lanes.append([_Cluster(bar, bar.x)])
    return tuple(tuple(cluster.drawn() for cluster in lane) for lane in lanes)


def _free_lane(lanes: Sequence[list[_Cluster]], bar: Bar, gap: float) -> list[_Cluster] | None:
    """Return the first lane with room for ``bar``.

    Of a lane whose last bar is wider than what it shows, and only hides the beginning of ``bar``,
    the room behind it is enough.
    """
    for lane in lanes:
        if lane[-1].right + gap <= bar.x:
            return lane
    for lane in lanes:
        last = lane[-1]
        if last.end <= bar.begin and bar.right - last.right >= max(LEAST_WIDTH, gap):
            return lane
    return None


def _to_fold_with(
    lanes: Sequence[list[_Cluster]], bar: Bar, gap: float, narrow: float
) -> _Cluster | None:
    if bar.width <= narrow:
        for lane in lanes:
            if lane[-1].right - lane[-1].x <= narrow:
                return lane[-1]
    if lanes and (gap >= 100.0 or len(lanes) >= _MAX_LANES):
        return lanes[-1][-1]
    return None


_FROM_GOOD_TO_BAD: Final = ("kept", "completed", "canceled", "waiting", "running", "lost", "failed")
_BADNESS: Final = {status: number for number, status in enumerate(_FROM_GOOD_TO_BAD)}


def folded_title(bar: Bar) -> str:
    """Return what a folded bar shows, such as ``12 bars: 10 completed, 2 failed``."""
    counts = ", ".join(f"{count} {status}" for status, count in (bar.statuses or {}).items())
    return f"{bar.count} bars: {counts}"


def legend(timeline: Timeline) -> list[tuple[str, str]]:
    """Return the kinds of all bars with their statuses, each once and in order."""
    return sorted(
        {(bar.kind, bar.status) for row in timeline.rows for lane in row.lanes for bar in lane}
    )
