"""Tokens and turns of steps, as a child takes them. Time passes by moving what is stored."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from owsuper.core.limits import Rate, definition
from owsuper.db.related import RelatedStore, Turn
from tests.db.rows import ME, Tables

PASS = """
UPDATE {schema}.owsuper_gates SET
    tat = tat - interval '{by} s', again = again - interval '{by} s';
UPDATE {schema}.owsuper_turns SET at = at - interval '{by} s', since = since - interval '{by} s'
"""


class Steps:
    """The steps of runs that ``ME`` executes, each called "s" unless it has a name."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._store = RelatedStore(tables.schema, "default")
        self.passed = 0.0

    def take(
        self,
        run: str,
        limit: Rate,
        step: str = "s",
        *,
        key: str = "",
        worker: str = ME,
        loaded: str = "2026-01-01",
        soon: float = 0.0,
        others: bool = False,
    ) -> Turn:
        asked = (json.dumps(definition(limit)), key, loaded)
        claim = (run, worker, "w")
        conn = self.tables.conn
        return self._store.take_turn(conn, claim, step, asked, soon, with_others=others)

    def begins(self, run: str, limit: Rate, **options: Any) -> bool:
        """Whether the step may begin; it waits otherwise."""
        turn = self.take(run, limit, **options)
        assert turn.verdict in ("begin", "wait")
        return turn.verdict == "begin"

    def wait(self, seconds: float) -> None:
        self.passed += seconds
        query = PASS.format(schema=f'"{self.tables.schema}"', by=seconds)
        self.tables.conn.execute(query.encode())

    def now(self) -> datetime:
        [[now]] = self.tables.conn.execute("SELECT clock_timestamp()").fetchall()
        assert isinstance(now, datetime)
        return now + timedelta(seconds=self.passed)

    def turns(self) -> list[str]:
        """The runs that wait, in the order of their turns."""
        rows = sorted(self.tables.rows("owsuper_turns"), key=lambda row: row["at"])
        return [row["workflow_run_id"] for row in rows]
