"""What programs read of the reports of a run: log lines and progress, blocking and awaitable."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from owsuper import LogLine, OpenWorkflow, RunNotFound, RunProgress
from owsuper.db.reports import NewLine, NewProgress, ReportStore
from owsuper.errors import ConfigurationError
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.rows import Tables


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


def store(tables: Tables, *lines: tuple[str, str, int]) -> None:
    new = [
        NewLine(run, 0.5, level, "shop", message, None, None, None, "host", 7, {"isbn": "0-7"})
        for run, message, level in lines
    ]
    ReportStore(tables.schema, "default").store_lines(tables.conn, new)


@sync_and_async
def test_lines_are_read_page_by_page(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    run, other = tables.run(), tables.run()
    store(tables, (run, "a", 20), (other, "other", 20), (run, "b", 30), (run, "c", 35))
    handle = ow.get_run(run)
    [first] = call(handle, "logs", limit=1)
    assert isinstance(first, LogLine)
    assert (first.message, first.level, first.fields) == ("a", "info", {"isbn": "0-7"})
    assert first.logged_at.isoformat() == "1970-01-01T00:00:00.500000+00:00"
    rest = call(handle, "logs", after=first.id)
    assert [(line.message, line.level) for line in rest] == [("b", "warning"), ("c", "35")]
    assert call(handle, "logs", level="ERROR") == []


@sync_and_async
def test_progress_is_what_the_code_last_said(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    run = tables.run()
    assert call(ow.get_run(run), "progress") is None
    new = NewProgress(run, 3, 4.5, "copying", "copy")
    ReportStore(tables.schema, "default").store_progress(tables.conn, [new])
    progress = call(ow.get_run(run), "progress")
    assert isinstance(progress, RunProgress)
    assert (progress.done, progress.total, progress.message) == (3, 4.5, "copying")
    assert isinstance(progress.done, int)
    assert progress.fraction == 3 / 4.5
    assert progress.updated_at.tzinfo is not None


def test_a_share_is_at_most_all_and_unknown_without_a_total(
    ow: OpenWorkflow, tables: Tables
) -> None:
    run = tables.run()
    reports = ReportStore(tables.schema, "default")
    for total, fraction in ((2.0, 1.0), (None, None)):
        reports.store_progress(tables.conn, [NewProgress(run, 9, total, None, None)])
        progress = ow.get_run(run).progress()
        assert progress is not None
        assert progress.fraction == fraction


@sync_and_async
def test_a_run_that_does_not_exist_is_not_found(ow: OpenWorkflow, call: Call) -> None:
    for method in ("logs", "progress"):
        with pytest.raises(RunNotFound, match="nothing"):
            call(ow.get_run("nothing"), method)


@sync_and_async
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"level": "loud"}, "level: 'loud' must be one of debug, info, warning, error, critical"),
        ({"level": 30}, "level: 30 must be one of"),
        ({"limit": 0}, "limit: 0 must be a whole number from 1 to 10000"),
        ({"limit": True}, "limit: True must be a whole number"),
        ({"after": -1}, "after: -1 must be a whole number from 0"),
        ({"after": 2**63}, "must be a whole number from 0"),
        ({"after": "3"}, "after: '3' must be a whole number"),
    ],
)
def test_what_cannot_be_asked_is_named(
    ow: OpenWorkflow, call: Call, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError) as info:
        call(ow.get_run("any"), "logs", **wrong)
    assert message in str(info.value)
