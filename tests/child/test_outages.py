"""A child's engine while the network to its database breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from owsuper import AsyncStep, RetryPolicy
from owsuper.db.pool import AllBusy
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async
from tests.fixtures.proxy import Proxy

Lose = Callable[[Proxy, bytes], None]
both_halves = pytest.mark.parametrize("lose", [Proxy.lose_answer, Proxy.lose_request])


@pytest.fixture
def engine(proxy: Proxy, schema: str, conn: psycopg.Connection) -> Iterator[Engine]:
    """The usual engine behind the proxy; the test's own queries do not use the proxy."""
    engine = Engine(proxy.url, schema, conn)
    yield engine
    engine.close()


def restore_once_noticed(engine: Engine, proxy: Proxy) -> None:
    """Restore the network when the engine has noticed the outage."""
    log_unreachable = engine.database.log_unreachable

    def noticed(exc: Exception) -> None:
        log_unreachable(exc)
        proxy.restore()

    engine.database.log_unreachable = noticed


@sync_and_async
def test_results_outlive_an_outage_and_no_step_runs_twice(
    engine: Engine, as_workflow: AsWorkflow, proxy: Proxy
) -> None:
    made: list[str] = []

    def cut() -> str:
        made.append("cut")
        proxy.cut()
        restore_once_noticed(engine, proxy)
        return "C"

    def after() -> str:
        made.append("after")
        return "A"

    def body(step: Any) -> Any:
        first = yield step.run("cut", cut)
        return first + (yield step.run("after", after))

    engine.workflow(as_workflow(body))
    run_id = engine.start()

    assert engine.execute_once(run_id).outcome == "completed"
    assert engine.row(run_id)["output"] == "CA"
    assert made == ["cut", "after"]
    assert engine.statuses(run_id) == [("cut", "completed"), ("after", "completed")]


