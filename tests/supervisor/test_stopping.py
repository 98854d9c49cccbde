"""A worker that stops, or is killed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.processes import Spawn, owsuper_command
from tests.supervisor.worker import FLOWS, Begin, Worker


def test_after_term_runs_finish_and_no_more_are_claimed(begin: Begin, tmp_path: Path) -> None:
    worker = begin()
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    worker.program.terminate()
    worker.log.wait_for("draining; runs to finish: 1")
    late = worker.start("record", text="late")
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    assert worker.program.wait() == 0
    assert worker.get(run).status == "completed"
    assert worker.effects() == ["waiting", "after"]
    # Never claimed, or released by a claim that was in flight when the signal arrived.
    row = worker.get(late)
    assert (row.status, row.worker_id) in (("pending", None), ("running", None))


@pytest.mark.slow
def test_under_nohup_a_hup_changes_nothing(
    spawn: Spawn, tmp_path: Path, database_url: str, schema: str
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    command = shlex.join([*owsuper_command(), "--module=flows", "--processes=1"])
    program = spawn("sh", "-c", f"trap '' HUP; exec {command}", cwd=tmp_path, env=env)
    program.stderr.wait_for(": ready: ")
    program.signal(signal.SIGHUP)
    program.terminate()
    assert program.wait() == 0
    assert program.stderr.text.count("draining") == 1


@pytest.mark.slow
def test_a_hup_of_a_child_or_the_template_costs_no_run(begin: Begin, tmp_path: Path) -> None:
    worker = begin("--processes=1")
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    for pid in (worker.children()[0], worker.program.template()):
        os.kill(pid, signal.SIGHUP)
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    assert worker.stop() == 0
    assert worker.crashes() == []
    assert "died" not in worker.log.text


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [[signal.SIGINT, signal.SIGINT], [signal.SIGQUIT]])
def test_a_second_int_or_a_quit_stops_now_and_releases_runs(
    begin: Begin, numbers: list[int]
) -> None:
    worker = begin("--graceful-timeout=1h")
    run = worker.start("wait_for_file", path="/nowhere")
    worker.await_effect("waiting")
    for number in numbers:
        worker.program.signal(number)
        worker.log.wait_for("draining")
    assert worker.program.wait() == 0
    released_uncharged(worker, run)


NOT_FINISHED = "run is not finished; it stops at its next step"
KILLED = "run did not reach another step; it is killed and released"


MANY_STEPS = """
@ow.workflow
def many_steps(step, input: dict):
    step.run("wait", note, "waiting")
    for number in range(900):
        step.run(f"tick {number}", time.sleep, 0.1)
"""


def named(worker: Worker, message: str, run: str, workflow: str, step: str = " step=wait") -> bool:
    """Whether the log says ``message`` of the run, and names this step."""
    pattern = rf"WARNING .*: {message} .*run_id={run} workflow={workflow} attempt=1{step}$"
    return re.search(pattern, worker.log.text, re.M) is not None


@pytest.mark.slow
def test_after_the_graceful_time_out_children_are_killed_and_runs_released_and_named(
    begin: Begin,
) -> None:
    worker = begin("--graceful-timeout=500ms")
    run = worker.start("wait_for_file", path="/nowhere")
    worker.await_effect("waiting")
    worker.program.terminate()
    assert worker.program.wait() == 0
    released_uncharged(worker, run)
    assert named(worker, NOT_FINISHED, run, "wait_for_file")
    assert named(worker, KILLED, run, "wait_for_file")


def test_after_the_graceful_time_out_a_run_stops_at_its_next_step_and_is_named(
    begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + MANY_STEPS)
    worker = begin("--graceful-timeout=0")
    run = worker.start("many_steps")
    worker.await_effect("waiting")
    assert worker.stop() == 0
    released_uncharged(worker, run)
    assert named(worker, NOT_FINISHED, run, "many_steps", ".*")  # it may be between two steps
    assert KILLED not in worker.log.text


def test_runs_that_finish_in_time_are_not_named(begin: Begin, tmp_path: Path) -> None:
    worker = begin("--graceful-timeout=1h")
    worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    worker.program.terminate()
    worker.log.wait_for("draining; runs to finish: 1")
    (tmp_path / "go").touch()
    assert worker.program.wait() == 0
    assert NOT_FINISHED not in worker.log.text


def released_uncharged(worker: Worker, run: str) -> None:
    row = worker.get(run)
    assert (row.status, row.worker_id) == ("running", None)
    assert row.available_at is not None
    assert row.available_at <= datetime.now(UTC)
    assert worker.crashes() == []
    assert worker.program.descendants() == []


@pytest.mark.slow
def test_a_shutdown_while_the_template_is_stopped_is_bounded(begin: Begin) -> None:
    worker = begin("--processes=1", "--graceful-timeout=200ms")
    os.kill(worker.program.template(), signal.SIGSTOP)
    worker.kill_child()
    worker.log.wait_for("child died")
    worker.program.terminate()
    assert worker.program.wait() == 0
    assert worker.program.descendants() == []


@pytest.mark.slow
def test_a_shutdown_while_the_migration_waits_for_a_lock_ends_the_start(
    begin: Begin, conn: psycopg.Connection, schema: str
) -> None:
    begin().stop()
    conn.execute(f'DELETE FROM "{schema}".owsuper_migrations WHERE version = 6'.encode())
    with conn.transaction():
        conn.execute(f'LOCK TABLE "{schema}".workflow_runs IN ACCESS EXCLUSIVE MODE'.encode())
        worker = begin(ready=False)
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = $1::regclass"
        while not conn.execute(waiting, [f'"{schema}".workflow_runs']).fetchall():
            time.sleep(0.01)  # the worker logs nothing about it
        worker.program.terminate()
        assert worker.program.wait() == 0
        assert worker.program.descendants() == []


@pytest.mark.slow
def test_orphans_do_not_wait_for_a_database_that_does_not_answer(
    begin: Begin, conn: psycopg.Connection, schema: str
) -> None:
    worker = begin("--graceful-timeout=200ms")
    run = worker.start("wait_for_file", path="/nowhere")
    worker.await_effect("waiting")
    with conn.transaction():
        conn.execute(f'LOCK TABLE "{schema}".workflow_runs IN ACCESS EXCLUSIVE MODE'.encode())
        worker.program.kill()
        worker.await_no_descendants()
    assert worker.program.descendants() == []
    released = "run did not reach another step; it is released"
    assert f"{released} run_id={run} workflow=wait_for_file step=wait" in worker.log.text


def test_a_supervisor_that_is_killed_leaves_no_orphans_and_loses_nothing(
    begin: Begin, tmp_path: Path
) -> None:
    worker = begin("--graceful-timeout=10s")
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    worker.program.kill()
    worker.program.wait()
    (tmp_path / "go").touch()
    worker.await_no_descendants()
    row = worker.get(run)
    assert row.status in ("running", "completed")
    second = begin()
    second.log.wait_for("ready")
    if row.status == "running":
        second.await_outcome(run)
    assert worker.effects() == ["waiting", "after"]
