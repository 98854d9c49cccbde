"""Statements with which the dashboard notices, on one connection, that something has changed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from psycopg import Connection

from owsuper.db.clients import Operation, Rows
from owsuper.db.listen import results_channel, runs_channel, workers_channel
from owsuper.db.statement import load


class ChangeQueries:
    """The statements of one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._newest_transaction = load("dashboard_newest_transaction", schema)
        self._run_marks = load("dashboard_run_marks", schema)
        self._channels = (
            runs_channel(schema, namespace),
            workers_channel(schema, namespace),
            results_channel(schema),
        )

    def listen(self, conn: Connection[Any]) -> None:
        """Listen for runs that become due, are canceled or end, as far as that is notified."""
        for channel in self._channels:
            conn.execute(f'LISTEN "{channel}"'.encode())

    def newest_transaction(self) -> Operation[tuple[str, ...]]:
        """Return what stays the same as long as no transaction writes or ends."""
        return Operation(
            ((self._newest_transaction, ()),),
            lambda results: tuple(str(column) for column in results[0][0]),
        )

    def run_marks(self, run_ids: Collection[str]) -> Operation[dict[str, str]]:
        """Return a mark for each of these runs that exists, which changes when the run does."""

        def parse(results: list[Rows]) -> dict[str, str]:
            return {str(run_id): str(mark) for run_id, mark in results[0]}

        return Operation(((self._run_marks, (self._namespace, list(run_ids))),), parse)
