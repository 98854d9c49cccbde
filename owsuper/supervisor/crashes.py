"""Records the death of a child in the log and in the database."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import uuid4

from owsuper.db import claims
from owsuper.db.claims import ClaimQueries, CrashedRun
from owsuper.db.statement import Result
from owsuper.ipc.messages import SHORTAGE
from owsuper.supervisor.child import Child
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.exit_status import Evidence

_log = logging.getLogger("owsuper.supervisor")


class Crashes:
    """Crash records over a shared connection. A record is sent again after a reconnect.

    A run fails, without a further retry, at its crash number ``max_crashes``.
    """

    def __init__(
        self, connection: KeptConnection, queries: ClaimQueries, *, max_crashes: int
    ) -> None:
        self._connection = connection
        self._queries = queries
        self._max_crashes = max_crashes

    def record(self, child: Child, evidence: Evidence) -> None:
        """Log the death of ``child``, release its runs, and count a crash against each."""
        _log_death(child, evidence)
        if not child.held:
            return
        crashed = [
            CrashedRun(held.run.run_id, held.run.worker_id, _describe(child, slot, evidence))
            for slot, held in child.held.items()
        ]
        statement, params = self._queries.record_crash(
            str(uuid4()), crashed, max_crashes=self._max_crashes
        )
        workflows = {held.run.run_id: held.run.workflow_name for held in child.held.values()}
        self._connection.send_reliably(statement, params, partial(self._handle_outcome, workflows))

    def _handle_outcome(self, workflows: Mapping[str, str], result: Result) -> None:
        if self._connection.refused("record a crash", result):
            return
        for outcome in claims.parse_crash(result.rows):
            fields = {
                "run_id": outcome.run_id,
                "workflow": workflows[outcome.run_id],
                "crashes": outcome.crashes,
            }
            if outcome.failed:
                _log.error("run failed: it keeps killing its process", extra=fields)
            else:
                _log.info("run released after a crash", extra=fields)


def _describe(child: Child, slot: int, evidence: Evidence) -> dict[str, Any]:
    """Return the evidence about the run in ``slot`` as JSON for the database."""
    return {
        "cause": _cause(child, evidence),
        "signal": evidence.signal_name,
        "exitCode": evidence.exit_code,
        "step": child.steps_in_flight(slot),
        "maxRssKb": evidence.max_rss_kb,
        "pid": evidence.pid,
        "host": socket.gethostname(),
        "sharedWith": len(child.held) - 1,
    }


def _cause(child: Child, evidence: Evidence) -> str:
    return str(evidence) if child.cause_of_kill is None else f"killed: {child.cause_of_kill}"


def _log_death(child: Child, evidence: Evidence) -> None:
    failure = child.load_failure
    short = failure is not None and failure.kind == SHORTAGE  # the fleet reports it, once
    level = logging.DEBUG if short else logging.ERROR
    _log.log(
        level,
        "child died: %s",
        _cause(child, evidence),
        extra=child.log_fields() | {"max_rss_kb": evidence.max_rss_kb},
    )
    if failure is not None:
        details = "" if failure.traceback is None else f"\n{failure.traceback.rstrip()}"
        _log.log(level, "the child could not start: %s%s", failure.message, details)
    for slot, held in child.held.items():
        fields = {"step": child.steps_in_flight(slot), "cause": _cause(child, evidence)}
        _log.error("run lost its process", extra=child.log_fields(held) | fields)
