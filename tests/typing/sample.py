"""The types of the public API, as type checkers must see them. Not executed; see test_typing.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, assert_type
from uuid import UUID

import psycopg
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from owsuper import (
    AsyncStep,
    LogLine,
    NonRetryableError,
    OpenWorkflow,
    Page,
    RetryPolicy,
    Run,
    RunCounts,
    RunHandle,
    RunParent,
    RunProgress,
    RunRetry,
    RunStatus,
    ScheduleStatus,
    SkippedSignal,
    Step,
    StepAttempt,
    Tick,
    Worker,
    Workflow,
)
from owsuper.testing import InProcessRun, InProcessWorker, run_in_process, survives_crashes

ow = OpenWorkflow()


@dataclass
class Welcome:
    user_id: int


class Receipt(TypedDict):
    user: str


# --- every way to decorate keeps the types ---------------------------------------------------


@ow.workflow
def bare(step: Step, input: Welcome) -> Receipt:
    return {"user": str(input.user_id)}


@ow.schedule("0 3 * * *", timezone="Europe/Berlin")
@ow.schedule(every="15m", name="often")
@ow.workflow
def scheduled(step: Step, tick: Tick) -> int:
    assert_type(tick.previous, datetime | None)
    return tick.at.day


assert_type(scheduled, Workflow[Tick, int])
assert_type(ow.schedules.list(), list[ScheduleStatus])
assert_type(ow.schedules.trigger("often"), RunHandle[Any])


@ow.workflow()
def empty_call(step: Step, input: Welcome) -> Receipt:
    return {"user": str(input.user_id)}


@ow.workflow("named")
def named(step: Step, input: Welcome) -> Receipt:
    return {"user": str(input.user_id)}


@ow.on_child_start
def start_child() -> None: ...


@ow.on_child_stop
async def stop_child() -> None: ...


@ow.workflow(
    "full", version="2", retry=RetryPolicy(maximum_attempts=5), step_limit=5000, concurrency=2
)
def full(step: Step, input: Welcome) -> Receipt:
    return {"user": str(input.user_id)}


@ow.workflow
def without_input(step: Step) -> int:
    return 1


@ow.workflow("without-result")
def without_result(step: Step, input: list[str]) -> None: ...


@ow.workflow
async def async_bare(step: AsyncStep, input: Welcome) -> Receipt:
    return {"user": str(input.user_id)}


@ow.workflow("async-named", version="2")
async def async_named(step: AsyncStep, input: Welcome) -> Receipt:
    return {"user": str(input.user_id)}


@ow.workflow
async def async_without_input(step: AsyncStep) -> int:
    return 1


@ow.workflow("async-called-without-input")
async def async_called_without_input(step: AsyncStep) -> int:
    return 1


@ow.workflow
def optional_input(step: Step, input: Welcome | None = None) -> int:
    return 1


@ow.workflow
def json_input(step: Step, input: Any) -> Any:
    return input


assert_type(bare, Workflow[Welcome, Receipt])
assert_type(empty_call, Workflow[Welcome, Receipt])
assert_type(named, Workflow[Welcome, Receipt])
assert_type(full, Workflow[Welcome, Receipt])
assert_type(without_input, Workflow[None, int])
assert_type(without_result, Workflow[list[str], None])
assert_type(async_bare, Workflow[Welcome, Receipt])
assert_type(async_named, Workflow[Welcome, Receipt])
assert_type(async_without_input, Workflow[None, int])
assert_type(async_called_without_input, Workflow[None, int])
assert_type(optional_input, Workflow[Welcome | None, int])
assert_type(json_input, Workflow[Any, Any])


# --- runs and results ------------------------------------------------------------------------


def start_and_wait() -> None:
    handle = bare.run(Welcome(7), idempotency_key="welcome:7")
    assert_type(handle, RunHandle[Receipt])
    assert_type(handle.result(), Receipt)
    assert_type(handle.result(timeout=30)["user"], str)
    assert_type(handle.result("5m"), Receipt)
    assert_type(handle.result(timedelta(minutes=5)), Receipt)
    assert_type(handle.id, str)
    assert_type(handle.workflow_name, str | None)
    assert_type(handle.status(), RunStatus)
    assert_type(handle.details(), Run)
    assert_type(handle.cancel(), None)

    assert_type(without_input.run(), RunHandle[int])
    assert_type(without_input.run(available_at="5m"), RunHandle[int])
    assert_type(optional_input.run(), RunHandle[int])
    assert_type(optional_input.run(Welcome(7)), RunHandle[int])
    assert_type(without_result.run(["a"]).result(), None)
    bare.run(Welcome(7), available_at=datetime.now(UTC), deadline_at=timedelta(hours=1))
    bare.run(Welcome(7), id="welcome-7")
    bare.run(Welcome(7), id=UUID(int=7))

    assert_type(bare.run_many([Welcome(1), Welcome(2)]), list[RunHandle[Receipt]])
    assert_type(bare.run_many(Welcome(n) for n in range(9)), list[RunHandle[Receipt]])
    bare.run_many([Welcome(1)], available_at="1h", deadline_at="2h")

    start_any(bare)


def start_any(workflow: Workflow[Welcome, object]) -> None:
    assert_type(workflow.run(Welcome(7)), RunHandle[object])


async def start_and_await() -> None:
    handle = await async_bare.arun(Welcome(7), idempotency_key="welcome:7")
    assert_type(handle, RunHandle[Receipt])
    assert_type(await handle.aresult(), Receipt)
    assert_type(await handle.aresult(timeout=30), Receipt)
    assert_type(await handle.astatus(), RunStatus)
    assert_type(await handle.adetails(), Run)
    assert_type(await handle.acancel(), None)
    assert_type(await async_without_input.arun(), RunHandle[int])
    assert_type(await bare.arun(Welcome(7)), RunHandle[Receipt])
    assert_type(await async_bare.arun_many([Welcome(1)]), list[RunHandle[Receipt]])
    assert_type(async_bare.run(Welcome(7)), RunHandle[Receipt])


def by_workflow_and_by_name() -> None:
    assert_type(ow.run_workflow(bare, Welcome(7)), RunHandle[Receipt])
    assert_type(ow.run_workflow(without_input), RunHandle[int])
    assert_type(ow.run_workflow("named", {"user_id": 7}, version="2"), RunHandle[Any])
    assert_type(ow.run_workflow("named"), RunHandle[Any])
    assert_type(ow.run_many(bare, [Welcome(7)]), list[RunHandle[Receipt]])
    assert_type(ow.run_many("named", [{"user_id": 7}]), list[RunHandle[Any]])
    assert_type(ow.get_run("some-id"), RunHandle[Any])


async def by_workflow_and_by_name_async() -> None:
    assert_type(await ow.arun_workflow(bare, Welcome(7)), RunHandle[Receipt])
    assert_type(await ow.arun_workflow(without_input), RunHandle[int])
    assert_type(await ow.arun_workflow("named", {"user_id": 7}), RunHandle[Any])
    assert_type(await ow.arun_many(bare, [Welcome(7)]), list[RunHandle[Receipt]])


def inspect() -> None:
    page = ow.list_runs(status="failed", workflow=bare, limit=10)
    assert_type(page, Page[Run])
    assert_type(page.items, tuple[Run, ...])
    assert_type(ow.list_runs(status=RunStatus.FAILED, after=page.next_cursor), Page[Run])
    assert_type(ow.list_step_attempts("some-id", before=None), Page[StepAttempt])
    assert_type(ow.count_runs(), RunCounts)
    assert_type(ow.list_runs(since="1h", until=page.items[0].created_at, parent="id"), Page[Run])
    assert_type(page.items[0].parent, RunParent | None)
    assert_type(ow.list_retries("some-id"), list[RunRetry])
    assert_type(ow.list_skipped_signals("some-id"), list[SkippedSignal])
    assert_type(ow.find_run_ids("some", limit=2), list[str])
    assert_type(ow.get_run("some-id"), RunHandle[Any])
    assert_type(ow.get_run(bare, key="k"), RunHandle[Receipt])
    assert_type(ow.get_run(bare, run_id="some-id"), RunHandle[Receipt])
    assert_type(ow.database_url, str)
    assert_type(ow.get_run("named", key="k"), RunHandle[Any])
    assert_type(ow.get_run("some-id").retry(), None)
    assert_type(ow.get_run("some-id").retry(from_step="charge"), None)
    assert_type(ow.get_run("some-id").cancel(), None)
    assert_type(bare.run(Welcome(7)).retry(), None)


async def inspect_async() -> None:
    assert_type(await ow.alist_runs(), Page[Run])
    assert_type(await ow.alist_step_attempts("some-id"), Page[StepAttempt])
    assert_type(await ow.aget_run(bare, key="k"), RunHandle[Receipt])
    assert_type(await ow.aget_run("named", key="k"), RunHandle[Any])
    assert_type(await ow.alist_retries("some-id"), list[RunRetry])
    assert_type(await ow.alist_skipped_signals("some-id"), list[SkippedSignal])
    assert_type(await ow.acount_runs(), RunCounts)
    assert_type(await ow.get_run("some-id").aretry(), None)
    assert_type(await ow.get_run("some-id").acancel(), None)


def worker() -> None:
    assert_type(ow.new_worker(), Worker)
    with ow.new_worker(processes=2, concurrency=4, lease="10s", listen=False) as running:
        assert_type(running, Worker)
    assert_type(ow.new_worker(modules=["app.workflows"]).start(), Worker)


# --- what is retried ------------------------------------------------------------------------


def is_busy(error: BaseException) -> bool:
    return "busy" in str(error)


class DeclinedError(NonRetryableError): ...


assert_type(RetryPolicy(retry_on=ConnectionError, jitter=0.5), RetryPolicy)
assert_type(RetryPolicy(retry_on=(ConnectionError, TimeoutError), never_retry=is_busy), RetryPolicy)
assert_type(RetryPolicy(never_retry=lambda error: isinstance(error, OSError)), RetryPolicy)


# --- steps -----------------------------------------------------------------------------------


def fetch(user_id: int, region: str) -> Receipt:
    return {"user": f"{region}:{user_id}"}


async def fetch_async(user_id: int, region: str) -> Receipt:
    return {"user": f"{region}:{user_id}"}


def size(text: str) -> int:
    return len(text)


def forget(receipt: Receipt) -> int:
    return len(receipt)


async def forget_async(receipt: Receipt) -> None: ...


def size_of(result: object) -> None: ...


@ow.workflow
def blocking_steps(step: Step, input: Welcome) -> int:
    assert_type(step.run("fetch", fetch, input.user_id, "eu"), Receipt)
    assert_type(step.run("fetch", fetch_async, input.user_id, "eu"), Receipt)
    assert_type(step.run("one", lambda: 1, retry=RetryPolicy(maximum_attempts=1)), int)
    assert_type(step.submit("fetch", fetch, 1, "eu").result(), Receipt)
    assert_type(step.map("size", size, ["a", "b"]), list[int])
    assert_type(step.run("fetch", fetch, 1, "eu", undo=forget), Receipt)
    assert_type(step.run("fetch", fetch_async, 1, "eu", undo=forget_async), Receipt)
    assert_type(step.run("one", lambda: 1, undo=lambda one: one + 1), int)
    assert_type(step.map("size", size, ["a"], undo=print), list[int])
    assert_type(step.run_workflow(bare, Welcome(7), undo=size_of), Receipt)
    assert_type(step.undo_all(), None)
    assert_type(step.sleep("nap", "1h"), None)
    assert_type(step.run_id, str)
    assert_type(step.created_at, datetime)
    return 1


@ow.workflow
async def async_steps(step: AsyncStep, input: Welcome) -> int:
    assert_type(await step.run("fetch", fetch, input.user_id, "eu"), Receipt)
    assert_type(await step.run("fetch", fetch_async, input.user_id, "eu"), Receipt)
    assert_type(await step.map("size", size, ["a", "b"]), list[int])
    assert_type(await step.run("fetch", fetch_async, 1, "eu", undo=forget_async), Receipt)
    assert_type(await step.submit("fetch", fetch, 1, "eu", undo=forget), Receipt)
    assert_type(await step.undo_all(), None)
    assert_type(await step.sleep("nap", timedelta(hours=1)), None)
    return 1


@bare.upcast
def old_welcome(stored: Any) -> Welcome:
    return Welcome(stored)


@bare.upcast(step="greet")
def old_greeting(stored: dict[str, Any]) -> dict[str, Any]:
    return stored


assert_type(old_greeting({}), dict[str, Any])
assert_type(old_welcome(7), Welcome)


# --- steps with a transaction ------------------------------------------------------------------


def reserve(conn: psycopg.Connection, order: int, many: bool) -> Receipt:
    conn.execute("SELECT %s, %s", (order, many))
    return {"user": "x"}


async def reserve_async(conn: psycopg.AsyncConnection, order: int) -> Receipt:
    await conn.execute("SELECT %s", (order,))
    return {"user": "x"}


def add(session: Session, order: int) -> int:
    session.add(order)
    return order


async def add_async(session: AsyncSession, order: int) -> int:
    await session.flush()
    return order


def sessions() -> Iterator[Session]:
    yield Session()


async def async_sessions() -> AsyncIterator[AsyncSession]:
    yield AsyncSession()


def through_django(connection: Any, order: int) -> str:
    return f"{connection} {order}"


make: sessionmaker[Session] = sessionmaker()
make_async: async_sessionmaker[AsyncSession] = async_sessionmaker()


@ow.workflow
def transactions(step: Step, input: Welcome) -> int:
    assert_type(step.transaction("own", reserve, 1, True, timeout="5s"), Receipt)
    assert_type(step.transaction("own", reserve_async, 1), Receipt)
    assert_type(step.transaction("lambda", lambda conn: conn.info.backend_pid), int)
    assert_type(step.transaction("maker", add, 1, session=make), int)
    assert_type(step.transaction("class", add, 1, session=Session), int)
    assert_type(step.transaction("scoped", add, 1, session=scoped_session(make)), int)
    assert_type(step.transaction("yielded", add, 1, session=sessions), int)
    assert_type(step.transaction("async", add_async, 1, session=make_async), int)
    assert_type(step.transaction("yielded", add_async, 1, session=async_sessions), int)
    assert_type(step.transaction("django", through_django, 1, using="default"), str)
    return 1


@ow.workflow
async def async_transactions(step: AsyncStep, input: Welcome) -> int:
    assert_type(await step.transaction("own", reserve, 1, False), Receipt)
    assert_type(await step.transaction("own", reserve_async, 1, retry=RetryPolicy()), Receipt)
    assert_type(await step.transaction("maker", add, 1, session=make), int)
    assert_type(await step.transaction("async", add_async, 1, session=make_async), int)
    assert_type(await step.transaction("django", through_django, 1, using="default"), str)
    return 1


def continues(step: Step, input: int) -> str:
    if step.patched("change"):
        return "new"
    assert_type(step.patched("change"), bool)
    if input:
        step.continue_as_new(input - 1)
    return step.continue_as_new(Welcome(input), workflow=bare)


async def acontinues(step: AsyncStep, input: int) -> str:
    if step.patched("change"):
        return "new"
    return step.continue_as_new(Welcome(input), workflow=bare)


def reports(step: Step, input: int) -> None:
    step.set_progress(1)
    step.set_progress(1.5, 10, "copying")
    step.logger.info("copying")
    step.run("copy", copy_all, input, step.set_progress)


def copy_all(files: int, report: Callable[[float, float | None, str | None], None]) -> None:
    report(1, files, None)


async def areports(step: AsyncStep, input: int) -> None:
    step.set_progress(1, total=2, message="copying")
    step.logger.info("copying")


def reported(handle: RunHandle[int]) -> None:
    assert_type(handle.progress(), RunProgress | None)
    assert_type(handle.logs(after=3, level="warning", limit=10), list[LogLine])


async def areported(handle: RunHandle[int]) -> None:
    assert_type(await handle.aprogress(), RunProgress | None)
    assert_type(await handle.alogs(), list[LogLine])


def repaired(handle: RunHandle[int]) -> None:
    assert_type(handle.rerun("charge", input={"n": 1}), RunHandle[int])
    handle.wake()
    handle.wake("nap")
    bare.run(Welcome(7), idempotency_key="k", key_lifetime="30d")


ow.workflow("compatible", version="2", compatible_with=["1", None])


def tested(any_input: Any) -> None:
    fakes = {"charge": lambda cents: f"receipt over {cents}"}
    run = run_in_process(bare, Welcome(7), id="order-7", steps=fakes, allow_unused=True)
    assert_type(run.result, Receipt)
    assert_type(run_in_process(without_input), InProcessRun[int])
    assert_type(run_in_process(without_input, None, signals=[("go", 1)]), InProcessRun[int])
    assert_type(run_in_process(bare, any_input), InProcessRun[Receipt])
    assert_type(survives_crashes(bare, Welcome(7), id=UUID(int=7)), InProcessRun[Receipt])
    assert_type(survives_crashes(without_input), InProcessRun[int])
    with InProcessWorker(ow, allow_unused=True) as worker:
        assert_type(worker.start(bare, Welcome(7), id="order-7"), str)
        worker.start(without_input, id="order-8")
