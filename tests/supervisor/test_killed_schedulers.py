"""Real supervisors that are killed while they fire ticks: each tick has one run, none is lost."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg
import pytest

from owsuper import OpenWorkflow
from tests.supervisor.worker import Begin

SECOND = timedelta(seconds=1)


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    client = OpenWorkflow(database_url, schema=schema)
    yield client
    client.close()


@pytest.mark.slow
def test_killed_supervisors_lose_no_tick_and_fire_none_twice(
    begin: Begin, ow: OpenWorkflow, conn: psycopg.Connection, schema: str
) -> None:
    def keys() -> list[str]:
        query = f'SELECT idempotency_key FROM "{schema}".workflow_runs ORDER BY 1'
        return [row[0] for row in conn.execute(query.encode()).fetchall()]

    def await_ticks(number: int) -> None:
        deadline = time.monotonic() + 60
        while len(keys()) < number:
            assert time.monotonic() < deadline
            time.sleep(0.001)  # rows can only be polled; a kill comes right after a tick

    workers = [begin("--processes=1", ready=False) for _ in range(2)]
    for worker in workers:
        worker.log.wait_for(r": ready: ")
    ow.schedules.create(
        "often", "record", every=1, catch_up="all", catch_up_limit=1000, input={"text": "tick"}
    )
    for number in range(3):
        await_ticks(len(keys()) + 1)
        os.kill(workers[number % 2].program.pid, signal.SIGKILL)
        workers[number % 2] = begin("--processes=1", ready=False)
    for worker in workers:  # both, so that ticks are missed
        os.kill(worker.program.pid, signal.SIGKILL)
    last = begin("--processes=1")
    await_ticks(len(keys()) + 2)
    ow.schedules.pause("often")
    counted = Counter(keys())
    times = [datetime.fromisoformat(key.partition("@")[2]) for key in counted]
    assert set(counted.values()) == {1}
    assert times == [times[0] + k * SECOND for k in range(len(times))]
    last.await_effect("tick", len(times))
    assert last.stop() == 0
