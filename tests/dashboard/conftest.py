"""A dashboard on the tables of the test, and a client that speaks HTTP with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient

from owsuper import OpenWorkflow
from tests.client.conftest import Rows
from tests.db.rows import Tables

Browse = Callable[..., TestClient]
"""Opens a dashboard, with the arguments of ``OpenWorkflow.dashboard``, for one browser."""


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    client = OpenWorkflow(database_url, schema=schema)
    yield client
    client.close()


@pytest.fixture
def browse(ow: OpenWorkflow) -> Iterator[Browse]:
    with ExitStack() as stack:

        def opened(**options: Any) -> TestClient:
            if not {"auth", "user", "insecure"} & options.keys():
                options["insecure"] = True
            app = ow.dashboard(**options)
            return stack.enter_context(TestClient(app, follow_redirects=False))

        yield opened


@pytest.fixture
def browser(browse: Browse) -> TestClient:
    """A browser with a dashboard that anybody may see, and that changes nothing."""
    return browse()


@pytest.fixture
def rows(conn: psycopg.Connection, schema: str) -> Rows:
    return Rows(conn, schema)


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)
