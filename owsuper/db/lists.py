"""Statements of clients that list runs, or the step attempts of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson

from owsuper.core.durations import MAX_TIME, MIN_TIME
from owsuper.core.model import RunStatus
from owsuper.db.clients import Operation, Rows, RunRow, not_found, run_row
from owsuper.db.statement import Statement, load

if TYPE_CHECKING:
    from owsuper.core.pages import Position, Window

_EVERY_STATUS: Final = [status.value for status in RunStatus]

_AFTER_LAST_DIGIT: Final = re.compile(r"[^0-9]*\Z")
LAST_ID: Final = "\U0010ffff"
"""Sorts after all ids, in every collation."""


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """A row of ``step_attempts``; the JSON columns as text."""

    id: str
    step_name: str
    kind: str
    status: str
    context: str | None
    output: str | None
    error: str | None
    child_run_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    retried_at: datetime | None


@dataclass(frozen=True, slots=True)
class RetryRow:
    """A row of ``owsuper_retries``; the error and the output as text."""

    retried_at: datetime
    failed_at: datetime | None
    error: str | None
    status: str | None
    from_step: str | None
    output: str | None


@dataclass(frozen=True, slots=True)
class SkippedSignalRow:
    """A row of ``owsuper_further_signals`` with its signal; the data as text."""

    id: str
    step_name: str
    signal: str | None
    data: str | None
    reason: str
    sent_at: datetime
    skipped_at: datetime


@dataclass(frozen=True, slots=True)
class PostMortemRow:
    """A row of ``owsuper_post_mortems``; the evidence as text."""

    died_at: datetime
    counted: bool
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs to list: those for which all of these hold; None stands for no condition.

    ``since`` is the first time of creation, ``before`` is after the last one. ``parent`` is the id
    of the run that started them. With ``crashed``, they were given up because they kept killing
    their process. They have all of these ``attributes``.
    """

    status: str | None = None
    workflow: str | None = None
    key: str | None = None
    parent: str | None = None
    crashed: bool = False
    since: datetime | None = None
    before: datetime | None = None
    attributes: dict[str, str] = field(default_factory=dict)


