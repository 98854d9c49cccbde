"""Waiting for runs that continue as new: the end is that of the last run, sync and async."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from owsuper import OpenWorkflow, RunFailed
from owsuper.client import watching
from owsuper.errors import ResultTimeout
from tests.client.conftest import eventually
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.rows import Tables, from_now


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


def end(tables: Tables, run: str, *, after: str | None = None, **columns: Any) -> None:
    """End a run: with a result, or by continuing as another."""
    context = None if after is None else Jsonb({"continuedAs": after})
    defaults = {"status": "completed", "available_at": None, "finished_at": from_now(0)}
    tables.update("workflow_runs", run, **{**defaults, "context": context, **columns})


@sync_and_async
def test_the_result_of_a_chain_that_has_ended_is_that_of_its_last_run(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    runs = [tables.run() for _ in range(3)]
    for run, after in pairwise(runs):
        end(tables, run, after=after)
    end(tables, runs[-1], output=Jsonb("last"))
    for run in runs:
        assert call(ow.get_run(run), "result", timeout=0) == "last"
    end(tables, runs[-1], status="failed", error=Jsonb({"message": "bad"}))
    with pytest.raises(RunFailed, match="bad") as failed:
        call(ow.get_run(runs[0]), "result", timeout=5)
    assert failed.value.run_id == runs[-1]


@pytest.mark.parametrize("listen", [True, False])
def test_who_waits_follows_the_chain_as_it_grows(
    database_url: str, schema: str, tables: Tables, listen: bool
) -> None:
    ow = OpenWorkflow(database_url, schema=schema, listen=listen)
    runs = [tables.run() for _ in range(4)]
    with ThreadPoolExecutor(2) as threads:
        sync = threads.submit(ow.get_run(runs[0]).result, 60)
        awaited = threads.submit(lambda: asyncio.run(ow.get_run(runs[0]).aresult(60)))
        waiter = ow._database.session().waiter
        for run, after in pairwise(runs):
            eventually(partial(lambda run: run in waiter._runs, run))
            end(tables, run, after=after)
        eventually(lambda: runs[-1] in waiter._runs)
        assert not sync.done()
        end(tables, runs[-1], output=Jsonb("last"))
        assert (sync.result(60), awaited.result(60)) == ("last", "last")
    ow.close()


@sync_and_async
def test_a_time_out_holds_for_the_whole_chain(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    first, last = tables.run(), tables.run()
    end(tables, first, after=last)
    with pytest.raises(ResultTimeout):
        call(ow.get_run(first), "result", timeout=0.1)


def test_a_web_server_looks_at_the_last_run_and_waits_for_it(
    ow: OpenWorkflow, tables: Tables
) -> None:
    first, last = tables.run(), tables.run()
    end(tables, first, after=last)
    handle = ow.get_run(first)
    now = asyncio.run(watching.look(handle, 10.0))
    assert (now.run_id, now.ended) == (last, False)
    future = watching.end_of(handle, patient=False)
    ended = threading.Event()
    future.add_done_callback(lambda _: ended.set())
    end(tables, last, output=Jsonb(7))
    assert ended.wait(60)
    progress = future.result()
    assert progress is not None
    assert (progress.run_id, progress.output) == (last, "7")
