"""Runs that outlive the workers that began them."""

from __future__ import annotations

from tests.acceptance.world import World


def test_parallel_steps_retries_and_sleeps_go_on_under_the_next_worker(world: World) -> None:
    worker = world.worker(graceful_timeout="200ms")
    fans = world.start("held-fan", {"width": 3}, {"width": 3})
    for arrival in world.gate.take(6):
        if arrival.step != "ray-0":
            arrival.say("go")
    # Of each run two of three parallel steps are committed; the third one is interrupted.
    world.wait_until_recorded(fans, 4)
    worker.stop()
    assert world.leased() == []

    worker = world.worker(graceful_timeout="200ms")
    interrupted = world.gate.take(2)
    assert {(each.run, each.step) for each in interrupted} == {(run, "ray-0") for run in fans}
    for arrival in interrupted:
        arrival.say("fail")
    world.wait_until_parked(fans)
    worker.stop()

    worker = world.worker()
    for arrival in world.gate.take(2):
        arrival.say("go")
    world.wait_until_ended(fans)
    executions = world.check(fans, repeats=4)
    assert len({each.pid for each in executions}) >= 3


def test_a_sleep_goes_on_where_it_was_when_its_worker_is_replaced(world: World) -> None:
    worker = world.worker(processes=1)
    naps = world.start("nap", {"seconds": 4}) + world.start("nap-async", {"seconds": 4})
    world.wait_until_parked(naps)
    sleeps = """
        SELECT id, context ->> 'resumeAt' FROM {schema}.step_attempts
        WHERE kind = 'sleep' AND workflow_run_id = ANY ($1) ORDER BY id
    """
    begun = world.query(sleeps, naps)
    worker.stop()
    world.worker(processes=1, poll_interval="1h")
    world.wait_until_ended(naps)
    assert world.query(sleeps, naps) == begun  # none began again, none was put off
    assert len(begun) == len(naps)
    executions = world.check(naps)
    for run in naps:
        before, after = sorted(each.at for each in executions if each.run == run)
        assert after - before >= 3.99  # the two clocks may differ a little
