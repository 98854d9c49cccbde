"""Log lines and progress of runs: stored in order, read by a cursor, deleted."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from owsuper.db import connect, sweeps
from owsuper.db.reports import LineRow, NewLine, NewProgress, ReportQueries, ReportStore
from owsuper.db.sweeps import SweepQueries
from owsuper.errors import RunNotFound
from tests.db.rows import Tables, perform


@pytest.fixture
def tables(database_url: str, schema: str) -> Iterator[Tables]:
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield Tables(conn, schema)


def line(run: str, message: str, level: int = 20) -> NewLine:
    return NewLine(
        run, 1_700_000_000.25, level, "shop", message, None, "s", 1, "host", 1, {"isbn": "0-7"}
    )


def store(tables: Tables, *lines: NewLine, namespace: str = "default") -> None:
    ReportStore(tables.schema, namespace).store_lines(tables.conn, lines)


def read(
    tables: Tables, run: str, after: int = 0, level: int = 0, limit: int = 100
) -> list[LineRow]:
    queries = ReportQueries(tables.schema, "default")
    return queries.lines(run, after=after, level=level, limit=limit).run(tables.conn)


def forget(tables: Tables, keep_seconds: float, namespace: str = "default") -> bool:
    call = SweepQueries(tables.schema, namespace).forget_log_lines(keep_seconds)
    return sweeps.parse_forgotten_lines(perform(tables.conn, call))


def progress(tables: Tables, run: str, done: float, total: float | None = None) -> None:
    new = NewProgress(run, done, total, "half", None)
    ReportStore(tables.schema, "default").store_progress(tables.conn, [new])


def test_lines_are_read_in_the_order_in_which_they_were_stored(tables: Tables) -> None:
    run, other = tables.run(), tables.run()
    store(tables, *(line(run, str(number)) for number in range(300)), line(other, "other"))
    store(tables, line(run, "300"))
    assert [each.message for each in read(tables, run, limit=1000)] == [
        str(number) for number in range(301)
    ]


def test_a_line_comes_back_as_it_was(tables: Tables) -> None:
    run = tables.run()
    store(tables, line(run, "reserving «7»\n\tnow", 30))
    [row] = read(tables, run)
    assert (row.level, row.logger, row.message) == (30, "shop", "reserving «7»\n\tnow")
    assert (row.step, row.attempt, row.host, row.pid) == ("s", 1, "host", 1)
    assert row.logged_at.timestamp() == 1_700_000_000.25
    assert row.fields == '{"isbn": "0-7"}'
    assert row.exception is None


def test_a_cursor_continues_and_a_level_leaves_lines_out(tables: Tables) -> None:
    run = tables.run()
    store(tables, line(run, "a"), line(run, "b", 30), line(run, "c"), line(run, "d", 40))
    first = read(tables, run, limit=2)
    assert [each.message for each in first] == ["a", "b"]
    assert [each.message for each in read(tables, run, after=first[-1].id)] == ["c", "d"]
    assert [each.message for each in read(tables, run, level=30)] == ["b", "d"]


def test_a_run_without_lines_has_none_and_an_unknown_run_is_an_error(tables: Tables) -> None:
    assert read(tables, tables.run()) == []
    store(tables, line("gone", "late"))
    with pytest.raises(RunNotFound, match="gone"):
        read(tables, "gone")


def test_only_old_lines_of_the_namespace_are_deleted(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tables.run()
    store(tables, line(run, "a"), line(run, "b"), line(run, "c"))
    store(tables, line(run, "elsewhere"), namespace="other")
    assert not forget(tables, 3600)
    assert len(read(tables, run)) == 3
    monkeypatch.setattr(sweeps, "_LINES", 2)
    assert forget(tables, 0)
    assert len(read(tables, run)) == 1
    assert not forget(tables, 0)
    assert [row["message"] for row in tables.rows("owsuper_log_lines")] == ["elsewhere"]


def test_of_progress_the_last_value_is_kept(tables: Tables) -> None:
    run, other = tables.run(), tables.run()
    queries = ReportQueries(tables.schema, "default")
    assert queries.progress(run).run(tables.conn) is None
    progress(tables, run, 1, 4)
    progress(tables, other, 9)
    progress(tables, run, 2.5, 4)
    row = queries.progress(run).run(tables.conn)
    assert row is not None
    assert (row.done, row.total, row.message, row.step) == (2.5, 4, "half", None)
    with pytest.raises(RunNotFound):
        queries.progress("gone").run(tables.conn)


def test_progress_of_a_run_that_is_gone_is_not_stored(tables: Tables) -> None:
    progress(tables, "gone", 1)
    assert tables.rows("owsuper_progress") == []


@pytest.mark.parametrize("everything", [False, True])
def test_both_are_deleted_with_their_run(tables: Tables, everything: bool) -> None:
    run, other = tables.run(), tables.run()
    for each in (run, other):
        store(tables, line(each, each))
        progress(tables, each, 1)
    if everything:
        tables.conn.execute(f'TRUNCATE "{tables.schema}".workflow_runs CASCADE'.encode())
    else:
        tables.conn.execute(
            f'DELETE FROM "{tables.schema}".workflow_runs WHERE id = $1'.encode(), (run,)
        )
    left = [] if everything else [other]
    for table in ("owsuper_log_lines", "owsuper_progress"):
        assert [row["workflow_run_id"] for row in tables.rows(table)] == left


def test_a_write_waits_for_a_lock_no_longer_than_its_limit(
    tables: Tables, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tables.run()
    progress(tables, run, 1)
    with (
        connect.connect(database_url, application_name="owsuper test") as other,
        other.transaction(),
        monkeypatch.context() as patched,
    ):
        patched.setattr("owsuper.db.reports._TIME_OUT", b"SET LOCAL statement_timeout = '50ms'")
        other.execute(f'UPDATE "{tables.schema}".owsuper_progress SET done = 2'.encode())
        with pytest.raises(psycopg.errors.QueryCanceled):
            progress(tables, run, 3)
    progress(tables, run, 4)
    assert [row["done"] for row in tables.rows("owsuper_progress")] == [4]
