"""Steps that kill their process: they run elsewhere, up to a point, and harm nobody else."""

from __future__ import annotations

import pytest

from tests.acceptance.world import World

CAUSES = {
    "segfault": "signal SIGSEGV",
    "exit 7": "exit code 7",
    "exit 0": "exit code 0",
    "signal SIGKILL": "signal SIGKILL",
}


@pytest.mark.parametrize("workflow", ["held", "held-async"])
def test_a_step_that_killed_its_process_runs_elsewhere(world: World, workflow: str) -> None:
    worker = world.worker(processes=1)
    for word, cause in CAUSES.items():
        [run] = world.start(workflow, {})
        first = world.gate.next()
        first.say(word)
        second = world.gate.next()
        assert (second.run, second.step) == (run, "held")
        assert second.pid != first.pid
        second.say("go")
        world.wait_until_ended([run])
        world.check([run], repeats=1)
        worker.says(f"child died: {cause} .*pid={first.pid}")
        worker.says(f"run lost its process .*run_id={run} .*step=held")


def test_a_run_that_keeps_killing_its_process_fails_and_says_how_and_where(world: World) -> None:
    world.worker(processes=1, max_crashes=3)
    for word, cause in CAUSES.items():
        [run] = world.start("held", {})
        arrived = world.gate.answer({run: word}, until=world.ended([run]))
        assert len({each.pid for each in arrived}) == len(arrived) == 3
        failed = world.run(run)
        assert failed.status == "failed"
        assert failed.error is not None
        assert "died 3 times" in failed.error["message"]
        assert failed.error["message"].count(f"{cause} in step 'held'") == 3


def test_runs_that_shared_the_process_of_a_deadly_one_are_not_charged(world: World) -> None:
    world.worker(processes=1, concurrency=4, max_crashes=2)
    [deadly] = world.start("held", {})
    first = world.gate.next()
    others = world.start("held", {}, {}) + world.start("held-async", {})
    beside = world.gate.take(3)
    assert {each.run for each in beside} == set(others)
    assert {each.pid for each in beside} == {first.pid}

    first.say("segfault")
    again = world.gate.answer({deadly: "segfault"}, until=world.ended([deadly, *others]))
    # The deadly one once more, alone; each of the others once more, and never beside it.
    assert sorted(each.run for each in again) == sorted([deadly, *others])
    assert len({each.pid for each in again if each.run == deadly}) == 1
    failed = world.run(deadly)
    assert failed.status == "failed"
    assert failed.error is not None
    assert "died 2 times (signal SIGSEGV in step 'held'" in failed.error["message"]
    world.check(others, repeats=3)
    assert world.crashes() == []


def test_an_innocent_run_completes_in_the_company_of_several_deadly_ones(world: World) -> None:
    world.worker(processes=1, concurrency=4, max_crashes=2)
    [innocent] = world.start("held", {})
    deadly = world.start("held", {}, {})
    arrived = world.gate.take(3)
    assert len({each.pid for each in arrived}) == 1
    arrived[0].say("exit 1")
    world.gate.answer(dict.fromkeys(deadly, "exit 1"), until=world.ended([innocent, *deadly]))
    assert {run.status for run in world.runs(deadly)} == {"failed"}
    world.check([innocent], repeats=1)
