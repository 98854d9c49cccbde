"""A worker keeps the log lines of its runs if it is told to, and pays nothing for it if not."""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg
import pytest

from owsuper import OpenWorkflow
from tests.client.conftest import eventually
from tests.fixtures.processes import Spawn
from tests.supervisor.worker import Begin

FLOWS = """
import logging
from owsuper import OpenWorkflow

ow = OpenWorkflow()
log = logging.getLogger("shop")

def reserve(isbn, report):
    log.info("reserving %s", isbn)
    report(1, 2, "reserving")

@ow.workflow
def order(step, input: dict):
    log.info("begin")
    step.run("reserve", reserve, input["isbn"], step.set_progress)
    step.sleep("nap", 0.01)
    log.info("end")

@ow.workflow
def silent(step, input: dict):
    step.run("a", str)
"""


@pytest.mark.parametrize(
    "preload", ["--preload", pytest.param("--no-preload", marks=pytest.mark.slow)]
)
def test_lines_and_progress_of_runs_are_there_when_the_worker_has_stopped(
    begin: Begin, tmp_path: Path, database_url: str, schema: str, preload: str
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    worker = begin("--processes=1", "--keep-logs=7d", preload)
    run = worker.start("order", isbn="0-7")
    worker.await_outcome(run)
    assert worker.stop() == 0
    ow = OpenWorkflow(database_url, schema=schema)
    lines, progress = ow.get_run(run).logs(), ow.get_run(run).progress()
    ow.close()
    assert [(line.message, line.step) for line in lines if line.logger == "shop"] == [
        ("begin", None),
        ("reserving 0-7", "reserve"),
        ("end", None),
    ]
    assert progress is not None
    assert (progress.done, progress.total, progress.step) == (1, 2, "reserve")


OFTEN = """
import sys
from owsuper.supervisor import duties

duties._LINES_PERIOD = 0.05  # seconds between two looks for old lines

from owsuper.cli import main

sys.exit(main())
"""


def test_a_worker_deletes_lines_that_were_kept_long_enough(
    spawn: Spawn, tmp_path: Path, conn: psycopg.Connection, database_url: str, schema: str
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    (tmp_path / "often.py").write_text(OFTEN)
    conn.execute(
        f'INSERT INTO "{schema}".owsuper_log_lines (namespace_id, workflow_run_id, stored_at,'
        " logged_at, level, logger, message, host, pid) SELECT 'default', 'r',"
        " now() - make_interval(days => age), now(), 20, 'shop', age, 'host', 1"
        " FROM unnest(ARRAY[6, 8]) AS age".encode()
    )
    left = f'SELECT message FROM "{schema}".owsuper_log_lines'.encode()
    spawn(
        *(sys.executable, "often.py", "--module=flows", "--processes=1", "--keep-logs=7d"),
        env={"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema},
        cwd=tmp_path,
    )
    eventually(lambda: conn.execute(left).fetchall() == [("6",)])


def test_a_worker_that_keeps_nothing_has_no_connection_for_it(
    begin: Begin, tmp_path: Path, conn: psycopg.Connection, schema: str
) -> None:
    def sessions() -> set[int]:
        query = b"SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'owsuper%reports'"
        return {row[0] for row in conn.execute(query)}

    (tmp_path / "flows.py").write_text(FLOWS)
    before = sessions()  # of other tests, which may still be ending
    worker = begin("--processes=1")
    worker.await_outcome(worker.start("silent"))
    assert sessions() <= before
    assert worker.stop() == 0
    assert conn.execute(
        f'SELECT count(*) FROM "{schema}".owsuper_log_lines'.encode()
    ).fetchone() == (0,)
