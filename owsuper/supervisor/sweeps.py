"""Periodic sweeps over the runs of all workers: lapsed, bounced, overdue and ended runs,
and parents that nobody woke."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from owsuper.db import sweeps
from owsuper.db.claims import Call, ScanRange
from owsuper.db.statement import Result
from owsuper.db.sweeps import SweepQueries
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.watermark import Watermark

_log = logging.getLogger("owsuper.supervisor")


class Sweeps:
    """Sweeps over a shared connection. A sweep does nothing while the connection is down.

    ``on_released`` is called when a sweep has made runs due. ``leases_expired`` and
    ``deadlines_missed`` count the runs that sweeps have released and failed for that.
    """

    def __init__(
        self,
        connection: KeptConnection,
        queries: SweepQueries,
        *,
        on_released: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._queries = queries
        self._on_released = on_released
        self._workflows: Sequence[tuple[str, str | None]] = ()  # those of ``_lapsed``
        self._lapsed = Watermark(1)
        self._deadlines = Watermark(1)
        self._after_parent = ("", "")  # where the next page of waits for child runs begins
        self._in_flight: set[str] = set()  # sweeps, by action
        self.leases_expired = self.deadlines_missed = 0

    def on_connection_lost(self) -> None:
        """Forget the sweeps in flight; their answers never come."""
        self._in_flight.clear()

    @property
    def in_flight(self) -> bool:
        """Whether a sweep is waiting for its answer. False while the connection is down."""
        return bool(self._in_flight)

    def sweep_all(self, workflows: Sequence[tuple[str, str | None]]) -> None:
        """Sweep for these workflows now, and look for lapsed claims back to the first."""
        self._workflows = ()
        self.release_lapsed(workflows)
        self.release_bounced(workflows)
        self.wake_missed_parents()
        self.expire_deadlines()

    def release_lapsed(self, workflows: Sequence[tuple[str, str | None]]) -> None:
        """Release the runs of these workflows whose leases have expired."""
        if workflows != self._workflows:
            self._workflows, self._lapsed = workflows, Watermark(1)
        query = partial(self._queries.release_lapsed, workflows)
        self._sweep("release lapsed claims", self._lapsed, query, self._report_lapsed)

    def release_bounced(self, workflows: Sequence[tuple[str, str | None]]) -> None:
        """Make runs due that workers without these workflows have put back."""
        if self._connection.up:
            statement, params = self._queries.release_bounced(workflows)
            self._connection.send(statement, params, self._handle_bounced)

    def expire_deadlines(self) -> None:
        """Fail the runs whose deadline has passed."""
        query = self._queries.expire_deadlines
        self._sweep("sweep deadlines", self._deadlines, query, self._report_missed_deadline)

    def wake_missed_parents(self) -> None:
        """Make parents due whose child run has ended without waking them. Reads one page."""
        if self._connection.up and "wake parents" not in self._in_flight:
            self._in_flight.add("wake parents")
            statement, params = self._queries.wake_missed_parents(self._after_parent)
            self._connection.send(statement, params, self._handle_missed)

    def forget_ended(self) -> None:
        """Delete bookkeeping about runs that other workers and clients ended."""
        if self._connection.up:
            statement, params = self._queries.forget_ended()
            self._connection.send(statement, params, self._handle_forgotten)

    def forget_log_lines(self, keep_seconds: float) -> None:
        """Delete log lines that are older than that; repeat at once while there are more."""
        if not self._connection.up or "forget log lines" in self._in_flight:
            return
        self._in_flight.add("forget log lines")
        statement, params = self._queries.forget_log_lines(keep_seconds)
        handle = partial(self._handle_lines_forgotten, keep_seconds)
        self._connection.send(statement, params, handle)

    def _handle_lines_forgotten(self, keep_seconds: float, result: Result) -> None:
        self._in_flight.discard("forget log lines")
        if self._connection.refused("forget log lines", result):
            return
        if sweeps.parse_forgotten_lines(result.rows):
            self.forget_log_lines(keep_seconds)

    def _sweep(
        self,
        action: str,
        watermark: Watermark,
        query: Callable[[ScanRange], Call],
        report: Callable[[str], None],
    ) -> None:
        """Sweep the runs of one kind; repeat at once while there are more."""
        if not self._connection.up or action in self._in_flight:
            return
        self._in_flight.add(action)

        def handle(result: Result) -> None:
            self._in_flight.discard(action)
            now = time.monotonic()
            if self._connection.refused(action, result):
                watermark.on_scan_failed(now, now - sent)
                return
            swept = sweeps.parse_swept(result.rows)
            watermark.on_scanned(now, swept.scan)
            for run_id in swept.run_ids:
                report(run_id)
            if swept.more or not watermark.complete:
                self._sweep(action, watermark, query, report)

        sent = time.monotonic()
        statement, params = query(watermark.next_range(sent))
        self._connection.send(statement, params, handle)

    def _report_lapsed(self, run_id: str) -> None:
        self.leases_expired += 1
        _log.warning("run released: its lease expired", extra={"run_id": run_id})
        self._on_released()

    def _report_missed_deadline(self, run_id: str) -> None:
        self.deadlines_missed += 1
        _log.warning("run missed its deadline", extra={"run_id": run_id})

    def _handle_bounced(self, result: Result) -> None:
        if not self._connection.refused("release bounced runs", result) and result.rows:
            _log.info(
                "made due again runs that workers without their workflows had put back: %d",
                len(result.rows),
            )
            self._on_released()

    def _handle_missed(self, result: Result) -> None:
        self._in_flight.discard("wake parents")
        if self._connection.refused("wake parents", result):
            return
        self._after_parent, missed = sweeps.parse_missed(result.rows)
        for parent, child in missed:
            _log.warning(
                "run woken: its child run %s had ended without waking it",
                child,
                extra={"run_id": parent},
            )
            self._on_released()

    def _handle_forgotten(self, result: Result) -> None:
        self._connection.refused("forget ended runs", result)
