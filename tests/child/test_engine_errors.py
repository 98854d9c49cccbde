"""What happens to the engine itself is never the failure of a run or of a step."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from owsuper import AsyncStep
from owsuper.child.database import Unavailable
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async
from tests.fixtures.proxy import Proxy


class Outage:
    """An outage in which the child gives up, as it does at the graceful time-out."""

    def __init__(self, engine: Engine, proxy: Proxy) -> None:
        self._engine = engine
        self._proxy = proxy
        self._log_unreachable = engine.database.log_unreachable

    def begin(self, *, back: bool) -> None:
        """Cut the network; give up once that is noticed, when the network may be ``back``."""

        noticed_once = threading.Lock()

        def noticed(exc: Exception) -> None:
            self._log_unreachable(exc)
            if noticed_once.acquire(blocking=False):
                if back:
                    self._proxy.restore()
                self._engine.services.stopping.set()
                self._engine.database.closing.set()

        self._proxy.cut()
        self._engine.database.log_unreachable = noticed

    def end(self) -> None:
        self._engine.database.log_unreachable = self._log_unreachable
        self._proxy.restore()
        self._engine.services.stopping.clear()
        self._engine.database.closing.clear()


@pytest.fixture
def engine(proxy: Proxy, schema: str, conn: psycopg.Connection) -> Iterator[Engine]:
    """The usual engine behind the proxy; the test's own queries do not use the proxy."""
    engine = Engine(proxy.url, schema, conn)
    yield engine
    engine.close()


@pytest.fixture
def outage(engine: Engine, proxy: Proxy) -> Outage:
    return Outage(engine, proxy)


def bodies(outage: Callable[[], None]) -> dict[str, Callable[[Any], Any]]:
    """Workflow functions by what they need the database for when the outage begins."""

    def result(step: Any) -> Any:
        yield step.run("cut", outage)
        yield step.run("next", lambda: None)
        return "done"

    def outcome(step: Any) -> Any:
        yield step.run("first", lambda: None)
        outage()
        return "done"

    def parking(step: Any) -> Any:
        yield step.run("first", lambda: None)
        outage()
        yield step.sleep("nap", "1h")
        return "done"

    def sending(step: Any) -> Any:
        yield step.run("first", lambda: None)
        outage()
        yield step.send_signal("anyone", {"some": "data"})
        return "done"

    def child_run(step: Any) -> Any:
        outage()
        return (yield step.run_workflow("child"))

    def answer(step: Any) -> Any:
        busy = step.submit("busy", outage)
        signal = yield step.wait_for_signal("never", timeout=1.5)
        yield busy
        return "done" if signal is None else signal

    return {
        "result": result,
        "outcome": outcome,
        "parking": parking,
        "sending": sending,
        "child run": child_run,
        "answer": answer,
    }


@pytest.mark.slow
@pytest.mark.parametrize("back", [True, False], ids=["back", "away"])
@pytest.mark.parametrize("what", ["load", *bodies(lambda: None)])
@sync_and_async
def test_a_child_that_gives_up_in_an_outage_fails_neither_run_nor_step(
    engine: Engine, as_workflow: AsWorkflow, outage: Outage, what: str, back: bool
) -> None:
    once: list[str] = []

    def begin_once() -> None:
        if not once:
            once.append("begun")
            outage.begin(back=back)

    def napping(step: Any) -> Any:
        yield step.sleep("nap", "1h")
        yield step.sleep("nap", "1h")
        return "done"

    body = napping if what == "load" else bodies(begin_once)[what]
    engine.workflow(as_workflow(body))
    engine.ow.workflow("child")(lambda step: "done")
    run_id = engine.start()
    claimed = engine.claim(run_id)
    if what == "load":
        assert engine.execute_once(run_id, claimed).outcome == "parked"
        claimed = engine.claim(run_id)
        begin_once()

    # The child process tries to release a run that raises, or leaves that to the supervisor.
    outcome = "not written"
    with contextlib.suppress(Unavailable):
        outcome = engine.execute_once(run_id, claimed).outcome

    row = engine.row(run_id)
    assert row["status"] in ("running", "completed")
    assert outcome in ("released", "parked", "completed", "not written")
    assert row["error"] is None
    assert [status for _, status in engine.statuses(run_id) if status == "failed"] == []

    outage.end()
    if outcome == "not written":
        engine.conn.execute(
            f'UPDATE "{engine.schema}".workflow_runs SET worker_id = NULL, available_at = now()'
            " WHERE id = $1",
            [run_id],
        )
    while engine.row(run_id)["status"] == "running":
        children = engine.conn.execute(
            f"""SELECT id FROM "{engine.schema}".workflow_runs
            WHERE workflow_name = 'child' AND status = 'pending'"""
        ).fetchall()
        engine.execute_once(children[0][0] if children else run_id)
    assert engine.row(run_id)["output"] == "done"
    assert [status for _, status in engine.statuses(run_id) if status == "failed"] == []


