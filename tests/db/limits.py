"""Limits, and claims of the runs that have them, as a supervisor makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from owsuper.db.claims import Claimed, ClaimQueries, parse_claim
from tests.db.rows import Tables, perform

W = (("w", None),)


class Limits:
    """The limits of the namespace ``default``, and one supervisor's claims."""

    def __init__(self, tables: Tables, conn: psycopg.Connection | None = None) -> None:
        self.tables = tables
        self.conn = conn or tables.conn
        self._queries = ClaimQueries(tables.schema, "default")

    def declare(
        self, name: str = "l", amount: int = 1, *, workflows: Sequence[str] = ("w",), **columns: Any
    ) -> None:
        """Store a limit, by default of concurrency."""
        values = {"namespace_id": "default", "name": name, "kind": "concurrency", "amount": amount}
        values |= columns
        path = columns.get("path")
        values["keyed"] = path is not None
        self._insert("owsuper_limits", values)
        for workflow in workflows:
            self._insert(
                "owsuper_limit_workflows",
                {"namespace_id": "default", "workflow_name": workflow, "limit_name": name},
            )

    def rate(self, amount: int = 1, period: float = 3600.0, **columns: Any) -> None:
        self.declare(columns.pop("name", "r"), amount, kind="rate", period=period, **columns)

    def _insert(self, table: str, values: dict[str, Any]) -> None:
        places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
        self.tables.conn.execute(
            f'INSERT INTO "{self.tables.schema}".{table} ({", ".join(values)})'
            f" VALUES ({places})".encode(),
            list(values.values()),
        )

    def look(self, room: int = 10, workflows: Sequence[tuple[str, str | None]] = W) -> Claimed:
        call = self._queries.claim_limited(
            room, workflows, worker_prefix="me:", lease_seconds=30, waits=True
        )
        return parse_claim(perform(self.conn, call))

    def change(self, query: str) -> None:
        """Change tables as an operator would: ``{schema}`` stands for the schema."""
        self.tables.conn.execute(query.format(schema=f'"{self.tables.schema}"').encode())

    def claim(self, room: int = 10, *workflows: tuple[str, str | None]) -> list[str]:
        """Claim; the ids of the runs."""
        return [run.run_id for run in self.look(room, workflows or W).runs]

    def end(self, run_id: str, status: str = "completed") -> None:
        self.tables.update("workflow_runs", run_id, status=status, available_at=None)

    def places(self) -> list[tuple[str, str]]:
        """Who holds a place of what."""
        rows = self.tables.rows("owsuper_holds")
        return sorted((row["workflow_run_id"], row["limit_name"]) for row in rows)

    def places_of(self) -> list[str]:
        """Who holds a place."""
        return [run for run, _ in self.places()]
