"""A client on a fresh schema, and a stand-in for the worker: it ends runs by SQL."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest

from owsuper import OpenWorkflow


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    client = OpenWorkflow(database_url, schema=schema)
    yield client
    client.close()


@pytest.fixture
def rows(conn: psycopg.Connection, schema: str) -> Rows:
    return Rows(conn, schema)


class Rows:
    """The runs of the test's schema, added and ended by SQL."""

    def __init__(self, conn: psycopg.Connection, schema: str) -> None:
        self._conn = conn
        self._table = f'"{schema}".workflow_runs'

    def add(self, name: str = "test", *, namespace: str = "default") -> str:
        """Add a run that is running; return its id."""
        run_id = str(uuid4())
        self._conn.execute(
            f"INSERT INTO {self._table} (namespace_id, id, workflow_name, status, config,"
            " attempts, available_at, created_at, updated_at)"
            " VALUES ($1, $2, $3, 'running', '{}', 1, now() + interval '1 hour', now(), now())",
            (namespace, run_id, name),
        )
        return run_id

    def end(
        self,
        *run_ids: str,
        status: str = "completed",
        continued_as: str | None = None,
        **values: Any,
    ) -> None:
        """End these runs in one transaction; ``values`` are output and error."""
        values["context"] = None if continued_as is None else {"continuedAs": continued_as}
        output, error, context = (
            None if values.get(name) is None else orjson.dumps(values[name]).decode()
            for name in ("output", "error", "context")
        )
        self._conn.execute(
            f"UPDATE {self._table} SET status = $2, output = $3::jsonb, error = $4::jsonb,"
            " context = $5::jsonb, available_at = NULL, finished_at = now()"
            " WHERE id = ANY ($1::text[])",
            (list(run_ids), status, output, error, context),
        )

    def delete(self, run_id: str) -> None:
        self._conn.execute(f"DELETE FROM {self._table} WHERE id = $1", (run_id,))

    def get(self, run_id: str) -> dict[str, Any]:
        cursor = self._conn.execute(f"SELECT * FROM {self._table} WHERE id = $1", (run_id,))
        row = cursor.fetchone()
        assert row is not None
        assert cursor.description
        return {column.name: value for column, value in zip(cursor.description, row, strict=True)}

    def waiters(self, *run_ids: str) -> int:
        """The number of these runs that a waiter has locked."""
        row = self._conn.execute(
            "SELECT count(DISTINCT id) FROM unnest($1::text[]) AS id JOIN pg_locks ON"
            " locktype = 'advisory' AND mode = 'ShareLock' AND granted AND"
            " (classid::bigint << 32) | objid::bigint"
            " = hashtextextended('owsuper:result:default:' || id, 0)",
            (list(run_ids),),
        ).fetchone()
        assert row is not None
        return int(row[0])

    def count(self) -> int:
        row = self._conn.execute(f"SELECT count(*) FROM {self._table}").fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def run_program(database_url: str, schema: str, tmp_path: Path) -> RunProgram:
    """Run a script as a program of its own, in which every warning is an error.

    The script finds ``ow``, on the test's schema. Return the words that the program printed.
    """

    def run(script: str) -> list[str]:
        file = tmp_path / "program.py"
        file.write_text(PREAMBLE.format(url=database_url, schema=schema) + dedent(script))
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-W", "error", file],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout.split()

    return run


def eventually(is_so: Callable[[], bool], timeout: float = 30.0) -> None:
    """Wait until ``is_so``, by polling."""
    give_up = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < give_up, f"not so within {timeout:g} s"
        time.sleep(0.01)


RunProgram = Callable[[str], list[str]]

ROOT = Path(__file__).parents[2]
PREAMBLE = """\
import asyncio, os, sys, threading, time, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded, use of fork")
import owsuper
from owsuper import OpenWorkflow
ow = OpenWorkflow({url!r}, schema={schema!r})

def in_child(work):
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        work()
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0

"""
