"""Starting runs: ``run()`` by threads and by asyncio tasks of one program.

Meanwhile, a worker listens and executes what it can, as in life. The callers share one
OpenWorkflow, and so the connections that it allows itself.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from owsuper.bench.effort import Effort
from owsuper.bench.figures import Figure
from owsuper.bench.server import Server
from owsuper.bench.stage import PATIENCE, Stage, staged

THREADS = (1, 16)
TASKS = 16


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    for threads in THREADS:
        rates = tuple(_thread_rate(server, threads, effort.seconds) for _ in _times(effort))
        name = f"enqueue: run() by {threads} thread{'s' if threads > 1 else ''}, workers listening"
        yield Figure(f"enqueue.threads.{threads}", name, "runs/s", rates, clients=threads)
    rates = tuple(_task_rate(server, TASKS, effort.seconds) for _ in _times(effort))
    name = f"enqueue: arun() by {TASKS} asyncio tasks, workers listening"
    yield Figure(f"enqueue.tasks.{TASKS}", name, "runs/s", rates, clients=TASKS)


def _times(effort: Effort) -> range:
    return range(effort.repetitions)


def _thread_rate(server: Server, threads: int, seconds: float) -> float:
    """Calls of ``run()`` that returned, a second; each thread has made one before it counts."""
    with (
        staged(server) as stage,
        stage.worker(processes=2, concurrency=1),
        ThreadPoolExecutor(threads) as pool,
    ):
        start = threading.Barrier(threads)
        calls = [pool.submit(_start_runs, stage, start, seconds) for _ in range(threads)]
        return sum(call.result() for call in calls)


def _start_runs(stage: Stage, start: threading.Barrier, seconds: float) -> float:
    stage.ow.run_workflow("no-op", 1)  # opens this thread's connection
    start.wait(PATIENCE)
    count = 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        stage.ow.run_workflow("no-op", 1)
        count += 1
    return count / elapsed


def _task_rate(server: Server, tasks: int, seconds: float) -> float:
    with staged(server) as stage, stage.worker(processes=2, concurrency=1):
        return asyncio.run(_start_runs_at_once(stage, tasks, seconds))


async def _start_runs_at_once(stage: Stage, tasks: int, seconds: float) -> float:
    async def start_runs(until: float) -> int:
        count = 0
        while time.perf_counter() < until:
            await stage.ow.arun_workflow("no-op", 1)
            count += 1
        return count

    await asyncio.gather(*(stage.ow.arun_workflow("no-op", 1) for _ in range(tasks)))
    began = time.perf_counter()
    counts = await asyncio.gather(*(start_runs(began + seconds) for _ in range(tasks)))
    return sum(counts) / (time.perf_counter() - began)
