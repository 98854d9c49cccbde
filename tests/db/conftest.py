"""Fixtures: the tables of a schema, and the store of children on it."""

from __future__ import annotations

import psycopg
import pytest

from owsuper.db.runs import RunStore
from tests.db.rows import Tables


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@pytest.fixture
def store(schema: str) -> RunStore:
    return RunStore(schema, "default")
