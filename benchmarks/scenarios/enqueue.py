"""Starting runs: ``run()`` by threads and by asyncio tasks of one program.

Meanwhile, a worker listens and executes what it can. The callers share one OpenWorkflow, and
so its connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from benchmarks.environment import environment
from benchmarks.figures import Figure
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import task_rate, thread_rate

THREADS = (1, 16)
TASKS = 16


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    for threads in THREADS:
        rates = tuple(_thread_rate(server, threads, sizes) for _ in range(sizes.repetitions))
        name = f"enqueue: run() by {threads} thread{'s' if threads > 1 else ''}, workers listening"
        yield Figure(f"enqueue.threads.{threads}", name, "runs/s", rates, clients=threads)
    rates = tuple(_task_rate(server, sizes) for _ in range(sizes.repetitions))
    name = f"enqueue: arun() by {TASKS} asyncio tasks, workers listening"
    yield Figure(f"enqueue.tasks.{TASKS}", name, "runs/s", rates, clients=TASKS)


def _thread_rate(server: Server, threads: int, sizes: Sizes) -> float:
    with environment(server) as env, env.worker(processes=2, concurrency=1):
        return thread_rate(env.client, threads, sizes.seconds)


def _task_rate(server: Server, sizes: Sizes) -> float:
    with environment(server) as env, env.worker(processes=2, concurrency=1):
        return asyncio.run(task_rate(env.client, TASKS, sizes.seconds))
