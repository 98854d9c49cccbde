"""Progress and log lines of runs: written beside the run, seldom, and never in anybody's way."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from owsuper import Step
from owsuper.child import reports
from owsuper.child.database import Unavailable
from owsuper.child.kept_lines import KeptLines, cut
from owsuper.child.reports import Reports
from owsuper.db import reports as statements
from owsuper.db.reports import NewLine, NewProgress
from owsuper.step import log_records
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, no write is given up, and the end of the thread is seen."""
    monkeypatch.setattr(reports, "WRITE_SECONDS", 60.0)
    monkeypatch.setattr(statements, "_TIME_OUT", b"SET LOCAL statement_timeout = '60s'")


class Database:
    """Stores reports, unless it has an error to raise; each write is one element."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.progress: list[list[NewProgress]] = []
        self.lines: list[list[NewLine]] = []
        self.asked = threading.Semaphore(0)
        self.tried = threading.Semaphore(0)
        self.may_write = threading.Event()
        self.may_write.set()

    def run_for_reports(self, work: Any) -> None:
        self.asked.release()
        assert self.may_write.wait(60)
        try:
            if self.error is not None:
                raise self.error
            work(None)
        finally:
            self.tried.release()

    def store_progress(self, _: object, progress: Sequence[NewProgress]) -> None:
        self.progress.append(list(progress))

    def store_lines(self, _: object, lines: Sequence[NewLine]) -> None:
        self.lines.append(list(lines))


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def reporting(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reports]:
    monkeypatch.setattr(reports, "_PERIOD", 0.001)
    store: Any = database
    made = Reports(store, store)
    yield made
    database.may_write.set()
    made.close()


def progress(run: str, done: float) -> NewProgress:
    return NewProgress(run, done, None, None, None)


def line(message: str) -> NewLine:
    return NewLine("r", 0.0, 20, "shop", message, None, None, None, "host", 1, None)


def test_a_process_whose_runs_report_nothing_has_no_thread(
    database: Database, reporting: Reports
) -> None:
    reporting.close()
    assert not any(each.name == "owsuper-reports" for each in threading.enumerate())
    assert not database.tried.acquire(blocking=False)


def test_a_process_that_a_step_forks_reports_to_nobody() -> None:
    code = """
import os
from owsuper.child.reports import Reports
from owsuper.db.reports import NewLine, NewProgress

class Database:
    store_progress = store_lines = None

    def run_for_reports(self, work):
        print("written by", os.getpid() == first, flush=True)

first = os.getpid()
reports = Reports(Database(), Database())
if pid := os.fork():
    os.waitpid(pid, 0)
reports.progress(NewProgress("r", 1, None, None, None))
reports.line(NewLine("r", 0.0, 20, "shop", "hi", None, None, None, "host", 1, None))
reports.close()
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "written by True\n" * 2


def test_of_what_a_run_reports_meanwhile_the_last_value_is_written(
    database: Database, reporting: Reports
) -> None:
    database.may_write.clear()
    for done in range(1000):
        reporting.progress(progress("a", done))
        reporting.progress(progress("b", -done))
    database.may_write.set()
    reporting.close()
    assert len(database.progress) <= 3
    last = {each.run: each.done for batch in database.progress for each in batch}
    assert last == {"a": 999, "b": -999}


def test_what_is_reported_all_the_time_is_written_once_a_period(
    database: Database, reporting: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "_PERIOD", 3600.0)  # until the end

    def store_progress(_: object, progress_: Sequence[NewProgress]) -> None:
        database.progress.append(list(progress_))
        if len(database.progress) < 100:
            reporting.progress(progress("a", len(database.progress)))

    def store_lines(_: object, lines: Sequence[NewLine]) -> None:
        database.lines.append(list(lines))
        if len(database.lines) < 100:
            reporting.line(line("again"))

    monkeypatch.setattr(database, "store_progress", store_progress)
    monkeypatch.setattr(database, "store_lines", store_lines)
    database.may_write.clear()
    reporting.progress(progress("a", 0))
    assert database.asked.acquire(timeout=60)
    reporting.line(line("first"))
    database.may_write.set()
    reporting.close()
    assert (len(database.progress), len(database.lines)) == (2, 2)  # and once at the end


