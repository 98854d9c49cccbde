"""Workers keep the limits of steps, whatever dies. Steps leave rows as they begin.

A trigger writes down each token as it is taken. So what is compared are times of the database,
which do not depend on how fast a process is: tokens are apart, and no step begins before its token.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from contextlib import closing, suppress
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from owsuper import OpenWorkflow
from tests.db.limits import Limits
from tests.db.rows import Tables
from tests.supervisor.worker import Begin, Worker

TABLES = """
CREATE TABLE "{schema}".begun (text text, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE "{schema}".tokens (name text, at timestamptz);
CREATE FUNCTION "{schema}".note_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO "{schema}".tokens
    SELECT NEW.limit_name, NEW.tat - interval '1 s' * period / coalesce(set_amount, amount)
    FROM "{schema}".owsuper_limits WHERE name = NEW.limit_name;
    RETURN NULL;
END $$;
CREATE TRIGGER note_token AFTER UPDATE OF tat ON "{schema}".owsuper_gates
    FOR EACH ROW WHEN (NEW.tat <> OLD.tat) EXECUTE FUNCTION "{schema}".note_token();
"""
FLOW = """
import os, signal, time
import psycopg
from owsuper import OpenWorkflow, Rate, RetryPolicy

ow = OpenWorkflow()
SCHEMA = os.environ["OWSUPER_SCHEMA"]
AGAIN = RetryPolicy(initial_interval=0.001, maximum_attempts=3)
FAST = Rate(20, per="1s", name="fast")
HOURLY = Rate(1, per="1h", name="hourly")

def begin(text):
    with psycopg.connect(os.environ["OWSUPER_DATABASE_URL"], autocommit=True) as conn:
        conn.execute(f'INSERT INTO "{SCHEMA}".begun (text) VALUES (%s)', [text])

def fail(text):
    begin(text)
    raise ValueError

@ow.workflow
def fast(step, input: dict):
    step.run("begin", begin, input["text"], limit=FAST)

@ow.workflow
def hourly(step, input: dict):
    step.run("begin", begin, input["text"], limit=HOURLY)

@ow.workflow
def plain(step, input: dict):
    step.run("begin", begin, input["text"])

@ow.workflow
def mapped(step, input: dict):
    step.map("begin", begin, [f"{input['text']}{n}" for n in range(8)], limit=FAST)

@ow.workflow
async def gathered(step, input: dict):
    import asyncio
    await asyncio.gather(*(
        step.run(f"begin {n}", begin, f"{input['text']}{n}", limit=FAST) for n in range(8)
    ))

@ow.workflow
def failing(step, input: dict):
    try:
        step.run("fail", fail, input["text"], retry=AGAIN, limit=FAST)
    finally:
        step.run("begin", begin, input["text"] + " again", limit=FAST)

@ow.workflow
def keyed(step, input: dict):
    key = (lambda given: given["user"]["id"]) if input.get("computed") else "user.id"
    step.run("begin", begin, input["text"], limit=Rate(1, per="1h", key=key))
    return "done"

@ow.workflow
def misnamed(step, input: dict):
    step.run("begin", begin, input["text"], limit=Rate(1, per="1h", name="places"))

@ow.workflow
def in_transaction(step, input: dict):
    def write(conn, text):
        conn.execute(f'INSERT INTO "{SCHEMA}".begun (text) VALUES (%s)', [text])
    step.transaction("write", write, input["text"], limit=HOURLY)
"""


class Steps:
    """What the steps of the workers have done, and the tokens that they took."""

    def __init__(self, conn: psycopg.Connection, schema: str) -> None:
        self._conn, self._schema = conn, schema
        conn.execute(TABLES.format(schema=schema).encode())

    def _column(self, query: str) -> list[object]:
        text = query.format(schema=f'"{self._schema}"').encode()
        return [row[0] for row in self._conn.execute(text)]

    def begun(self) -> list[object]:
        return self._column("SELECT text FROM {schema}.begun ORDER BY at")

    def times(self, table: str) -> list[datetime]:
        return [
            at
            for at in self._column(f"SELECT at FROM {{schema}}.{table} ORDER BY at")
            if isinstance(at, datetime)
        ]

    def turns(self) -> dict[str, datetime]:
        """Runs that wait, with their turns."""
        query = f'SELECT workflow_run_id, at FROM "{self._schema}".owsuper_turns'
        return {str(run): at for run, at in self._conn.execute(query.encode())}

    def wake(self, run: str) -> None:
        """Have a worker execute a run that waits."""
        query = f'UPDATE "{self._schema}".workflow_runs SET available_at = now() WHERE id = $1'
        self._conn.execute(query.encode(), [run])

    def await_turns(self, *runs: str) -> None:
        """Wait until the runs are parked."""
        query = (
            f'SELECT count(*) FROM "{self._schema}".owsuper_turns AS t'
            f' JOIN "{self._schema}".workflow_runs AS r ON r.id = t.workflow_run_id'
            " AND r.available_at = t.at AND r.worker_id IS NULL WHERE r.id = ANY ($1)"
        )
        deadline = time.monotonic() + 60
        while (found := self._conn.execute(query.encode(), [list(runs)]).fetchone()) != (
            len(runs),
        ):
            assert time.monotonic() < deadline, found
            time.sleep(0.005)  # a row can only be polled

    def await_end(self) -> None:
        query = "SELECT id FROM {schema}.workflow_runs WHERE status IN ('pending', 'running')"
        deadline = time.monotonic() + 120
        while left := self._column(query):
            assert time.monotonic() < deadline, left
            time.sleep(0.01)  # the end of many runs can only be polled

    def assert_apart(self, amount: int, period: float) -> None:
        """Assert that tokens are as the rate says, and that each step came after its token."""
        tokens, begun = self.times("tokens"), self.times("begun")
        spacing = timedelta(seconds=period / amount, microseconds=-2)  # rounding
        for one, other in pairwise(tokens):
            assert other - one >= spacing, tokens
        assert len(begun) <= len(tokens)
        assert all(token <= at for token, at in zip(tokens, begun, strict=False))


@pytest.fixture
def steps(conn: psycopg.Connection, schema: str, tmp_path: Path) -> Steps:
    (tmp_path / "steps.py").write_text(FLOW)
    return Steps(conn, schema)


ONE_SLOT = ("--module=steps", "--poll-interval=1h", "--processes=1", "--concurrency=1")


@pytest.mark.slow
def test_two_workers_let_steps_begin_at_their_rate_and_each_attempt_counts(
    begin: Begin, steps: Steps
) -> None:
    options = ("--module=steps", "--poll-interval=1h", "--processes=1", "--concurrency=4")
    one, other = begin(*options, ready=False), begin(*options)
    for text in ("a", "b", "c"):
        one.start("fast", text=text)
    for text in ("m", "n"):
        one.start("mapped", text=text)
    one.start("gathered", text="g")
    one.start("failing", text="f")
    steps.await_end()
    texts = [f"{text}{number}" for text in "mng" for number in range(8)]
    assert sorted(map(str, steps.begun())) == sorted([*"abcfff", "f again", *texts])
    assert len(steps.times("tokens")) == 31
    assert steps.turns() == {}
    steps.assert_apart(20, 1.0)
    for worker in (one, other):
        assert worker.stop() == 0


def test_a_step_that_waits_holds_no_slot_and_begins_when_the_rate_is_raised(
    begin: Begin, steps: Steps, database_url: str, schema: str
) -> None:
    worker = begin(*ONE_SLOT)
    worker.await_outcome(worker.start("hourly", text="1"))
    second = worker.start("hourly", text="2")
    steps.await_turns(second)
    worker.await_outcome(worker.start("plain", text="plain"))
    with closing(OpenWorkflow(database_url, schema=schema)) as ow:
        [limit] = [each for each in ow.list_limits() if each.name == "hourly"]
        assert (limit.kind, limit.amount, limit.waiting) == ("rate", 1, 1)
        assert limit.workflows == ("hourly",)
        [reason] = ow.get_run(second).why()
        assert 'its step "begin" waits for the limit "hourly"' in str(reason)
        assert reason.until == steps.turns()[second]
        ow.set_limit("hourly", 36_000)
    worker.await_outcome(second)
    assert steps.begun() == ["1", "plain", "2"]


def test_a_run_that_comes_back_early_keeps_its_turn_and_one_that_ends_gives_it_up(
    begin: Begin, steps: Steps
) -> None:
    worker = begin(*ONE_SLOT)
    worker.await_outcome(worker.start("hourly", text="1"))
    runs = [worker.start("hourly", text=text) for text in "23"]
    steps.await_turns(*runs)
    before = steps.turns()
    worker.program.signal(signal.SIGKILL)
    worker.program.wait()
    worker = begin(*ONE_SLOT)
    steps.wake(runs[0])
    worker.log.wait_for(rf"run_id={runs[0]} .*outcome=parked")
    assert steps.turns() == before
    assert len(steps.times("tokens")) == 1
    worker.cancel(runs[0])
    assert steps.turns() == {runs[1]: before[runs[1]]}


def test_keys_are_those_of_the_input_and_what_is_wrong_fails_the_run(
    begin: Begin, steps: Steps, conn: psycopg.Connection, schema: str
) -> None:
    Limits(Tables(conn, schema)).declare("places", workflows=[])
    worker = begin(*ONE_SLOT)
    done = [
        worker.start("keyed", text=f"{user}{computed}", user={"id": user}, computed=computed)
        for user in (1, 2)
        for computed in (False, True)
    ]
    large = {"id": 3, "padding": "x" * 100_000}  # not sent with the claim
    done.append(worker.start("keyed", text="large", user=large))
    for run in done:
        worker.await_outcome(run)
    waits = worker.start("keyed", text="waits", user={"id": 1})
    steps.await_turns(waits)
    for workflow, error in (
        ("keyed", 'it has no "user", and the limit "keyed/begin/rate/user.id" needs'),
        ("misnamed", "Step 'begin': the limit \"places\" is one of workflows, and no Rate."),
    ):
        failed = worker.start(workflow, text="none")
        worker.await_outcome(failed, "failed")
        assert error in json.loads(worker.get(failed).error or "")["message"]


def test_a_transaction_takes_its_turn(begin: Begin, steps: Steps) -> None:
    worker = begin(*ONE_SLOT)
    worker.await_outcome(worker.start("in_transaction", text="1"))
    steps.await_turns(worker.start("in_transaction", text="2"))
    assert steps.begun() == ["1"]


@pytest.mark.slow
@pytest.mark.once
def test_steps_keep_their_rate_whatever_is_killed(begin: Begin, steps: Steps) -> None:
    options = ("--module=steps", "--poll-interval=1h", "--concurrency=2", "--max-crashes=1000")
    chance = random.Random(3)

    def again(*, ready: bool = False) -> Worker:
        return begin(*options, "--lease=2s", ready=ready)

    workers = [again(), again(ready=True)]
    texts = [str(number) for number in range(40)]
    for text in texts:
        workers[1].start("fast", text=text)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.05, 0.2))
        victim = chance.randrange(2)
        if chance.random() < 0.75:
            for pid in workers[victim].program.descendants()[1:3]:
                _kill(pid)
        else:
            _kill(workers[victim].program.pid)
        if not workers[victim].program.running:
            workers[victim] = again()
    for worker in workers:
        if not worker.program.running:  # its first children were killed: it gave up
            again()
    steps.await_end()
    assert set(steps.begun()) == set(texts)
    assert steps.turns() == {}
    steps.assert_apart(20, 1.0)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
