"""Claims of runs: claim due runs, renew leases, release runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from owsuper.core.time_outs import time_out_error
from owsuper.db import claims
from owsuper.db.claims import Claimed, ClaimQueries, FailedAttempt
from owsuper.db.statement import Result
from owsuper.ipc.flight_recorder import StepInTime
from owsuper.settings import Settings
from owsuper.supervisor.child import HeldRun
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.limited_names import LimitedNames
from owsuper.supervisor.portions import ClaimRound, Portions, Workflow
from owsuper.supervisor.watermark import Watermark

_MAX_WATERMARKS: Final = 1000

TimedOut: TypeAlias = tuple[HeldRun, Sequence[tuple[StepInTime, str]]]
"""A run, and its steps that timed out, each with its stack."""

_log = logging.getLogger("owsuper.supervisor")


class ClaimsObserver(Protocol):
    """Receives the results of claims and renewals."""

    def on_claimed(self, claimed: Claimed, *, limit: int) -> None:
        """A claim of up to ``limit`` runs succeeded."""
        ...

    def on_claim_failed(self) -> None:
        """A claim failed. The database may have claimed some of its runs nevertheless."""
        ...

    def on_leases_lost(self, worker_ids: frozenset[str]) -> None:
        """A renewal found that these claims are no longer valid."""
        ...


class Claims:
    """Claims, renews and releases runs over a shared connection.

    A claim or a renewal is lost with the connection. A release is sent again after a
    reconnect; releasing a run twice does no harm. ``supervisor_id`` begins the worker ids.
    ``portions`` divides claims; without it, each claim is one statement.
    """

    def __init__(
        self,
        connection: KeptConnection,
        queries: ClaimQueries,
        settings: Settings,
        observer: ClaimsObserver,
        *,
        supervisor_id: str,
        portions: Portions | None = None,
    ) -> None:
        self._connection = connection
        self._queries = queries
        self._settings = settings
        self._observer = observer
        self._worker_prefix = f"{supervisor_id}:"
        self._portions = portions or Portions(dict, list)
        self._round: ClaimRound | None = None  # the claim in flight
        self._claim_sent = 0.0
        self._watermarks: dict[tuple[Workflow, ...], Watermark] = {}  # of the statements of claims
        self._watermark = Watermark(2)  # of the statement in flight
        self._renewing = False
        self.limited = LimitedNames(connection, queries)

    def on_connection_lost(self) -> None:
        """Forget the statements in flight; their answers never come."""
        self._renewing = False
        self.limited.on_connection_lost()
        if self._round is not None:
            self._claim_failed(self._round)

    # --- claim ---------------------------------------------------------------------------

    def ready(self, workflows: Sequence[Workflow]) -> bool:
        """Whether the connection is up, and known which of these workflows have limits."""
        return self._connection.up and self.limited.known(workflows)

    @property
    def connected(self) -> bool:
        """Whether the connection is up."""
        return self._connection.up

    @property
    def claiming(self) -> bool:
        """Whether a claim is in flight."""
        return self._round is not None

    def scan_all(self) -> None:
        """Let the next claims look through the whole queue, not only from the watermark on."""
        self._watermarks.clear()

    def look_back(self) -> None:
        """Let claims soon look through the whole queue: a run has a due time long past."""
        for watermark in self._watermarks.values():
            watermark.look_back()

    def claim(self, limit: int, workflows: Sequence[Workflow]) -> None:
        """Claim up to ``limit`` due runs of these (name, version) pairs.

        The observer's ``on_claimed`` or ``on_claim_failed`` follows. Call this only while the
        claims are ``ready`` and no claim is in flight.
        """
        self._round = self._portions.begin(limit, workflows, self.limited.names)
        self._send_claim(self._round)

    def _send_claim(self, claim: ClaimRound) -> bool:
        """Send the next statement of the claim; return False if there is none."""
        if (portion := claim.next()) is None:
            return False
        limit, workflows = portion
        if workflows not in self._watermarks:
            if len(self._watermarks) >= _MAX_WATERMARKS:  # of code before many reloads
                self._watermarks.clear()
            self._watermarks[workflows] = Watermark(2)
        self._watermark, self._claim_sent = self._watermarks[workflows], time.monotonic()
        query = self._queries.claim_limited if claim.limited else self._queries.claim
        statement, params = query(
            limit,
            workflows,
            worker_prefix=self._worker_prefix,
            lease_seconds=self._settings.lease,
            durable=self._settings.durable_claims,
            scan_range=self._watermark.next_range(self._claim_sent),
            waits=self._settings.metrics_port is not None,
        )
        self._connection.send(statement, params, partial(self._handle_claim, claim))
        return True

    def _handle_claim(self, claim: ClaimRound, result: Result) -> None:
        if self._connection.refused("claim", result):
            self._claim_failed(claim)
            return
        now = time.monotonic()
        claimed = claims.parse_claim(result.rows, sent=self._claim_sent, answered=now)
        self._watermark.on_scanned(now, claimed.scan)
        for run_id, reason in claimed.unreadable:
            _log.error(
                "cannot read a claimed run (%s); nothing executes the run until its lease ends",
                reason,
                extra={"run_id": run_id},
            )
        if not self._watermark.complete:
            claimed = replace(claimed, next_due=0.0)
        elif (seconds := self._watermark.looks_back_in(now)) is not None:
            due = seconds if claimed.next_due is None else min(seconds, claimed.next_due)
            claimed = replace(claimed, next_due=due)
        claim.add(claimed)
        if not self._send_claim(claim):
            self._round = None
            self._observer.on_claimed(claim.result(), limit=claim.limit)

    def _claim_failed(self, claim: ClaimRound) -> None:
        self._round = None
        now = time.monotonic()
        self._watermark.on_scan_failed(now, now - self._claim_sent)
        if claim.found:  # by statements before
            self._observer.on_claimed(claim.result(), limit=claim.limit)
        else:
            self._observer.on_claim_failed()

    # --- renew ---------------------------------------------------------------------------

    def renew(self, held: Sequence[HeldRun], now: float) -> None:
        """Renew the leases of these runs; the observer's ``on_leases_lost`` may follow.

        Does nothing while the connection is down or another renewal is in flight.
        """
        if not held or not self._connection.up or self._renewing:
            return
        self._renewing = True
        statement, params = self._queries.extend(_leases(held), self._settings.lease)
        self._connection.send(statement, params, partial(self._handle_renewal, held, now))

    def _handle_renewal(self, held: Sequence[HeldRun], sent: float, result: Result) -> None:
        self._renewing = False
        if self._connection.refused("renew leases", result):
            return
        valid = claims.parse_renewed(result.rows)
        for each in held:
            if valid.get(each.run.worker_id):
                each.renewed_at = max(each.renewed_at, sent)
        if lost := frozenset(each.run.worker_id for each in held) - valid.keys():
            self._observer.on_leases_lost(lost)

    # --- release -------------------------------------------------------------------------

    def release(self, held: Sequence[HeldRun]) -> None:
        """Release these runs: they are due now, and no crash is counted."""
        if held:
            statement, params = self._queries.release(_leases(held))
            self._connection.send_reliably(statement, params, self._handle_release)

    def fail_attempts(self, timed_out: Sequence[TimedOut]) -> None:
        """Record steps as timed out whose process was killed, and release their runs.

        They are due now, and no crash is counted.
        """
        if timed_out:
            statement, params = self._queries.fail_attempts(
                [
                    FailedAttempt(
                        held.run.run_id,
                        held.run.worker_id,
                        step.attempt_id,
                        step.key,
                        step.started_at,
                        _error_of(step, stack),
                    )
                    for held, steps in timed_out
                    for step, stack in steps
                ]
            )
            self._connection.send_reliably(statement, params, self._handle_release)

    def _handle_release(self, result: Result) -> None:
        self._connection.refused("release runs", result)

    def release_lost(self, known: Sequence[HeldRun]) -> None:
        """Release claims whose answers were lost: this worker's claims that are not ``known``.

        Call this only while no claim is in flight.
        """
        statement, params = self._queries.release_lost(
            [each.run.worker_id for each in known],
            worker_prefix=self._worker_prefix,
            lease_seconds=self._settings.lease,
        )
        self._connection.send(statement, params, self._handle_release_lost)

    def _handle_release_lost(self, result: Result) -> None:
        if not self._connection.refused("release lost claims", result) and result.rows:
            _log.info("released claims whose answers were lost: %d", len(result.rows))


def _error_of(step: StepInTime, stack: str) -> dict[str, Any]:
    error = time_out_error(step.key, step.timeout, killed=True, stack=stack or None)
    return error.to_json()


def _leases(held: Sequence[HeldRun]) -> list[tuple[str, str]]:
    return [(each.run.run_id, each.run.worker_id) for each in held]
