"""Statements of the dashboard's page of a run, which never read more than the page shows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from owsuper.db.clients import Operation, Rows, RunRow, not_found, run_row
from owsuper.db.lists import AttemptRow
from owsuper.db.reports import LineRow
from owsuper.db.statement import load

RUN_VALUES: Final = ("input", "output", "error", "context", "config")
"""The columns of a run that hold JSON."""

ATTEMPT_VALUES: Final = ("output", "error", "context", "config")
"""The columns of a step attempt that hold JSON."""

_SMALL: Final = 100_000  # bytes of an error or a context that the page reads at once


@dataclass(frozen=True, slots=True)
class StoredValue:
    """JSON of one column, which is not NULL. Sizes are in bytes.

    ``stored`` is what the database keeps, compressed perhaps. ``size`` is that of the text. It and
    ``text`` are None if the value was too large to be read, ``text`` alone if too large to be sent.
    """

    name: str
    stored: int
    size: int | None
    text: str | None


@dataclass(frozen=True, slots=True)
class StartedRun:
    """The run that a step started, as it is now."""

    workflow_name: str
    status: str


@dataclass(frozen=True, slots=True)
class ValueLimits:
    """The most bytes: ``stored`` of a value to be read at all, ``text`` to be returned.

    With ``cut``, the beginning of a longer text is returned, of at most as many bytes.
    """

    stored: int
    text: int
    cut: bool = False


class RunPageQueries:
    """The statements of one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._run = load("dashboard_run", schema)
        self._attempts = load("dashboard_attempts", schema)
        self._run_values = load("dashboard_run_values", schema)
        self._log_lines = load("dashboard_log_lines", schema)
        self._attempt_values = load("dashboard_attempt_values", schema)

    def run(self, run_id: str) -> Operation[RunRow]:
        """Return a run without input and output, and with its error if that is not large.

        Raises RunNotFound.
        """

        def parse(results: list[Rows]) -> RunRow:
            if not results[0]:
                raise not_found(run_id)
            return run_row(results[0][0])

        return Operation(((self._run, (self._namespace, run_id, _SMALL)),), parse)

    def attempts(
        self, run_id: str, limit: int
    ) -> Operation[list[tuple[AttemptRow, StartedRun | None]]]:
        """Return at most ``limit`` step attempts of a run, the oldest first.

        They have no output and no traceback, and of long messages the beginning.
        """

        def parse(results: list[Rows]) -> list[tuple[AttemptRow, StartedRun | None]]:
            return [
                (AttemptRow(*row), None if name is None else StartedRun(name, status))
                for *row, name, status in results[0]
            ]

        params = (self._namespace, run_id, limit, _SMALL)
        return Operation(((self._attempts, params),), parse)

    def log_lines(
        self, run_id: str, *, before: int | None, level: int, limit: int
    ) -> Operation[list[LineRow]]:
        """Return at most ``limit`` log lines before the line ``before``, the newest first.

        None stands for the end. Lines below ``level`` are left out.
        """
        params = (self._namespace, run_id, before, level, limit)
        return Operation(
            ((self._log_lines, params),), lambda results: [LineRow(*row) for row in results[0]]
        )

    def values(
        self, run_id: str, names: Collection[str], limits: ValueLimits
    ) -> Operation[dict[str, StoredValue]]:
        """Return these values of a run by name, without those that are NULL."""
        params = (self._namespace, run_id, list(names), limits.stored, limits.text, limits.cut)

        def parse(results: list[Rows]) -> dict[str, StoredValue]:
            return {row[0]: StoredValue(*row) for row in results[0]}

        return Operation(((self._run_values, params),), parse)

    def attempt_values(
        self,
        run_id: str,
        attempt_ids: Collection[str],
        names: Collection[str],
        limits: ValueLimits,
    ) -> Operation[dict[str, dict[str, StoredValue]]]:
        """Return these values of step attempts of a run, by attempt and by name."""
        ids = list(attempt_ids)
        params = (self._namespace, run_id, ids, list(names), limits.stored, limits.text, limits.cut)

        def parse(results: list[Rows]) -> dict[str, dict[str, StoredValue]]:
            found: dict[str, dict[str, StoredValue]] = {}
            for attempt_id, *columns in results[0]:
                value = StoredValue(*columns)
                found.setdefault(attempt_id, {})[value.name] = value
            return found

        return Operation(((self._attempt_values, params),), parse)
