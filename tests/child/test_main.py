"""A child as a process: a socketpair in place of the supervisor, all else real."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from owsuper.child.committer import LeaseLost
from owsuper.core.model import Release, WriteSet
from owsuper.core.retry import DEADLINE_ERROR
from owsuper.ipc import flight_recorder
from owsuper.ipc.flight_recorder import FlightRecorder
from owsuper.ipc.messages import (
    Assign,
    Drain,
    Finished,
    FrameBuffer,
    LeasesRenewed,
    Message,
    Ready,
    RenewLeases,
    Stop,
    StopSignaled,
    encode,
)
from tests.child.conftest import Engine

ROOT = Path(__file__).parents[2]


class Child:
    """The other end of a child's pipe."""

    def __init__(self, url: str, schema: str, *, lease: float = 30, graceful: float = 20) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(60)
        memory = flight_recorder.create(2)
        self.flight = FlightRecorder(memory, 2)
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.child.application"),
                *(str(theirs.fileno()), str(memory), url, schema, str(lease)),
            ],
            pass_fds=(theirs.fileno(), memory),
            cwd=ROOT,
            env={**os.environ, "GRACEFUL": str(graceful)},
            stderr=subprocess.PIPE,
        )
        theirs.close()
        os.close(memory)
        self._frames = FrameBuffer()
        self._messages: list[Message] = []

    def send(self, message: Message) -> None:
        self.sock.sendall(encode(message))

    def next(self) -> Message | None:
        """The child's next message; None when it closed the pipe."""
        while not self._messages:
            data = self.sock.recv(65536)
            if not data:
                return None
            self._messages += self._frames.feed(data)
        return self._messages.pop(0)

    def wait_until_heard(self, engine: Engine) -> None:
        """Wait until the child has dealt with all that it was told before."""
        run_id = engine.start(workflow="unheard-of")
        self.send(Assign(1, engine.claim(run_id)))
        assert self.next() == Finished(1, run_id, "released", 0.0)

    def close(self) -> None:
        self.sock.close()
        self.flight.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(database_url: str, schema: str) -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def start(**options: float) -> Child:
        child = Child(database_url, schema, **options)
        children.append(child)
        ready = child.next()
        assert ready == Ready(child.process.pid)
        return child

    yield start
    for child in children:
        child.close()


def entered(directory: Path) -> None:
    """Wait until the step in ``directory`` is executing."""
    while not (directory / "entered").exists():
        threading.Event().wait(0.005)


sync_and_async = pytest.mark.parametrize("workflow", ["two-steps", "async-two-steps"])


def test_an_assigned_run_is_executed_and_reported(
    engine: Engine, start: Callable[..., Child]
) -> None:
    child = start()
    run_id = engine.start(21, workflow="quick")
    child.send(Assign(0, engine.claim(run_id)))

    assert child.next() == Finished(0, run_id, "completed")
    assert engine.row(run_id)["output"] == 42


@sync_and_async
def test_drain_finishes_what_runs_and_exits_cleanly(
    engine: Engine, start: Callable[..., Child], tmp_path: Path, workflow: str
) -> None:
    child = start()
    run_id = engine.start(str(tmp_path), workflow=workflow)
    child.send(Assign(1, engine.claim(run_id)))
    entered(tmp_path)
    child.send(Drain())
    (tmp_path / "go").touch()

    assert child.next() == Finished(1, run_id, "completed")
    assert child.next() is None
    assert child.process.wait(60) == 0


