"""An application of FastAPI with the router of one workflow; the tests end its runs by SQL."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from owsuper import OpenWorkflow
from tests.client.conftest import Rows


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    client = OpenWorkflow(database_url, schema=schema)
    yield client
    client.close()


@pytest.fixture
def rows(conn: psycopg.Connection, schema: str) -> Rows:
    return Rows(conn, schema)
