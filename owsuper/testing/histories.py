"""Reads the histories of runs from a database, to replay them."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import Any, Final, Unpack

from psycopg import Connection

from owsuper.client.app import OpenWorkflow
from owsuper.client.listing import RunFilters
from owsuper.client.models import Run
from owsuper.core.model import RunStatus
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

    def newest(
        self, count: int, *, unfinished: bool = False, **filters: Unpack[RunFilters]
    ) -> Iterator[RecordedRun]:
        """Yield the histories of at most ``count`` runs, the newest first.

        With ``unfinished``, runs that have ended are left out. Raises as ``list_runs`` does. A run
        that is deleted meanwhile is left out.
        """
        runs = self._unfinished(count, filters) if unfinished else self._runs(count, filters)
        for run in islice(runs, count):
            try:
                history = self._read(run.id)
            except RunNotFound:
                continue
            if not (unfinished and RunStatus(history.run.status).is_terminal):
                yield history

    def _unfinished(self, count: int, filters: RunFilters) -> Iterator[Run]:
        lists = []
        for status in RunStatus:
            if not status.is_terminal:
                of_status = filters.copy()
                of_status["status"] = status
                lists.append(self._runs(count, of_status))
        last = None
        for run in merge(*lists, key=lambda run: (run.created_at, run.id), reverse=True):
            if run.id != last:  # its status may have changed meanwhile
                yield run
            last = run.id

    def _runs(self, count: int, filters: RunFilters) -> Iterator[Run]:
        left = count
        while left > 0:
            filters["limit"] = min(left, MAX_PAGE_SIZE)
            page = self._ow.list_runs(**filters)
            yield from page.items
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