@sync_and_async
@pytest.mark.parametrize(
    "how",
    [
        "message",
        pytest.param("SIGTERM", marks=pytest.mark.slow),
        pytest.param("the supervisor's death", marks=pytest.mark.slow),
    ],
)
def test_stop_gives_the_run_back_at_the_next_step_boundary(
    engine: Engine, start: Callable[..., Child], tmp_path: Path, workflow: str, how: str
) -> None:
    child = start()
    run_id = engine.start(str(tmp_path), workflow=workflow)
    child.send(Assign(0, engine.claim(run_id)))
    entered(tmp_path)
    match how:
        case "message":
            child.send(Stop())
            child.wait_until_heard(engine)
        case "SIGTERM":
            child.process.send_signal(signal.SIGTERM)
            assert child.next() == StopSignaled()
            child.wait_until_heard(engine)
        case _:
            child.sock.close()
            assert child.process.stderr is not None
            assert b"supervisor has exited" in child.process.stderr.readline()
    (tmp_path / "go").touch()

    assert child.process.wait(60) == 0
    row = engine.row(run_id)
    assert (row["status"], row["worker_id"]) == ("running", None)
    assert row["available_at"] <= row["updated_at"]
    assert engine.statuses(run_id) == [("hold", "completed")]
    assert not (tmp_path / "after").exists()


@sync_and_async
@pytest.mark.slow
def test_an_orphan_gives_its_run_back_when_the_step_takes_too_long(
    engine: Engine, start: Callable[..., Child], tmp_path: Path, workflow: str
) -> None:
    child = start(graceful=0.3)
    run_id = engine.start(str(tmp_path), workflow=workflow)
    child.send(Assign(0, engine.claim(run_id)))
    entered(tmp_path)
    child.sock.close()

    assert child.process.wait(60) == 0
    assert engine.row(run_id)["worker_id"] is None


def test_heartbeats_renew_the_lease_and_are_reported(
    engine: Engine, start: Callable[..., Child], tmp_path: Path
) -> None:
    child = start(lease=3.0)
    run_id = engine.start(str(tmp_path), workflow="two-steps")
    claimed = engine.claim(run_id)
    child.send(Assign(0, claimed))

    renewed = LeasesRenewed((claimed.worker_id,))
    assert child.next() == renewed
    row = engine.row(run_id)
    assert 0 < (row["available_at"] - row["updated_at"]).total_seconds() <= 3.0
    (tmp_path / "go").touch()
    while (message := child.next()) == renewed:
        pass
    assert message == Finished(0, run_id, "completed")


def test_a_run_that_was_taken_away_is_stopped_and_not_written(
    engine: Engine, start: Callable[..., Child], tmp_path: Path, conn: psycopg.Connection
) -> None:
    child = start()
    run_id = engine.start(str(tmp_path), workflow="two-steps")
    child.send(Assign(0, engine.claim(run_id)))
    entered(tmp_path)
    conn.execute(f"UPDATE \"{engine.schema}\".workflow_runs SET worker_id = 'somebody else'")
    (tmp_path / "go").touch()

    assert child.next() == Finished(0, run_id, "lost")
    assert engine.row(run_id)["worker_id"] == "somebody else"
    assert not (tmp_path / "after").exists()


def deadline_in(engine: Engine, run_id: str, milliseconds: int) -> None:
    engine.conn.execute(
        f'UPDATE "{engine.schema}".workflow_runs'
        " SET deadline_at = now() + $2 * interval '1 ms' WHERE id = $1",
        [run_id, milliseconds],
    )


async_code = pytest.mark.parametrize("workflow", ["endless", "endless-fan", "endless-within"])


def cancel(engine: Engine, run_id: str) -> None:
    """As the other implementation does it."""
    engine.conn.execute(
        f"UPDATE \"{engine.schema}\".workflow_runs SET status = 'canceled', worker_id = NULL,"
        " available_at = NULL, finished_at = now(), updated_at = now() WHERE id = $1",
        [run_id],
    )


@async_code
@pytest.mark.slow
def test_async_code_of_a_run_that_is_not_ours_any_more_is_cancelled_where_it_waits(
    engine: Engine, start: Callable[..., Child], tmp_path: Path, workflow: str
) -> None:
    child = start(lease=3600.0)
    run_id = engine.start(str(tmp_path), workflow=workflow)
    child.send(Assign(0, engine.claim(run_id)))
    entered(tmp_path)
    cancel(engine, run_id)
    child.send(RenewLeases())

    assert child.next() == Finished(0, run_id, "lost")
    assert (tmp_path / "cancelled").exists()
    assert engine.row(run_id)["status"] == "canceled"


