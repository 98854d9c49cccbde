"""Deletes runs that ended long ago, for ``--retain``.

One supervisor of a namespace does it (``sole_duty``). Each statement is bounded, by rows and by
time. After each comes a pause that is longer than the statement was. Behind a connection pooler,
each supervisor with ``--retain`` does it: rows that another one deletes are skipped.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

from owsuper.core import retention
from owsuper.core.model import RunStatus
from owsuper.core.retention import Retention
from owsuper.db.pruning import PruneQueries, parse_rules
from owsuper.db.statement import Result
from owsuper.errors import ConfigurationError
from owsuper.event_loop import Loop
from owsuper.retention.archive import Archive
from owsuper.retention.archive_thread import ArchiveThread
from owsuper.retention.passes import Answer, Ask, Pace, Pass, Pruned, prune
from owsuper.settings import Settings
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.sole_duty import SoleDuty

# Seconds.
_PERIOD: Final = 60.0  # between two passes, if they are short
_LONGEST_PERIOD: Final = 3600.0
_SHARE: Final = 9.0  # times as long as a pass is the time until the next one
_REPORT_PERIOD: Final = 3600.0  # between two log lines
_PAUSES: Final = 4.0  # a pause is so much longer than the statement before it
_GIVEN_UP: Final = frozenset({"55P03", "57014", "40P01"})  # a lock, the time limit, a deadlock

_log = logging.getLogger("owsuper.supervisor")


class RetentionDuty:
    """Passes over the ended runs, if this supervisor is the one that deletes. Begins at once.

    ``session`` is the connection that claims. Raises ConfigurationError if the archive cannot be
    written.
    """

    def __init__(self, loop: Loop, settings: Settings, session: KeptConnection) -> None:
        self._loop = loop
        self._own = retention.read(settings.retain)
        self._queries = PruneQueries(settings.schema, settings.namespace)
        self._archive = (
            None if settings.archive is None else ArchiveThread(loop, Archive(settings.archive))
        )
        self._duty = SoleDuty(
            loop,
            settings,
            session,
            self._queries.watch(),
            name="retention",
            action="note who deletes old runs",
            on_up=self._tick,
            on_down=self._stop,
        )
        self._pass: Pass | None = None
        self._pace = Pace(_PAUSES)
        self._pruned = Pruned()  # by the current pass
        self._counted: Counter[str] = Counter()  # by status, in all passes before
        self._reported = 0
        self._report_at = 0.0  # of time.monotonic()
        self._pass_began = 0.0  # of time.monotonic()
        self._answer: Answer = None
        self._copying = False
        self._timer = loop.timers.add("delete old runs", self._tick)
        self._next_step = loop.timers.add("go on deleting old runs", self._go_on)

    @property
    def deleted(self) -> Counter[str]:
        """The number of runs that were deleted, by status."""
        return self._counted + _by_status(self._pruned)

    def close(self) -> None:
        """Delete no more."""
        self._duty.close()
        self._end_pass()
        self._loop.timers.drop(self._timer)
        self._loop.timers.drop(self._next_step)
        if self._archive is not None:
            self._archive.close()

    def _stop(self) -> None:
        self._end_pass()
        self._timer.cancel()

    # --- a pass ------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer.after(_PERIOD)
        connection = self._duty.connection()
        if connection is not None and self._pass is None and not self._copying:
            statement, params = self._queries.rules()
            connection.send(statement, params, partial(self._handle_rules, connection))

    def _handle_rules(self, connection: KeptConnection, result: Result) -> None:
        if connection.refused("read who keeps runs", result):
            return
        try:
            others = [retention.read(each) for each in parse_rules(_texts(result))]
        except ConfigurationError as error:
            _log.error(
                "no run is deleted: another worker has a --retain that is unknown: %s", error
            )
            return
        if self._pass is None:
            self._pass = self._start([self._own, *others])
            self._answer = None
            self._pass_began = time.monotonic()
            self._go_on()

    def _start(self, rules: Sequence[Retention]) -> Pass:
        def keep(workflow: str, status: RunStatus) -> float | None:
            return retention.longest(rules, workflow, status)

        copies = self._archive is not None
        return prune(self._queries, keep, self._pace, self._pruned, copies=copies)

    def _go_on(self) -> None:
        connection = self._duty.connection()
        if self._pass is None or connection is None:
            return
        answer, self._answer = self._answer, None
        try:
            wanted = self._pass.send(answer)
        except StopIteration:
            self._end_pass()
            took = time.monotonic() - self._pass_began  # long if many old runs must stay
            self._timer.after(min(_LONGEST_PERIOD, max(_PERIOD, _SHARE * took)))
            self._report()
            return
        if isinstance(wanted, Ask):
            self._ask(connection, wanted)
        else:
            assert self._archive is not None
            self._copying = True
            current = self._pass
            self._archive.write(wanted.lines, lambda error: self._handle_copied(current, error))

    def _ask(self, connection: KeptConnection, ask: Ask) -> None:
        current, sent = self._pass, time.monotonic()
        statement, params = ask.call

        def handle(result: Result) -> None:
            if self._pass is not current:
                return
            given_up = result.sqlstate in _GIVEN_UP
            if not (ask.of_few and given_up):
                if connection.refused("delete old runs", result):
                    if given_up:
                        self._pace.shrink()  # or the next pass asks for as much
                    self._end_pass()
                    return
                self._answer = _texts(result)
            self._pace.took(time.monotonic() - sent)
            self._next_step.after(self._pace.pause)

        connection.send(statement, params, handle)

    def _handle_copied(self, copied: Pass, error: Exception | None) -> None:
        self._copying = False
        if self._pass is not copied:
            return
        if error is not None:
            reason = str(error) or type(error).__name__
            _log.error("no run is deleted: the archive cannot be written: %s", reason)
            self._end_pass()
            return
        self._go_on()

    def _end_pass(self) -> None:
        self._counted += _by_status(self._pruned)
        self._pruned = Pruned()
        self._next_step.cancel()
        if self._pass is not None:
            self._pass.close()
            self._pass = None

    def _report(self) -> None:
        total = sum(self._counted.values())
        now = time.monotonic()
        if total > self._reported and now >= self._report_at:
            _log.info("deleted runs that ended long ago: %d (--retain)", total - self._reported)
            self._reported, self._report_at = total, now + _REPORT_PERIOD


def _by_status(pruned: Pruned) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (_, status), count in pruned.counts.items():
        counts[status] += count
    return counts


def _texts(result: Result) -> list[str | bytes]:
    return [row[0] or b"" for row in result.rows]