@sync_and_async
def test_a_table_that_may_not_be_written_for_a_while_fails_no_run(
    engine: Engine, as_workflow: AsWorkflow, caplog: pytest.LogCaptureFixture
) -> None:
    """An administrator's mistake is not the run's: the write is tried again until it is mended."""
    table = f'"{engine.schema}".step_attempts'
    warned = threading.Event()

    def rename() -> str:
        engine.conn.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
        return "renamed"

    def body(step: Any) -> Any:
        return (yield step.run("rename", rename))

    def mend() -> None:
        assert warned.wait(30)
        engine.conn.execute(f'ALTER TABLE "{engine.schema}".elsewhere RENAME TO step_attempts')

    retry = engine.services.committer._retry_separately

    def noticed(*arguments: Any) -> None:
        retry(*arguments)
        warned.set()

    engine.services.committer._retry_separately = noticed
    engine.workflow(as_workflow(body))
    with ThreadPoolExecutor(1) as pool:
        mending = pool.submit(mend)
        row = engine.finish(engine.start())
        mending.result()
    assert (row["status"], row["output"]) == ("completed", "renamed")


@pytest.mark.slow
@sync_and_async
def test_an_unexpected_error_of_the_engine_gives_the_run_back_for_a_while(
    engine: Engine, as_workflow: AsWorkflow, caplog: pytest.LogCaptureFixture
) -> None:
    def body(step: Any) -> Any:
        try:
            yield step.run("a", lambda: "A")
        except Exception:
            return "caught"
        return "done"

    def broken(*_: object) -> None:
        engine.services.running_rows.began = began
        raise AssertionError("a bug")

    began = engine.services.running_rows.began
    engine.services.running_rows.began = broken
    engine.workflow(as_workflow(body))
    run_id = engine.start()

    assert engine.execute_once(run_id).outcome == "parked"
    row = engine.row(run_id)
    assert (row["status"], row["worker_id"], row["error"]) == ("running", None, None)
    assert engine.statuses(run_id) == []
    assert "is given back: the execution failed" in caplog.text
    assert "a bug" in caplog.text
    assert engine.finish(run_id)["output"] == "done"


@dataclass
class Huge:
    value: int

    def __post_init__(self) -> None:
        raise MemoryError


@sync_and_async
def test_a_lack_of_memory_while_a_result_is_converted_fails_no_step(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    def body(step: Any) -> Any:
        yield step.run("a", lambda: {"value": 1}, type=Huge)

    engine.workflow(as_workflow(body))
    run_id = engine.start()

    assert engine.execute_once(run_id).outcome == "parked"
    assert engine.row(run_id)["error"] is None
    assert engine.ended_steps(run_id) == []


class TestTheLoopOfAsyncRuns:
    def test_it_goes_on_when_user_code_stops_it(
        self, engine: Engine, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def stop() -> str:
            asyncio.get_running_loop().stop()
            await asyncio.sleep(0.01)
            return "stopped"

        async def body(step: AsyncStep) -> str:
            asyncio.get_running_loop().stop()
            return await step.run("stop", stop)

        engine.workflow(body)
        assert engine.finish(engine.start())["output"] == "stopped"
        assert "user code stopped the event loop" in caplog.text
