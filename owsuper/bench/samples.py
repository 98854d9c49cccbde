"""Single samples and rates, taken with real workers in a schema of their own."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

from psycopg import sql

from owsuper import OpenWorkflow, Worker
from owsuper.db.connect import connect
from owsuper.db.migrate import migrate
from owsuper.errors import OwsuperError
from owsuper.settings import Settings

APPLICATION_NAME = "owsuper bench"
SCHEMA_PREFIX = "bench_"
WAIT_SECONDS = 60.0
"""A limit for everything that is not itself measured."""
PROCESSES = 2
REPORT_SOCKET = "OWSUPER_BENCH_SOCKET"
"""Environment variable: the path of the Unix socket to which ``hold`` reports."""


class BenchmarkError(OwsuperError):
    """A measurement could not be taken."""


# --- a schema, a client, a worker ---------------------------------------------------------------


@contextmanager
def schema(url: str) -> Iterator[str]:
    """Yield the name of a new schema with owsuper's tables, which is dropped at the end."""
    name = f"{SCHEMA_PREFIX}{uuid4().hex[:12]}"
    try:
        with connect(url, application_name=APPLICATION_NAME) as conn:
            migrate(conn, name)
        yield name
    finally:
        drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
        with connect(url, application_name=APPLICATION_NAME) as conn:
            conn.execute(drop.as_string(conn).encode())


def new_client(url: str, schema: str) -> OpenWorkflow:
    """Return a client of this schema, with default settings."""
    return OpenWorkflow(url, namespace="default", schema=schema, listen=True)


def new_worker(
    client: OpenWorkflow,
    concurrency: int = 1,
    *,
    processes: int = PROCESSES,
    module: str = "owsuper.bench.app",
    log_level: str = "warning",
    poll_interval: str = "2s",
    kill_grace: float = 5.0,
    retain: str | None = None,
) -> Worker:
    """Return a worker for the workflows of ``module``, with default settings; not started yet."""
    defaults = Settings()
    return client.new_worker(
        processes=processes,
        concurrency=concurrency,
        modules=[module],
        log_level=log_level,
        poll_interval=poll_interval,
        graceful_timeout="5s",
        kill_grace=kill_grace,
        # Explicit, so that a pyproject.toml in the working directory cannot change them.
        lease=defaults.lease,
        max_crashes=defaults.max_crashes,
        listen=True,
        migrate=True,
        preload=True,
        durable_claims=False,
        retain=retain or defaults.retain,
    )


# --- samples -----------------------------------------------------------------------------------


def pickup_seconds(client: OpenWorkflow) -> float:
    """Seconds from the call that starts a run to the first line of its step, measured once.

    Nobody waits for the result meanwhile, and the worker is idle before.
    """
    called = time.time()
    handle = client.run_workflow("report-time")
    time.sleep(random.uniform(0.020, 0.050))  # irregular, so as to keep in step with nothing
    began: float = handle.result(timeout=WAIT_SECONDS)
    return began - called


def roundtrip_seconds(client: OpenWorkflow) -> float:
    """Seconds from the call that starts a run of one step to its result, measured once."""
    time.sleep(random.uniform(0.005, 0.020))
    called = time.perf_counter()
    client.run_workflow("no-op", 1).result(timeout=WAIT_SECONDS)
    return time.perf_counter() - called


def thread_rate(client: OpenWorkflow, threads: int, seconds: float) -> float:
    """Runs started a second by this many threads. Each has started one run before."""
    barrier = threading.Barrier(threads)

    def start_runs() -> float:
        client.run_workflow("no-op", 1)  # opens the connection
        barrier.wait(WAIT_SECONDS)
        count, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            client.run_workflow("no-op", 1)
            count += 1
        return count / elapsed

    with ThreadPoolExecutor(threads) as pool:
        calls = [pool.submit(start_runs) for _ in range(threads)]
        return sum(call.result() for call in calls)


