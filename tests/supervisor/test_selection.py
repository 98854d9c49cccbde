"""``--only`` and ``--except``: a worker serves a part of the registered workflows."""

from __future__ import annotations

import signal
from pathlib import Path

import psycopg
import pytest

from tests.supervisor.worker import FLOWS, Begin

MORE = """
@ow.workflow
def report(step):
    step.run("report", note, "report")

@ow.workflow
def parent(step):
    step.run("before", note, "parent")
    step.run_workflow(report)
    step.run("after", note, "parent again")
"""


def serving(conn: psycopg.Connection, schema: str) -> list[set[str]]:
    """The names that each worker has announced."""
    rows = conn.execute(f'SELECT workflows FROM "{schema}".owsuper_supervisors').fetchall()
    return [{name for name, _ in workflows} for (workflows,) in rows]


def run_of(conn: psycopg.Connection, schema: str, workflow: str) -> str:
    row = conn.execute(
        f'SELECT id FROM "{schema}".workflow_runs WHERE workflow_name = $1', [workflow]
    ).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.slow
def test_a_worker_starts_runs_that_another_one_serves(
    begin: Begin, tmp_path: Path, conn: psycopg.Connection, schema: str
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + MORE)
    worker = begin("--only=parent", "--processes=1")
    run = worker.start("parent")
    worker.await_outcome(run, "parked")  # it has started a run that this worker does not serve
    assert worker.effects() == ["parent"]
    assert serving(conn, schema) == [{"parent"}]
    other = begin("--except=parent", "--processes=1")
    other.await_outcome(run_of(conn, schema, "report"))
    worker.await_outcome(run)
    assert worker.effects() == ["parent", "report", "parent again"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only=repotr",), "--only repotr leaves no workflow to serve. Registered are "),
        (("--only=report", "--except=r*", "--no-preload"), "--only report --except r* leaves no"),
        (("--except=repotr",), "--except repotr: no registered workflow has this name. There are "),
        (("--foreground", "--only=x"), "--only x leaves no workflow to serve"),
        (("--foreground", "--except=x"), "--except x: no registered workflow has this name"),
    ],
)
def test_a_pattern_that_fits_no_workflow_is_exit_code_2(
    begin: Begin, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + MORE)
    processes = {"OWSUPER_PROCESSES": "1"}
    worker = begin(*options, ready=False, **processes)
    assert worker.program.wait() == 2
    assert f"owsuper: error: {message}" in worker.log.text
    assert "Traceback" not in worker.log.text


@pytest.mark.slow
def test_after_a_reload_a_pattern_without_effect_is_a_warning(
    begin: Begin, tmp_path: Path, conn: psycopg.Connection, schema: str
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + MORE)
    worker = begin("--only=record", "--only=report", "--processes=1")
    (tmp_path / "flows.py").write_text(FLOWS)
    worker.program.signal(signal.SIGHUP)
    worker.log.wait_for(r" WARNING .*--only report: no registered workflow has this name")
    worker.log.wait_for(r": reloaded: ")
    worker.await_outcome(worker.start("record", text="hello"))


@pytest.mark.slow
def test_new_code_of_which_nothing_would_be_served_is_refused(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + MORE)
    worker = begin("--only=report", "--processes=1")
    (tmp_path / "flows.py").write_text(FLOWS)
    worker.program.signal(signal.SIGHUP)
    worker.log.wait_for(r"--only report leaves no workflow to serve")
    worker.await_outcome(worker.start("report"))
