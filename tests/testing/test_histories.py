"""Histories are read from a database while its runs go on."""

from __future__ import annotations

import psycopg

from owsuper import OpenWorkflow
from owsuper.testing.histories import Histories
from tests.client.conftest import Rows


def test_a_run_that_is_deleted_meanwhile_is_left_out(
    database_url: str, schema: str, conn: psycopg.Connection
) -> None:
    rows = Rows(conn, schema)
    first, second, third = (rows.add() for _ in range(3))
    ow = OpenWorkflow(database_url, schema=schema)
    try:
        histories = Histories(ow).newest(10)
        assert next(histories).run.id == third
        rows.delete(second)
        assert [history.run.id for history in histories] == [first]
    finally:
        ow.close()
