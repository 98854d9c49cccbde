"""What the supervisor finds overdue by itself, and what it records when a child was killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from owsuper.db import connect
from owsuper.event_loop import Loop
from owsuper.ipc.flight_recorder import FlightRecorder, StepInTime
from owsuper.ipc.messages import PAST_DEADLINE, TIMED_OUT, Overdue
from owsuper.supervisor import hard_stops
from owsuper.supervisor.child import Child, HeldRun
from owsuper.supervisor.claims import TimedOut
from owsuper.supervisor.hard_stops import HardStops
from tests.supervisor.conftest import run_that
from tests.supervisor.worker import Begin

GRACE = 0.3


class Claims:
    """Records what it is asked to write."""

    def __init__(self) -> None:
        self.failed: list[tuple[HeldRun, list[str]]] = []
        self.released: list[HeldRun] = []

    def fail_attempts(self, timed_out: Sequence[TimedOut]) -> None:
        self.failed += [(held, [step.key for step, _ in steps]) for held, steps in timed_out]

    def release(self, held: Sequence[HeldRun]) -> None:
        self.released += held


class Fleet(list[Child]):
    """Children that are only asked to leave."""

    def retire(self, child: Child) -> None:
        child.stop_requested = True


class World:
    """A child with two slots, the hard stops, and what these write."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.claims = Claims()
        self.child = Child(
            1,
            2,
            on_ready=lambda _: None,
            on_finished=lambda *_: None,
            on_lost=lambda _: None,
            on_stacks=lambda *_: None,
            on_overdue=lambda *_: None,
        )
        self.process = subprocess.Popen(["sleep", "600"])
        self.child.pid = self.process.pid
        self.flight = FlightRecorder(self.child.descriptors[1], 2)
        self.hard_stops = HardStops(
            self.loop, cast(Any, Fleet([self.child])), cast(Any, self.claims), GRACE
        )

    def hold(self, slot: int, **changes: Any) -> HeldRun:
        """Let the child hold a run; no process executes it."""
        held = run_that("hold")
        held.run = replace(held.run, **changes)
        self.child.held[slot] = held
        return held

    def begin_step(self, slot: int, key: str, *, due: float) -> StepInTime:
        step = StepInTime(f"attempt of {key}", key, 30.0, datetime.now(UTC), due)
        self.flight.write_timed(slot, step)
        return step

    def until(self, condition: Callable[[], object]) -> None:
        give_up_at = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < give_up_at
            self.loop.turn()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.flight.close()
        self.child.close()
        self.loop.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(hard_stops, "_PERIOD", 0.01)
    monkeypatch.setattr(hard_stops, "_PATIENCE", 0.0)
    world = World()
    yield world
    world.close()


def passed(seconds: float) -> dict[str, Any]:
    """The times of a run whose deadline passed so long ago, and that was claimed before."""
    claimed = datetime.now(UTC) - timedelta(hours=1)
    return {
        "claimed_at": claimed,
        "claim_answered": time.monotonic() - 3600,
        "deadline_at": claimed + timedelta(seconds=3600 - seconds),
    }


def test_a_child_that_gives_no_sign_of_life_at_a_deadline_is_killed_after_the_grace(
    world: World,
) -> None:
    began = time.monotonic()
    world.hold(0, **passed(0))
    world.until(lambda: world.child.overdue)
    assert time.monotonic() - began > GRACE * 0.9
    assert world.child.overdue[0].reason == PAST_DEADLINE
    world.until(lambda: world.child.killed_by_supervisor)


def test_a_child_that_answers_at_a_deadline_is_not_killed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code has stopped, or it would have said so; that end may wait for the database."""
    asked: list[float] = []

    def answers(patience: float) -> bool:
        asked.append(patience)
        return len(asked) < 10

    monkeypatch.setattr(world.child, "answers", answers)
    world.hold(0, **passed(60))
    world.until(lambda: len(asked) == 9)
    assert world.child.overdue == {}
    world.until(lambda: world.child.overdue)
    assert len(asked) == 10


def test_a_step_past_its_time_out_in_the_flight_recorder_is_found(world: World) -> None:
    world.hold(0)
    world.hold(1)
    world.begin_step(0, "in time", due=time.monotonic() + 3600)
    world.begin_step(1, "late", due=time.monotonic() - 60)
    world.until(lambda: world.child.overdue)
    assert world.child.overdue.keys() == {1}
    assert world.child.overdue[1].reason == TIMED_OUT


@pytest.mark.parametrize("reported", [True, False])
def test_only_a_child_that_has_reported_nothing_writes_its_stacks_and_counts_as_killed_by_then(
    world: World, monkeypatch: pytest.MonkeyPatch, reported: bool
) -> None:
    """A process may die of writing the stacks of threads that run."""
    asked: list[bool] = []
    monkeypatch.setattr(
        world.child, "keep_stacks", lambda: asked.append(world.child.killed_by_supervisor)
    )
    held = world.hold(0)
    stack = "where it is" if reported else ""
    overdue = Overdue(0, held.run.worker_id, TIMED_OUT, (), stack)
    world.child.overdue[0] = overdue
    world.hard_stops.on_overdue(world.child, overdue)
    world.until(lambda: world.child.killed_by_supervisor)
    assert asked == ([] if reported else [True])


def test_only_steps_that_were_late_when_the_child_was_killed_have_failed(world: World) -> None:
    """The end of a large process takes time, in which time-outs of other steps may pass."""
    now = time.monotonic()
    late, beside = world.hold(0), world.hold(1)
    step = world.begin_step(0, "late", due=now - 60)
    world.begin_step(1, "beside", due=now - 1)
    world.child.killed_at = now - 2
    world.child.killed_by_supervisor = True
    reported = Overdue(0, late.run.worker_id, TIMED_OUT, ((step, "stack"),), "stack")
    world.child.overdue[0] = reported
    world.hard_stops.release(world.child)
    assert world.claims.failed == [(late, ["late"])]
    assert world.claims.released == [beside]


@pytest.mark.slow
def test_a_child_whose_run_cannot_be_ended_at_its_deadline_serves_on(
    begin: Begin, database_url: str, schema: str
) -> None:
    worker = begin("--kill-grace=1s", "--processes=1", "--concurrency=2")
    deadline = datetime.now(UTC) + timedelta(seconds=4)
    run = worker.start("wait_for_ever", deadline_at=deadline)
    worker.await_effect("waiting")
    [child] = worker.children()
    with connect.connect(database_url, application_name="owsuper test") as other:
        other.execute("BEGIN")
        lock = f'SELECT FROM "{schema}".workflow_runs WHERE id = $1 FOR UPDATE'
        other.execute(lock.encode(), [run])
        worker.await_effect("cancelled")
        time.sleep(7)  # the grace, and twice the patience of the supervisor
        worker.await_outcome(worker.start("record", text="served"))
        other.execute(b"ROLLBACK")
    worker.await_outcome(run, "failed")
    assert "does not stop" not in worker.log.text
    assert worker.children() == [child]
    assert worker.stop() == 0