def test_lines_are_written_in_their_order_many_at_once(
    database: Database, reporting: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "_LINES", 40)
    database.may_write.clear()
    for number in range(100):
        reporting.line(line(str(number)))
    database.may_write.set()
    reporting.close()
    assert [each.message for batch in database.lines for each in batch] == [
        str(number) for number in range(100)
    ]
    assert len(database.lines) <= 4


def test_lines_without_room_are_counted_and_the_count_is_said(
    database: Database,
    reporting: Reports,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(reports, "_MOST_LINES", 10)
    monkeypatch.setattr(reports, "_MOST_CHARACTERS", 1000)
    database.error = Unavailable(OSError("gone"))
    reporting.line(line("x" * 999))
    assert database.tried.acquire(timeout=60)
    for number in range(20):
        reporting.line(line(str(number)))  # two digits: no room for the second character
    database.error = None
    reporting.close()
    kept = [each.message for batch in database.lines for each in batch]
    lost = 21 - len(kept)
    assert lost >= 10
    assert f"for want of room: {lost}" in caplog.text


def test_while_the_database_is_slow_no_more_waits_than_there_is_room_for(
    database: Database, reporting: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "_MOST_LINES", 10)
    monkeypatch.setattr(reports, "_MOST_RUNS", 10)
    database.may_write.clear()
    reporting.progress(progress("first", 0))
    assert database.asked.acquire(timeout=60)  # now what follows has to wait
    for number in range(30):
        reporting.line(line(str(number)))
        reporting.progress(progress(f"run {number}", 1))
        reporting.progress(progress("run 0", number))
    database.may_write.set()
    reporting.close()
    assert [each.message for batch in database.lines for each in batch] == [
        str(number) for number in range(10)
    ]
    written = {each.run: each.done for batch in database.progress for each in batch}
    assert written == {"first": 0, "run 0": 29} | {f"run {number}": 1 for number in range(1, 10)}


def test_reports_wait_for_the_end_of_an_outage_which_is_logged_once(
    database: Database, reporting: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    database.error = Unavailable(OSError("gone"))
    reporting.progress(progress("a", 1))
    reporting.line(line("kept"))
    for _ in range(3):
        assert database.tried.acquire(timeout=60)
    reporting.progress(progress("a", 2))
    assert database.tried.acquire(timeout=60)
    database.error = None
    reporting.close()
    assert database.progress[-1][-1].done == 2
    assert [[each.message for each in batch] for batch in database.lines] == [["kept"]]
    warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert warnings == ["progress and log lines of runs are not stored now, will retry: gone"]


def test_what_the_database_refuses_is_dropped(
    database: Database, reporting: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    database.error = psycopg.errors.UndefinedTable("no such table")
    reporting.progress(progress("a", 1))
    reporting.line(line("lost"))
    for _ in range(2):
        assert database.tried.acquire(timeout=60)
    database.error = None
    reporting.line(line("next"))
    reporting.close()
    assert database.progress == []
    assert [[each.message for each in batch] for batch in database.lines] == [["next"]]
    assert caplog.text.count("are dropped: no such table") == 1


# --- what runs report ----------------------------------------------------------------------------


def stored(engine: Engine, run: str) -> list[tuple[Any, ...]]:
    engine.services.reports.close()
    columns = "done, total, message, step"
    table = f'"{engine.schema}".owsuper_progress'
    query = f"SELECT {columns} FROM {table} WHERE workflow_run_id = $1"
    return engine.conn.execute(query.encode(), [run]).fetchall()


@sync_and_async
class TestProgress:
    def test_the_function_of_a_step_reports_it(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def copy(files: int, report: Any) -> None:
            for number in range(files):
                report(number + 1, files, f"file {number}")

        def body(step: Any) -> Any:
            step.set_progress(0)
            yield step.run("copy", copy, 500, step.set_progress)

        engine.workflow(as_workflow(body))
        run = engine.start()
        assert engine.finish(run)["status"] == "completed"
        assert stored(engine, run) == [(500, 500, "file 499", "copy")]

    def test_code_that_is_replayed_reports_nothing(
        self, engine: Engine, as_workflow: AsWorkflow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reported: list[float] = []
        report = engine.services.reports.progress

        def watch(progress: NewProgress) -> None:
            reported.append(progress.done)
            report(progress)

        monkeypatch.setattr(engine.services.reports, "progress", watch)

        def body(step: Any) -> Any:
            step.set_progress(1)
            yield step.run("a", int)
            step.set_progress(2)
            yield step.sleep("nap", "1h")
            step.set_progress(3)

        engine.workflow(as_workflow(body))
        run = engine.start()
        assert engine.finish(run)["status"] == "completed"
        assert reported == [1, 2, 3]
        assert stored(engine, run) == [(3, None, None, None)]


def test_a_table_that_is_locked_delays_no_run(engine: Engine, database_url: str) -> None:
    def body(step: Step) -> str:
        step.set_progress(1)
        return step.run("a", str)

    engine.workflow(body)
    run = engine.start()
    with psycopg.connect(database_url) as other:
        other.execute(f'LOCK TABLE "{engine.schema}".owsuper_progress'.encode())
        assert engine.finish(run)["status"] == "completed"
    assert stored(engine, run) == [(1, None, None, None)]


# --- lines that are kept -------------------------------------------------------------------------


@pytest.fixture
def kept() -> Iterator[list[NewLine]]:
    lines: list[NewLine] = []
    factory, log = logging.getLogRecordFactory(), logging.getLogger("tests.shop")
    log_records.install(show_replayed=False)
    handler = KeptLines("info", lines.append)
    handler.install()
    log.setLevel(logging.DEBUG)
    yield lines
    for each in (logging.getLogger(), logging.getLogger("owsuper")):
        each.removeHandler(handler)
    logging.setLogRecordFactory(factory)


def test_lines_of_runs_are_kept_with_all_that_is_known(engine: Engine, kept: list[NewLine]) -> None:
    log = logging.getLogger("tests.shop")

    def fail(isbn: str) -> None:
        log.debug("below the level")
        log.warning("reserving %s", isbn, extra={"isbn": isbn, "tries": 2, "at": None})
        raise LookupError(isbn)

    def body(step: Step) -> None:
        log.info("begin")
        try:
            step.run("find", fail, "0-7", type=str)
        except Exception:
            log.exception("failed")

    log.info("outside of a run")
    engine.workflow(body)
    run = engine.start()
    engine.execute_once(run)
    begin, reserving, *_ = kept
    assert (begin.run, begin.message, begin.step, begin.fields) == (run, "begin", None, None)
    assert (reserving.step, reserving.attempt, reserving.level) == ("find", 1, 30)
    assert (reserving.message, reserving.fields) == ("reserving 0-7", {"isbn": "0-7", "tries": 2})
    assert [each.logger for each in kept].count("owsuper.child") == 1  # the step has failed
    engine.services.reports.line(replace(begin, exception="Traceback"))
    engine.services.reports.close()
    query = f'SELECT message, exception FROM "{engine.schema}".owsuper_log_lines'.encode()
    assert engine.conn.execute(query).fetchall() == [("begin", "Traceback")]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("short", "short"),
        ("x" * 11, "x" * 10 + "... [cut: 11 characters]"),
        ("a\0b", "a\\x00b"),
        ("\ud800", "\\ud800"),
        ("é\n", "é\n"),
    ],
)
def test_texts_are_cut_and_made_storable(text: str, shown: str) -> None:
    assert cut(text, 10) == shown


def test_whatever_is_logged_can_be_stored(engine: Engine, kept: list[NewLine]) -> None:
    odd: dict[str, Any] = {
        "nul": "\0", "huge": 2**70, "nan": float("nan"), "bytes": b"\xff", "list": [1],
        "lone\ud800": "\ud800", "flag": True, "long": "x" * 5000, "float": 0.5,
    }  # fmt: skip
    extra = {"run_id": "r", "attempt": "first", **odd}
    logging.getLogger("tests.shop").error("m" * 9000 + "\0", extra=extra)
    for number in range(70):
        extra[f"more {number}"] = number
    logging.getLogger("tests.shop").error("many", extra=extra)
    for each in kept:
        engine.services.reports.line(each)
    engine.services.reports.close()
    query = f'SELECT message, attempt, fields FROM "{engine.schema}".owsuper_log_lines ORDER BY id'
    (message, attempt, fields), (_, _, many) = engine.conn.execute(query.encode()).fetchall()
    assert message == "m" * 8000 + "... [cut: 9001 characters]"
    assert attempt is None
    assert fields["nul"] == "\\x00"
    assert (fields["huge"], fields["flag"], fields["float"]) == (str(2**70), True, 0.5)
    assert fields["long"].endswith("... [cut: 5000 characters]")
    assert len(many) <= 55
