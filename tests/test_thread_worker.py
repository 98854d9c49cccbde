"""A worker in threads of a program."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from owsuper import AsyncStep, OpenWorkflow, Step, ThreadWorker, Tick
from owsuper.errors import (
    ConfigurationError,
    DatabaseUnreachable,
    InvalidDuration,
    WorkerError,
)
from tests.fixtures.processes import Spawn


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    ow = OpenWorkflow(database_url, schema=schema)
    yield ow
    ow.close()


def descriptors() -> set[str]:
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(path.readlink()))
    return found


def threads_of_worker() -> list[str]:
    names = ("owsuper-worker", "owsuper-child", "owsuper-slot", "owsuper-loop", "owsuper-heartbeat")
    return [each.name for each in threading.enumerate() if each.name in names]


def await_true(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_workflows_defined_before_and_after_the_start_are_executed_here(ow: OpenWorkflow) -> None:
    @ow.workflow
    def before(step: Step, name: str) -> list[object]:
        return [step.run("greet", lambda: f"hello {name}"), os.getpid()]

    with ThreadWorker(ow) as worker:
        assert before.run("Ada").result(timeout="30s") == ["hello Ada", os.getpid()]

        @ow.workflow
        async def after(step: AsyncStep, name: str) -> str:
            async def greet() -> str:
                return f"hello {name}"

            return await step.run("greet", greet)

        assert after.run("Bob").result(timeout="30s") == "hello Bob"
        assert worker.running
    assert not worker.running


def test_schedules_declared_before_and_after_the_start_fire(ow: OpenWorkflow) -> None:
    fired = []

    @ow.schedule(every="1s")
    @ow.workflow
    def before(step: Step, tick: Tick) -> None:
        step.run("note", lambda: fired.append(tick.schedule))

    with ThreadWorker(ow):
        await_true(lambda: "before" in fired)

        @ow.schedule(every="1s", name="later")
        @ow.workflow
        def after(step: Step, tick: Tick) -> None:
            step.run("note", lambda: fired.append(tick.schedule))

        await_true(lambda: "later" in fired)
    assert {each.name for each in ow.schedules.list()} == {"before", "later"}


def test_records_of_its_runs_name_their_run(
    ow: OpenWorkflow, caplog: pytest.LogCaptureFixture
) -> None:
    @ow.workflow
    def order(step: Step) -> None:
        step.run("reserve", lambda: step.logger.warning("reserving"))

    before = logging.getLogRecordFactory()
    try:
        with ThreadWorker(ow):
            run = order.run()
            run.result(30)
    finally:
        logging.setLogRecordFactory(before)
    [record] = [each for each in caplog.records if each.name == "order"]
    fields = vars(record)
    assert (fields["run_id"], fields["step"], fields["attempt"]) == (run.id, "reserve", 1)


def test_it_leaves_nothing_behind_and_can_be_started_again(ow: OpenWorkflow) -> None:
    @ow.workflow
    async def simple(step: AsyncStep) -> int:
        return await step.run("one", lambda: 1)

    def finish() -> None:
        run = simple.run()
        await_true(lambda: run.status() == "completed")  # result() might keep a connection open

    worker = ThreadWorker(ow)
    with worker:
        finish()
    title, handlers = Path("/proc/self/cmdline").read_bytes(), logging.getLogger().handlers[:]
    await_true(lambda: not threads_of_worker())
    before = len(descriptors())
    for _ in range(2):
        with worker:
            finish()
    await_true(lambda: not threads_of_worker())
    await_true(lambda: len(descriptors()) <= before)
    assert Path("/proc/self/cmdline").read_bytes() == title
    assert logging.getLogger().handlers == handlers


def test_hooks_resources_and_contexts_are_used(ow: OpenWorkflow) -> None:
    events = []

    @ow.on_child_start
    def start() -> None:
        events.append("start")

    @ow.on_child_stop
    def stop() -> None:
        events.append("stop")

    @ow.resource
    def client() -> Iterator[str]:
        yield "client"
        events.append("closed")

    @ow.workflow
    def use(step: Step) -> str:
        return step.run("use", client.inject(lambda client: client.upper()))

    with ThreadWorker(ow):
        assert use.run().result(timeout="30s") == "CLIENT"
    assert events == ["start", "closed", "stop"]


def test_a_run_that_does_not_finish_in_time_is_given_back(ow: OpenWorkflow) -> None:
    began, go_on = threading.Event(), threading.Event()

    def block() -> int:
        began.set()
        go_on.wait(60)
        return 1

    @ow.workflow
    def slow(step: Step) -> int:
        return step.run("block", block)

    handle = slow.run()
    worker = ThreadWorker(ow, graceful_timeout="0s").start()
    assert began.wait(30)
    worker.stop()
    assert not worker.running
    go_on.set()
    with ThreadWorker(ow):
        assert handle.result(timeout="30s") == 1


def test_processes_that_are_forked_beside_it_and_after_it_take_nothing_of_it(
    ow: OpenWorkflow,
) -> None:
    @ow.workflow
    def fork(step: Step) -> int:
        return step.run("fork", fork_one)

    with ThreadWorker(ow):
        assert fork.run().result(timeout="30s") == 0
        assert fork.run().result(timeout="30s") == 0
    assert fork_one() == 0


def fork_one() -> int:
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    process.join()
    code = process.exitcode
    assert code is not None
    return code


# --- mistakes ----------------------------------------------------------------------------


def test_a_setting_that_cannot_be_used_is_named(ow: OpenWorkflow) -> None:
    with pytest.raises(ConfigurationError, match="concurrency: must be a whole number"):
        ThreadWorker(ow, concurrency=0)


def test_what_is_no_openworkflow_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"ThreadWorker: <module .* is no OpenWorkflow"):
        ThreadWorker(sys)  # type: ignore[arg-type]


@pytest.mark.timeout(60)
def test_the_time_to_wait_for_its_start_is_a_duration(ow: OpenWorkflow) -> None:
    worker = ThreadWorker(ow)
    with pytest.raises(InvalidDuration, match="soon"):
        worker.start(timeout="soon")
    assert not worker.running
    with worker.start(timeout="30s"):
        assert worker.running


def test_it_is_started_once(ow: OpenWorkflow) -> None:
    with ThreadWorker(ow) as worker, pytest.raises(WorkerError, match="already running"):
        worker.start()
    worker.stop()


def test_a_database_that_does_not_answer_is_an_error_of_start() -> None:
    ow = OpenWorkflow("postgresql://127.0.0.1:1/none")
    with pytest.raises(DatabaseUnreachable):
        ThreadWorker(ow).start()
    await_true(lambda: not threads_of_worker())


def test_a_hook_that_raises_is_an_error_of_start(ow: OpenWorkflow) -> None:
    @ow.on_child_start
    def refuse() -> None:
        raise ValueError("no license")

    worker = ThreadWorker(ow)
    with pytest.raises(WorkerError, match="ValueError: no license"):
        worker.start()
    await_true(lambda: not threads_of_worker())
    assert not worker.running


def test_tables_that_are_missing_are_not_created_if_that_is_off(
    conn: psycopg.Connection, database_url: str
) -> None:
    from owsuper.errors import MigrationError

    ow = OpenWorkflow(database_url, schema="test_none")
    with pytest.raises(MigrationError, match="not complete"):
        ThreadWorker(ow, migrate=False).start()


# --- the end of the program, and interactive sessions --------------------------------------

SCRIPT = """
import sys, threading
from owsuper import OpenWorkflow, ThreadWorker
ow = OpenWorkflow()
began = threading.Event()

