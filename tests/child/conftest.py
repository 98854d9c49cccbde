"""A child's engine without its process: executions one at a time, on real Postgres."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import timedelta
from queue import SimpleQueue
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow
from owsuper.child import services
from owsuper.child.database import ChildDatabase
from owsuper.child.execution_result import ExecutionResult
from owsuper.child.executor import Executor
from owsuper.child.shortage import Shortage
from owsuper.child.timers import DelayedCalls
from owsuper.core import carriers
from owsuper.core.model import ClaimedRun
from owsuper.event_loop import Loop, Waker
from owsuper.ipc.flight_recorder import FlightRecorder
from owsuper.ipc.flight_recorder import create as create_memory
from owsuper.ipc.messages import Overdue
from owsuper.workflow.definition import Workflow

LEASE = 30.0
KILL_GRACE = 0.1


class EventLoopThread:
    """An event loop in a thread, as a child's main thread runs it."""

    def __init__(self) -> None:
        self._loop = Loop()
        self._waker = Waker(lambda: None)
        self._loop.add(self._waker)
        self._stopped = False
        self.calls = DelayedCalls(self._loop, self._waker)
        self._thread = threading.Thread(target=self._run, name="test-event-loop", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        self._waker.wake()
        self._thread.join()
        self._loop.close()
        self._waker.close()

    def _run(self) -> None:
        while not self._stopped:
            self._loop.turn()


async def _cancel_others() -> None:
    """Cancel the tasks of executions that a test has not finished, and await them."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=10)


class Engine:
    """Starts runs of one application and executes them, one execution at a time."""

    def __init__(self, url: str, schema: str, conn: psycopg.Connection) -> None:
        self.ow = OpenWorkflow(url, schema=schema)
        self.schema = schema
        self.conn = conn
        self.thread_errors: list[BaseException] = []
        self.lasting_shortages: list[str] = []
        self.overdue: SimpleQueue[Overdue] = SimpleQueue()
        shortage = Shortage(self.lasting_shortages.append)
        self.database = ChildDatabase(url, "owsuper test child", shortage, schema=schema)
        self.event_loop = EventLoopThread()
        flight_recorder = FlightRecorder(create_memory(1), 1)
        self.services = services.create(
            self.database,
            self.event_loop.calls,
            flight_recorder,
            shortage,
            schema=schema,
            namespace="default",
            lease=LEASE,
            concurrency=1,
            kill_grace=KILL_GRACE,
            on_overdue=self.overdue.put,
            on_thread_died=self.thread_errors.append,
        )
        self.executor = Executor(self.ow.registry, self.services)

    def workflow(self, fn: Callable[..., Any], **options: Any) -> Workflow[Any, Any]:
        return self.ow.workflow("main", **options)(fn)

    def start(self, input: Any = None, *, workflow: str = "main") -> str:
        (run_id,) = self.conn.execute(
            f"""INSERT INTO "{self.schema}".workflow_runs (namespace_id, id, workflow_name,
                status, config, attempts, input, available_at, created_at, updated_at)
            VALUES ('default', gen_random_uuid()::text, $2, 'pending', '{{}}', 0, $1::jsonb,
                now(), date_trunc('milliseconds', now()), now()) RETURNING id""",
            [None if input is None else json.dumps(input), workflow],
        ).fetchone()
        return run_id

    def claim(self, run_id: str, worker_id: str | None = None) -> ClaimedRun:
        """Claim the run, once the time has passed until it is due; no other worker does."""
        while True:
            sent = time.monotonic()
            row = self.conn.execute(
                f"""UPDATE "{self.schema}".workflow_runs
                SET status = 'running', attempts = attempts + 1, updated_at = now(),
                    worker_id = coalesce($2, gen_random_uuid()::text),
                    available_at = now() + interval '30s', started_at = coalesce(started_at, now())
                WHERE id = $1 AND available_at <= now()
                RETURNING workflow_name, version, worker_id, attempts, input::text, created_at,
                    started_at, now(), deadline_at, context -> 'traceContext'""",
                [run_id, worker_id],
            ).fetchone()
            if row is not None:
                break
            self.pass_time(run_id)
        name, version, worker, attempts, raw, created, started, now, deadline, carrier = row
        return ClaimedRun(
            run_id=run_id,
            workflow_name=name,
            version=version,
            worker_id=worker,
            attempts=attempts,
            input_json=raw.encode() if raw is not None else None,
            input_stored=False,
            created_at=created,
            started_at=started,
            claimed_at=now,
            claim_sent=sent,
            claim_answered=time.monotonic(),
            deadline_at=deadline,
            first=attempts == 1,
            suspect=False,
            carrier=carriers.read(carrier),
        )

    def pass_time(self, run_id: str) -> None:
        """Let the time pass until the run is due: move all that it has recorded into the past.

        So a test need not wait, and its sleeps can be so long that no slow machine ends them.
        """
        due = self.row(run_id)["available_at"]
        assert due is not None, "the run is not waiting for anything"
        (now,) = self.conn.execute("SELECT now()").fetchone()
        passed = due - now
        assert passed <= timedelta(hours=1), f"the run is due in {passed}"
        steps = f'"{self.schema}".step_attempts'
        self.conn.execute(
            f"""UPDATE {steps} SET created_at = created_at - $2, started_at = started_at - $2,
                finished_at = finished_at - $2 WHERE workflow_run_id = $1""",
            [run_id, passed],
        )
        for key in ("resumeAt", "timeoutAt"):
            self.conn.execute(
                f"""UPDATE {steps} SET context = jsonb_set(context, ARRAY[$3], to_jsonb(to_char(
                    ((context ->> $3)::timestamptz - $2) AT TIME ZONE 'UTC',
                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))
                WHERE workflow_run_id = $1 AND context ->> $3 IS NOT NULL""",
                [run_id, passed, key],
            )
        self.conn.execute(
            f'UPDATE "{self.schema}".workflow_runs SET available_at = now() WHERE id = $1', [run_id]
        )

    def execute_once(self, run_id: str, claimed: ClaimedRun | None = None) -> ExecutionResult:
        """Claim the run and execute it until it leaves the process."""
        run = claimed or self.claim(run_id)
        workflow = self.executor.workflow_of(run)
        if not workflow.is_async:
            return self.executor.execute(workflow, run, 0)
        ended: Future[ExecutionResult] = Future()

        async def execute() -> None:
            try:
                ended.set_result(await self.executor.execute_async(workflow, run, 0))
            except BaseException as exc:
                ended.set_exception(exc)

        self.services.loop_thread.spawn(execute)
        return ended.result()

    def finish(self, run_id: str) -> dict[str, Any]:
        """Execute the run until it ends; return its row."""
        while self.execute_once(run_id).outcome not in ("completed", "failed"):
            pass
        return self.row(run_id)

    def row(self, run_id: str) -> dict[str, Any]:
        return self._rows("workflow_runs", "id", run_id)[0]

    def steps(self, run_id: str) -> list[dict[str, Any]]:
        return self._rows("step_attempts", "workflow_run_id", run_id)

    def statuses(self, run_id: str) -> list[tuple[str, str]]:
        """Return the name and status of each step attempt, oldest first."""
        return [(row["step_name"], row["status"]) for row in self.steps(run_id)]

    def ended_steps(self, run_id: str) -> list[tuple[str, str]]:
        """Return ``statuses`` without the rows that steps have meanwhile, if they take long."""
        return [each for each in self.statuses(run_id) if each[1] != "running"]

    def _rows(self, table: str, column: str, value: str) -> list[dict[str, Any]]:
        with self.conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            cursor.execute(
                f'SELECT * FROM "{self.schema}".{table} WHERE {column} = $1'
                " ORDER BY created_at, started_at, id",
                [value],
            )
            return cursor.fetchall()

    def close(self) -> None:
        self.services.loop_thread.begin(_cancel_others()).result()
        self.services.loop_thread.stop()
        self.services.step_threads.close()
        self.services.write_threads.close()
        self.event_loop.stop()
        self.services.committer.close()
        self.database.close()
        self.ow.close()


@pytest.fixture
def engine(database_url: str, schema: str, conn: psycopg.Connection) -> Iterator[Engine]:
    engine = Engine(database_url, schema, conn)
    yield engine
    engine.close()


class Calls:
    """Step functions that count their calls."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, name: str, *outcomes: Any) -> Callable[[], Any]:
        """Return a function that returns or raises ``outcomes`` in turn, and repeats the last."""
        left = list(outcomes or [name.upper()])

        def function() -> Any:
            self.made.append(name)
            outcome = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        return function

    def asynchronous(self, name: str, *outcomes: Any) -> Callable[[], Any]:
        call = self(name, *outcomes)

        async def function() -> Any:
            return call()

        return function


@pytest.fixture
def calls() -> Calls:
    return Calls()
