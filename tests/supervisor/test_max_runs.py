"""``--max-runs-per-child``: children are replaced, and pickup never pauses meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from owsuper.supervisor.child import Child
from tests.supervisor.conftest import World, run_that
from tests.supervisor.worker import FLOWS, Begin

Make = Callable[..., World]

STOPPED = """
@ow.on_child_stop
def close():
    note(f"closed {os.getpid()}")
"""


def the_child(world: World) -> Child:
    [child] = world.fleet
    return child


def test_a_child_that_has_taken_its_runs_is_let_go_when_another_is_ready(make_world: Make) -> None:
    world = make_world(processes=1, max_runs_per_child=2)
    world.begin()
    first = the_child(world)

    def until(condition: Callable[[], object]) -> None:
        def always_served() -> object:
            assert world.fleet.ready
            return condition()

        world.until(always_served)

    for number in range(1, 4):
        assert world.fleet.assign(run_that("finish"))
        until(lambda number=number: len(world.finished) == number and world.fleet.free)
    until(lambda: len(world.fleet) == 1)
    assert the_child(world) is not first
    [(died, evidence, runs, _)] = world.died
    assert died is first
    assert died.stop_requested
    assert evidence.exit_code == 0
    assert runs == {}


def test_a_run_in_a_child_that_is_replaced_goes_on(make_world: Make, tmp_path: Path) -> None:
    world = make_world(processes=1, max_runs_per_child=1)
    world.begin()
    first = the_child(world)
    held = run_that("hold")
    assert world.fleet.assign(held)
    world.until(lambda: world.fleet.ready == 1 and the_other(world, first).free)
    assert list(first.held.values()) == [held]
    assert not first.free
    for _ in range(3):  # others are served, and replaced, too
        assert world.fleet.assign(run_that("finish"))
        world.until(lambda: world.fleet.free)
    world.until(lambda: len(world.finished) == 3)
    assert held in first.held.values()


def the_other(world: World, child: Child) -> Child:
    return next(each for each in world.fleet if each is not child)


def test_processes_are_at_most_twice_as_many_and_one(make_world: Make) -> None:
    world = make_world(processes=1, max_runs_per_child=1)
    world.begin()
    for _ in range(3):
        world.until(lambda: world.fleet.free)
        assert world.fleet.assign(run_that("hold"))
    assert len(world.fleet) <= 3


def test_a_child_that_has_taken_its_runs_gets_more_only_if_no_other_has_room(
    make_world: Make,
) -> None:
    world = make_world(processes=2, concurrency=2, max_runs_per_child=1)
    world.begin()
    used, other = world.fleet
    world.fleet.template.kill()  # nothing replaces it
    used.runs_taken = 1
    world.fleet.assign(run_that("hold"))
    world.fleet.assign(run_that("hold"))
    assert (len(used.held), len(other.held)) == (1, 1)  # the other has taken its run, too
    used.held.clear()


def test_children_are_replaced_after_different_numbers_of_runs(make_world: Make) -> None:
    world = make_world(processes=8, max_runs_per_child=1000)
    world.begin()
    limits = {child.max_runs for child in world.fleet}
    assert len(limits) > 1
    assert all(limit is not None and 900 <= limit <= 1000 for limit in limits)


def test_a_worker_replaces_its_children_and_loses_no_run(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + STOPPED)
    worker = begin("--max-runs-per-child=3", "--concurrency=2")
    runs = [worker.start("record", text="run") for _ in range(60)]
    for run in runs:
        worker.await_outcome(run)
    assert worker.stop() == 0
    assert worker.effects().count("run") == 60
    assert worker.crashes() == []
    closed = [line for line in worker.effects() if line.startswith("closed")]
    assert len(closed) == len(set(closed)) > 2
    assert "died" not in worker.log.text
    assert worker.program.descendants() == []


@pytest.mark.parametrize("option", ["--max-runs-per-child=off", "--max-runs-per-child=0"])
def test_off_means_that_no_child_is_replaced(begin: Begin, option: str) -> None:
    worker = begin(option, "--processes=1")
    for _ in range(3):
        worker.await_outcome(worker.start("record", text="run"))
    assert len(worker.children()) == 1
    assert worker.stop() == 0