@sync_and_async
def test_a_run_that_was_claimed_again_before_its_history_was_read_is_not_begun(
    engine: Engine, as_workflow: AsWorkflow, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[str] = []

    def body(step: Any) -> Any:
        yield step.sleep("nap", "1h")
        return (yield step.run("only", lambda: made.append("only")))

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    assert engine.execute_once(run_id).outcome == "parked"
    claimed = engine.claim(run_id)
    proxy.cut()
    restore_once_noticed(engine, proxy)
    engine.conn.execute(  # the server crashed and forgot the claim, and another worker was faster
        f'UPDATE "{engine.schema}".workflow_runs SET worker_id = $2 WHERE id = $1',
        [run_id, "other"],
    )

    assert engine.execute_once(run_id, claimed).outcome == "lost"
    assert made == []
    assert "another worker claimed it; not beginning it" in caplog.text
    assert engine.statuses(run_id) == [("nap", "running")]


@both_halves
@sync_and_async
def test_a_step_whose_answer_was_lost_is_written_once(
    engine: Engine, as_workflow: AsWorkflow, proxy: Proxy, lose: Lose
) -> None:
    made: list[str] = []

    def first() -> str:
        made.append("first")
        lose(proxy, b"F-I-R-S-T")
        return "F-I-R-S-T"

    def body(step: Any) -> Any:
        yield step.run("first", first)
        return (yield step.run("second", lambda: proxy.wait_for_drop() or "S"))

    engine.workflow(as_workflow(body))
    run_id = engine.start()

    assert engine.execute_once(run_id).outcome == "completed"
    assert made == ["first"]
    assert engine.statuses(run_id) == [("first", "completed"), ("second", "completed")]


@both_halves
@sync_and_async
def test_a_completion_whose_answer_was_lost_is_recognized(
    engine: Engine, as_workflow: AsWorkflow, proxy: Proxy, lose: Lose
) -> None:
    def body(step: Any) -> Any:
        yield step.run("first", lambda: 1)
        lose(proxy, b"T-H-E-E-N-D")
        return "T-H-E-E-N-D"

    engine.workflow(as_workflow(body))
    run_id = engine.start()

    assert engine.execute_once(run_id).outcome == "completed"
    proxy.wait_for_drop()
    assert engine.row(run_id)["output"] == "T-H-E-E-N-D"


@both_halves
@sync_and_async
def test_after_a_park_whose_answer_was_lost_the_run_goes_on_where_it_was(
    engine: Engine, as_workflow: AsWorkflow, proxy: Proxy, lose: Lose
) -> None:
    def body(step: Any) -> Any:
        yield step.run("first", lambda: 1)
        lose(proxy, b"n-a-p")
        yield step.sleep("n-a-p", "1h")
        return "awake"

    engine.workflow(as_workflow(body))
    run_id = engine.start()

    assert engine.execute_once(run_id).outcome in ("lost", "parked")
    proxy.wait_for_drop()
    assert engine.finish(run_id)["output"] == "awake"
    assert engine.statuses(run_id) == [("first", "completed"), ("n-a-p", "completed")]


@both_halves
@sync_and_async
def test_a_failure_whose_answer_was_lost_is_charged_once(
    engine: Engine, as_workflow: AsWorkflow, proxy: Proxy, lose: Lose
) -> None:
    attempts: list[str] = []

    def body(step: Any) -> Any:
        yield step.run("first", lambda: 1)
        attempts.append("again" if attempts else "f-a-i-l")
        if len(attempts) == 1:
            lose(proxy, b"f-a-i-l")
            raise ValueError("f-a-i-l")
        return len(attempts)

    retry = RetryPolicy(initial_interval="1ms", maximum_attempts=2)
    engine.workflow(as_workflow(body), retry=retry)
    run_id = engine.start()

    assert engine.finish(run_id)["output"] == 2
    assert engine.statuses(run_id) == [("first", "completed")]


@both_halves
@sync_and_async
def test_an_attempt_whose_answer_was_lost_is_counted_once(
    engine: Engine, as_workflow: AsWorkflow, proxy: Proxy, lose: Lose
) -> None:
    attempts: list[str] = []

    def flaky() -> int:
        attempts.append("")
        if len(attempts) == 1:
            lose(proxy, b"f-l-a-k-y")
            raise ValueError("f-l-a-k-y")
        return len(attempts)

    retry = RetryPolicy(initial_interval="1ms", maximum_attempts=2)

    def body(step: Any) -> Any:
        return (yield step.run("flaky", flaky, retry=retry))

    engine.workflow(as_workflow(body))
    run_id = engine.start()

    assert engine.finish(run_id)["output"] == 2
    assert engine.statuses(run_id) == [("flaky", "failed"), ("flaky", "completed")]


@both_halves
@sync_and_async
def test_a_final_failure_whose_answer_was_lost_stays_what_it_is(
    engine: Engine, as_workflow: AsWorkflow, proxy: Proxy, lose: Lose
) -> None:
    def body(step: Any) -> Any:
        yield step.run("first", lambda: 1)
        lose(proxy, b"f-i-n-a-l")
        raise ValueError("f-i-n-a-l")

    engine.workflow(as_workflow(body))
    run_id = engine.start()

    assert engine.execute_once(run_id).outcome in ("lost", "failed")
    proxy.wait_for_drop()
    row = engine.row(run_id)
    assert (row["status"], row["error"]["message"]) == ("failed", "f-i-n-a-l")


def test_no_step_begins_before_a_result_whose_wait_was_cancelled_is_durable(
    engine: Engine, proxy: Proxy
) -> None:
    seen: list[list[tuple[str, str]]] = []

    async def body(step: AsyncStep, input: None) -> None:
        await step.run("first", proxy.cut)
        try:
            async with asyncio.timeout(0.05):
                await step.run("second", lambda: None)
        except TimeoutError:
            proxy.restore()
            await step.run("third", lambda: seen.append(engine.ended_steps(run_id)))

    engine.workflow(body)
    run_id = engine.start()

    assert engine.execute_once(run_id).outcome == "completed"
    assert seen == [[("first", "completed")]]


def test_connections_that_are_all_busy_are_no_outage(
    engine: Engine, conn: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="owsuper.child"):
        for _ in range(3):
            engine.database.log_unreachable(AllBusy("No connection became free."))
        engine.database.log_reachable()
    [record] = caplog.records
    assert "waiting for a free connection" in record.getMessage()
    assert "unreachable" not in record.getMessage()


def test_a_server_that_takes_no_writes_is_logged_once_though_reading_works(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="owsuper.child"):
        for _ in range(3):
            engine.database.log_unreachable(psycopg.errors.ReadOnlySqlTransaction("read-only"))
            engine.database.run_once(lambda conn: conn.execute("SELECT 1"))
        engine.database.log_reachable()  # a write has succeeded
    unreachable, back = (record for record in caplog.records if record.levelno > logging.DEBUG)
    assert "unreachable" in unreachable.getMessage()
    assert "back" in back.getMessage()
