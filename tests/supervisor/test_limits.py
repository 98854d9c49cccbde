"""Workers keep the limits of workflows, whatever dies. A step itself checks who is there."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from owsuper.db.clients import ClientQueries
from owsuper.db.new_runs import NewRun
from owsuper.errors import RunNotCancelable
from tests.db.limits import Limits
from tests.db.rows import Tables
from tests.fixtures.postgres import connect
from tests.supervisor.worker import Begin, Worker

# Whoever enters while as many are there as may be leaves a row in "violations".
TABLES = """
CREATE TABLE "{schema}".presence (run text PRIMARY KEY, key text);
CREATE TABLE "{schema}".entries (run text, key text, present int);
"""
FLOW = """
import os, time
import psycopg
from owsuper import OpenWorkflow, RetryPolicy

ow = OpenWorkflow()
SCHEMA = os.environ["OWSUPER_SCHEMA"]
AGAIN = RetryPolicy(initial_interval=0.05, maximum_interval=0.2, maximum_attempts=10_000)

def be_there(run, key, seconds):
    with psycopg.connect(os.environ["OWSUPER_DATABASE_URL"], autocommit=True) as conn:
        with conn.transaction():
            conn.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [SCHEMA])
            conn.execute(
                f'INSERT INTO "{SCHEMA}".presence SELECT %s, %s FROM "{SCHEMA}".workflow_runs'
                " WHERE id = %s AND status = 'running' ON CONFLICT DO NOTHING",
                [run, key, run],
            )
            conn.execute(
                f'INSERT INTO "{SCHEMA}".entries SELECT %s, %s, count(*)'
                f' FROM "{SCHEMA}".presence WHERE key = %s',
                [run, key, key],
            )
        time.sleep(seconds)
        conn.execute(f'DELETE FROM "{SCHEMA}".presence WHERE run = %s', [run])

@ow.workflow
def limited(step, input: dict):
    step.run("be there", be_there, step.run_id, input["key"], input["seconds"], retry=AGAIN)
    if input.get("nap"):
        step.sleep("nap", input["nap"])
        step.run("again", be_there, step.run_id, input["key"], input["seconds"], retry=AGAIN)
