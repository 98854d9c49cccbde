"""What user code and other sessions of the database may do to a child, and what it makes of it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from owsuper import RetryPolicy, Step, StepFailed
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

SOON = RetryPolicy(initial_interval="50ms", maximum_attempts=2)


def refuse(engine: Engine, sqlstate: str) -> None:
    """Have the database raise this for every step whose output is "poison"."""
    engine.conn.execute(
        f"""
        CREATE OR REPLACE FUNCTION "{engine.schema}".refuse() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{sqlstate}'; END $$;
        CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON "{engine.schema}".step_attempts
            FOR EACH ROW WHEN (NEW.output = '"poison"') EXECUTE FUNCTION "{engine.schema}".refuse();
        """.encode()
    )


def accept(engine: Engine) -> None:
    engine.conn.execute(f'DROP TRIGGER refuse ON "{engine.schema}".step_attempts'.encode())


class TestWritesThatFailByThemselves:
    @pytest.mark.slow
    @sync_and_async
    def test_a_row_that_somebody_has_locked_keeps_no_other_run_waiting(
        self, engine: Engine, as_workflow: AsWorkflow, database_url: str
    ) -> None:
        def body(step: Any) -> Any:
            return (yield step.run("work", lambda: "done"))

        engine.workflow(as_workflow(body))
        locked, free = engine.start(), engine.start()
        with (
            ThreadPoolExecutor(2) as executions,
            psycopg.connect(database_url) as elsewhere,
        ):
            claimed = engine.claim(locked)
            elsewhere.execute(
                f"SELECT FROM \"{engine.schema}\".workflow_runs WHERE id = '{locked}' FOR UPDATE"
            )
            waiting = executions.submit(engine.execute_once, locked, claimed)
            assert executions.submit(engine.execute_once, free).result().outcome == "completed"
            assert not waiting.done()
            elsewhere.rollback()
            assert waiting.result().outcome == "completed"
        assert engine.statuses(locked) == [("work", "completed")]

    @sync_and_async
    @pytest.mark.parametrize("sqlstate", ["57014", "40001", "58030"])
    def test_an_error_that_passes_is_waited_for_by_its_own_run_alone(
        self, engine: Engine, as_workflow: AsWorkflow, sqlstate: str
    ) -> None:
        refuse(engine, sqlstate)
        made: list[Any] = []

        def body(step: Any) -> Any:
            return (yield step.run("brew", lambda: made.append(1) or "poison"))

        def water(step: Any) -> Any:
            return (yield step.run("pour", lambda: "water"))

        engine.workflow(as_workflow(body))
        engine.ow.workflow("other")(as_workflow(water))
        poisoned, other = engine.start(), engine.start(workflow="other")
        with ThreadPoolExecutor(2) as executions:
            waiting = executions.submit(engine.execute_once, poisoned)
            assert executions.submit(engine.execute_once, other).result().outcome == "completed"
            assert not waiting.done()
            accept(engine)
            assert waiting.result().outcome == "completed"
        assert made == [1]

    @sync_and_async
    def test_a_value_that_is_too_large_for_the_database_fails_its_run(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        refuse(engine, "54000")

        def body(step: Any) -> Any:
            yield step.run("brew", lambda: "poison")
            yield step.run("drink", lambda: None)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "failed"
        assert engine.row(run_id)["error"]["name"] == "ProgramLimitExceeded"


class TestForks:
    @sync_and_async
    @pytest.mark.parametrize("how", ["sys.exit(3)", "return", "raise"])
    def test_a_copy_of_the_process_that_a_step_makes_ends_with_the_step(
        self, engine: Engine, as_workflow: AsWorkflow, how: str
    ) -> None:
        codes = {"sys.exit(3)": 3, "return": 0, "raise": 1}

        def fork() -> int:
            pid = os.fork()
            if pid:
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if how == "raise":
                raise ValueError("in the copy")
            if how == "sys.exit(3)":
                raise SystemExit(3)
            return 99

        def body(step: Any) -> Any:
            return (yield step.run("fork", fork))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "completed"
        assert engine.row(run_id)["output"] == codes[how]
        assert engine.statuses(run_id) == [("fork", "completed")]


class TestThreadsOfTheUsers:
    def test_a_step_in_a_thread_of_its_own_is_waited_for(self, engine: Engine) -> None:
        """The body sleeps, but the run must not leave beside a step that goes on."""
        made: list[str] = []
        began, sleeping, over = threading.Event(), threading.Event(), threading.Event()

        def work() -> str:
            made.append("began")
            began.set()
            assert sleeping.wait(30)
            over.wait(0.3)  # time enough to park, for one that does not wait
            made.append("ended")
            return "done"

        def body(step: Step) -> None:
            thread = threading.Thread(target=lambda: step.run("work", work))
            thread.start()
            assert began.wait(30)
            sleeping.set()
            step.sleep("nap", "10ms")
            step.sleep("long nap", "1h")

        engine.workflow(body)
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "parked"
        assert made == ["began", "ended"]
        assert ("work", "completed") in engine.statuses(run_id)


class TestFutures:
    def test_a_submitted_step_cannot_be_cancelled_and_its_run_ends(self, engine: Engine) -> None:
        def body(step: Step) -> list[Any]:
            futures = [step.submit(f"part-{n}", lambda n=n: n) for n in range(3)]
            return [future.cancel() for future in futures] + [each.result() for each in futures]

        engine.workflow(body)
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "completed"
        assert engine.row(run_id)["output"] == [False, False, False, 0, 1, 2]


class Speechless(Exception):
    def __str__(self) -> str:
        raise SystemExit("no words")


class TestErrorsOfEveryKind:
    @sync_and_async
    @pytest.mark.parametrize("error", [GeneratorExit, Speechless, KeyboardInterrupt])
    def test_in_a_step_they_are_failures_of_the_step(
        self, engine: Engine, as_workflow: AsWorkflow, error: type[BaseException]
    ) -> None:
        made: list[int] = []

        async def fail() -> None:
            made.append(1)
            raise error

        def body(step: Any) -> Any:
            yield step.run("fail", fail, retry=SOON)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.finish(run_id)["error"]["name"] == error.__name__
        assert len(made) == 2

    @sync_and_async
    @pytest.mark.parametrize("error", [GeneratorExit, Speechless, KeyboardInterrupt])
    def test_in_the_body_they_fail_the_run(
        self, engine: Engine, as_workflow: AsWorkflow, error: type[BaseException]
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("fine", lambda: None)
            raise error

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "failed"
        assert engine.row(run_id)["error"]["name"] == error.__name__

    @sync_and_async
    def test_the_log_tells_of_each(
        self, engine: Engine, as_workflow: AsWorkflow, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> None:
            raise ValueError("out of ink")

        def body(step: Any) -> Any:
            try:
                yield step.run("print", fail, retry=SOON)
            except StepFailed:
                raise LookupError("no paper\neither") from None

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        with caplog.at_level(logging.WARNING, "owsuper.child"):
            engine.finish(run_id)
        told = [vars(record) for record in caplog.records]
        assert [(each["msg"], each["error"]) for each in told] == [
            ("step failed", "ValueError: out of ink"),
            ("step failed", "ValueError: out of ink"),
            ("run failed", "LookupError: no paper either"),
        ]
        assert [each.get("attempt") for each in told[:2]] == [1, 2]
        assert {(each["run_id"], each["workflow"]) for each in told} == {(run_id, "main")}


class TestStandingStill:
    """A process that stood still, or was cut off, for longer than its lease."""

    @sync_and_async
    def test_begins_no_step_of_a_run_that_is_not_its_own_any_more(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        made: list[str] = []

        def body(step: Any) -> Any:
            yield step.run("work", lambda: made.append("work"))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        claimed = engine.claim(run_id)
        engine.conn.execute(
            f'UPDATE "{engine.schema}".workflow_runs SET worker_id = $1', ["somebody else"]
        )
        late = replace(claimed, claim_sent=claimed.claim_sent - 60)
        assert engine.execute_once(run_id, late).outcome == "lost"
        assert made == []

    @sync_and_async
    def test_goes_on_with_a_run_that_nobody_has_taken(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            return (yield step.run("work", lambda: "done"))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        claimed = engine.claim(run_id)
        late = replace(claimed, claim_sent=claimed.claim_sent - 60)
        assert engine.execute_once(run_id, late).outcome == "completed"


class TestFullThreads:
    def test_a_result_is_written_even_if_steps_occupy_all_threads(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        crowded = threading.Semaphore(0)

        def first() -> str:
            for _ in range(31):  # and itself: all 32 threads, while others wait for one
                assert crowded.acquire(timeout=60)
            return "first"

        def body(step: Step) -> str:
            future = step.submit("first", first)
            others = [
                engine.services.step_threads.submit(written) for _ in range(40)
            ]  # steps of another run
            return str(future.result()) + str([other.result() for other in others].count(None))

        def written() -> None:
            """Returns when the first step is in the table."""
            crowded.release()
            while ("first", "completed") not in engine_statuses():
                threading.Event().wait(0.01)

        def engine_statuses() -> list[tuple[str, str]]:
            with lock:
                return engine.statuses(run_id)

        lock = threading.Lock()
        engine.workflow(body)
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "completed"


def test_a_coroutine_that_nobody_awaits_is_called_by_the_name_of_its_step(engine: Engine) -> None:
    names: list[str] = []

    async def body(step: Any) -> None:
        for coroutine in (step.run("charge", len, "x"), step.sleep("nap", 1)):
            names.append(coroutine.__qualname__)
            coroutine.close()
        await asyncio.sleep(0)

    engine.workflow(body)
    engine.execute_once(engine.start())
    assert names == ["step.run('charge')", "step.sleep('nap')"]
