"""Paused workflows: no worker claims runs of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from owsuper import OpenWorkflow
from owsuper.db.statement import Result
from owsuper.db.sweeps import SweepQueries
from owsuper.event_loop import NEVER, Loop
from owsuper.supervisor.pauses import Pauses
from tests.supervisor.test_claims import REFUSED, FakeConnection
from tests.supervisor.worker import FLOWS, Begin

NAP = """
@ow.workflow
def nap(step):
    step.run("before", note, "before the nap")
    step.wait_for_signal("go")
    step.run("after", note, "after the nap")
"""


@pytest.fixture
def ow(database_url: str, schema: str) -> Any:
    client = OpenWorkflow(database_url, schema=schema)
    yield client
    client.close()


@pytest.mark.slow
def test_runs_of_a_paused_workflow_wait_until_it_is_resumed(
    begin: Begin, ow: OpenWorkflow, tmp_path: Path
) -> None:
    workers = [begin("--poll-interval=1h", "--processes=1") for _ in range(2)]
    held = workers[0].start("wait_for_file", path=str(tmp_path / "go"))
    workers[0].await_effect("waiting")
    for name in ("record", "wait_for_file"):
        ow.pause_workflow(name)
        for worker in workers:
            worker.log.wait_for(f"the workflow {name} is paused")
    run = workers[0].start("record", text="late")
    others = [workers[0].start("environment") for _ in range(4)]
    for other in others:
        workers[0].await_completed(other)
    assert workers[0].get(run).status == "pending"
    (tmp_path / "go").touch()
    workers[0].await_completed(held)  # what was being executed goes on
    assert ow.resume_workflow("record") is not None
    workers[0].await_completed(run)
    assert workers[0].effects()[-1] == "late"


@pytest.mark.slow
def test_a_pause_survives_restarts_and_holds_for_runs_that_have_begun(
    begin: Begin, ow: OpenWorkflow, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + NAP)
    worker = begin("--processes=1")
    run = worker.start("nap")
    worker.await_outcome(run, "parked")
    ow.pause_workflow("nap", reason="the bed is broken")
    worker.log.wait_for("the workflow nap is paused")
    assert worker.stop() == 0
    worker = begin("--processes=1", "--no-listen", "--poll-interval=50ms")
    ow.send_signal("go")
    worker.await_outcome(worker.start("record", text="awake"))
    worker.await_outcome(worker.start("record", text="awake"))
    assert worker.effects() == ["before the nap", "awake", "awake"]
    [reason] = ow.get_run(run).why()
    assert reason.kind == "paused"
    assert "the bed is broken" in reason.message
    assert worker.stop() == 0
    ow.resume_workflow("nap")
    begin("--processes=1")
    worker.await_completed(run)
    assert worker.effects()[-1] == "after the nap"


@pytest.mark.slow
def test_a_burst_ends_although_a_paused_run_is_due(begin: Begin, ow: OpenWorkflow) -> None:
    worker = begin("--processes=1")
    ow.pause_workflow("record")
    worker.log.wait_for("the workflow record is paused")
    run = worker.start("record", text="late")
    assert worker.stop() == 0
    burst = begin("--burst", "--processes=1", ready=False)
    assert burst.program.wait() == 0
    assert burst.get(run).status == "pending"


# --- without a database ---------------------------------------------------------------------------


@pytest.fixture
def connection(loop: Loop) -> FakeConnection:
    return FakeConnection(loop)


@pytest.fixture
def on_resumed() -> Mock:
    return Mock()


@pytest.fixture
def pauses(loop: Loop, connection: FakeConnection, on_resumed: Mock) -> Pauses:
    queries = SweepQueries("openworkflow", "default")
    return Pauses(loop, connection, queries, on_resumed=on_resumed)


def named(*names: str) -> Result:
    return Result([(name.encode(), b"2026-01-01", None, None) for name in names])


def test_nothing_is_known_before_the_answer(pauses: Pauses, connection: FakeConnection) -> None:
    pauses.read()
    assert not pauses.known
    connection.answer(named("a", "b"))
    assert pauses.known
    assert pauses.names == {"a", "b"}
    pauses.on_connection_lost()
    assert not pauses.known


def test_a_change_during_a_read_is_read_again(pauses: Pauses, connection: FakeConnection) -> None:
    for _ in range(3):
        pauses.read()
    assert len(connection.sent) == 1
    connection.answer(named())
    assert len(connection.sent) == 2
    connection.answer(named("a"))
    assert len(connection.sent) == 2
    assert pauses.names == {"a"}


def test_the_end_of_a_pause_makes_the_supervisor_look(
    pauses: Pauses, connection: FakeConnection, on_resumed: Mock
) -> None:
    for names in (("a", "b"), ("a", "b", "c")):
        pauses.read()
        connection.answer(named(*names))
    on_resumed.assert_not_called()
    pauses.read()
    connection.answer(named("a", "d"))
    on_resumed.assert_called_once_with()


def test_what_was_paused_stays_so_when_the_database_refuses(
    pauses: Pauses, connection: FakeConnection
) -> None:
    pauses.read()
    connection.answer(named("a"))
    pauses.on_connection_lost()
    pauses.read()
    connection.answer(REFUSED)
    assert pauses.known
    assert pauses.names == {"a"}


def test_nothing_is_known_while_the_database_cannot_answer(
    loop: Loop, pauses: Pauses, connection: FakeConnection
) -> None:
    pauses.read()
    connection.answer(Result([], 0, "57014", "canceling statement due to statement timeout"))
    assert not pauses.known
    [timer] = [each for each in loop.timers._timers if each.name == "read again what is paused"]
    assert timer.due < NEVER
    timer.fire(timer.due)
    connection.answer(named("a"))
    assert pauses.known
    assert pauses.names == {"a"}
    assert timer.due == NEVER


def test_without_a_connection_nothing_is_read(pauses: Pauses, connection: FakeConnection) -> None:
    connection.up = False
    pauses.read()
    assert connection.sent == []
