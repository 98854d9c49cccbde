"""The claiming connection: everything that the supervisor asks of the database."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol
from uuid import uuid4

from psycopg.errors import OperationalError

from owsuper.db import claims
from owsuper.db.claims import Call, Claimed, ClaimQueries, CrashedRun, ScanRange
from owsuper.db.nonblocking import Result
from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor.child import HeldRun
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.exit_status import Evidence
from owsuper.supervisor.watermark import Watermark

_log = logging.getLogger("owsuper.supervisor")

_UNDEFINED_TABLE: Final = "42P01"


class ClaimsObserver(Protocol):
    """Who is told what came of it."""

    def database_up(self) -> None: ...

    def database_down(self, exc: OperationalError, *, at_start: bool) -> None: ...

    def claimed(self, claimed: Claimed, *, asked: int) -> None: ...

    def claim_failed(self) -> None: ...

    def leases_lost(self, worker_ids: frozenset[str]) -> None: ...

    def lapsed_released(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Crash:
    """The death of a child: how, and for each slot that it had in use, the run and the step."""

    evidence: Evidence
    held: Mapping[int, HeldRun]
    steps: Mapping[int, str | None]


class Claims:
    """Claims, renewals and sweeps are lost with the connection; releases and crash records
    are not: they are sent again when there is another one, and harm nobody when done twice.
    """

    def __init__(
        self, loop: Loop, conninfo: str, settings: Settings, owner: ClaimsObserver
    ) -> None:
        self._settings = settings
        self._owner = owner
        self._queries = ClaimQueries(settings.schema, settings.namespace)
        # Says where, and is nobody else's: in containers, host name and pid come again.
        self._worker_prefix = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}:"
        self._asked = 0  # runs asked for by the claim in flight
        self._asked_at = 0.0
        self._workflows: Sequence[tuple[str, str | None]] = ()  # that horizons are of
        self._due = Watermark(2)
        self._lapsed = Watermark(1)
        self._deadlines = Watermark(1)
        self._renewing = False
        self._sweeping: set[str] = set()
        self._abandoned = False
        self._was_up = False
        self._complained: str | None = None
        self._connection = KeptConnection(
            loop, conninfo, name="claiming", on_up=self._came_up, on_down=self._went_down
        )

    def start(self) -> None:
        self._connection.start()

    def close(self) -> None:
        self._connection.close()

    @property
    def up(self) -> bool:
        return self._connection.up

    @property
    def settled(self) -> bool:
        """Nothing is being claimed, and what must be written is written (or abandoned)."""
        return self._abandoned or (not self._asked and self._connection.settled)

    def abandon(self) -> None:
        """Wait no longer for what must be written."""
        self._abandoned = True

    # --- what may be lost ----------------------------------------------------------------

    def claim(self, count: int, workflows: Sequence[tuple[str, str | None]]) -> None:
        """``claimed`` or ``claim_failed`` follows. One at a time, and only while ``up``."""
        self._serve(workflows)
        self._asked, self._asked_at = count, time.monotonic()
        statement, params = self._queries.claim(
            count,
            workflows,
            worker_prefix=self._worker_prefix,
            lease_seconds=self._settings.lease,
            durable=self._settings.durable_claims,
            look=self._due.look(self._asked_at),
        )
        self._connection.ask(statement, params, self._answer_claim)

    def _answer_claim(self, result: Result) -> None:
        asked, self._asked = self._asked, 0
        now = time.monotonic()
        if self._refused("claim", result):
            self._due.failed(now, now - self._asked_at)
            self._owner.claim_failed()
            return
        claimed = claims.parse_claim(result.rows, sent=self._asked_at)
        self._due.looked(now, claimed.seen)
        for run_id, why in claimed.unreadable:
            _log.error(
                "a claimed run cannot be read (%s); it is left alone until its lease ends",
                why,
                extra={"run_id": run_id},
            )
        if not self._due.complete:
            claimed = replace(claimed, next_due=0.0)
        self._owner.claimed(claimed, asked=asked)

    def _serve(self, workflows: Sequence[tuple[str, str | None]]) -> None:
        """What was seen of the queues of some workflows says nothing about those of others."""
        if workflows != self._workflows:
            self._workflows = workflows
            self._due, self._lapsed = Watermark(2), Watermark(1)

    @property
    def claiming(self) -> bool:
        return bool(self._asked)

    def release_lost(self, known: Sequence[HeldRun]) -> None:
        """Give back what was claimed but never arrived. Not while ``claiming``."""
        statement, params = self._queries.release_lost(
            [each.run.worker_id for each in known],
            worker_prefix=self._worker_prefix,
            lease_seconds=self._settings.lease,
        )
        self._connection.ask(statement, params, self._answer_release_lost)

    def _answer_release_lost(self, result: Result) -> None:
        if not self._refused("release lost claims", result) and result.rows:
            _log.info("%d claims got lost in the outage; released", len(result.rows))

    def renew(self, held: Sequence[HeldRun], now: float) -> None:
        """Renew leases on behalf of whoever should have; ``leases_lost`` may follow."""
        if not held or not self._connection.up or self._renewing:
            return
        self._renewing = True
        statement, params = self._queries.extend(_leases(held), self._settings.lease)
        self._connection.ask(statement, params, partial(self._answer_renewal, held, now))

    def _answer_renewal(self, held: Sequence[HeldRun], asked_at: float, result: Result) -> None:
        self._renewing = False
        if self._refused("renew leases", result):
            return
        good = claims.parse_renewed(result.rows)
        for each in held:
            if good.get(each.run.worker_id):
                each.renewed_at = max(each.renewed_at, asked_at)
        if lost := frozenset(each.run.worker_id for each in held) - good.keys():
            self._owner.leases_lost(lost)

    def expire_deadlines(self) -> None:
        """Fail the runs whose deadline has passed."""
        self._sweep("sweep deadlines", self._deadlines, self._queries.expire_deadlines, _missed)

    def release_lapsed(self, workflows: Sequence[tuple[str, str | None]]) -> None:
        """Give back the runs whose leases have run out, whoever had them; ``lapsed_released``
        may follow.
        """
        self._serve(workflows)
        query = partial(self._queries.release_lapsed, workflows)
        self._sweep("release lapsed claims", self._lapsed, query, self._say_lapsed)

    def release_bounced(self, workflows: Sequence[tuple[str, str | None]]) -> None:
        """Make due what workers put back that do not know these workflows."""
        if self._connection.up:
            statement, params = self._queries.release_bounced(workflows)
            self._connection.ask(statement, params, self._answer_bounced)

    def _answer_bounced(self, result: Result) -> None:
        if not self._refused("release bounced runs", result) and result.rows:
            _log.info(
                "%d runs were put back by workers that do not know their workflows; due again",
                len(result.rows),
            )
            self._owner.lapsed_released()

    def _say_lapsed(self, run_id: str) -> None:
        _log.warning("run released: its worker is gone", extra={"run_id": run_id})
        self._owner.lapsed_released()

    def _sweep(
        self,
        what: str,
        watermark: Watermark,
        query: Callable[[ScanRange], Call],
        say: Callable[[str], None],
    ) -> None:
        """Look for runs of one kind; again at once while there are more of them."""
        if not self._connection.up or what in self._sweeping:
            return
        self._sweeping.add(what)

        def answer(result: Result) -> None:
            self._sweeping.discard(what)
            now = time.monotonic()
            if self._refused(what, result):
                watermark.failed(now, now - asked_at)
                return
            swept = claims.parse_swept(result.rows)
            watermark.looked(now, swept.seen)
            for run_id in swept.run_ids:
                say(run_id)
            if swept.more or not watermark.complete:
                self._sweep(what, watermark, query, say)

        asked_at = time.monotonic()
        statement, params = query(watermark.look(asked_at))
        self._connection.ask(statement, params, answer)

    def forget_ended(self) -> None:
        """Delete what we still keep about runs that others ended."""
        if self._connection.up:
            statement, params = self._queries.forget_ended()
            self._connection.ask(statement, params, self._answer_forget)

    def _answer_forget(self, result: Result) -> None:
        self._refused("forget ended runs", result)

    def notify(self, channel: str) -> bool:
        """Send a notification; False while there is no connection."""
        if self._connection.up:
            statement, params = self._queries.self_test(channel)
            self._connection.ask(statement, params, lambda result: None)
        return self._connection.up

    # --- what must be done ---------------------------------------------------------------

    def release(self, held: Sequence[HeldRun]) -> None:
        """Give runs back, uncharged."""
        if held:
            statement, params = self._queries.release(_leases(held))
            self._connection.insist(statement, params, self._answer_release)

    def _answer_release(self, result: Result) -> None:
        self._refused("release runs", result)

    def record_crash(self, crash: Crash) -> None:
        """Give back what a dead child held, and charge it."""
        casualties = [
            CrashedRun(held.run.run_id, held.run.worker_id, self._evidence(crash, slot))
            for slot, held in crash.held.items()
        ]
        statement, params = self._queries.record_crash(
            str(uuid4()), casualties, max_crashes=self._settings.max_crashes
        )
        names = {held.run.run_id: held.run.workflow_name for held in crash.held.values()}
        self._connection.insist(statement, params, partial(self._answer_crash, names))

    def _answer_crash(self, workflows: Mapping[str, str], result: Result) -> None:
        if self._refused("record a crash", result):
            return
        for verdict in claims.parse_crash(result.rows):
            told = {
                "run_id": verdict.run_id,
                "workflow": workflows[verdict.run_id],
                "crashes": verdict.crashes,
            }
            if verdict.failed:
                _log.error("run failed: it keeps killing its process", extra=told)
            else:
                _log.info("run released after a crash", extra=told)

    def _evidence(self, crash: Crash, slot: int) -> dict[str, Any]:
        evidence = crash.evidence
        return {
            "cause": str(evidence),
            "signal": evidence.signal_name,
            "exitCode": evidence.exit_code,
            "step": crash.steps[slot],
            "maxRssKb": evidence.max_rss_kb,
            "pid": evidence.pid,
            "host": socket.gethostname(),
            "sharedWith": len(crash.held) - 1,
        }

    # --- up and down ---------------------------------------------------------------------

    def _came_up(self) -> None:
        self._was_up = True
        self._owner.database_up()

    def _went_down(self, exc: OperationalError) -> None:
        self._renewing = False
        self._sweeping.clear()
        if self._asked:
            self._asked = 0
            now = time.monotonic()
            self._due.failed(now, now - self._asked_at)
            self._owner.claim_failed()
        self._owner.database_down(exc, at_start=not self._was_up)

    def _refused(self, what: str, result: Result) -> bool:
        """Whether the server answered with an error; says so once, not every second."""
        if result.sqlstate is None:
            self._complained = None
            return False
        if self._complained != result.message:
            self._complained = result.message
            hint = "; run owsuper migrate" if result.sqlstate == _UNDEFINED_TABLE else ""
            _log.error("the database refused to %s: %s%s", what, result.message, hint)
        return True


def _leases(held: Sequence[HeldRun]) -> list[tuple[str, str]]:
    return [(each.run.run_id, each.run.worker_id) for each in held]


def _missed(run_id: str) -> None:
    _log.warning("run missed its deadline", extra={"run_id": run_id})
