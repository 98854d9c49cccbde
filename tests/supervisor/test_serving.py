"""The whole worker as a real process on a real database, with everything going wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from owsuper.db.clients import ClientQueries, NewRun, RunRow
from owsuper.supervisor.claim_policy import RECHECK_DELAYS
from tests.fixtures.processes import Program, Spawn
from tests.fixtures.proxy import Proxy

FLOWS = """
import asyncio, os, re, signal, threading, time
from pathlib import Path
from owsuper import OpenWorkflow

ow = OpenWorkflow()

def note(text):
    with open("effects", "a") as effects:
        effects.write(text + "\\n")

@ow.workflow
def say(step, input: dict):
    step.run("say", note, input["text"])
    return os.getpid()

@ow.workflow
def wait_for_file(step, input: dict):
    def wait():
        note("waiting")
        while not Path(input["path"]).exists():
            time.sleep(0.01)
    step.run("wait", wait)
    step.run("after", note, "after")

@ow.workflow
async def wait_for_ever(step, input: dict):
    async def wait():
        note("waiting")
        try:
            await asyncio.Event().wait()
        finally:
            note("cancelled")
    await step.run("wait", wait)

@ow.workflow
def die_once(step, input: dict):
    step.run("before", note, "before")
    def die():
        if not Path("died").exists():
            Path("died").touch()
            exec(input["how"])
        note("survived")
    step.run("die", die)

@ow.workflow
def die(step, input: dict):
    def die():
        note("dying")
        exec(input["how"])
    step.run("die", die)

@ow.workflow
def hold_the_gil(step, input: dict):
    def hold():
        note("holding")
        end = time.monotonic() + input["seconds"]
        while time.monotonic() < end:
            re.match("(a*)*b", "a" * 22)  # in C, without letting go
    step.run("hold", hold)

@ow.workflow
def environment(step):
    return {name: value for name, value in os.environ.items() if name.startswith("OWSUPER_")}