async def task_rate(client: OpenWorkflow, tasks: int, seconds: float) -> float:
    """Runs started a second by this many asyncio tasks. Each has started one run before."""

    async def start_runs(until: float) -> int:
        count = 0
        while time.perf_counter() < until:
            await client.arun_workflow("no-op", 1)
            count += 1
        return count

    await asyncio.gather(*(client.arun_workflow("no-op", 1) for _ in range(tasks)))
    began = time.perf_counter()
    counts = await asyncio.gather(*(start_runs(began + seconds) for _ in range(tasks)))
    return sum(counts) / (time.perf_counter() - began)


BreakDown: TypeAlias = Callable[[socket.socket, int], object]
"""Ends the process with this pid that executes the step at the other end of the socket."""


def kill(_step: socket.socket, pid: int) -> None:
    """End the process by SIGKILL."""
    os.kill(pid, signal.SIGKILL)


class RecoveryProbe:
    """Has the child process die that runs a step, and measures until the step runs elsewhere."""

    def __init__(self, socket_path: str) -> None:
        """``socket_path`` is where steps of the workflow ``hold`` report."""
        self._reports = socket.socket(socket.AF_UNIX)
        self._reports.bind(socket_path)
        self._reports.listen()
        self._reports.settimeout(WAIT_SECONDS)

    def seconds(
        self, client: OpenWorkflow, break_down: BreakDown = kill, workflow: str = "hold"
    ) -> float:
        """Seconds from the death of the process to the step's first line in another process."""
        time.sleep(random.uniform(0.1, 0.2))  # the process killed before is replaced meanwhile
        handle = client.run_workflow(workflow)
        first, _, pid = self.next_execution()
        with first:
            died = time.monotonic()
            break_down(first, pid)
            second, began, _ = self.next_execution()
        with second:
            second.sendall(b"end")
            handle.result(timeout=WAIT_SECONDS)
        return began - died

    def close(self) -> None:
        """Close the socket."""
        self._reports.close()

    def next_execution(self) -> tuple[socket.socket, float, int]:
        """Return the connection, the begin and the process id of the next execution of the step."""
        try:
            connection, _ = self._reports.accept()
        except TimeoutError:
            raise BenchmarkError(f"the step did not run within {WAIT_SECONDS:g} s") from None
        with connection.makefile("r") as lines:
            began, pid = lines.readline().split()
        return connection, float(began), int(pid)


@contextmanager
def recovery_probe() -> Iterator[RecoveryProbe]:
    """Yield a probe for workers that are started within this block."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ[REPORT_SOCKET] = str(Path(directory, "reports"))
        probe = RecoveryProbe(os.environ[REPORT_SOCKET])
        try:
            yield probe
        finally:
            probe.close()
            del os.environ[REPORT_SOCKET]


def backlog_rate(url: str, concurrency: int, runs: int) -> float:
    """Runs completed a second, of a backlog that is there before the worker starts.

    The first 10 % and the last 5 % do not count: a worker starts in them, and becomes idle.
    """
    with schema(url) as name, closing(new_client(url, name)) as client:
        client.run_many("no-op", [1] * runs)
        with new_worker(client, concurrency):
            _await_completed(client, runs)
        query = sql.SQL(
            "SELECT extract(epoch FROM t[2] - t[1])::float8 FROM (SELECT percentile_disc("
            "ARRAY[0.1, 0.95]) WITHIN GROUP (ORDER BY finished_at) AS t FROM {}) AS times"
        ).format(sql.Identifier(name, "workflow_runs"))
        with connect(url, application_name=APPLICATION_NAME) as conn:
            [(seconds,)] = conn.execute(query.as_string(conn).encode()).fetchall()
    if seconds == 0:
        raise BenchmarkError(f"{runs} runs were over before a rate could be measured")
    return 0.85 * runs / float(seconds)


def _await_completed(client: OpenWorkflow, runs: int) -> None:
    completed, changed = -1, time.monotonic()
    while completed < runs:
        now = client.count_runs().completed
        if now > completed:
            completed, changed = now, time.monotonic()
        elif time.monotonic() > changed + WAIT_SECONDS:
            raise BenchmarkError(f"{completed} of {runs} runs were completed, and then no more")
        time.sleep(0.1)
