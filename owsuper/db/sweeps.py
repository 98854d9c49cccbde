"""The statements of the supervisor about the runs of all workers, as those of ``db.claims``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from owsuper.db.claims import (
    SCAN_ALL,
    Call,
    Rows,
    ScanRange,
    ScanResult,
    Workflow,
    text,
    workflows_json,
)
from owsuper.db.statement import load

_SWEEP: Final = 100  # deadlines or leases in one statement, which then takes milliseconds
_LINES: Final = 5000  # log lines in one statement, which then takes tens of milliseconds
_WAITS: Final = 1000  # waits for child runs in one statement, which then takes ten milliseconds


@dataclass(frozen=True, slots=True)
class Swept:
    """Runs that failed at their deadline, or were released after their lease.

    ``more`` is true if there may be more of them now.
    """

    run_ids: list[str]
    more: bool
    scan: ScanResult


class SweepQueries:
    """The statements for one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._release_lapsed = load("release_lapsed", schema)
        self._release_bounced = load("release_bounced", schema)
        self._expire = load("expire_deadlines", schema)
        self._wake_missed_parents = load("wake_missed_parents", schema)
        self._forget_ended = load("forget_ended", schema)
        self._forget_log_lines = load("forget_log_lines", schema)
        self._paused = load("paused_workflows", schema)

    def release_lapsed(
        self, workflows: Sequence[Workflow], scan_range: ScanRange = SCAN_ALL
    ) -> Call:
        """Release runs of these workflows whose leases ran out; see ``parse_swept``."""
        params = (self._namespace, workflows_json(workflows), _SWEEP, *scan_range.params)
        return self._release_lapsed, params

    def release_bounced(self, workflows: Sequence[Workflow]) -> Call:
        """Make runs due that a worker without these workflows has put back; one row each: id."""
        return self._release_bounced, (self._namespace, workflows_json(workflows), _SWEEP)

    def expire_deadlines(self, scan_range: ScanRange = SCAN_ALL) -> Call:
        """Fail runs of the namespace whose deadline has passed; see ``parse_swept``."""
        return self._expire, (self._namespace, _SWEEP, *scan_range.params)

    def wake_missed_parents(self, after: tuple[str, str]) -> Call:
        """Make parents due that nobody woke; see ``parse_missed``.

        ``after`` is the run and step attempt to begin after; empty texts for the first call.
        """
        return self._wake_missed_parents, (self._namespace, *after, _WAITS)

    def forget_ended(self) -> Call:
        """Delete the failures and crashes counted of ended runs; one row: how many runs."""
        return self._forget_ended, (self._namespace,)

    def forget_log_lines(self, keep_seconds: float) -> Call:
        """Delete log lines that are older than that; see ``parse_forgotten_lines``."""
        return self._forget_log_lines, (self._namespace, keep_seconds, _LINES)

    def paused_workflows(self) -> Call:
        """Read which workflows are paused; see ``parse_paused``."""
        return self._paused, (self._namespace,)


def parse_paused(rows: Rows) -> frozenset[str]:
    """Return the names of the workflows that are paused."""
    return frozenset(text(name) for name, *_ in rows)


def parse_swept(rows: Rows) -> Swept:
    """Return the result of ``expire_deadlines`` or ``release_lapsed``."""
    (first,), *swept = rows
    about = orjson.loads(text(first))
    return Swept(
        [text(run) for (run,) in swept],
        about["more"],
        ScanResult((about["since"],), about["took"]),
    )


def parse_forgotten_lines(rows: Rows) -> bool:
    """Return whether there may be more lines to delete after ``forget_log_lines``."""
    [(count,)] = rows
    return int(text(count)) >= _LINES


def parse_missed(rows: Rows) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    """Return the ``after`` of the next ``wake_missed_parents``, and the runs that are due now.

    Each run comes with the child run that ended.
    """
    (run, step), *missed = rows
    return (text(run), text(step)), [(text(parent), text(child)) for parent, child in missed]