"""
W = ("limited", None)


class Place:
    """The tables in which steps show that they are there."""

    def __init__(self, conn: psycopg.Connection, schema: str) -> None:
        self.conn = conn
        self.schema = schema
        self.queries = ClientQueries(schema, "default")
        self.conn.execute(TABLES.format(schema=schema).encode())

    def start(self, key: str, seconds: float = 0.0, nap: float = 0.0) -> str:
        input = {"key": key, "seconds": seconds, "nap": nap}
        new = NewRun(workflow_name="limited", input_json=json.dumps(input).encode())
        return self.queries.start(new).run(self.conn)

    def cancel(self, run: str) -> None:
        """Cancel a run, whose step is not there from this moment on."""
        with self.conn.transaction():
            self.conn.execute("SELECT pg_advisory_xact_lock(hashtext($1))", [self.schema])
            with suppress(RunNotCancelable):
                self.queries.cancel(run).run(self.conn)
            self.conn.execute(f'DELETE FROM "{self.schema}".presence WHERE run = $1', [run])

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.conn.execute(query.format(schema=f'"{self.schema}"').encode()).fetchall()

    @property
    def unfinished(self) -> int:
        query = "SELECT count(*) FROM {schema}.workflow_runs WHERE status IN ('pending', 'running')"
        return int(str(self.rows(query)[0][0]))

    def most_present(self) -> int:
        return int(str(self.rows("SELECT max(present) FROM {schema}.entries")[0][0]))

    def await_end(self) -> None:
        deadline = time.monotonic() + 120
        while left := self.unfinished:
            assert time.monotonic() < deadline, left
            time.sleep(0.01)  # the end of many runs can only be polled

    def assert_all_is_free(self) -> None:
        for table in ("presence", "owsuper_holds", "owsuper_waiting"):
            assert self.rows(f"SELECT * FROM {{schema}}.{table}") == []


@pytest.fixture
def place(conn: psycopg.Connection, schema: str, tmp_path: Path) -> Place:
    (tmp_path / "limited.py").write_text(FLOW)
    return Place(conn, schema)


class LimitsOfNewerCode(Limits):
    """Limits that the code of the workers has not: it leaves them alone, because it is older."""

    def declare(
        self, name: str = "l", amount: int = 1, *, workflows: Sequence[str] = ("w",), **columns: Any
    ) -> None:
        super().declare(name, amount, workflows=workflows, loaded_at="9999-01-01", **columns)


@pytest.fixture
def limits(conn: psycopg.Connection, schema: str) -> Limits:
    return LimitsOfNewerCode(Tables(conn, schema))


def begin_two(begin: Begin, *options: str) -> list[Worker]:
    options = ("--module=limited", "--poll-interval=1h", "--concurrency=4", *options)
    return [begin(*options, ready=False), begin(*options)]


@pytest.mark.parametrize("hold", ["run", "executing"])
def test_two_workers_keep_a_limit_and_a_place_that_is_free_is_taken_before_the_poll(
    begin: Begin, place: Place, limits: Limits, hold: str
) -> None:
    limits.declare(amount=2, workflows=["limited"], path=["key"], hold=hold)
    begin_two(begin)
    for _ in range(6):
        place.start("a", 0.02, nap=0.03)
        place.start("b", 0.02)
    place.await_end()
    assert place.most_present() == 2
    place.assert_all_is_free()


def test_a_limit_that_is_declared_while_a_worker_serves_holds_from_then_on(
    begin: Begin, place: Place, limits: Limits
) -> None:
    worker = begin("--module=limited", "--poll-interval=1h", "--concurrency=4")
    worker.await_outcome(place.start("a"))
    limits.declare(amount=1, workflows=["limited"])
    runs = [place.start("a", 0.05) for _ in range(4)]
    for run in runs:
        worker.await_outcome(run)
    assert place.most_present() == 1
    place.assert_all_is_free()


def test_plain_runs_and_runs_with_limits_do_not_starve_each_other(
    begin: Begin, place: Place, limits: Limits
) -> None:
    limits.declare(amount=1, workflows=["limited"])
    worker = begin("--module=limited", "--poll-interval=1h", "--processes=1", "--concurrency=1")
    runs = [place.start("a") for _ in range(5)]
    runs += [worker.start("record", text=str(number)) for number in range(5)]
    for run in runs:
        worker.await_outcome(run)


def test_a_rate_opens_again_before_the_poll(begin: Begin, place: Place, limits: Limits) -> None:
    limits.rate(20, period=1.0, workflows=["limited"])
    worker = begin("--module=limited", "--poll-interval=1h")
    for run in [place.start("a") for _ in range(5)]:
        worker.await_outcome(run)
    [[began]] = place.rows(
        "SELECT extract(epoch FROM max(started_at) - min(started_at))::float"
        " FROM {schema}.workflow_runs"
    )
    assert float(str(began)) >= 4 * 0.05 - 0.01


@pytest.fixture
def other_session(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url) as conn:
        yield conn


@pytest.mark.slow
def test_a_limit_is_kept_at_every_instant_whatever_is_killed(
    begin: Begin, place: Place, limits: Limits, other_session: psycopg.Connection
) -> None:
    """Kills of children, supervisors and sessions, and cancellations, at random moments."""
    limits.declare("tenant", 2, workflows=["limited"], path=["key"])
    limits.declare("all", 5, workflows=["limited"])
    chance = random.Random(7)
    options = ("--max-crashes=1000", "--lease=2s")
    workers = begin_two(begin, *options)

    def again(worker: Worker) -> Worker:
        worker.program.wait()
        one = ("--module=limited", "--poll-interval=1h", "--concurrency=4")
        return begin(*one, *options, ready=False)

    runs = [
        place.start(chance.choice("aaabc"), chance.uniform(0, 0.05), nap=chance.choice([0, 0.05]))
        for _ in range(150)
    ]
    end = time.monotonic() + 12
    while place.unfinished and time.monotonic() < end:
        time.sleep(chance.uniform(0.02, 0.2))
        match chance.choice(["child", "child", "supervisor", "session", "cancel"]):
            case "child":
                for pid in workers[chance.randrange(2)].program.descendants()[1:3]:
                    _kill(pid)
            case "supervisor":
                index = chance.randrange(2)
                _kill(workers[index].program.pid)
                workers[index] = again(workers[index])
            case "session":
                other_session.execute(
                    "SELECT pg_terminate_backend(pid) FROM ("
                    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'owsuper%'"
                    " AND pid <> pg_backend_pid() AND application_name <> 'owsuper test'"
                    " ORDER BY random() LIMIT 1) AS s"
                )
            case "cancel":
                place.cancel(chance.choice(runs))
    for worker in workers:
        if not worker.program.running:  # its first children were killed: it gave up
            again(worker)
    place.await_end()
    assert place.most_present() == 2
    place.assert_all_is_free()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
