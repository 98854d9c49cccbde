"""Statements of the dashboard about runs that wait for signals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from owsuper.core.durations import parse_iso
from owsuper.core.pages import Position, Window
from owsuper.db.clients import Operation, Rows
from owsuper.db.lists import beside
from owsuper.db.statement import load

_SLACK: Final = 500  # waits that are read for a page; some are of ended runs, or have their signal
_MOST_READ: Final = 2000  # for a page of one workflow or signal


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedSignal:
    """A step of an open run that waits for a signal which has not arrived.

    ``began_at`` is since when, ``until`` for how long at most; None if that is not known.
    """

    id: str
    created_at: datetime
    step_name: str
    began_at: datetime
    run_id: str
    signal: str
    until: datetime | None
    workflow_name: str
    version: str | None
    run_created_at: datetime
    deadline_at: datetime | None


@dataclass(frozen=True, slots=True)
class WaitPage:
    """Some waits in the order of the list; see ``RunPage``."""

    items: tuple[AwaitedSignal, ...]
    next: Position | None
    previous: Position | None
    searched_to: datetime | None


class WaitLists:
    """The waits for signals of one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._all = load("dashboard_signal_waits", schema)
        self._of_signal = load("dashboard_waits_for_signal", schema)

    def page(
        self,
        window: Window,
        *,
        workflow: str | None = None,
        signal: str | None = None,
        newest_first: bool = False,
    ) -> Operation[WaitPage]:
        """Return a page of waits, those that began first unless ``newest_first``."""
        to_newer = window.backward == newest_first
        place = beside(window.position, to_older=not to_newer)
        most = max(_SLACK if workflow is None and signal is None else _MOST_READ, window.limit + 1)
        params = (
            self._namespace, *place, window.limit + 1, to_newer, most, workflow, signal,
        )  # fmt: skip
        calls = [(self._all, params)]
        if signal is not None:
            calls.append((self._of_signal, params))

        def parse(results: list[Rows]) -> WaitPage:
            # Waits for one signal among many others are found by its index; many of them by time.
            rows = results[-1]
            if rows[0][-1] is not None:
                rows = results[0]
            return _page(rows, window)

        return Operation(tuple(calls), parse)


def _page(rows: Rows, window: Window) -> WaitPage:
    found = [_wait(row) for row in rows if row[0] is not None]
    kept, onward, searched_to = found[: window.limit], None, None
    edge_at, edge_id = rows[0][-2:]
    if len(found) > window.limit:
        onward = _place(kept[-1])
    elif edge_at is not None:
        onward, searched_to = Position(edge_at, edge_id), edge_at
    back = None
    if window.position is not None:
        back = _place(kept[0]) if kept else window.position
    items = tuple(kept[::-1] if window.backward else kept)
    if window.backward:
        onward, back = back, onward
    return WaitPage(items, onward, back, searched_to)


def _wait(row: tuple[Any, ...]) -> AwaitedSignal:
    (
        step_id, created_at, step_name, began_at, run_id, signal, timeout, workflow_name, version,
        run_created_at, deadline_at,
    ) = row[:-2]  # fmt: skip
    return AwaitedSignal(
        id=step_id,
        created_at=created_at,
        step_name=step_name,
        began_at=began_at,
        run_id=run_id,
        signal=signal or step_name,
        until=parse_iso(timeout),
        workflow_name=workflow_name,
        version=version,
        run_created_at=run_created_at,
        deadline_at=deadline_at,
    )


def _place(wait: AwaitedSignal) -> Position:
    return Position(wait.created_at, wait.id)
