"""Mistakes that the type checkers must report: every line that says MISTAKE, and no other."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from owsuper import AsyncStep, OpenWorkflow, RetryPolicy, RunHandle, Step
from owsuper.testing import InProcessWorker, run_in_process, survives_crashes

ow = OpenWorkflow()


@dataclass
class Welcome:
    user_id: int


@ow.workflow
def blocking(step: Step, input: Welcome) -> int:
    return input.user_id


@ow.workflow("without-input")
def without_input(step: Step) -> str:
    return ""


@ow.workflow
async def awaited(step: AsyncStep, input: Welcome) -> int:
    return input.user_id


blocking.run({"user_id": 7})  # MISTAKE
blocking.run("seven")  # MISTAKE
blocking.run()  # MISTAKE
without_input.run(Welcome(7))  # MISTAKE
blocking.run(Welcome(7), available_at=5)  # MISTAKE
blocking.run(Welcome(7), idempotency_key=7)  # MISTAKE
blocking.run(Welcome(7), idempotencykey="7")  # MISTAKE
blocking.run_many([Welcome(7), "eight"])  # MISTAKE
wrong_result: RunHandle[str] = blocking.run(Welcome(7))  # MISTAKE
wrong_text: str = blocking.run(Welcome(7)).result()  # MISTAKE
ow.run_workflow(blocking, "seven")  # MISTAKE
ow.run_workflow(7)  # MISTAKE
ow.new_worker(proceses=2)  # MISTAKE
ow.get_run("id").result(timeout=[])  # MISTAKE
ow.list_runs(limit="10")  # MISTAKE
ow.get_run("id").logs(level=30)  # MISTAKE
ow.list_runs("failed")  # MISTAKE
print(ow.list_runs().items[0].statuss)  # MISTAKE
RetryPolicy(retry_on="ConnectionError")  # MISTAKE
RetryPolicy(retry_on=[ConnectionError])  # MISTAKE
RetryPolicy(never_retry=lambda error: str(error))  # MISTAKE
ow.workflow("long", step_limit="5000")  # MISTAKE
ow.workflow("report", concurrency="2")  # MISTAKE


async def in_async() -> None:
    await awaited.arun("seven")  # MISTAKE
    text: str = await (await awaited.arun(Welcome(7))).aresult()  # MISTAKE
    print(text)


@ow.workflow  # MISTAKE
def three_parameters(step: Step, input: Welcome, more: int) -> int:
    return more


@ow.workflow("no-step")  # MISTAKE
def without_step() -> int:
    return 1


@ow.workflow(7)  # MISTAKE
def named_by_number(step: Step) -> int:
    return 1


def reserve(conn: psycopg.Connection, order: int) -> int:
    return order


async def reserve_async(conn: psycopg.AsyncConnection, order: int) -> int:
    return order


def add(session: Session, order: int) -> int:
    return order


@ow.workflow
def transactions(step: Step, input: Welcome) -> None:
    step.transaction("argument", reserve, "one")  # MISTAKE
    step.transaction("arguments", reserve)  # MISTAKE
    step.transaction("session", add, 1)  # MISTAKE
    step.transaction("connection", reserve, 1, session=Session)  # MISTAKE
    step.transaction("both", reserve, 1, session=Session, using="default")  # MISTAKE
    step.transaction("option", reserve, 1, retries=3)  # MISTAKE
    text: str = step.transaction("result", reserve, 1)  # MISTAKE
    step.transaction("async session", add, 1, session=AsyncSession)  # MISTAKE
    print(text)


def fetch(user_id: int) -> str:
    return str(user_id)


def forget(amount: int) -> None: ...


@ow.workflow
def undone(step: Step, input: Welcome) -> None:
    step.run("fetch", fetch, 7, undo=forget)  # MISTAKE
    step.submit("fetch", fetch, 7, undo="refund")  # MISTAKE
    step.map("fetch", fetch, [7], undo=forget)  # MISTAKE
    step.run_workflow(without_input, undo=forget)  # MISTAKE
    step.sleep("nap", "1h", undo=forget)  # MISTAKE
    step.undo_all("fetch")  # MISTAKE


@ow.workflow
def continued(step: Step, input: Welcome) -> None:
    step.patched(7)  # MISTAKE
    step.set_progress("half")  # MISTAKE
    step.set_progress(1, 2, 3)  # MISTAKE
    if step.patched("a"):
        step.continue_as_new(7, workflow=continued)  # MISTAKE
    step.continue_as_new(input, workflow="continued")  # MISTAKE


blocking.run(Welcome(7), id=7)  # MISTAKE
blocking.run(Welcome(7), idempotency_key="k", key_lifetime=[])  # MISTAKE
ow.get_run("id").wake(7)  # MISTAKE
ow.get_run("id").rerun(7)  # MISTAKE
ow.get_run("id").retry(7)  # MISTAKE
ow.workflow("new", version="2", compatible_with=[1])  # MISTAKE
blocking.upcast(7)  # MISTAKE
blocking.upcast(step=7)  # MISTAKE


run_in_process(blocking, 7)  # MISTAKE
run_in_process(blocking)  # MISTAKE
run_in_process(without_input, 7)  # MISTAKE
run_in_process(awaited, {"user_id": 7})  # MISTAKE
run_in_process(blocking, Welcome(7), id=7)  # MISTAKE
run_in_process(blocking, Welcome(7), step={})  # MISTAKE
run_in_process(blocking, Welcome(7)).result.upper()  # MISTAKE
survives_crashes(blocking, 7)  # MISTAKE
survives_crashes(without_input, 7)  # MISTAKE
survives_crashes(blocking, Welcome(7), faults=[])  # MISTAKE
InProcessWorker(ow).start(blocking, 7)  # MISTAKE
InProcessWorker(ow).start(blocking)  # MISTAKE
InProcessWorker(ow).start(without_input, 7)  # MISTAKE
