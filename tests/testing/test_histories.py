"""Histories are read from a database while its runs go on."""

from __future__ import annotations

import psycopg
import pytest

from owsuper import OpenWorkflow
from owsuper.testing import histories
from owsuper.testing.histories import Histories
from tests.client.conftest import Rows


def test_a_run_that_is_deleted_meanwhile_is_left_out(
    database_url: str, schema: str, conn: psycopg.Connection
) -> None:
    rows = Rows(conn, schema)
    first, second, third = (rows.add() for _ in range(3))
    ow = OpenWorkflow(database_url, schema=schema)
    try:
        found = Histories(ow).newest(10)
        assert next(found).run.id == third
        rows.delete(second)
        assert [history.run.id for history in found] == [first]
    finally:
        ow.close()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_the_newest_are_read_page_by_page(
    database_url: str,
    schema: str,
    conn: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    monkeypatch.setattr(histories, "MAX_PAGE_SIZE", 2)
    rows = Rows(conn, schema)
    run_ids = [rows.add() for _ in range(5)]
    ow = OpenWorkflow(database_url, schema=schema)
    try:
        found = [history.run.id for history in Histories(ow).newest(count)]
        assert found == run_ids[::-1][:count]
    finally:
        ow.close()


def test_unfinished_runs_are_read_in_order_without_those_that_ended(
    database_url: str, schema: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "MAX_PAGE_SIZE", 2)
    rows = Rows(conn, schema)
    run_ids = [rows.add() for _ in range(8)]
    for status, run_id in zip(
        ("pending", "completed", "failed", "canceled", "sleeping", "pending"), run_ids, strict=False
    ):
        rows.end(run_id, status=status)
    unfinished = [run_ids[n] for n in (7, 6, 5, 4, 0)]
    ow = OpenWorkflow(database_url, schema=schema)
    try:
        read = Histories(ow).newest
        assert [each.run.id for each in read(100, unfinished=True)] == unfinished
        assert [each.run.id for each in read(3, unfinished=True)] == unfinished[:3]
        assert [each.run.id for each in read(9, unfinished=True, workflow="test")] == unfinished
        assert list(read(9, unfinished=True, workflow="other")) == []
        found = read(100, unfinished=True)
        assert next(found).run.id == run_ids[7]
        rows.end(run_ids[6])  # after its page was read
        assert [each.run.id for each in found] == unfinished[2:]
    finally:
        ow.close()
