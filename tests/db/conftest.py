"""Fixtures: the tables of a schema, and the store of children on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from owsuper import OpenWorkflow
from owsuper.db import connect
from owsuper.db.related import RelatedStore
from owsuper.db.runs import RunStore
from tests.db.rows import Tables

Send = Callable[[str | None], list[str]]


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@pytest.fixture
def store(schema: str) -> RunStore:
    return RunStore(schema, "default")


@pytest.fixture
def client(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    ow = OpenWorkflow(database_url, schema=schema, call_timeout="30s")
    yield ow
    ow.close()


@pytest.fixture(params=["a client", "a step"])
def send(
    request: pytest.FixtureRequest, database_url: str, schema: str, client: OpenWorkflow
) -> Iterator[Send]:
    """Send the signal ``go`` with an idempotency key or None; the runs that it reached."""
    if request.param == "a client":
        yield lambda key: client.send_signal("go", 1, idempotency_key=key)
        return
    store = RelatedStore(schema, "default")
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield lambda key: store.send(conn, "go", b"1", key, keep=False)
