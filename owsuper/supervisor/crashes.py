"""Records the death of a child in the log and in the database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from uuid import uuid4

from owsuper.db import crashes
from owsuper.db.crashes import CrashQueries
from owsuper.db.statement import Result
from owsuper.ipc.messages import SHORTAGE, LoadFailed
from owsuper.supervisor import post_mortem
from owsuper.supervisor.child import Child
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.exit_status import Evidence
from owsuper.supervisor.out_of_memory import OutOfMemoryKills

_log = logging.getLogger("owsuper.supervisor")


class Crashes:
    """Deaths of children over a shared connection. A record is sent again after a reconnect.

    A run fails, without a further retry, at its crash number ``max_crashes``: ``on_failed`` is
    called with the name of its workflow. ``by_cause`` counts the deaths that were crashes.
    """

    def __init__(
        self,
        connection: KeptConnection,
        queries: CrashQueries,
        *,
        max_crashes: int,
        on_failed: Callable[[str], None] | None = None,
    ) -> None:
        self._connection = connection
        self._queries = queries
        self._max_crashes = max_crashes
        self._on_failed = on_failed
        self.by_cause: dict[str, int] = {}
        self._kills = OutOfMemoryKills()
        self._load_failure: LoadFailed | None = None  # the latest

    def look_for_kills(self) -> None:
        """Call this every ``out_of_memory.PERIOD`` seconds; see ``OutOfMemoryKills``."""
        self._kills.look()

    def record(self, child: Child, evidence: Evidence) -> None:
        """Log the death of ``child``, release its runs, and count a crash against each."""
        evidence = post_mortem.complete(child, evidence, self._kills)
        self.by_cause[evidence.kind] = self.by_cause.get(evidence.kind, 0) + 1
        self._log_death(child, evidence)
        if not child.held:
            return
        crashed = post_mortem.of_runs(child, evidence)
        statement, params = self._queries.record_crash(
            str(uuid4()), crashed, max_crashes=self._max_crashes
        )
        workflows = {held.run.run_id: held.run.workflow_name for held in child.held.values()}
        self._connection.send_reliably(statement, params, partial(self._handle_outcome, workflows))

    def keep_post_mortems(self, child: Child, evidence: Evidence) -> None:
        """Keep the evidence of a death that is no crash of the child's runs. Releases nothing."""
        if not child.held:
            return
        evidence = post_mortem.complete(child, evidence, self._kills)
        crashed = post_mortem.of_runs(child, evidence)
        statement, params = self._queries.keep_post_mortems(str(uuid4()), crashed)
        self._connection.send_reliably(statement, params, self._handle_kept)

    def _handle_kept(self, result: Result) -> None:
        self._connection.refused("keep a post-mortem", result)

    def _handle_outcome(self, workflows: Mapping[str, str], result: Result) -> None:
        if self._connection.refused("record a crash", result):
            return
        for outcome in crashes.parse_crash(result.rows):
            fields = {
                "run_id": outcome.run_id,
                "workflow": workflows[outcome.run_id],
                "crashes": outcome.crashes,
            }
            if outcome.failed:
                if self._on_failed is not None:
                    self._on_failed(workflows[outcome.run_id])
                _log.error("run failed: it keeps killing its process", extra=fields)
            else:
                _log.info("run released after a crash", extra=fields)

    def _log_death(self, child: Child, evidence: Evidence) -> None:
        failure = child.load_failure
        short = failure is not None and failure.kind == SHORTAGE  # the fleet reports it, once
        level = logging.DEBUG if short else logging.ERROR
        usage = {"max_rss_kb": evidence.max_rss_kb, "cpu_seconds": evidence.cpu_seconds}
        cause = post_mortem.cause(child, evidence)
        _log.log(level, "child died: %s", cause, extra=child.log_fields() | usage)
        if failure is not None:
            told = failure == self._load_failure  # by the other children, or the one before
            self._load_failure = failure
            details = "" if told or not failure.traceback else f"\n{failure.traceback.rstrip()}"
            _log.log(level, "the child could not start: %s%s", failure.message, details)
        for slot, held in child.held.items():
            fields = {"step": child.steps_in_flight(slot), "cause": cause}
            _log.error("run lost its process", extra=child.log_fields(held) | fields)
        if (trace := post_mortem.trace(child)) is not None:
            _log.error("stacks of child %d, process %s:\n%s", child.number, child.pid, trace)