"""


class Worker:
    """A running ``owsuper`` and the database it serves."""

    def __init__(
        self, program: Program, conn: psycopg.Connection, schema: str, directory: Path
    ) -> None:
        self.program = program
        self.log = program.stderr
        self.schema = schema
        self._conn = conn
        self._queries = ClientQueries(schema, "default")
        self._directory = directory

    def start(self, workflow: str, *, due_in: float | None = None, **input: Any) -> str:
        due = None if due_in is None else datetime.now(UTC) + timedelta(seconds=due_in)
        new = NewRun(
            workflow_name=workflow, input_json=json.dumps(input).encode(), available_at=due
        )
        return self._queries.start(new).run(self._conn)

    def cancel(self, run_id: str) -> None:
        self._queries.cancel(run_id).run(self._conn)

    def get(self, run_id: str) -> RunRow:
        return self._queries.get_run(run_id).run(self._conn)

    def await_outcome(self, run_id: str, outcome: str = "completed", timeout: float = 30.0) -> str:
        """The line that says so."""
        found = self.log.wait_for(rf"^.*run_id={run_id} .*outcome={outcome}.*$", timeout=timeout)
        return found[0]

    def crashes(self) -> list[dict[str, Any]]:
        rows = self._conn.execute(
            f'SELECT workflow_run_id, alone, evidence FROM "{self.schema}".owsuper_crashes'
            " ORDER BY at"
        ).fetchall()
        return [{"run": run, "alone": alone, **evidence} for run, alone, evidence in rows]

    def effects(self) -> list[str]:
        path = self._directory / "effects"
        return path.read_text().splitlines() if path.exists() else []

    def children(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"child ready child=\d+ pid=(\d+)", self.log.text)]

    def kill_child(self, index: int = 0) -> None:
        os.kill(self.children()[index], signal.SIGKILL)

    def await_effect(self, text: str, count: int = 1) -> None:
        deadline = time.monotonic() + 30
        while self.effects().count(text) < count:
            assert time.monotonic() < deadline, (self.effects(), self.log.text)
            time.sleep(0.005)  # a file can only be looked at

    def stop(self) -> int:
        self.program.terminate()
        return self.program.wait()


Begin = Callable[..., Worker]


@pytest.fixture
def begin(
    tmp_path: Path,
    schema: str,
    database_url: str,
    conn: psycopg.Connection,
    spawn_owsuper: Spawn,
) -> Begin:
    """Start a worker of FLOWS with these options; it is ready on return."""
    (tmp_path / "flows.py").write_text(FLOWS)

    def begin(
        *options: str, url: str = database_url, ready: bool = True, **environment: str
    ) -> Worker:
        program = spawn_owsuper(
            "--module",
            "flows",
            "--log-level=debug",
            *options,
            env={
                "OWSUPER_DATABASE_URL": url,
                "OWSUPER_SCHEMA": schema,
                "OWSUPER_PROCESSES": "2",
                **environment,
            },
            cwd=tmp_path,
        )
        worker = Worker(program, conn, schema, tmp_path)
        if ready:
            worker.log.wait_for(r": ready: ")
        return worker

    return begin


# --- the main job --------------------------------------------------------------------------------


def test_a_run_is_executed_and_the_worker_stops_cleanly(begin: Begin) -> None:
    worker = begin()
    run = worker.start("say", text="hello")
    worker.await_outcome(run)
    row = worker.get(run)
    assert (row.status, row.attempts) == ("completed", 1)
    assert int(row.output or 0) in worker.children()
    assert worker.effects() == ["hello"]
    assert worker.stop() == 0
    assert worker.program.descendants() == []


def test_the_bell_starts_a_run_long_before_the_poll(begin: Begin) -> None:
    worker = begin("--poll-interval=1h")
    worker.await_outcome(worker.start("say", text="hello"))


def test_a_worker_hears_of_a_cancellation_long_before_it_renews_the_lease(begin: Begin) -> None:
    worker = begin("--lease=1h")
    run = worker.start("wait_for_ever")
    worker.await_effect("waiting")
    worker.cancel(run)
    worker.await_outcome(run, "lost")
    assert worker.effects() == ["waiting", "cancelled"]
    assert worker.get(run).status == "canceled"


def test_a_worker_that_does_not_listen_learns_of_a_cancellation_as_it_renews_the_lease(
    begin: Begin,
) -> None:
    worker = begin("--no-listen", "--lease=1s", "--poll-interval=50ms")
    run = worker.start("wait_for_ever")
    worker.await_effect("waiting")
    worker.cancel(run)
    worker.await_outcome(run, "lost")
    assert worker.effects() == ["waiting", "cancelled"]


def test_a_timer_starts_a_run_when_it_is_due_long_before_the_poll(begin: Begin) -> None:
    worker = begin("--poll-interval=1h")
    run = worker.start("say", text="later", due_in=1.0)
    worker.await_outcome(run)
    row = worker.get(run)
    assert row.started_at is not None
    assert row.available_at is None
    assert row.started_at - row.created_at > timedelta(seconds=0.9)


def test_without_listening_runs_are_found_by_polling(begin: Begin) -> None:
    worker = begin("--no-listen", "--poll-interval=200ms")
    worker.await_outcome(worker.start("say", text="hello"))


def test_a_lease_that_ran_out_is_noticed_without_bell_or_poll(
    begin: Begin, conn: psycopg.Connection
) -> None:
    worker = begin("--no-listen", "--poll-interval=1h")
    after_the_looks_at_the_start = RECHECK_DELAYS[-1] + 2.0
    with conn.transaction():  # it never was anybody's to claim
        run = worker.start("say", due_in=after_the_looks_at_the_start, text="hello")
        conn.execute(
            f"""UPDATE "{worker.schema}".workflow_runs
            SET status = 'running', worker_id = 'gone', attempts = 1 WHERE id = $1""",
            [run],
        )
    worker.await_outcome(run)
    assert worker.get(run).attempts == 2


def test_many_runs_are_all_executed_once(begin: Begin) -> None:
    worker = begin("--concurrency=4")
    runs = [worker.start("say", text=str(number)) for number in range(200)]
    for run in runs:
        worker.await_outcome(run)
    assert sorted(worker.effects(), key=int) == [str(number) for number in range(200)]
    assert worker.stop() == 0


def test_runs_in_hand_behind_a_long_one_are_given_back(begin: Begin, tmp_path: Path) -> None:
    worker = begin("--processes=1", "--poll-interval=60s")
    quick = [worker.start("say", text="quick") for _ in range(60)]
    long = worker.start("wait_for_file", path=str(tmp_path / "go"))
    rest = [worker.start("say", text="late") for _ in range(5)]
    worker.await_effect("waiting")
    deadline = time.monotonic() + 10
    while any(row.worker_id and row.status == "running" for row in map(worker.get, rest)):
        assert time.monotonic() < deadline, "they wait for a slot that does not become free"
        time.sleep(0.01)
    (tmp_path / "go").touch()
    for run in [*quick, long, *rest]:
        worker.await_outcome(run)


def test_clients_in_a_child_find_the_same_database(begin: Begin, database_url: str) -> None:
    worker = begin(OWSUPER_DATABASE_URL=database_url)
    run = worker.start("environment")
    worker.await_outcome(run)
    found = json.loads(worker.get(run).output or "")
    assert found["OWSUPER_DATABASE_URL"] == database_url
    assert found["OWSUPER_SCHEMA"] == worker.schema
    assert found["OWSUPER_NAMESPACE"] == "default"


# --- deaths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "signal SIGSEGV"),
        ("os._exit(7)", "exit code 7"),
    ],
)
def test_a_run_whose_process_dies_goes_on_elsewhere_without_waiting_for_lease_or_poll(
    begin: Begin, how: str, words: str
) -> None:
    worker = begin("--poll-interval=1h", "--lease=1h")
    run = worker.start("die_once", how=how)
    worker.await_outcome(run)
    assert worker.effects() == ["before", "survived"]
    worker.log.wait_for(f"child died: {words}")
    lost = worker.log.wait_for(rf"^.*run lost its process.*run_id={run}.*$")[0]
    assert "step=die " in lost
    row = worker.get(run)
    assert (row.status, row.attempts) == ("completed", 2)
    worker.log.wait_for(r"child ready", count=3)


def test_a_run_that_keeps_killing_its_process_fails_with_the_evidence(begin: Begin) -> None:
    worker = begin("--max-crashes=3")
    run = worker.start("die", how="import ctypes; ctypes.string_at(0)")
    worker.log.wait_for(rf"it keeps killing its process run_id={run}.* crashes=3")
    row = worker.get(run)
    assert row.status == "failed"
    assert worker.effects() == ["dying"] * 3
    error = json.loads(row.error or "")
    assert "SIGSEGV" in error["message"]
    assert "die" in error["message"]


def test_runs_that_only_shared_the_process_are_not_charged(begin: Begin, tmp_path: Path) -> None:
    worker = begin("--processes=1", "--concurrency=3", "--max-crashes=2")
    bystanders = [worker.start("wait_for_file", path=str(tmp_path / "go")) for _ in range(2)]
    worker.await_effect("waiting", 2)
    culprit = worker.start("die", how="os._exit(3)")
    worker.log.wait_for(rf"it keeps killing its process run_id={culprit}", timeout=60)
    (tmp_path / "go").touch()
    for run in bystanders:
        worker.await_outcome(run)
    assert worker.get(culprit).status == "failed"


def test_a_child_that_dies_idle_is_replaced(begin: Begin) -> None:
    worker = begin()
    worker.kill_child()
    worker.log.wait_for(r"child died: signal SIGKILL")
    worker.log.wait_for(r"child ready", count=3)
    assert worker.crashes() == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody inherits the children")
def test_a_dead_template_is_replaced_and_nobody_notices(begin: Begin, tmp_path: Path) -> None:
    worker = begin()
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    (template,) = [pid for pid in worker.program.descendants() if pid not in worker.children()]
    os.kill(template, signal.SIGKILL)
    worker.log.wait_for(r"the template died")
    worker.kill_child()
    worker.kill_child(1)
    worker.log.wait_for(r"child died: signal SIGKILL", count=2)
    worker.log.wait_for(r"child ready", count=4)
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    assert worker.stop() == 0


def test_a_step_that_holds_the_gil_keeps_its_lease(begin: Begin) -> None:
    worker = begin("--lease=1s")
    run = worker.start("hold_the_gil", seconds=3.5)
    worker.await_outcome(run)
    assert worker.effects() == ["holding"]
    assert worker.get(run).attempts == 1


def test_a_template_that_stands_still_is_replaced(begin: Begin) -> None:
    worker = begin("--processes=1")
    (template,) = [pid for pid in worker.program.descendants() if pid not in worker.children()]
    os.kill(template, signal.SIGSTOP)
    worker.kill_child()
    worker.log.wait_for("the template does not answer")
    worker.log.wait_for("child ready", count=2)
    worker.await_outcome(worker.start("say", text="hello"))
    assert worker.stop() == 0


def test_runs_of_a_child_that_is_told_to_stop_are_not_charged(begin: Begin, tmp_path: Path) -> None:
    worker = begin("--processes=1", "--concurrency=2", "--max-crashes=1")
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    os.kill(worker.children()[0], signal.SIGTERM)
    late = [worker.start("say", text="late") for _ in range(3)]
    (tmp_path / "go").touch()
    worker.log.wait_for("child left: exit code 0")
    for each in (run, *late):
        worker.await_outcome(each)
    assert worker.crashes() == []


# --- stopping ------------------------------------------------------------------------------------


def test_term_lets_runs_finish_and_takes_no_more(begin: Begin, tmp_path: Path) -> None:
    worker = begin()
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    worker.program.terminate()
    worker.log.wait_for("draining; runs to finish: 1")
    late = worker.start("say", text="late")
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    assert worker.program.wait() == 0
    assert worker.get(run).status == "completed"
    assert worker.effects() == ["waiting", "after"]
    # Never claimed, or given back by a claim that was on its way just then.
    row = worker.get(late)
    assert (row.status, row.worker_id) in (("pending", None), ("running", None))


@pytest.mark.parametrize("numbers", [[signal.SIGINT, signal.SIGINT], [signal.SIGQUIT]])
def test_a_second_int_or_a_quit_stops_now_and_releases(begin: Begin, numbers: list[int]) -> None:
    worker = begin("--graceful-timeout=1h")
    run = worker.start("wait_for_file", path="/nowhere")
    worker.await_effect("waiting")
    for number in numbers:
        worker.program.signal(number)
        worker.log.wait_for("draining")
    assert worker.program.wait() == 0
    released_uncharged(worker, run)


def test_after_the_graceful_time_out_children_are_killed_and_runs_released(begin: Begin) -> None:
    worker = begin("--graceful-timeout=500ms")
    run = worker.start("wait_for_file", path="/nowhere")
    worker.await_effect("waiting")
    worker.program.terminate()
    assert worker.program.wait() == 0
    released_uncharged(worker, run)


def released_uncharged(worker: Worker, run: str) -> None:
    row = worker.get(run)
    assert (row.status, row.worker_id) == ("running", None)
    assert row.available_at is not None
    assert row.available_at <= datetime.now(UTC)
    assert worker.crashes() == []
    assert worker.program.descendants() == []


def test_a_stop_while_the_template_stands_still_is_bounded(begin: Begin) -> None:
    worker = begin("--processes=1", "--graceful-timeout=200ms")
    (template,) = [pid for pid in worker.program.descendants() if pid not in worker.children()]
    os.kill(template, signal.SIGSTOP)
    worker.kill_child()
    worker.log.wait_for("child died")
    worker.program.terminate()
    assert worker.program.wait() == 0
    assert worker.program.descendants() == []


def test_a_stop_while_somebody_has_the_tables_locked_ends_the_start(
    begin: Begin, conn: psycopg.Connection, schema: str
) -> None:
    begin().stop()
    conn.execute(f'DELETE FROM "{schema}".owsuper_migrations WHERE version = 6'.encode())
    with conn.transaction():
        conn.execute(f'LOCK TABLE "{schema}".workflow_runs IN ACCESS EXCLUSIVE MODE'.encode())
        worker = begin(ready=False)
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = $1::regclass"
        while not conn.execute(waiting, [f'"{schema}".workflow_runs']).fetchall():
            time.sleep(0.01)  # nothing is said of it
        worker.program.terminate()
        assert worker.program.wait() == 0
        assert worker.program.descendants() == []


def test_orphans_do_not_wait_for_a_database_that_does_not_answer(
    begin: Begin, conn: psycopg.Connection, schema: str
) -> None:
    worker = begin("--graceful-timeout=200ms")
    worker.start("wait_for_file", path="/nowhere")
    worker.await_effect("waiting")
    with conn.transaction():
        conn.execute(f'LOCK TABLE "{schema}".workflow_runs IN ACCESS EXCLUSIVE MODE'.encode())
        worker.program.kill()
        deadline = time.monotonic() + 30
        while worker.program.descendants():
            assert time.monotonic() < deadline, worker.program.descendants()
            time.sleep(0.01)  # they are nobody's children any more


def test_a_supervisor_that_is_killed_leaves_no_orphans_and_loses_nothing(
    begin: Begin, tmp_path: Path
) -> None:
    worker = begin("--graceful-timeout=10s")
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    worker.program.kill()
    worker.program.wait()
    (tmp_path / "go").touch()
    deadline = time.monotonic() + 20
    while worker.program.descendants():
        assert time.monotonic() < deadline, worker.program.descendants()
        time.sleep(0.01)  # they are nobody's children any more
    row = worker.get(run)
    assert row.status in ("running", "completed")
    second = begin()
    second.log.wait_for("ready")
    if row.status == "running":
        second.await_outcome(run)
    assert worker.effects() == ["waiting", "after"]


# --- the database --------------------------------------------------------------------------------


def test_an_outage_is_waited_out_and_runs_go_on(begin: Begin, proxy: Proxy) -> None:
    worker = begin("--poll-interval=60s", url=proxy.url)
    worker.await_outcome(worker.start("say", text="one"))
    proxy.cut()
    worker.log.wait_for("the claiming connection is down")
    run = worker.start("say", text="two")
    proxy.restore()
    worker.await_outcome(run)
    assert worker.effects() == ["one", "two"]
    assert worker.stop() == 0


def test_a_child_that_dies_during_an_outage_is_recorded_after_it(
    begin: Begin, proxy: Proxy
) -> None:
    worker = begin(url=proxy.url)
    run = worker.start("die_once", how="note('dying'); time.sleep(1); os.kill(os.getpid(), 9)")
    worker.await_effect("dying")
    proxy.cut()
    worker.log.wait_for("child died: signal SIGKILL")
    proxy.restore()
    worker.await_outcome(run)
    assert worker.effects() == ["before", "dying", "survived"]


def test_after_an_outage_that_outlasts_a_lease_its_run_is_still_ours(
    begin: Begin, proxy: Proxy, tmp_path: Path
) -> None:
    worker = begin("--lease=1s", url=proxy.url)
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    proxy.cut()
    deadline = time.monotonic() + 10
    while (due := worker.get(run).available_at) is None or due > datetime.now(UTC):
        assert time.monotonic() < deadline
        time.sleep(0.01)  # only the clock ends a lease
    proxy.restore()
    worker.log.wait_for("the claiming connection is back")
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    assert worker.get(run).attempts == 1
    assert worker.effects() == ["waiting", "after"]


def test_a_stop_during_an_outage_does_not_wait_for_ever(begin: Begin, proxy: Proxy) -> None:
    worker = begin("--graceful-timeout=500ms", url=proxy.url)
    worker.start("wait_for_file", path="/nowhere")
    worker.await_effect("waiting")
    proxy.cut()
    worker.program.terminate()
    assert worker.program.wait() == 0
    worker.log.wait_for("the database is away")


def test_notifications_that_do_not_arrive_are_told_of_and_polling_goes_on(
    begin: Begin, database_url: str, conn: psycopg.Connection
) -> None:
    # NOTIFY reaches listeners in the same database only, so another one plays the pooler.
    elsewhere = re.sub(r"/\w+(?=\?|$)", "/template1", database_url)
    worker = begin("--poll-interval=200ms", OWSUPER_LISTEN_URL=elsewhere)
    worker.log.wait_for("NOTIFY does not reach us")
    worker.await_outcome(worker.start("say", text="hello"))


def test_a_database_that_is_away_at_the_start_is_exit_code_4(begin: Begin) -> None:
    worker = begin(url="postgresql://postgres@127.0.0.1:1/postgres", ready=False)
    assert worker.program.wait() == 4
    assert "Cannot reach PostgreSQL at 127.0.0.1:1" in worker.log.text
    assert "Traceback" not in worker.log.text


# --- the application -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words", "with_traceback"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero", True),
        ("x = 1", "No OpenWorkflow is defined in flows", False),
        (FLOWS + "\n@ow.workflow\ndef say(step): ...\n", "already registered", False),
        (FLOWS + "\n@ow.workflow\ndef ask(step) -> 'Answer': ...\n", "Answer", False),
        ("import os\nos._exit(3)", "exit code 3", False),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV", False),
    ],
    ids=["raises", "empty", "twins", "annotation", "exits", "crashes"],
)
@pytest.mark.parametrize("preload", ["true", "false"])
def test_an_application_that_cannot_be_loaded_is_exit_code_3(
    begin: Begin, tmp_path: Path, code: str, words: str, with_traceback: bool, preload: str
) -> None:
    (tmp_path / "flows.py").write_text(code)
    worker = begin(ready=False, OWSUPER_PRELOAD=preload)
    assert worker.program.wait() == 3
    assert words in worker.log.text
    assert ("Traceback" in worker.log.text) == with_traceback


def test_an_application_that_leaves_threads_behind_is_served_unloaded(
    begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "threaded.py").write_text(
        FLOWS.replace(
            "ow = ",
            "threading.Thread(target=time.sleep, args=(9999,), daemon=True,"
            " name='flusher').start()\now = ",
        )
    )
    (tmp_path / "flows.py").write_text("from threaded import *\n")
    worker = begin()
    worker.log.wait_for(r"left behind what cannot be forked: thread flusher")
    worker.await_outcome(worker.start("say", text="hello"))
    assert worker.stop() == 0


def test_without_preload_runs_are_executed(begin: Begin) -> None:
    worker = begin("--no-preload")
    worker.await_outcome(worker.start("say", text="hello"))
    assert worker.stop() == 0


def test_a_module_of_the_application_may_be_called_as_one_of_pythons_own(
    begin: Begin, tmp_path: Path
) -> None:
    for name in ("queue", "types", "logging", "selectors"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not for you')\n")
    worker = begin()
    worker.await_outcome(worker.start("say", text="hello"))
    assert worker.stop() == 0


def test_a_stop_while_the_application_is_imported_is_clean(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(
        "import sys, time\nsys.stderr.write('importing\\n'); sys.stderr.flush()\ntime.sleep(60)\n"
    )
    worker = begin(ready=False)
    worker.log.wait_for("importing")
    worker.program.terminate()
    assert worker.program.wait() == 0
    assert worker.program.descendants() == []


def test_children_that_cannot_boot_end_the_start_with_what_was_seen(
    begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(
        FLOWS + "\nos.register_at_fork(after_in_child=lambda: os._exit(9))\n"
    )
    worker = begin(ready=False)
    assert worker.program.wait() == 1
    assert "3 child processes died before they could take a run" in worker.log.text
    assert "exit code 9" in worker.log.text


# --- systemd -------------------------------------------------------------------------------------


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


def test_systemd_hears_of_everything(begin: Begin, systemd: socket.socket) -> None:
    worker = begin(NOTIFY_SOCKET=systemd.getsockname(), WATCHDOG_USEC="500000")
    heard: list[str] = []
    while not {"READY=1", "STATUS=0/2 busy", "WATCHDOG=1"} <= set(heard):
        heard.append(systemd.recv(1000).decode())
    assert worker.stop() == 0
    while "STOPPING=1" not in heard:
        heard.append(systemd.recv(1000).decode())
    assert heard.index("READY=1") < heard.index("STOPPING=1")


# --- rows that somebody else has written ---------------------------------------------------------


def test_runs_with_times_beyond_all_calendars_are_executed_and_stop_nobody(
    begin: Begin, conn: psycopg.Connection, schema: str
) -> None:
    worker = begin("--processes=1")
    runs = [str(uuid4()) for _ in range(4)]
    rows = zip(
        runs,
        ["infinity", "20000-01-01 UTC", None, None],
        ["now", "now", "-infinity", "now"],
        ["now", "now", "-infinity", "infinity"],
        strict=True,
    )
    for run, deadline, created, available in rows:
        conn.execute(
            f"""INSERT INTO "{schema}".workflow_runs (namespace_id, id, workflow_name, status,
                config, attempts, input, deadline_at, created_at, available_at, updated_at)
            VALUES ('default', $1, 'say', 'pending', '{{}}', 0, '{{"text": "hello"}}', $2, $3, $4,
                now())""".encode(),
            [run, deadline, created, available],
        )
    for run in runs[:3]:
        worker.await_outcome(run)
    worker.await_outcome(worker.start("say", text="hello"))
    worker.cancel(runs[3])
    assert worker.stop() == 0
    assert "Traceback" not in worker.log.text
