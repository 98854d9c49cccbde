"""The lock of a client that waits, and the read of the run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg

from owsuper.db import connect
from owsuper.db.waits import Waits
from tests.db.rows import Tables
from tests.fixtures.postgres import connect as plain_connect
from tests.fixtures.postgres import wait_until_it_blocks


def test_a_run_that_ends_after_the_lock_and_before_the_read_is_notified(
    database_url: str, schema: str, tables: Tables, conn: psycopg.Connection
) -> None:
    run, waits = tables.run(), Waits(schema, "default")
    with (
        connect.connect(database_url, application_name="owsuper test") as client,
        plain_connect(database_url) as worker,
        ThreadPoolExecutor() as threads,
    ):
        waits.listen(client)
        with worker.transaction():
            worker.execute(f'LOCK TABLE "{schema}".workflow_runs'.encode())  # so none can be read
            answer = threads.submit(waits.lock_and_read, client, [run])
            wait_until_it_blocks(worker, conn)
            Tables(worker, schema).update("workflow_runs", run, status="completed")
        locked, found = answer.result()
        assert (locked, found[run].status) == ({run}, "completed")
        assert [note.payload for note in client.notifies(timeout=20, stop_after=1)] == [run]
