"""Children as real processes: started, given runs, killed in many ways, replaced."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from owsuper.supervisor import shutdown, starter
from owsuper.supervisor.child import Child
from owsuper.supervisor.child_state import ChildState
from owsuper.supervisor.spawn import become_subreaper
from tests.supervisor.conftest import World, run_that

Make = Callable[..., World]

HANG = """
import time
from owsuper import OpenWorkflow

ow = OpenWorkflow()

@ow.workflow
def nothing(step): ...

@ow.on_child_start
def hang_at_the_start():
    time.sleep(3600)
"""


def test_the_fleet_has_as_many_children_as_processes(make_world: Make) -> None:
    world = make_world(processes=3, concurrency=4)
    world.begin()
    assert len(world.fleet) == 3
    assert world.fleet.free == 12
    assert len({child.pid for child in world.fleet}) == 3


def test_a_run_is_executed_and_its_slot_is_free_again(make_world: Make) -> None:
    world = make_world()
    world.begin()
    held = run_that("finish")
    assert world.fleet.assign(held)
    assert (world.fleet.busy, world.fleet.free) == (1, 1)
    world.until(lambda: world.finished)
    assert world.finished[0][0] is held
    assert world.finished[0][1].outcome == "completed"
    assert (world.fleet.busy, world.fleet.free) == (0, 2)


def test_runs_spread_over_the_children_until_all_slots_are_taken(make_world: Make) -> None:
    world = make_world(processes=2, concurrency=2)
    world.begin()
    for _ in range(2):
        assert world.fleet.assign(run_that("hold"))
    assert [len(child.held) for child in world.fleet] == [1, 1]
    for _ in range(2):
        assert world.fleet.assign(run_that("hold"))
    assert not world.fleet.assign(run_that("hold"))


# --- deaths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("os.kill(os.getpid(), 9)", "signal SIGKILL"),
        ("os.kill(os.getpid(), 11)", "signal SIGSEGV"),
        ("os._exit(7)", "exit code 7"),
        ("os._exit(0)", "exit code 0"),
        ("os.abort()", "signal SIGABRT"),
    ],
)
def test_a_death_is_reported_with_its_cause_its_runs_and_its_steps_and_the_child_is_replaced(
    make_world: Make, order: str, words: str
) -> None:
    world = make_world()
    world.begin()
    held = run_that(order)
    pids = {child.pid for child in world.fleet}
    world.fleet.assign(held)
    world.until(lambda: world.died)
    child, evidence, runs, steps = world.died[0]
    assert str(evidence) == words
    assert evidence.pid == child.pid
    assert evidence.max_rss_kb is not None
    assert evidence.max_rss_kb > 1000
    assert list(runs.values()) == [held]
    assert list(steps.values()) == ["obey:" + order[:20]]
    world.until(lambda: world.fleet.ready == 2)
    assert len({child.pid for child in world.fleet} - pids) == 1


def test_a_child_that_is_killed_from_outside_is_replaced(make_world: Make) -> None:
    world = make_world()
    world.begin()
    victim = next(iter(world.fleet))
    world.fleet.assign(run_that("hold"))
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    world.until(lambda: world.died)
    world.until(lambda: world.fleet.ready == 2)
    assert [child for child, *_ in world.died] == [victim]


def test_a_run_that_finished_before_the_child_died_is_not_charged(make_world: Make) -> None:
    world = make_world(processes=1, concurrency=2)
    world.begin()
    done, deadly = run_that("finish"), run_that("os._exit(3)")
    world.fleet.assign(done)
    world.fleet.assign(deadly)
    world.until(lambda: world.died)
    assert [held for held, _ in world.finished] == [done]
    assert list(world.died[0][2].values()) == [deadly]


def test_a_child_that_closes_its_pipe_but_lives_is_killed(make_world: Make) -> None:
    world = make_world(processes=1)
    world.begin()
    pid = next(iter(world.fleet)).pid
    assert pid is not None
    world.fleet.assign(run_that("spec.sock.close(); time.sleep(60)"))
    world.until(lambda: world.died)
    world.until(lambda: not os.path.exists(f"/proc/{pid}"))  # noqa: PTH110 - one call a turn
    child, evidence, *_ = world.died[0]
    assert str(evidence) == "cause unknown"
    assert child.cause_of_kill == "it closed its pipe to the supervisor"


def test_a_process_that_outlives_the_child_and_holds_its_pipe_delays_nothing(
    make_world: Make,
) -> None:
    world = make_world(processes=1)
    world.begin()
    world.fleet.assign(run_that("os.fork() and os._exit(5); time.sleep(20); os._exit(0)"))
    start = time.monotonic()
    world.until(lambda: world.died)
    assert time.monotonic() - start < 15
    assert str(world.died[0][1]) == "exit code 5"


def test_a_child_that_sends_nonsense_is_killed_and_replaced(make_world: Make) -> None:
    world = make_world(processes=1)
    world.begin()
    world.fleet.assign(run_that("spec.sock.sendall(b'Traceback (most recent...'); time.sleep(60)"))
    world.until(lambda: world.died)
    world.until(lambda: world.fleet.ready == 1)
    assert len(world.died) == 1


# --- suspects ------------------------------------------------------------------------------------


def test_a_suspect_goes_to_an_idle_child_and_stays_alone_there(make_world: Make) -> None:
    world = make_world(processes=2, concurrency=2)
    world.begin()
    world.fleet.assign(run_that("hold"))
    suspect = run_that("hold", suspect=True)
    assert world.fleet.assign(suspect)
    (child,) = [each for each in world.fleet if suspect in each.held.values()]
    assert list(child.held.values()) == [suspect]
    assert world.fleet.assign(run_that("hold"))
    assert not world.fleet.assign(run_that("hold"))
    assert list(child.held.values()) == [suspect]


def test_a_suspect_waits_until_a_reserved_child_is_idle(make_world: Make) -> None:
    world = make_world(processes=1, concurrency=2)
    world.begin()
    world.fleet.assign(run_that("hold"))
    suspect = run_that("hold", suspect=True)
    assert not world.fleet.assign(suspect)
    assert world.fleet.free == 0, "the child is reserved"
    (child,) = world.fleet
    held = next(iter(child.held.values()))
    child._handle_message(_finished(held.run.run_id))
    assert world.fleet.assign(suspect)


def test_a_suspect_does_not_wait_for_one_child_while_another_is_idle(make_world: Make) -> None:
    world = make_world(processes=2, concurrency=1)
    world.begin()
    world.fleet.assign(run_that("hold"))
    world.fleet.assign(run_that("hold"))
    suspect = run_that("hold", suspect=True)
    assert not world.fleet.assign(suspect)
    (other,) = [child for child in world.fleet if not child.reserved]
    held = next(iter(other.held.values()))
    other._handle_message(_finished(held.run.run_id))
    assert world.fleet.assign(suspect)
    assert list(other.held.values()) == [suspect]


def test_after_a_suspect_the_child_takes_all_runs_again(make_world: Make) -> None:
    world = make_world(processes=1, concurrency=2)
    world.begin()
    assert world.fleet.assign(run_that("finish", suspect=True))
    world.until(lambda: world.finished)
    assert world.fleet.free == 2


def test_a_reservation_ends_when_no_suspect_waits(make_world: Make) -> None:
    world = make_world(processes=1, concurrency=2)
    world.begin()
    world.fleet.assign(run_that("hold"))
    assert not world.fleet.assign(run_that("hold", suspect=True))
    world.fleet.release_reservations()
    assert world.fleet.free == 1


def test_two_suspects_never_share_a_child(make_world: Make) -> None:
    world = make_world(processes=1, concurrency=2)
    world.begin()
    assert world.fleet.assign(run_that("hold", suspect=True))
    assert not world.fleet.assign(run_that("hold", suspect=True))


# --- the template --------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers exist on Linux only")
def test_children_live_on_when_their_template_dies_and_are_still_reaped(
    make_world: Make,
) -> None:
    assert become_subreaper()
    world = make_world()
    world.begin()
    first = world.template.pid
    assert first is not None
    held = run_that("hold")
    world.fleet.assign(held)
    os.kill(first, signal.SIGKILL)
    world.until(lambda: world.template.pid not in (None, first))
    world.until(lambda: len(world.loaded) == 2)
    assert world.fleet.ready == 2
    assert not world.died
    world.fleet.assign(run_that("os._exit(9)"))
    world.until(lambda: world.died)
    world.until(lambda: world.fleet.ready == 2)
    assert [str(evidence) for _, evidence, *_ in world.died] == ["exit code 9"]


def test_a_template_that_dies_before_it_loaded_is_a_failure(
    make_world: Make, application: Callable[[str], None]
) -> None:
    application("import os; os._exit(6)\n")
    world = make_world()
    world.template.start()
    world.until(lambda: world.failed)
    assert world.failed[0].kind == "import"
    assert "exit code 6" in world.failed[0].message


def test_code_that_breaks_after_the_start_does_not_stop_the_fleet(
    make_world: Make, application: Callable[[str], None]
) -> None:
    world = make_world()
    world.begin()
    assert world.template.pid is not None
    application("1 / 0\n")
    os.kill(world.template.pid, signal.SIGKILL)
    world.until(lambda: not world.template.can_fork)
    application("")
    world.fleet.assign(run_that("os._exit(9)"))
    world.until(lambda: len(world.loaded) == 2)
    world.until(lambda: world.fleet.ready == 2)
    assert not world.failed


def test_a_template_of_another_version_of_owsuper_is_refused(
    make_world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owsuper.supervisor.spawn.PROTOCOL", "another")
    world = make_world()
    world.template.start()
    world.until(lambda: world.failed)
    assert "Another version of owsuper is installed now" in world.failed[0].message


# --- boot failures -------------------------------------------------------------------------------


def test_repeated_boot_failures_at_the_start_are_reported_with_the_evidence(
    make_world: Make, application: Callable[[str], None]
) -> None:
    application("")
    world = make_world(processes=1, preload=False)
    world.template.start()
    world.until(lambda: world.loaded)
    application("import os; os._exit(4)\n")
    for child in world.fleet:
        child.kill(signal.SIGKILL)
    world.until(lambda: world.boot_failures)
    _, evidence, failures = world.boot_failures[0]
    assert failures == 3
    assert str(evidence) == "exit code 4"


def test_later_boot_failures_back_off_and_keep_what_works(
    make_world: Make, application: Callable[[str], None]
) -> None:
    world = make_world(processes=2, preload=False)
    world.begin()
    application("1 / 0\n")
    world.fleet.assign(run_that("os._exit(9)"))
    world.until(lambda: len(world.died) >= 3)
    assert not world.boot_failures
    assert world.fleet.ready == 1
    assert "ZeroDivisionError" in str(world.died[2][0].load_failure)
    application("")
    world.until(lambda: world.fleet.ready == 2)
    assert not world.boot_failures


def test_a_child_whose_start_hangs_is_named_with_its_stacks(
    make_world: Make,
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "obedient.py").write_text(HANG)
    monkeypatch.setattr(starter, "_SLOW_START", 0.2)
    world = make_world(processes=1, database_url=database_url)
    world.template.start()
    written: list[str] = []

    def has_written_its_stacks() -> bool:
        written.append(capfd.readouterr().err)
        return "in hang_at_the_start" in "".join(written)

    world.until(has_written_its_stacks)
    [child] = world.fleet
    warnings = [record for record in caplog.records if "still starting" in record.message]
    assert child.pid is not None
    assert vars(warnings[-1])["pid"] == child.pid


# --- stop ----------------------------------------------------------------------------------------


def test_a_drained_child_finishes_its_run_and_is_not_replaced(make_world: Make) -> None:
    world = make_world(processes=2)
    world.begin()
    held = run_that(
        "time.sleep(0.3);"
        "spec.sock.sendall(encode(Finished(slot, run.run_id, 'completed')));"
        "del busy[slot]"
    )
    world.fleet.assign(held)
    world.fleet.drain()
    assert world.fleet.free == 0
    world.until(lambda: not len(world.fleet))
    assert [each for each, _ in world.finished] == [held]
    assert all(evidence.exit_code == 0 for _, evidence, _, _ in world.died)


def test_a_stopped_child_releases_what_it_holds(make_world: Make) -> None:
    world = make_world()
    world.begin()
    world.fleet.assign(run_that("hold"))
    world.fleet.stop()
    world.until(lambda: not len(world.fleet))
    assert [finished.outcome for _, finished in world.finished] == ["released"]


def test_a_child_that_the_fleet_kills_is_marked(make_world: Make) -> None:
    world = make_world()
    world.begin()
    world.fleet.assign(run_that("hold"))
    world.fleet.drain()
    world.fleet.kill(signal.SIGKILL)
    world.until(lambda: not len(world.fleet))
    assert all(child.killed_by_supervisor for child, *_ in world.died)


def test_a_child_that_starts_while_the_fleet_drains_exits(make_world: Make) -> None:
    world = make_world()
    world.template.start()
    world.until(lambda: len(world.fleet))
    world.fleet.drain()
    assert all(child.state is ChildState.DRAINING for child in world.fleet)
    world.until(lambda: not len(world.fleet))
    assert not world.finished


def _finished(run_id: str):
    from owsuper.ipc.messages import Finished

    return Finished(0, run_id, "completed")


def test_a_shutdown_ends_even_if_a_killed_child_does_not(
    make_world: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for timeout in ("_STOP_TIMEOUT", "_TERM_TIMEOUT", "_KILL_TIMEOUT"):
        monkeypatch.setattr(shutdown, timeout, 0.01)
    monkeypatch.setattr(Child, "kill", lambda *_: None)  # as if it hung in the kernel
    world = make_world(processes=1)
    world.begin()
    held = run_that("time.sleep(600)")
    world.fleet.assign(held)
    [child] = world.fleet
    assert child.pid is not None
    try:
        shutdown.Shutdown(world.loop, world.fleet, graceful_timeout=0.0).begin()
        world.until(lambda: not len(world.fleet))
    finally:
        os.kill(child.pid, signal.SIGKILL)
    [(died, _, runs, _)] = world.died
    assert died.killed_by_supervisor
    assert list(runs.values()) == [held]
    assert "child does not end although it was killed" in caplog.text