@ow.workflow
def note(step):
    step.run("note", write)

def write():
    began.set()
    threading.Event().wait(0.5)
    print("written", flush=True)

ThreadWorker(ow).start()
note.run()
began.wait(30)
"""


def test_at_the_end_of_the_program_runs_finish(
    spawn: Spawn, tmp_path: Path, database_url: str, schema: str, conn: psycopg.Connection
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    program = spawn(sys.executable, "script.py", env=env, cwd=tmp_path)
    assert program.wait(60) == 0, program.stderr.text
    program.stdout.wait_for("written")
    rows = conn.execute(f"SELECT status FROM {schema}.workflow_runs".encode()).fetchall()
    assert rows == [("completed",)]


INTERACTIVE = """
from owsuper import *
ow = OpenWorkflow()

@ow.workflow
def version(step):
    return step.run("version", lambda: 1)

worker = ThreadWorker(ow).start()
print(version.run().result(timeout="30s"))

@ow.workflow
def version(step):
    return step.run("version", lambda: 2)

print(version.run().result(timeout="30s"))

try:
    ow.new_worker()
except OwsuperError as error:
    print(error)

"""


@pytest.mark.slow
def test_a_workflow_that_is_defined_again_in_a_session_takes_the_place_of_the_first(
    spawn: Spawn, tmp_path: Path, database_url: str, schema: str
) -> None:
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    program = spawn(sys.executable, "-c", INTERACTIVE, env=env, cwd=tmp_path)
    assert program.wait(60) == 0, program.stderr.text
    program.end()
    one, two, error = program.stdout.text.splitlines()
    assert (one, two) == ("1", "2")
    assert "ThreadWorker(ow).start()" in error


FIRST_CELL = """
from owsuper import *
ow = OpenWorkflow()
worker = ThreadWorker(ow).start()
workers.append(worker)

@ow.workflow
def version(step):
    return step.run("version", lambda: {number})
"""
LATER_CELL = """
from contextlib import contextmanager

@ow.around_steps
@contextmanager
def noted():
    notes.append({number})
    yield
"""
CELLS = f"""
workers, notes = [], []
for number in range(3):
    exec({FIRST_CELL!r}.format(number=number), globals())
    found = {{version.run().result(timeout="30s") for _ in range(8)}}
    print(found, [each.running for each in workers[-1:]])


def refuse():
    raise ValueError("no license")


ow.on_child_start(refuse)
try:
    ThreadWorker(ow).start()
except OwsuperError:
    print("one that does not start leaves the one before:", workers[-1].running)
ow.start_hooks.clear()
workers.append(ThreadWorker(ow).start())
for worker in workers[:-1]:
    worker.stop()
for number in (1, 2):
    exec({LATER_CELL!r}.format(number=number), globals())
    version.run().result(timeout="30s")
print(notes, [each.running for each in workers])
"""


def test_a_cell_that_is_executed_again_replaces_its_worker_and_its_functions(
    spawn: Spawn, tmp_path: Path, database_url: str, schema: str
) -> None:
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    program = spawn(sys.executable, "-c", CELLS, env=env, cwd=tmp_path)
    assert program.wait(60) == 0, program.stderr.text
    program.end()
    assert program.stdout.text.splitlines() == [
        "{0} [True]",
        "{1} [True]",
        "{2} [True]",
        "one that does not start leaves the one before: True",
        "[1, 2] [False, False, False, True]",
    ]