@sync_and_async
@pytest.mark.slow
def test_what_cannot_be_cancelled_stops_at_its_next_step(
    engine: Engine, start: Callable[..., Child], tmp_path: Path, workflow: str
) -> None:
    child = start(lease=3600.0)
    other = engine.start(workflow="endless", input=str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    run_id = engine.start(str(tmp_path), workflow=workflow)
    for slot, each in enumerate((run_id, other)):
        child.send(Assign(slot, engine.claim(each)))
    entered(tmp_path)
    entered(tmp_path / "other")
    for each in (run_id, other):
        cancel(engine, each)
    child.send(RenewLeases())
    assert child.next() == Finished(1, other, "lost")  # so the child knows by now
    (tmp_path / "go").touch()

    assert child.next() == Finished(0, run_id, "lost")
    assert not (tmp_path / "after").exists()


def test_a_run_that_is_still_ours_goes_on(
    engine: Engine, start: Callable[..., Child], tmp_path: Path
) -> None:
    child = start(lease=3600.0)
    run_id = engine.start(str(tmp_path), workflow="two-steps")
    claimed = engine.claim(run_id)
    child.send(Assign(0, claimed))
    entered(tmp_path)
    child.send(RenewLeases())
    assert child.next() == LeasesRenewed((claimed.worker_id,))
    (tmp_path / "go").touch()

    assert child.next() == Finished(0, run_id, "completed")


@async_code
def test_a_deadline_cancels_async_code_where_it_waits_and_fails_the_run(
    engine: Engine, start: Callable[..., Child], tmp_path: Path, workflow: str
) -> None:
    child = start()
    run_id = engine.start(str(tmp_path), workflow=workflow)
    deadline_in(engine, run_id, 2000)
    child.send(Assign(0, engine.claim(run_id)))

    assert child.next() == Finished(0, run_id, "failed")
    row = engine.row(run_id)
    assert (row["status"], row["error"]) == ("failed", DEADLINE_ERROR)
    assert (tmp_path / "cancelled").exists()
    assert "completed" not in dict(engine.statuses(run_id)).values()


@sync_and_async
@pytest.mark.slow
def test_a_deadline_stops_what_cannot_be_cancelled_at_its_next_step(
    engine: Engine, start: Callable[..., Child], tmp_path: Path, workflow: str
) -> None:
    child = start()
    run_id = engine.start(str(tmp_path), workflow=workflow)
    deadline_in(engine, run_id, 2000)
    child.send(Assign(0, engine.claim(run_id)))
    entered(tmp_path)
    engine.conn.execute(
        "SELECT pg_sleep(extract(epoch FROM deadline_at - clock_timestamp()) + 0.1)"
        f' FROM "{engine.schema}".workflow_runs WHERE id = $1',
        [run_id],
    )
    (tmp_path / "go").touch()

    assert child.next() == Finished(0, run_id, "failed")
    assert engine.row(run_id)["error"] == DEADLINE_ERROR
    assert not (tmp_path / "after").exists()


def test_the_flight_recorder_tells_which_step_killed_the_process(
    engine: Engine, start: Callable[..., Child]
) -> None:
    child = start()
    child.send(Assign(1, engine.claim(engine.start(workflow="exit"))))

    assert child.next() is None
    assert child.process.wait(60) == 7
    assert child.flight.read(1) == "leave"
    assert child.flight.read(0) is None


def test_a_run_of_an_unknown_workflow_is_given_back(
    engine: Engine, start: Callable[..., Child]
) -> None:
    child = start()
    run_id = engine.start(workflow="unheard-of")
    child.send(Assign(0, engine.claim(run_id)))

    assert child.next() == Finished(0, run_id, "released", 0.0)
    assert engine.row(run_id)["worker_id"] is None


def test_a_release_that_comes_too_late_says_why(engine: Engine) -> None:
    """The log quotes the error: "run X could not be written as released: …"."""
    run_id = engine.start(workflow="unheard-of")
    run = engine.claim(run_id)
    cancel(engine, run_id)
    release = WriteSet(run_id, run.worker_id, outcome=Release())
    with pytest.raises(LeaseLost, match="no longer owns it: its lease was lost, or"):
        engine.services.committer.commit(release)
