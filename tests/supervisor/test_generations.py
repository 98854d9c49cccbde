"""Templates and fleet during reloads, in this process; the templates and children are real."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from owsuper.ipc.messages import LoadFailed
from owsuper.settings import Settings
from owsuper.supervisor.exit_status import Evidence, is_exiting
from owsuper.supervisor.fleet import Fleet
from owsuper.supervisor.generations import Generations
from tests.supervisor.conftest import APPLICATION, World

# A child that says who it is, and then hangs.
HANG = """
def hang(spec):
    with open("hanging.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename("hanging.new", "hanging")
    time.sleep(3600)

owsuper.child.main.serve = hang
"""


class ReloadingWorld(World):
    """A world whose fleet follows reloads."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.reloads: list[str] = []
        self.generations = Generations(self.loop, settings, self, supervisor_id="test")
        self.fleet = Fleet(self.loop, settings, self.generations.current, self, environment={})

    def begin(self) -> None:
        self.generations.start()
        self.until(lambda: self.generations.current.loaded)
        self.generations.attach(self.fleet)
        self.fleet.fill()
        self.until(lambda: self.fleet.ready == self.settings.processes)

    def close(self) -> None:
        self.generations.abandon()  # else it may still ask for a child, which nobody would kill
        super().close()

    def end_templates(self) -> None:
        self.generations.close()
        self.generations.kill()
        self.until(lambda: not self.generations.running)

    def on_reloading(self) -> None:
        self.reloads.append("begun")

    def on_reloaded(self, workflow_count: int) -> None:
        self.reloads.append(f"done: {workflow_count}")

    def on_reload_failed(self, failure: LoadFailed) -> None:
        self.reloads.append(failure.message)

    def on_reaped(self, pid: int, status: int, max_rss_kb: int) -> None:
        if not self.generations.on_reaped(pid, status):
            self.fleet.on_reaped(Evidence(pid, status, max_rss_kb))


Make = Callable[..., ReloadingWorld]


@pytest.fixture
def make(application: Callable[[str], None]) -> Iterator[Make]:
    worlds: list[ReloadingWorld] = []

    def make(processes: int = 1) -> ReloadingWorld:
        settings = Settings(modules=("obedient",), processes=processes, concurrency=1)
        worlds.append(ReloadingWorld(settings))
        worlds[-1].begin()
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


def test_a_reload_is_done_when_only_new_children_are_left(make: Make) -> None:
    world = make()
    [old] = world.fleet
    world.generations.reload()
    world.until(lambda: world.reloads == ["begun", "done: 1"])
    world.until(lambda: len(world.fleet) == 1)
    [new] = world.fleet
    assert new is not old
    assert new.template_pid == world.generations.current.pid


def test_a_reload_leaves_as_many_ready_as_there_should_be(make: Make) -> None:
    world = make(processes=3)
    fewest = 3

    def done() -> bool:
        nonlocal fewest
        fewest = min(fewest, world.fleet.ready)
        return world.reloads == ["begun", "done: 1"]

    world.generations.reload()
    world.until(done)
    assert fewest == 3


@pytest.mark.parametrize("known", [False, True])
def test_the_child_of_a_reload_that_is_given_up_is_killed(
    make: Make, tmp_path: Path, known: bool
) -> None:
    world = make()
    (tmp_path / "obedient.py").write_text(APPLICATION + HANG)
    world.generations.reload()
    world.until(lambda: world.fleet.trial.child)
    child = world.fleet.trial.child
    assert child is not None
    if known:
        world.until(lambda: child.pid)
    hanging = tmp_path / "hanging"
    while not hanging.exists():  # the loop does not turn meanwhile, and reads no pid
        time.sleep(0.01)
    pid = int(hanging.read_text())
    assert child.pid == (pid if known else None)
    world.generations.reload()
    try:
        world.until(lambda: is_exiting(pid))
    finally:
        if not is_exiting(pid):
            os.kill(pid, signal.SIGKILL)
