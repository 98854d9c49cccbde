"""A child that cannot go on: it gives its runs back and leaves, and none of them fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from owsuper.ipc.messages import Assign, Finished, LeasesRenewed, Message, StopSignaled
from tests.child.conftest import Engine
from tests.child.test_main import Child
from tests.fixtures.proxy import Proxy

Start = Callable[..., Child]


@pytest.fixture
def children() -> Iterator[list[Child]]:
    children: list[Child] = []
    yield children
    for child in children:
        child.close()


@pytest.fixture
def start(database_url: str, schema: str, children: list[Child]) -> Start:
    def start(url: str = database_url, **options: float) -> Child:
        children.append(Child(url, schema, **options))
        children[-1].next()
        return children[-1]

    return start


def messages(child: Child) -> list[Message]:
    """All messages up to the end of the pipe, without the heartbeat's."""
    found = iter(child.next, None)
    return [message for message in found if not isinstance(message, LeasesRenewed)]


def execute(engine: Engine, child: Child, workflow: str, input: Any, slot: int = 0) -> Finished:
    """Have the child execute a run; it must have been assigned no other."""
    child.send(Assign(slot, engine.claim(engine.start(input, workflow=workflow))))
    message = child.next()
    assert isinstance(message, Finished)
    return message


@pytest.mark.slow
def test_a_cold_child_executes_runs_without_a_new_thread(engine: Engine, start: Start) -> None:
    child = start()
    assert execute(engine, child, "threads", False).outcome == "completed"
    assert execute(engine, child, "async-quick", 4).outcome == "completed"
    for slot in (0, 1):
        done = execute(engine, child, "quick", 4, slot)
        assert (done.outcome, engine.row(done.run_id)["output"]) == ("completed", 8)


@pytest.mark.slow
def test_a_run_that_needs_a_thread_waits_until_there_is_one(engine: Engine, start: Start) -> None:
    child = start()
    execute(engine, child, "threads", False)
    run_id = engine.start(4, workflow="parallel")
    child.send(Assign(0, engine.claim(run_id)))
    assert execute(engine, child, "threads", True, slot=1).outcome == "completed"

    assert child.next() == Finished(0, run_id, "completed")
    assert engine.row(run_id)["output"] == [4, 8]


@pytest.mark.slow
def test_a_child_that_gets_no_thread_for_some_seconds_gives_its_runs_back_and_leaves(
    engine: Engine, start: Start
) -> None:
    child = start()
    execute(engine, child, "threads", False)
    run_id = engine.start(4, workflow="parallel")
    child.send(Assign(0, engine.claim(run_id)))

    assert messages(child) == [StopSignaled(), Finished(0, run_id, "released", 0.0)]
    assert child.process.wait(60) == 0
    row = engine.row(run_id)
    assert (row["status"], row["worker_id"], row["error"]) == ("running", None, None)
    assert engine.statuses(run_id) == []
    assert row["available_at"] <= row["updated_at"]


@pytest.mark.slow
@pytest.mark.parametrize("workflow", ["leak-descriptors", "async-leak-descriptors"])
def test_a_child_without_descriptors_writes_its_last_results_and_leaves(
    engine: Engine, start: Start, tmp_path: Path, workflow: str
) -> None:
    child = start()
    run_id = engine.start(str(tmp_path), workflow=workflow)
    child.send(Assign(0, engine.claim(run_id)))

    stop, finished = messages(child)
    assert stop == StopSignaled()
    assert isinstance(finished, Finished)
    assert finished.outcome in ("completed", "released")
    assert child.process.wait(60) == 0
    assert engine.statuses(run_id) == [("leak", "completed")]
    assert (tmp_path / "calls").read_text() == "called\n"


@pytest.mark.slow
def test_the_end_of_the_event_loop_is_the_end_of_the_child(engine: Engine, start: Start) -> None:
    child = start()
    run_id = engine.start(workflow="break-the-loop")
    child.send(Assign(0, engine.claim(run_id)))

    assert messages(child) == []
    assert child.process.wait(60) == 1
    assert child.flight.read(0) == "break"  # the supervisor knows which step it was


@pytest.mark.slow
@pytest.mark.parametrize("workflow", ["nap-twice", "async-nap-twice"])
def test_an_orphan_that_gives_up_in_an_outage_fails_no_run(
    engine: Engine, start: Start, proxy: Proxy, workflow: str
) -> None:
    """A run wakes up while connections are refused, and the supervisor is gone. The database is
    back before the child gives up, or too late.
    """
    for back_after in (0.5, 0.8, 0.95, 1.2):
        proxy.restore()
        child = start(proxy.url, graceful=1.0)
        run_id = engine.start(workflow=workflow)
        child.send(Assign(0, engine.claim(run_id)))
        assert isinstance(child.next(), Finished)
        claimed = engine.claim(run_id)
        proxy.cut()
        child.send(Assign(0, claimed))
        child.sock.close()
        time.sleep(back_after)
        proxy.restore()

        assert child.process.wait(60) == 0
        row = engine.row(run_id)
        assert row["status"] in ("running", "completed")
        assert row["error"] is None
        assert not any(status == "failed" for _, status in engine.statuses(run_id))
