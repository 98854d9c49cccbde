"""A client, and runs that ended at various times, made by SQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow
from tests.db.rows import Tables, from_now

DAY = 86_400.0


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    client = OpenWorkflow(database_url, schema=schema)
    yield client
    client.close()


class Ended(Tables):
    """Rows of runs that have ended."""

    def ended(self, days: float, *, status: str = "completed", **columns: Any) -> str:
        """Insert a run that ended so many days ago; return its id."""
        at = from_now(-days * DAY)
        defaults = {
            "status": status,
            "worker_id": None,
            "available_at": None,
            "created_at": at,
            "started_at": at,
            "finished_at": at,
            "updated_at": at,
        }
        return self.run(**{**defaults, **columns})

    def ids(self) -> set[str]:
        """The runs that are there."""
        return {row["id"] for row in self.rows("workflow_runs")}


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Ended:
    return Ended(conn, schema)
