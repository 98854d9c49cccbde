"""psycopg logs nothing about our connections; about those of the program it logs as before."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
import pytest

from owsuper.db import connect
from owsuper.db.clients import ClientQueries
from owsuper.db.new_runs import NewRun
from tests.fixtures.proxy import Proxy


def lose_the_connection_in_a_pipeline(proxy: Proxy, conn: psycopg.Connection[Any]) -> None:
    proxy.lose_request(b"BEGIN")
    with pytest.raises(psycopg.OperationalError), conn.pipeline(), conn.transaction():
        conn.execute("SELECT 1").fetchone()


def test_a_connection_that_is_lost_in_a_pipeline_is_an_error_and_no_log_line(
    proxy: Proxy, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    start = ClientQueries(schema, "default").start(NewRun(workflow_name="w", idempotency_key="key"))
    with connect.connect(proxy.url, application_name="owsuper test") as conn:
        proxy.lose_request(b"BEGIN")
        with caplog.at_level(logging.WARNING), pytest.raises(psycopg.OperationalError):
            start.run(conn)
    assert [record.getMessage() for record in caplog.records] == []


def test_lines_about_connections_of_the_program_stay(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(proxy.url, autocommit=True) as theirs, caplog.at_level(logging.WARNING):
        lose_the_connection_in_a_pipeline(proxy, theirs)
    assert any("error ignored" in record.getMessage() for record in caplog.records)
