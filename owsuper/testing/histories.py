"""Reads the histories of runs from a database, to replay them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Unpack

from psycopg import Connection

from owsuper.client.app import OpenWorkflow
from owsuper.client.listing import RunFilters
from owsuper.core.pages import MAX_PAGE_SIZE
from owsuper.db.runs import RunStore
from owsuper.errors import RunNotFound
from owsuper.testing.replaying import RecordedRun

_ALL: Final = 1 << 60  # step attempts


class Histories:
    """The histories of one OpenWorkflow's runs."""

    def __init__(self, ow: OpenWorkflow) -> None:
        self._ow = ow
        chosen = ow._database.settings
        self._store = RunStore(chosen.schema, chosen.namespace)

    def newest(self, count: int, **filters: Unpack[RunFilters]) -> Iterator[RecordedRun]:
        """Yield the histories of at most ``count`` runs, the newest first.

        Raises as ``list_runs`` does. A run that is deleted meanwhile is left out.
        """
        left = count
        while left > 0:
            filters["limit"] = min(left, MAX_PAGE_SIZE)
            page = self._ow.list_runs(**filters)
            for run in page.items:
                try:
                    history = self._read(run.id)
                except RunNotFound:
                    continue
                yield history
            left -= len(page.items)
            if page.next_cursor is None:
                return
            filters["after"] = page.next_cursor

    def read_input(self, run_id: str) -> bytes | None:
        """Return the input with which a child run began as JSON."""
        session = self._ow._database.session()
        return session.run(lambda conn: self._store.load_first_input(conn, run_id))

    def _read(self, run_id: str) -> RecordedRun:
        session = self._ow._database.session()
        get = session.queries.get_run(run_id)

        def read(conn: Connection[Any]) -> RecordedRun:
            # First the run: one that ends between the two statements would seem to lack a step.
            run = get.run(conn)
            return RecordedRun(run, self._store.load(conn, run_id, "", enough=_ALL).history)

        return session.run(read)