class ListQueries:
    """The lists of one schema and namespace.

    A page has one row more than its limit if there is one. Its rows are in the order of the
    search, which goes backward for a page before a position.
    """

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._runs = load("list_runs", schema)
        self._runs_by_status = load("list_runs_by_status", schema)
        self._runs_of_workflow = load("list_runs_of_workflow", schema)
        self._runs_with_key = load("list_runs_with_key", schema)
        self._runs_of_parent = load("list_runs_of_parent", schema)
        self._runs_with_attributes = load("list_runs_with_attributes", schema)
        self._crashed_runs = load("list_crashed_runs", schema)
        self._run_ids = load("find_run_ids", schema)
        self._attempts = load("list_attempts", schema)
        self._retries = load("list_retries", schema)
        self._skipped_signals = load("list_skipped_signals", schema)
        self._post_mortems = load("list_post_mortems", schema)
        self._counts = load("count_runs", schema)

    def runs(self, window: Window, wanted: RunFilter) -> Operation[list[RunRow]]:
        """Return runs, the newest first."""
        statement, filters = self._select(wanted)
        params = (
            self._namespace,
            *_position(window, newest_first=True),
            "-infinity" if wanted.since is None else wanted.since.isoformat(),
            "infinity" if wanted.before is None else just_before(wanted.before),
            *filters,
        )
        return Operation(
            ((statement, params),), lambda results: [run_row(row) for row in results[0]]
        )

    def _select(self, wanted: RunFilter) -> tuple[Statement, tuple[Any, ...]]:
        """Return the statement that an index serves best, with its own parameters."""
        statuses = _EVERY_STATUS if wanted.status is None else [wanted.status]
        if wanted.parent is not None:
            filters = (wanted.workflow, statuses, wanted.key, wanted.parent, wanted.crashed)
            return self._runs_of_parent, (*filters, orjson.dumps(wanted.attributes).decode())
        if wanted.attributes:
            name, value, others = driving_attribute(wanted.attributes.items())
            filters = (wanted.workflow, statuses, wanted.key, name, wanted.crashed)
            return self._runs_with_attributes, (*filters, others, value)
        if wanted.crashed:
            return self._crashed_runs, (wanted.workflow, statuses, wanted.key)
        if wanted.key is not None:
            return self._runs_with_key, (wanted.workflow, statuses, wanted.key)
        if wanted.workflow is not None:
            return self._runs_of_workflow, (wanted.workflow, statuses)
        if wanted.status is not None:
            return self._runs_by_status, (wanted.status,)
        return self._runs, ()

    def find_ids(self, beginning: str, limit: int) -> Operation[list[str]]:
        """Return at most ``limit`` ids of runs that begin with this text; or the one that is it.

        The number of index entries that are read grows with the length of the text after its last
        digit: without a digit, all of the namespace are read.
        """
        params = (self._namespace, beginning, *id_bounds(beginning), limit)

        def parse(results: list[Rows]) -> list[str]:
            ids = [str(row[0]) for row in results[0]]
            return [beginning] if beginning in ids else ids[:limit]

        return Operation(((self._run_ids, params),), parse)

    def attempts(self, run_id: str, window: Window) -> Operation[list[AttemptRow]]:
        """Return the step attempts of a run, the oldest first. Raises RunNotFound."""

        def parse(results: list[Rows]) -> list[AttemptRow]:
            if not results[0]:
                raise not_found(run_id)
            return [AttemptRow(*row) for row in results[0] if row[0] is not None]

        params = (self._namespace, run_id, *_position(window, newest_first=False))
        return Operation(((self._attempts, params),), parse)

    def skipped_signals(self, run_id: str) -> Operation[list[SkippedSignalRow]]:
        """Return the signals that a run has skipped, the first skipped first. Raises RunNotFound.

        The signal and its data are None if another program has deleted them.
        """

        def parse(results: list[Rows]) -> list[SkippedSignalRow]:
            if not results[0]:
                raise not_found(run_id)
            return [SkippedSignalRow(*row) for row in results[0] if row[0] is not None]

        return Operation(((self._skipped_signals, (self._namespace, run_id)),), parse)

    def retries(self, run_id: str) -> Operation[list[RetryRow]]:
        """Return the retries of a run by clients, the oldest first. Raises RunNotFound."""

        def parse(results: list[Rows]) -> list[RetryRow]:
            if not results[0]:
                raise not_found(run_id)
            return [RetryRow(*row) for row in results[0] if row[0] is not None]

        return Operation(((self._retries, (self._namespace, run_id)),), parse)

    def post_mortems(self, run_id: str) -> Operation[list[PostMortemRow]]:
        """Return how the processes of a run died, the first death first. Raises RunNotFound."""

        def parse(results: list[Rows]) -> list[PostMortemRow]:
            if not results[0]:
                raise not_found(run_id)
            return [PostMortemRow(*row) for row in results[0] if row[0] is not None]

        return Operation(((self._post_mortems, (self._namespace, run_id)),), parse)

    def counts(self) -> Operation[list[tuple[str, int]]]:
        """Return the number of runs of each status, legacy statuses included."""
        return Operation(
            ((self._counts, (self._namespace,)),),
            lambda results: [(status, count) for status, count in results[0]],
        )


def driving_attribute(attributes: Iterable[tuple[str, str]]) -> tuple[str, str, str]:
    """Return name and value of the attribute by which runs are read, and the others as JSON."""
    (name, value), *others = attributes
    return name, value, orjson.dumps(dict(others)).decode()


def id_bounds(beginning: str) -> tuple[str, str]:
    """Return texts between which all ids stand that begin with this text, in every collation.

    Other ids stand there, too. For the reason see find_run_ids.
    """
    to_digit = _AFTER_LAST_DIGIT.sub("", beginning)
    return to_digit, to_digit + LAST_ID


def just_before(when: datetime) -> str:
    """Return the last time before ``when`` that the database can store."""
    return "-infinity" if when == MIN_TIME else (when - timedelta(microseconds=1)).isoformat()


def _position(window: Window, *, newest_first: bool) -> tuple[str, str, int, bool]:
    """Return the common parameters: a page next to a position, or the first page."""
    place = beside(window.position, to_older=newest_first != window.backward)
    return *place, window.limit + 1, window.backward


def beside(position: Position | None, *, to_older: bool) -> tuple[str, str]:
    """Return the parameters of a position from which a list goes on; None is its beginning."""
    if position is None:
        return ("infinity", LAST_ID) if to_older else ("-infinity", "")
    # Times beyond datetime's range were read as its last time, and must not be found again.
    if to_older and position.created_at == MIN_TIME:
        return "-infinity", position.id
    if not to_older and position.created_at == MAX_TIME:
        return "infinity", position.id
    return position.created_at.isoformat(), position.id
